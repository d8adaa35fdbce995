//! Whiteouts, over other layers and in the bottom one.

use super::support::{Made, attempt, dir, entry, file, grown, must_be_root, refused, symlink};
use crate::unpack::archive::Kind;
use crate::unpack::tree::{TreeError, Whiteouts};

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
