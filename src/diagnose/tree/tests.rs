use super::super::testing::Item::{Directory, File, HardLink, Symlink};
use super::super::testing::{Item, tar};
use super::*;
use crate::core::limits::Limits;
use crate::diagnose::layer::Entries;

fn read(layers: &[&[Item<'_>]]) -> Tree {
    let mut tree = Tree::default();
    for (index, items) in layers.iter().enumerate() {
        let bytes = tar(items);
        let mut entries = Entries::open(bytes.as_slice(), index + 1, &Limits::default());
        let mut position = 0;
        while let Some(entry) = entries.advance().expect("a readable layer") {
            tree.apply(&entry.into(), index, position);
            position += 1;
        }
    }
    tree
}

/// Layer and size of the file that a path leads to.
fn find(tree: &Tree, path: &str) -> Option<(usize, u64)> {
    match tree.look(path.as_bytes()).end {
        End::File(file) => Some((file.layer, file.size)),
        _ => None,
    }
}

#[test]
fn tells_what_is_there_in_place_of_a_file() {
    let tree = read(&[&[Directory("etc/"), File("usr/bin/env", b"1"), Symlink("a", "b"), Symlink("b", "a")]]);
    let end = |path: &str| tree.look(path.as_bytes()).end;
    assert_eq!((end("/etc"), end("/usr/bin")), (End::Other("a directory"), End::Other("a directory")));
    assert_eq!((end("/a"), end("/nothing")), (End::Loop, End::Nothing));
    let tree = read(&[&[Directory("etc/"), Symlink("a", "lib/x")], &[File(".wh.etc", b""), File("lib/x", b"1")]]);
    assert_eq!(tree.look(b"/etc").end, End::Nothing, "a whiteout hides a directory");
    let way = tree.look(b"a");
    assert_eq!((way.path.as_slice(), way.lowest), (&b"lib/x"[..], 0), "the link is from the lowest layer");
}

#[test]
fn upper_layers_replace_lower_ones() {
    let tree = read(&[&[File("app", b"1"), File("./usr/bin/env", b"12")], &[File("/app", b"123")]]);
    assert_eq!(find(&tree, "/app"), Some((1, 3)));
    assert_eq!(find(&tree, "usr/../usr//bin/./env"), Some((0, 2)));
    assert_eq!(find(&tree, "/../../app"), Some((1, 3)));
    assert_eq!((find(&tree, "/usr/bin"), find(&tree, "/nothing"), find(&tree, "/")), (None, None, None));
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower: &[Item<'_>] = &[File("bin/a", b"1"), File("bin/b", b"1"), File("bin2/c", b"1"), File("lib/d", b"1")];
    let tree = read(&[lower, &[File("bin/new", b"22"), File("bin/.wh.a", b""), File("bin/a", b"22")]]);
    assert_eq!((find(&tree, "bin/a"), find(&tree, "bin/b")), (Some((1, 2)), Some((0, 1))));
    let tree = read(&[lower, &[File("bin/a", b"22"), File("bin/.wh.a", b"")]]);
    assert_eq!(find(&tree, "bin/a"), Some((1, 2)), "a whiteout does not touch its own layer");
    let tree = read(&[lower, &[File(".wh.bin", b"")]]);
    assert_eq!((find(&tree, "bin/a"), find(&tree, "bin2/c")), (None, Some((0, 1))));
    let tree = read(&[lower, &[File("bin/x", b"22"), File("bin/.wh..wh..opq", b"")]]);
    assert_eq!((find(&tree, "bin/b"), find(&tree, "bin/x"), find(&tree, "lib/d")), (None, Some((1, 2)), Some((0, 1))));
    let tree = read(&[lower, &[File(".wh..wh..opq", b"")]]);
    assert_eq!((find(&tree, "bin/b"), find(&tree, "lib/d")), (None, None));
    let tree = read(&[lower, &[File("bin/.wh..wh.aufs", b"")]]);
    assert_eq!(find(&tree, "bin/b"), Some((0, 1)));
}

#[test]
fn follows_links_across_layers() {
    let tree = read(&[
        &[
            Directory("usr/bin/"),
            Symlink("bin", "usr/bin"),
            File("usr/bin/busybox", b"123"),
            Symlink("bin/sh", "busybox"),
        ],
        &[File("bin/app", b"4444"), HardLink("app2", "bin/app"), Symlink("app3", "../../bin/../bin/app")],
    ]);
    assert_eq!(find(&tree, "/bin/sh"), Some((0, 3)));
    assert_eq!(find(&tree, "/usr/bin/app"), Some((1, 4)), "a parent that is a link is followed");
    assert_eq!((find(&tree, "/app2"), find(&tree, "/app3")), (Some((1, 4)), Some((1, 4))));
}

#[test]
fn gives_up_on_loops() {
    let tree = read(&[&[Symlink("a", "b"), Symlink("b", "a"), Symlink("c", "c/x"), File("a/below", b"1")]]);
    assert_eq!((find(&tree, "a"), find(&tree, "c"), find(&tree, "a/below")), (None, None, None));
}

#[test]
fn a_name_holds_one_thing_at_a_time() {
    let tree = read(&[
        &[File("x/y", b"1"), Symlink("link", "x"), File("z", b"1")],
        &[File("x", b"22"), Directory("link/"), Directory("z/"), File("z/in", b"22")],
    ]);
    assert_eq!((find(&tree, "x"), find(&tree, "x/y"), find(&tree, "link/y")), (Some((1, 2)), None, None));
    assert_eq!((find(&tree, "z"), find(&tree, "z/in")), (None, Some((1, 2))));
}
