//! Where entries end up: paths, parents, and what was there before.

use super::super::tar::{dir, file, hardlink, other, symlink, tar};
use super::{Case, refuses, unpacks};

pub(in super::super) fn paths() -> Vec<Case> {
    vec![
        unpacks(
            "ways to write a path",
            [tar([
                dir("."),
                dir("./"),
                dir("/"),
                dir("").mode(0o700),
                dir(".."),
                dir("d/.."),
                dir("./a"),
                file("/absolute", "1"),
                file("a//b", "2"),
                file("a/./c", "3"),
                file("a/../d", "4"),
                file("../../e", "5"),
                file("./../a/f", "6"),
                file("//g", "7"),
                dir("a/h/"),
                dir("a/i//"),
                dir("a/j/."),
                file("...", "8"),
                file(" ", "9"),
                file("-rf", "10"),
                file("/../../k", "11"),
                file("missing/../l", "12"),
            ])],
        ),
        unpacks(
            "parents that are symbolic links",
            [tar([
                dir("real"),
                symlink("way", "real"),
                file("way/f", "1"),
                dir("way/d"),
                symlink("absolute", "/real/d"),
                file("absolute/f", "2"),
                symlink("out", "../../../real"),
                file("out/g", "3"),
                symlink("chain", "way"),
                file("chain/h", "4"),
                symlink("real/up", ".."),
                file("way/up/top", "5"),
                dir("way/d").mode(0o700),
                symlink("new", "made/by/link"),
                file("new/f", "6"),
                file("way/../beside", "7"),
                symlink("root", "/"),
                file("root/at-root", "8"),
                symlink("real/dot", "."),
                file("real/dot/dot/i", "9"),
                hardlink("way/j", "way/f"),
            ])],
        ),
        unpacks(
            "a directory by a link is replaced",
            [tar([dir("real"), file("real/f", "1"), symlink("way", "real"), dir("way"), file("way/g", "2")])],
        ),
        unpacks(
            "parents that are links in a lower layer",
            [tar([dir("real").mode(0o700), symlink("way", "real")]), tar([file("way/f", "1")])],
        ),
        refuses("a parent that is a file", [tar([file("a", ""), file("a/b", "")])]),
        refuses("a parent that links to a file", [tar([file("a", ""), symlink("s", "a"), file("s/b", "")])]),
        refuses("a parent that links to itself", [tar([symlink("s", "s"), file("s/b", "")])]),
        unpacks("a parent that is a file below", [tar([file("a", "x")]), tar([file("a/b", "y")])]),
    ]
}

pub(in super::super) fn replaced() -> Vec<Case> {
    let full = || [dir("d"), dir("d/e"), file("d/e/f", "1"), symlink("d/s", "e")];
    vec![
        unpacks(
            "files by files",
            [tar([
                file("a", "a longer content").mode(0o4755).owner(1, 2).xattr("user.a", "1"),
                file("a", "short"),
                file("b", ""),
                symlink("b", "a"),
                file("c", "x"),
                other(b'6', "c"),
                other(b'6', "c"),
                symlink("b", "c"),
                file("b", "last"),
            ])],
        ),
        unpacks(
            "directories by files",
            [tar([dir("d"), file("d/f", "1"), file("i/f", "2"), file("d", ""), file("i", "")])],
        ),
        unpacks("directories by links", [tar([dir("d"), file("d/f", "1"), symlink("d", "x"), dir("x").modified(7)])]),
        refuses("directories by files, others in them", [tar(full().into_iter().chain([file("d", "file")]))]),
        refuses("directories by links, others in them", [tar(full().into_iter().chain([symlink("d", "x"), dir("x")]))]),
        unpacks(
            "files by directories",
            [tar([file("a", "x"), dir("a"), file("a/b", "y"), symlink("s", "a"), dir("s")])],
        ),
        unpacks(
            "directories by directories",
            [tar(full().into_iter().chain([
                dir("d").mode(0o711).owner(3, 4).modified(99).xattr("user.a", "2"),
                dir("d/e").modified(98),
                file("d/e/g", "2"),
            ]))],
        ),
        unpacks(
            "what lower layers brought",
            [
                tar(full()),
                tar([file("d", "file"), dir("n"), file("n/f", "1")]),
                tar([dir("d"), file("d/new", "2"), symlink("n", "d")]),
            ],
        ),
        unpacks(
            "a directory that is gone when its time is set",
            [tar([
                dir("a").modified(5),
                file("a", "x"),
                dir("b").modified(6),
                symlink("b", "c"),
                dir("c").modified(7),
                file("c/f", ""),
            ])],
        ),
        refuses(
            "a directory that is gone for good when its time is set",
            [tar([dir("a"), dir("a/b"), file("a", "x")])],
        ),
        refuses("a directory that became a dangling link", [tar([dir("a"), symlink("a", "gone")])]),
    ]
}

