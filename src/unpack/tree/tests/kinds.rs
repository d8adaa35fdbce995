//! What entries become, and what becomes of what was there before.

use super::support::{Growing, dir, entry, file, grown, link, must_be_root, refused, symlink};
use crate::core::error::{Blame, Classify};
use crate::unpack::archive::{Kind, Sink};
use crate::unpack::tree::{Fate, TreeError, Whiteouts};

#[test]
fn every_kind_of_file_gets_what_its_entry_says() {
    must_be_root();
    let tree = grown(&[
        dir("d").mode(0o2751).owner(3, 4).times(100, 200),
        file("d/f", "content").mode(0o640).owner(1000, 1001).times(1, 2).xattr("user.note", "hello"),
        file("d/suid", "x").mode(0o6755).owner(5, 6).times(7, 9),
        file("d/umask", "").mode(0o666),
        symlink("d/l", "../elsewhere").owner(7, 8).times(10, 20),
        entry("d/p", Kind::Fifo).mode(0o622).times(3, 4),
        entry("d/c", Kind::Char { major: 1, minor: 3 }).mode(0o666),
        entry("d/b", Kind::Block { major: 4095, minor: 1_048_575 }).mode(0o4660).owner(0, 6),
        link("d/h", "d/f").mode(0o640).owner(1000, 1001).times(1, 2),
        dir("tmp").mode(0o1777).times(0, 0),
    ]);
    assert_eq!(
        tree.listing(),
        [
            "d d 2751 3:4 100/200",
            "d/b b 4660 0:6 0/0 4095:1048575",
            "d/c c 666 0:0 0/0 1:3",
            "d/f f 640 1000:1001 1/2 x2 'content' user.note=hello",
            "d/h f 640 1000:1001 1/2 x2 'content' user.note=hello",
            "d/l l 7:8 10/20 -> ../elsewhere",
            "d/p p 622 0:0 3/4",
            "d/suid f 6755 5:6 7/9 'x'",
            "d/umask f 666 0:0 0/0 ''",
            "tmp d 1777 0:0 0/0",
        ]
    );
    assert_eq!((tree.grown.entries, tree.grown.bytes, tree.grown.implied.len()), (10, 8, 0));
}

#[test]
fn the_header_of_the_root_is_ignored_however_it_is_spelled() {
    let tree =
        grown(&[dir("./").mode(0o700), dir("/").mode(0o111), dir(".."), dir("a/.."), dir(""), file("../../x", "")]);
    assert_eq!(tree.names(), ["x"], "an entry above the root lands in it");
    assert!(tree.grown.implied.is_empty(), "nothing was implied for a name that cleans to the root");
}

#[test]
fn a_directory_joins_a_directory_and_everything_else_replaces() {
    let tree = grown(&[
        dir("d").mode(0o700).times(1, 1),
        file("d/keep", "1"),
        dir("d").mode(0o751).times(5, 6),
        dir("gone"),
        file("gone/sub/x", "1"),
        file("gone", "now a file"),
        file("f", "1"),
        dir("f").times(8, 9),
        file("f/below", ""),
        symlink("l", "d"),
        file("l", "no longer a link"),
        symlink("s", "nowhere"),
        dir("s"),
        file("twice", "long content"),
        link("other", "twice"),
        file("twice", "short"),
    ]);
    assert_eq!(tree.names(), ["d", "d/keep", "f", "f/below", "gone", "l", "other", "s", "twice"]);
    assert_eq!(tree.read("other"), "long content", "a replaced file lives on under its other name");
    assert_eq!(tree.read("twice"), "short");
    assert_eq!((tree.mode("d"), tree.times("d")), (0o751, (5, 6)));
    assert_eq!(tree.times("f"), (8, 9));
    let implied: Vec<_> = tree.grown.implied.iter().map(|implied| (implied.path.to_str(), implied.fate)).collect();
    assert_eq!(implied, [(Some("gone/sub"), Fate::Replaced)], "it is only looked up in the layers below");
}

#[test]
fn sparse_files_have_their_holes_and_their_size() {
    let big = 3 * 1024 * 1024;
    let mut sink = Growing::new(Whiteouts::Overlay);
    for (name, size) in [("small", 100_000), ("big", big), ("empty", 50_000)] {
        sink.tree.entry(file(name, "").sized(size)).expect("begins");
        if name != "empty" {
            sink.tree.content(10, b"island").expect("writes");
            sink.tree.content(size - 4096, b"coast").expect("writes");
        }
        sink.tree.end_entry().expect("ends");
    }
    let tree = sink.finish().expect("becomes a tree");
    for (name, size) in [("small", 100_000), ("big", big)] {
        let content = std::fs::read(tree.path(name)).expect("reads");
        assert_eq!(content.len() as u64, size);
        assert_eq!(&content[10..16], b"island");
        assert_eq!(&content[size as usize - 4096..][..5], b"coast");
        assert_eq!(content.iter().filter(|byte| **byte != 0).count(), 11, "{name}");
    }
    assert_eq!(std::fs::read(tree.path("empty")).expect("reads"), vec![0; 50_000]);
}

#[test]
fn a_global_header_clears_its_path() {
    let tree =
        grown(&[file("pax_global_header", "x"), entry("pax_global_header", Kind::Global), entry("p/g", Kind::Global)]);
    assert_eq!(tree.names(), ["p"]);
}

#[test]
fn hard_links_find_their_target_in_the_layer_or_nowhere() {
    let target = |path: &str, to: &str| refused(&[dir("d"), file("f", ""), link(path, to)]);
    for to in ["none", "d/none", "d", ".", "/", "..", "d/..", "", "f/x", "../none"] {
        let error = target("l", to);
        assert!(matches!(error, TreeError::LinkTarget { .. } | TreeError::NotADirectory { .. }), "{to}: {error}");
        assert_eq!(error.blame(), Blame::Image, "{to}");
    }
    assert!(matches!(target("f", "f"), TreeError::LinkTarget { .. }), "its own path was removed before");
    assert!(matches!(refused(&[file("d/f", ""), link("d", "d/f")]), TreeError::LinkTarget { .. }), "and so was this");
    let tree = grown(&[dir("d"), file("d/f", "x"), link("a", "/d/f"), link("b", "../d/./f"), link("c", "d/../d/f")]);
    assert_eq!(tree.links("d/f"), 4);
}
