//! Links, devices, pipes and extended attributes.

use super::super::tar::{device, dir, file, hardlink, other, symlink, tar};
use super::{Case, Verdict, refuses, unpacks};

/// `cap_net_raw=ep` as the kernel stores it.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// An access list that says what mode 0640 says, and lets user 7 read.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

pub(in super::super) fn links() -> Vec<Case> {
    vec![
        unpacks(
            "symbolic links",
            [tar([
                symlink("dangling", "nowhere"),
                symlink("absolute", "/etc/passwd"),
                symlink("up", "../../../.."),
                symlink("self", "self"),
                symlink("long", "l".repeat(99)),
                symlink("odd", b"\xff\n"),
                dir("d"),
                symlink("d/in", "../dangling"),
                symlink("longest", "x").pax("linkpath", "y/".repeat(2047)),
            ])],
        ),
        refuses("a symbolic link to nothing", [tar([symlink("a", "")])]),
        refuses("a symbolic link that is too long", [tar([symlink("a", "x").pax("linkpath", "y".repeat(4096))])]),
        unpacks(
            "hard links",
            [tar([
                dir("d"),
                file("d/f", "content").owner(1, 2).mode(0o640),
                hardlink("a", "d/f").owner(1, 2).mode(0o640),
                hardlink("absolute", "/d/f").owner(3, 4).mode(0o600).modified(5),
                hardlink("dots", "./d/../d/./f"),
                hardlink("out", "../../d/f"),
                symlink("s", "d/f"),
                hardlink("link-of-link", "s").owner(6, 7),
                symlink("way", "d"),
                hardlink("through", "way/f"),
                hardlink("slash", "way/f/"),
                other(b'6', "pipe"),
                hardlink("pipe2", "pipe"),
                device(b'3', "dev", (1, 3)),
                hardlink("dev2", "dev"),
                hardlink("setuid", "d/f").mode(0o4755).owner(9, 9),
                hardlink("d/last", "through").mode(0o644),
            ])],
        ),
        unpacks(
            "hard links to what is replaced later",
            [tar([
                file("a", "first"),
                hardlink("b", "a"),
                file("a", "second"),
                hardlink("c", "a"),
                hardlink("b", "c"),
                file("new", "x"),
                hardlink("new", "a"),
            ])],
        ),
        unpacks(
            "a hard link with attributes",
            [tar([
                file("a", "x").xattr("user.of", "a"),
                hardlink("b", "a").xattr("user.of", "b").xattr("user.more", "1"),
            ])],
        ),
        refuses("a hard link to nothing", [tar([hardlink("a", "nowhere")])]),
        refuses("a hard link without a target", [tar([hardlink("a", "")])]),
        refuses("a hard link to itself", [tar([file("a", "x"), hardlink("a", "a")])]),
        refuses("a hard link to a directory", [tar([dir("d"), hardlink("a", "d")])]),
        refuses("a hard link before its target", [tar([hardlink("a", "b"), file("b", "x")])]),
        refuses("a hard link to a lower layer", [tar([file("a", "x")]), tar([hardlink("b", "a")])]),
        refuses("a hard link through a dangling link", [tar([symlink("s", "gone"), hardlink("a", "s/f")])]),
    ]
}

pub(in super::super) fn nodes() -> Vec<Case> {
    vec![
        unpacks(
            "devices and pipes",
            [
                tar([
                    dir("dev"),
                    device(b'3', "dev/null", (1, 3)).mode(0o666),
                    device(b'4', "dev/disk", (8, 300)),
                    device(b'3', "dev/large", (4095, 1_048_575)),
                    device(b'4', "dev/setgid", (7, 0)).mode(0o2660).owner(0, 6),
                    other(b'6', "pipe").owner(3, 4).mode(0o600),
                    device(b'3', "zero", (0, 0)).mode(0o644),
                    file("hidden", "x"),
                    device(b'3', "old", (1, 5)).magic(b"\0\0\0\0\0\0\0\0"),
                ]),
                tar([device(b'3', "hidden", (0, 0)), device(b'3', "dev/null", (5, 1)), dir("pipe")]),
            ],
        ),
        unpacks(
            "device numbers that do not fit the kernel",
            [tar([
                device(b'3', "major", (4096, 1)),
                device(b'4', "minor", (1, 1 << 20)),
                device(b'3', "both", (4_294_967_295, 4_294_967_295)),
            ])],
        ),
    ]
}

pub(in super::super) fn attributes() -> Vec<Case> {
    vec![
        unpacks(
            "extended attributes",
            [tar([
                file("f", "x").xattr("user.a", "1").xattr("user.b", b"\0\xff\n=").xattr("user.empty", ""),
                file("twice", "x").xattr("user.a", "1").xattr("user.a", "2"),
                dir("d").xattr("user.d", "dir").xattr("user.overlay.opaque", "y"),
                file("big", "x").xattr("user.big", "b".repeat(2000)),
                file("trusted", "x").xattr("trusted.overlay.opaque", "y").xattr("trusted.a", "1"),
                dir("trusted-dir").xattr("trusted.overlay.opaque", "y").xattr("trusted.overlay.redirect", "/etc"),
                file("space", "x").xattr("unknown.a", "1").xattr("nospace", "1"),
                symlink("link", "f").xattr("user.a", "1"),
                other(b'6', "pipe").xattr("user.a", "1"),
                file("owned", "x").owner(1000, 1000).xattr("user.a", "1").mode(0o400),
                file("other-vendor", "x").pax("LIBARCHIVE.xattr.user.a", "MQ=="),
            ])],
        ),
        unpacks(
            "capabilities",
            [tar([
                file("ping", "x").xattr("security.capability", CAPABILITY).mode(0o755),
                file("owned", "x").xattr("security.capability", CAPABILITY).owner(1000, 1000).mode(0o4755),
                file("linked", "x").xattr("security.capability", CAPABILITY),
                hardlink("same", "linked"),
                hardlink("again", "ping").xattr("security.capability", CAPABILITY).mode(0o755),
            ])],
        ),
        unpacks("access lists", [tar([file("f", "x").mode(0o640).xattr("system.posix_acl_access", ACL)])]),
        refuses("a capability that is none", [tar([file("f", "x").xattr("security.capability", "root")])]),
        refuses("an access list that is none", [tar([file("f", "x").xattr("system.posix_acl_access", "rwx")])]),
        refuses("an attribute that is too large", [tar([file("f", "x").xattr("user.a", "b".repeat(70_000))])]),
        refuses(
            "an attribute name that is too long",
            [tar([file("f", "x").xattr(&format!("user.{}", "a".repeat(300)), "b")])],
        ),
    ]
}

/// File systems differ in how many there may be; a file of ext4 has some hundreds. Linux could list all of them.
pub(in super::super) fn flooded() -> Case {
    let flood = (0..5000).fold(file("flooded", "x"), |file, number| file.xattr(&format!("user.{number}"), "v"));
    Case { verdict: Verdict::Either, ..unpacks("very many attributes", [tar([flood])]) }
}