pub(in super::super) fn implied() -> Vec<Case> {
    let lower = || {
        tar([
            dir("a").mode(0o2750).owner(10, 20).modified(1000).xattr("user.a", "1").xattr("user.b", ""),
            dir("a/b").mode(0o1777).owner(11, 21).modified(1001),
            dir("a/b/c").mode(0o700).modified(1002),
            symlink("way", "a/b"),
            file("file", "x"),
        ])
    };
    vec![
        unpacks(
            "in the bottom layer",
            [tar([file("a/b/c/f", "x"), dir("d/e/f"), symlink("g/h", "x"), hardlink("i/j", "a/b/c/f")])],
        ),
        unpacks(
            "as a lower layer has them",
            [lower(), tar([file("a/b/c/f", "x"), file("a/b/new/f", "y"), file("e/f", "z")])],
        ),
        unpacks(
            "as a layer further down has them",
            [lower(), tar([file("x", "")]), tar([file("a/b/f", "x")]), tar([file("a/b/c/g", "y")])],
        ),
        unpacks(
            "as the nearest layer has them",
            [lower(), tar([dir("a").mode(0o711).modified(2000)]), tar([file("a/b/f", "x")])],
        ),
        unpacks("where a lower layer has a link", [lower(), tar([file("way/c/f", "x")])]),
        unpacks("where a lower layer has a file", [lower(), tar([file("file/f", "x")])]),
        unpacks("where a lower layer hides them", [lower(), tar([file(".wh.a", "")]), tar([file("a/f", "x")])]),
        refuses(
            "two levels below what a lower layer hides",
            [lower(), tar([file(".wh.a", "")]), tar([file("a/b/f", "x")])],
        ),
        refuses(
            "two levels below a lower layer's file, replaced later",
            [lower(), tar([file("file/new/f", "x"), symlink("file/new", "f")])],
        ),
        refuses("two levels below a lower layer's file", [lower(), tar([file("file/new/f", "x")])]),
        unpacks(
            "where a lower layer made them opaque",
            [lower(), tar([dir("a"), file("a/.wh..wh..opq", "")]), tar([file("a/b/f", "x")])],
        ),
        unpacks(
            "with an entry later",
            [
                lower(),
                tar([
                    file("a/b/f", "x"),
                    dir("a").mode(0o755).modified(3000),
                    file("e/f", ""),
                    dir("e").mode(0o700).owner(5, 5),
                ]),
            ],
        ),
        unpacks(
            "replaced later",
            [lower(), tar([file("a/b/f", "x"), file("a", "y"), file("e/f", ""), symlink("e", "x")])],
        ),
        unpacks(
            "removed and made again",
            [lower(), tar([file("a/b/f", "x"), file("a/b", "y"), dir("a/b"), file("a/b/c/g", "z")])],
        ),
        unpacks("through a link of their own layer", [lower(), tar([symlink("in", "a/b"), file("in/c/f", "x")])]),
        unpacks("by whiteouts", [lower(), tar([file("a/b/.wh.c", ""), file("new/.wh.none", "")])]),
    ]
}
