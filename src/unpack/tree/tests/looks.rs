//! Owners, modes, attributes and times.

use super::support::{Made, dir, entry, file, grown, link, must_be_root, refused, symlink};
use crate::core::error::{Blame, Classify};
use crate::unpack::archive::Kind;
use crate::unpack::tree::TreeError;

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
