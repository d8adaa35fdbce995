//! What is refused, and how little a tree may take.

use std::collections::BTreeSet;

use super::support::{Growing, Made, dir, entry, file, grown, link, open_files, refused, symlink};
use crate::core::error::{Blame, Classify};
use crate::core::limits::Limits;
use crate::unpack::archive::Kind;
use crate::unpack::tree::{TreeError, Whiteouts};

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
