//! Whiteouts in every order, within a layer and across layers.

use super::super::tar::{Entry, device, dir, file, hardlink, other, symlink, tar};
use super::{Case, refuses, unpacks};

const OPAQUE: &str = ".wh..wh..opq";

fn lower() -> Vec<u8> {
    tar([
        dir("d").mode(0o750).owner(1, 2).modified(1000),
        file("d/f", "1"),
        file("d/g", "2"),
        dir("d/e"),
        file("d/e/h", "3"),
        file("top", "4"),
        symlink("link", "d"),
        dir("other"),
        file("other/f", "5"),
    ])
}

fn over_lower(name: &'static str, entries: impl IntoIterator<Item = Entry>) -> Case {
    unpacks(name, [lower(), tar(entries)])
}

fn refused_over_lower(name: &'static str, entries: impl IntoIterator<Item = Entry>) -> Case {
    refuses(name, [lower(), tar(entries)])
}

pub(in super::super) fn hidden() -> Vec<Case> {
    vec![
        over_lower(
            "files, directories, links and nothing",
            [
                file(".wh.top", ""),
                file("d/.wh.f", "").owner(3, 4).mode(0o644),
                file("d/.wh.e", "content"),
                file(".wh.link", ""),
                file(".wh.nothing", ""),
                file("d/e/../.wh.g", "").owner(-1, 7),
                file("new/.wh.x", ""),
            ],
        ),
        over_lower(
            "by entries of any type",
            [
                dir(".wh.fresh").modified(5),
                symlink(".wh.top", "x"),
                hardlink("other/.wh.f", "none"),
                other(b'6', "d/.wh.f"),
                device(b'3', "d/.wh.g", (1, 3)),
                file(".wh.link/", ""),
                file("a", ""),
            ],
        ),
        over_lower(
            "a whiteout and then what it hides",
            [
                file(".wh.d", ""),
                dir("d"),
                file("d/new", "x"),
                file(".wh.top", ""),
                file("top", "y"),
                file("d/.wh.f", ""),
                dir("d/f"),
            ],
        ),
        over_lower(
            "through a link",
            [symlink("way", "d"), file("way/.wh.f", ""), dir("real"), symlink("r", "real"), file("r/.wh.x", "")],
        ),
        over_lower("a hard link to a whiteout", [file(".wh.top", ""), hardlink("copy", "top")]),
        refused_over_lower("what its own layer brought", [file("top", "x"), file(".wh.top", "")]),
        refused_over_lower("a directory that its own layer brought", [dir("d"), file("d/f", ""), file(".wh.d", "")]),
        refused_over_lower("twice", [file(".wh.top", ""), file(".wh.top", "")]),
        refused_over_lower("below a whiteout", [file(".wh.d", ""), file("d/x", "")]),
        refused_over_lower("of no name", [file("d/.wh.", "")]),
        refused_over_lower("of a dot", [file("d/.wh..", "")]),
        refused_over_lower("of the parent", [file("d/.wh...", "")]),
        unpacks(
            "names of AUFS",
            [
                lower(),
                tar([
                    dir(".wh..wh.plnk"),
                    dir(".wh..wh.orph"),
                    file(".wh..wh.aufs", ""),
                    file("d/.wh..wh.", ""),
                    file(".wh..wh..opqx", ""),
                    file(".whatever", "x"),
                    file(".wh", "y"),
                ]),
            ],
        ),
        over_lower("below a name of AUFS", [file(".wh..wh.plnk/1.2", "x"), dir(".wh..wh.plnk")]),
        unpacks(
            "again in every layer",
            [
                lower(),
                tar([file(".wh.top", "")]),
                tar([file(".wh.top", "")]),
                tar([file("top", "x")]),
                tar([file(".wh.top", "")]),
            ],
        ),
    ]
}

pub(in super::super) fn opaque() -> Vec<Case> {
    let mark = |dir: &str| file(format!("{dir}/{OPAQUE}"), "");
    vec![
        over_lower("first", [dir("d"), mark("d"), file("d/new", "x")]),
        over_lower("last", [dir("d"), file("d/new", "x"), mark("d")]),
        over_lower("before its directory", [mark("d"), file("d/new", "x"), dir("d").mode(0o711)]),
        over_lower("twice and with whiteouts", [dir("d"), mark("d"), file("d/.wh.f", ""), mark("d"), file("d/g", "x")]),
        over_lower("of the root", [file(OPAQUE, ""), file("new", "x")]),
        over_lower("of a directory that is new", [mark("fresh/inner"), file("fresh/f", "x")]),
        over_lower("through a link", [symlink("way", "d"), mark("way"), dir("real"), symlink("r", "real"), mark("r")]),
        over_lower("of a directory that is replaced", [dir("d"), mark("d"), file("d", "file")]),
        over_lower("by a directory", [dir("d"), dir(format!("d/{OPAQUE}"))]),
        refused_over_lower("of a file", [file("d", ""), mark("d")]),
        unpacks("in the middle", [lower(), tar([dir("d"), mark("d"), file("d/x", "")]), tar([file("d/f", "again")])]),
    ]
}

/// In the bottom layer whiteouts remove at once, and an opaque one what was not unpacked by now.
pub(in super::super) fn bottom() -> Vec<Case> {
    let full = [dir("d"), file("d/f", "1"), dir("d/e"), file("d/e/g", "2"), file("top", "3"), file("implied/f", "4")];
    let and = |name, more: &[Entry]| unpacks(name, [tar(full.iter().chain(more).cloned())]);
    vec![
        and("of what it brought", &[file(".wh.top", ""), file("implied/.wh.f", ""), file("d/.wh.f", "")]),
        and("of what it did not bring", &[file(".wh.nothing", ""), file("new/.wh.x", ""), file(".wh.new", "")]),
        and(
            "of what comes again",
            &[file(".wh.top", ""), file("top", "again"), file("d/.wh.f", ""), hardlink("d/f", "top")],
        ),
        and(
            "everything opaque",
            &[file(format!("d/{OPAQUE}"), ""), file(format!("implied/{OPAQUE}"), ""), file(OPAQUE, "")],
        ),
        and(
            "opaque, over directories where something else was before",
            &[
                file(".wh.top", ""),
                file("top/f", "again"),
                dir("implied"),
                file(".wh.implied", ""),
                file("implied/f/g", "x"),
                file("implied/h/g", "y"),
                file(OPAQUE, ""),
            ],
        ),
        and(
            "of AUFS",
            &[dir(".wh..wh.plnk"), file(".wh..wh.aufs", ""), file(".wh..wh.plnk/1.2", "x"), file("d/.wh..wh.f", "")],
        ),
        and(
            "through a link",
            &[symlink("way", "d"), file("way/.wh.f", ""), symlink("gone", "top"), file(".wh.gone", "")],
        ),
        refuses("of a directory whose time is to be set", [tar(full.iter().chain(&[file(".wh.d", "")]).cloned())]),
        refuses("of no name", [tar([file(".wh.", "")])]),
        refuses("opaque below a file", [tar([file("top", ""), file(format!("top/{OPAQUE}"), "")])]),
    ]
}
