//! What a layer becomes, trap by trap. Devices, owners and whiteouts need root's rights.

pub(super) mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::core::error::{Blame, Classify};
use crate::unpack::archive::{Kind, Sink};
use support::*;

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
fn implied_parents_are_plain_and_told_outermost_first() {
    let tree = grown(&[
        file("a/b/c/f", "x"),
        file("a/b.c/f", "x"),
        dir("z"),
        file("z/y/f", ""),
        dir("a/b").mode(0o700),
        file("a/b/d/f", ""),
    ]);
    let implied = |path: &str, fate, is_nested| Implied { path: PathBuf::from(path), fate, is_nested };
    let expected = [
        implied("a", Fate::Kept, false),
        implied("a/b", Fate::Explicit, true),
        implied("a/b.c", Fate::Kept, true),
        implied("a/b/c", Fate::Kept, true),
        implied("a/b/d", Fate::Kept, false),
        implied("z/y", Fate::Kept, false),
    ];
    assert_eq!(tree.grown.implied, expected);
    assert_eq!(tree.mode("a"), 0o755);
    assert_eq!(tree.mode("a/b"), 0o700);
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
fn parents_that_are_links_lead_to_where_containerd_goes() {
    let tree = grown(&[
        dir("usr"),
        symlink("lib", "usr/lib"),
        file("lib/a", "1"),
        file("lib/sub/b", "2"),
        file("lib/a2", "3"),
        symlink("abs", "/usr"),
        file("abs/c", "4"),
        symlink("out", "../../../etc"),
        file("out/passwd", "5"),
        dir("lib/dir").times(3, 4),
        link("hard", "lib/a"),
    ]);
    let expected = [
        "abs",
        "etc",
        "etc/passwd",
        "hard",
        "lib",
        "out",
        "usr",
        "usr/c",
        "usr/lib",
        "usr/lib/a",
        "usr/lib/a2",
        "usr/lib/dir",
        "usr/lib/sub",
        "usr/lib/sub/b",
    ];
    assert_eq!(tree.names(), expected);
    assert_eq!(tree.times("usr/lib/dir"), (3, 4));
    let implied: Vec<_> = tree.grown.implied.iter().map(|implied| implied.path.to_str().expect("text")).collect();
    assert_eq!(implied, ["etc", "usr/lib", "usr/lib/sub"]);
}

#[test]
fn nothing_leads_out_of_the_tree() {
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("victim"), "untouched").expect("writes");
    let to = outside.path().to_str().expect("text");
    let victim = format!("{to}/victim");
    let tree = grown(&[
        symlink("abs", to),
        file("abs/victim", "inside"),
        symlink("up", "../../../../../../../.."),
        file(&format!("up{victim}"), "inside, too"),
        symlink("file", &victim),
        file("file", "replaces the link"),
        symlink("other", &victim),
        link("hard", "other"),
    ]);
    assert_eq!(std::fs::read_to_string(outside.path().join("victim")).expect("reads"), "untouched");
    assert_eq!(tree.read(victim.trim_start_matches('/')), "inside, too", "both are one path within the tree");
    assert_eq!(tree.read("file"), "replaces the link");
    assert_eq!(tree.target("hard"), victim, "a link to a symbolic link is one more of it");
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

#[test]
fn a_hard_link_takes_capabilities_as_containerds_chown_does() {
    must_be_root();
    // Revision 2, no bits: what setcap writes, short of any capability.
    let capability: Vec<u8> = [[0, 0, 0, 2].as_slice(), &[0; 16]].concat();
    let with = |mut made: Made| {
        made.0.xattrs.push((b"security.capability".to_vec(), capability.clone()));
        made
    };
    let tree = grown(&[with(file("ping", "x").owner(0, 5)), with(file("kept", "x").mode(0o4755))]);
    assert_eq!(tree.xattr("ping", "security.capability"), Some(capability.clone()), "set after the owner");
    assert_eq!(tree.xattr("kept", "security.capability"), Some(capability.clone()), "and not lost to the mode");
    let tree = grown(&[with(file("ping", "x").mode(0o4755)), link("ping6", "ping").mode(0o4755)]);
    assert_eq!(tree.xattr("ping", "security.capability"), None);
    assert_eq!(tree.mode("ping"), 0o4755);
}

#[test]
fn attributes_that_cannot_be_are_left_out_or_refused() {
    must_be_root();
    let tree = grown(&[
        file("f", "").xattr("trusted.overlay.opaque", "y").xattr("user.a", "").xattr("nonsense.b", "1"),
        symlink("l", "f").xattr("user.a", "1").xattr("trusted.x", "2"),
        entry("p", Kind::Fifo).xattr("user.a", "1"),
        dir("d").xattr("user.a", "2"),
        link("h", "l").xattr("user.a", "1"),
    ]);
    assert_eq!(tree.xattr("f", "user.a"), Some(Vec::new()));
    assert_eq!(tree.xattr("f", "trusted.overlay.opaque"), None);
    assert_eq!(tree.xattr("d", "user.a"), Some(b"2".to_vec()));
    for bad in [file("f", "").xattr("security.capability", "garbage"), file("f", "").xattr("", "x")] {
        let error = refused(&[bad]);
        assert!(matches!(error, TreeError::Attribute { .. }), "{error}");
        assert_eq!(error.blame(), Blame::Image, "{error}");
    }
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    must_be_root();
    let tree = grown(&[
        file("a/.wh.hidden", "ignored content").owner(3, 4).mode(0o777).times(5, 6),
        dir(".wh.dir"),
        dir("o"),
        file("o/.wh..wh..opq", ""),
        file("o/kept", ""),
        file(".wh..wh.plnk", ""),
        file("again/.wh.x", ""),
        dir("again/x"),
        file("again/.wh.y", ""),
        file("again/y", "replaced"),
    ]);
    let listing = tree.listing();
    let start = |prefix: &str| listing.iter().find(|line| line.starts_with(prefix)).cloned().unwrap_or_default();
    assert!(start("a/hidden").starts_with("a/hidden c 0 3:4 ") && start("a/hidden").ends_with(" 0:0"), "{listing:?}");
    assert!(start("dir ").starts_with("dir c 0 0:0 "), "{listing:?}");
    assert!(start(".wh.plnk").starts_with(".wh.plnk c 0 0:0 "), "AUFS' own names are not special: {listing:?}");
    assert_eq!(tree.xattr("o", "trusted.overlay.opaque"), Some(b"y".to_vec()));
    assert!(tree.names().contains(&"o/kept"));
    assert!(start("again/x ").starts_with("again/x d 755 "), "{listing:?}");
    assert_eq!(tree.xattr("again/x", "trusted.overlay.opaque"), None, "containerd does not make it opaque");
    assert_eq!(tree.read("again/y"), "replaced");
    let root = grown(&[file(".wh..wh..opq", "")]);
    assert_eq!(root.xattr(".", "trusted.overlay.opaque"), Some(b"y".to_vec()));
}

#[test]
fn whiteouts_that_name_nothing_or_come_too_late_are_refused() {
    must_be_root();
    for name in [".wh.", "d/.wh..", ".wh..."] {
        for style in [Whiteouts::Overlay, Whiteouts::Plain] {
            assert!(matches!(attempt(style, &[file(name, "")]), Err(TreeError::WhiteoutName { .. })), "{name}");
        }
    }
    for first in [file("x", ""), dir("x"), symlink("x", "y"), file(".wh.x", "")] {
        let error = refused(&[first, file(".wh.x", "")]);
        assert!(matches!(error, TreeError::WhiteoutOfOwn { .. }), "{error}");
    }
}

#[test]
fn whiteouts_of_the_bottom_layer_remove_what_it_brought() {
    let plain = |entries: &[Made]| attempt(Whiteouts::Plain, entries).expect("becomes a tree");
    let tree = plain(&[
        dir("d"),
        file("d/f", ""),
        file("d/i/x", "in a directory without an entry"),
        dir("d/e"),
        file("d/e/g", ""),
        file("d/.wh..wh..opq", ""),
        file("later", ""),
        file(".wh.later", ""),
        file(".wh.never", ""),
        file("new/.wh.x", ""),
    ]);
    assert_eq!(tree.names(), ["d", "d/e", "d/e/g", "d/f", "new"], "opaque keeps what entries made");
    assert!(tree.grown.implied.is_empty(), "nothing lies below that it could take from");
    // The times of the directory are set at the end, and it is not there any more.
    let removed = attempt(Whiteouts::Plain, &[dir("x"), file(".wh.x", "")]);
    assert!(matches!(removed, Err(TreeError::Removed { .. })));
    let again = plain(&[dir("x").times(1, 2), file(".wh.x", ""), file("x", "now a file").times(3, 4)]);
    let reborn = plain(&[
        dir("d"),
        file("d/was/a/file", ""),
        file(".wh.d", ""),
        file("d/was/a/file/no/more", ""),
        file("d/.wh..wh..opq", ""),
        file("was", ""),
        file(".wh.was", ""),
        file("was/f", ""),
        file("is/f", ""),
        entry("global", Kind::Global),
        file("global/f", ""),
        file(".wh..wh..opq", ""),
    ]);
    let kept = ["d", "global", "global/f", "was", "was/f"];
    assert_eq!(reborn.names(), kept, "an entry had the path once, if only for something else");
    assert_eq!(again.times("x"), (1, 2), "whatever is at the path gets them");
}

#[test]
fn times_of_directories_are_set_last_on_what_their_path_leads_to() {
    let tree = grown(&[
        dir("d").times(11, 12),
        file("d/late", ""),
        dir("e").times(21, 22),
        dir("f").times(31, 32),
        symlink("e", "f").times(41, 42),
        file("d/later", ""),
    ]);
    assert_eq!(tree.times("d"), (11, 12));
    assert_eq!(tree.times("f"), (31, 32), "its own entry came last");
    assert_eq!(tree.times("e").0, 41, "the link keeps its own");
    let onto = grown(&[dir("f").times(31, 32), dir("e").times(21, 22), symlink("e", "f").times(41, 42)]);
    assert_eq!(onto.times("f"), (21, 22));
    let error = refused(&[dir("e"), symlink("e", "nowhere")]);
    assert!(matches!(error, TreeError::Removed { .. }), "{error}");
}

#[test]
fn odd_times_are_bounded() {
    let mut before = file("before", "");
    before.0.modified.seconds = -1;
    let mut far = file("far", "");
    far.0.modified.seconds = 1 << 40;
    let tree = grown(&[before, far, file("fine", "").times(3, 0)]);
    assert_eq!(tree.times("before"), (0, 0));
    assert_eq!(tree.times("far"), (0, 0));
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
fn what_containerd_cannot_make_is_refused() {
    let long = "n".repeat(256);
    let deep = "d/".repeat(2030) + "f";
    let nul = "a\0b";
    let cases: &[(&[Made], &str)] = &[
        (&[file("f", ""), file("f/x", "")], "NotADirectory"),
        (&[file("f", ""), file("f/x/y", "")], "NotADirectory"),
        (&[symlink("f", "g"), file("g", ""), file("f/x", "")], "NotADirectory"),
        (&[symlink("a", "b"), symlink("b", "a"), file("a/x", "")], "TooManyLinks"),
        (&[file(&long, "")], "Name"),
        (&[file(&deep, "")], "Name"),
        (&[file(nul, "")], "Name"),
        (&[dir(&format!("{nul}/x"))], "Name"),
        (&[entry("f", Kind::Unsupported { flag: b'S' })], "Unsupported"),
        (&[symlink("l", nul)], "SymlinkTarget"),
        (&[symlink("l", "")], "SymlinkTarget"),
        (&[symlink("l", &"t/".repeat(2048))], "SymlinkTarget"),
    ];
    for (entries, expected) in cases {
        let error = refused(entries);
        assert!(format!("{error:?}").starts_with(expected), "{expected}: {error:?}");
        assert_eq!(error.blame(), Blame::Image, "{error}");
    }
    let tree = grown(&[entry("", Kind::Unsupported { flag: b'7' })]);
    assert!(tree.names().is_empty(), "but not for the root");
}

#[test]
fn a_global_header_clears_its_path() {
    let tree =
        grown(&[file("pax_global_header", "x"), entry("pax_global_header", Kind::Global), entry("p/g", Kind::Global)]);
    assert_eq!(tree.names(), ["p"]);
}

#[test]
fn limits_hold() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    let few = limits(|limits| limits.layer_entries = 3);
    let small = limits(|limits| limits.layer_inflated_bytes = 10);
    let cases: &[(&Limits, &[Made], bool)] = &[
        (&few, &[file("a", ""), file("b", ""), file("c", "")], true),
        (&few, &[file("a/b/c", "")], true),
        (&few, &[file("a/b/c/d", "")], false),
        (&few, &[dir(""), dir(""), dir(""), dir("")], false),
        (&small, &[file("a", "12345"), file("b", "67890")], true),
        (&small, &[file("a", "12345"), file("b", "678901")], false),
        (&small, &[Made(file("a", "").sized(u64::MAX), Vec::new()), Made(file("b", "").sized(1), Vec::new())], false),
    ];
    for (number, (limits, entries, fits)) in cases.iter().enumerate() {
        let mut growing = Growing::with(Whiteouts::Overlay, limits);
        let result = growing.add(entries);
        match result {
            Ok(()) => assert!(fits, "case {number}"),
            Err(TreeError::TooLarge { .. }) => assert!(!fits, "case {number}"),
            Err(error) => panic!("case {number}: {error}"),
        }
    }
}

#[test]
fn memory_is_taken_for_what_must_be_remembered_and_for_nothing_else() {
    // One step for all that is remembered.
    let little = Limits { buffer_bytes: 8 * 64 * 1024, ..Limits::default() };
    let long = "long".repeat(50);
    let directories: Vec<Made> = (0..3000).map(|n| dir(&format!("{n}-{long}")).times(n, n)).collect();
    let implying: Vec<Made> = (0..3000).map(|n| file(&format!("{n}/{long}/f"), "")).collect();
    let grow = |style, entries: &[Made]| {
        let mut growing = Growing::with(style, &little);
        growing.add(entries).and_then(|()| growing.finish())
    };
    let tree = grow(Whiteouts::Overlay, &directories).expect("their times go to a file");
    assert_eq!(tree.times(&format!("2999-{long}")), (2999, 2999));
    assert!(grow(Whiteouts::Plain, &implying).is_ok(), "nothing lies below that they could be like");
    for (style, entries) in [(Whiteouts::Overlay, &implying), (Whiteouts::Plain, &directories)] {
        let error = grow(style, entries).err().expect("there is no more memory");
        assert!(matches!(error, TreeError::Memory), "{error}");
    }
}

#[test]
fn groups_and_lists_that_directories_pass_on_are_overruled() {
    must_be_root();
    let acl: &[u8] =
        &[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 0, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255];
    let mut listed = dir("acl");
    listed.0.xattrs.push((b"system.posix_acl_default".to_vec(), acl.to_vec()));
    let tree = grown(&[
        dir("g").mode(0o2755).owner(0, 50),
        file("g/f", ""),
        dir("g/d"),
        file("g/i/f", ""),
        file("g/keep", "").owner(0, u32::MAX),
        listed,
        file("acl/f", "").mode(0o664),
        dir("acl/d").mode(0o775),
    ]);
    let group = |path| std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(tree.path(path)).expect("stats"));
    assert_eq!((group("g/f"), group("g/d"), tree.mode("g/d")), (0, 0, 0o755));
    assert_eq!((group("g/i"), tree.mode("g/i")), (50, 0o755), "an implied directory keeps the group, not the bit");
    assert_eq!(group("g/keep"), 50);
    assert_eq!((tree.mode("acl/f"), tree.mode("acl/d")), (0o664, 0o775));
}

#[test]
fn few_descriptors_are_held_and_none_is_left() {
    let count = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let before: BTreeSet<_> = open_files();
    let deep = "d/".repeat(200) + "f";
    let mut growing = Growing::new(Whiteouts::Overlay);
    growing.add(&[file(&deep, "x"), link("top", &deep)]).expect("grows");
    assert!(count() > 0 && open_files().difference(&before).filter(|path| growing.owns(path)).count() < 24);
    let tree = growing.finish().expect("becomes a tree");
    assert_eq!(open_files().iter().filter(|path| path.starts_with(tree.root())).count(), 0);
    assert_eq!(tree.links("top"), 2);
}
