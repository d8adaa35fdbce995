//! Formats, numbers, times and where an archive ends.

use super::super::tar::{Entry, dir, file, hardlink, long, number, open_ended, other, padded, summed, symlink, tar};
use super::{Case, refuses, unpacks};

const GNU: &[u8; 8] = b"ustar  \0";
const V7: &[u8; 8] = b"\0\0\0\0\0\0\0\0";

pub(in super::super) fn headers() -> Vec<Case> {
    let deep = "directory-of-some-length/".repeat(20) + "file";
    let longest = "n".repeat(255);
    let global = |path: &str| other(b'g', path).mode(0).pax("comment", "x");
    vec![
        unpacks("names of the oldest format", [tar([dir("d").magic(V7), file("d/f", "x").magic(V7)])]),
        unpacks(
            "names of gnu",
            [tar([
                long(b'L', &deep),
                file("short", "1").magic(GNU),
                long(b'K', &deep),
                long(b'L', "a/link"),
                symlink("short", "short").magic(GNU),
                long(b'L', "longer/than/its/nul\0rest"),
                file("short", "2").magic(GNU),
            ])],
        ),
        unpacks(
            "names of pax",
            [tar([
                file("short", "1").pax("path", &deep),
                symlink("link", "short").pax("linkpath", &deep),
                hardlink("hard", "short").pax("linkpath", &deep),
                file("odd", "2").pax("path", b"new\nline \xff\xfe =\t*"),
                file(&longest[..99], "3").pax("path", &longest),
                long(b'L', "wins"),
                file("short", "4").pax("path", "loses"),
                file("last", "5").pax("path", "first").pax("path", ""),
            ])],
        ),
        refuses("a name that is too long", [tar([file("short", "").pax("path", longest.clone() + "n")])]),
        refuses("a path that is too long", [tar([file("short", "").pax("path", "d/".repeat(2100) + "f")])]),
        unpacks(
            "a directory by its slash",
            [tar([
                other(0, "old/").size(3),
                file("old/in", "x"),
                other(0, "plain"),
                file("file/", "slash"),
                other(0, "short").pax("path", "renamed/"),
            ])],
        ),
        unpacks(
            "sizes that nobody believes",
            [tar([
                dir("d").size(100),
                symlink("s", "d").size(100_000),
                other(b'6', "p").size(-7),
                file("f", "abc").size(0).pax("size", "3"),
            ])],
        ),
        unpacks(
            "large and negative owners",
            [tar([
                file("a", "").owner(65_534, 4_294_967_294),
                file("b", "").owner(-2, 1 << 32),
                file("c", "").owner(-1, 7),
                file("d", "").owner(7, 4_294_967_295),
                dir("e").pax("uid", "4294967301").pax("gid", "-3"),
                symlink("f", "x").owner(1000, 1001),
            ])],
        ),
        unpacks(
            "modes",
            [tar([
                file("setuid", "x").mode(0o4755),
                file("setgid", "x").mode(0o2711).owner(5, 6),
                dir("sticky").mode(0o1777),
                dir("setgid-dir").mode(0o2775).owner(5, 6),
                file("setgid-dir/in", "x"),
                file("none", "x").mode(0),
                dir("closed").mode(0),
                file("closed/in", "x"),
                file("all", "").mode(0o7777),
                file("typed", "x").mode(0o100_640),
                dir("typed-dir").mode(0o40_750),
                file("lies", "x").mode(0o120_600),
                file("wide", "x").mode(0o7_777_644),
                file("negative", "x").mode(-1),
                symlink("link", "setuid").mode(0o4000),
                hardlink("hard", "none").mode(0o4711).owner(8, 9),
                other(b'6', "pipe").mode(0o4644),
            ])],
        ),
        unpacks("times", [tar(times())]),
        unpacks(
            "global headers are not files, but their names are",
            [
                tar([
                    file("lost", "x"),
                    file("kept", "x"),
                    global("lost"),
                    global("new/parents/of/nothing"),
                    global("pax").pax("path", "kept/.."),
                    file("d/in", "x"),
                    global("d"),
                    file("x", "1").pax("path", "y"),
                ]),
                tar([global(".wh.kept"), global("./"), global("x").pax("path", "up/.wh.none"), file("z", "")]),
            ],
        ),
        refuses("a global header in the place of a directory", [tar([dir("d"), global("d")])]),
        refuses("a header of no known type", [tar([file("a", ""), other(b'7', "contiguous")])]),
        refuses("a volume label", [tar([other(b'V', "label"), file("a", "")])]),
        unpacks(
            "unknown types where nothing is made",
            [tar([file("a", "")]), tar([other(b'7', ".wh.a"), other(b'V', "/"), other(b'M', "x/.."), file("b", "")])],
        ),
        refuses("a number that is none", [tar([file("a", "").pax("uid", "root")])]),
        refuses("a record that is none", [tar([Entry::clone(&file("a", "")).pax("", "x")])]),
    ]
}

fn times() -> Vec<Entry> {
    let at = |name: &str, time: &str| file(name, "").pax("mtime", time);
    let both = |name: &str, modified: &str, accessed: &str| at(name, modified).pax("atime", accessed);
    let mut entries = vec![
        at("fraction", "1234567890.123456789"),
        at("long-fraction", "1234567890.1234567899999"),
        at("short-fraction", "1234567890.5"),
        at("zero", "0"),
        at("negative", "-1"),
        at("negative-fraction", "-86400.25"),
        at("after-2038", "4102444800.000000001"),
        at("after-2106", "5000000000"),
        at("last", "9223372036.854775807"),
        at("over", "9223372036.854775808"),
        at("far", "99999999999"),
        at("farthest", "9223372036854775807"),
        at("oldest", "-9223372036854775808"),
        both("read-later", "1000000000", "1500000000.25"),
        both("read-before", "1500000000.75", "1000000000"),
        both("read-far", "1500000000", "9223372036854775807"),
        both("read-over", "1500000000", "99999999999"),
        both("both-negative", "-5", "-3"),
        file("base-256", "").modified(-5),
        file("base-256-later", "").modified(1 << 40),
        symlink("link", "x").pax("mtime", "1111111111.111111111"),
        dir("directory").pax("mtime", "1111111111.111111111").pax("atime", "1222222222.5"),
        file("directory/in", ""),
        other(b'6', "pipe").modified(77),
    ];
    entries.push(dir("directory/inner").modified(88));
    entries.push(file("directory/inner/deep", ""));
    entries
}

/// The content and map of `abc` at 2 and `defg` at 10.
pub(in super::super) fn sparse() -> Vec<Case> {
    let listed = |count: &str, map: &str| {
        file("GNUSparseFile.0/f", "abcdefg")
            .pax("GNU.sparse.size", "5000")
            .pax("GNU.sparse.numblocks", count)
            .pax("GNU.sparse.map", map)
            .pax("GNU.sparse.name", "sparse")
    };
    let pairs = file("pairs", "abcdefg")
        .pax("GNU.sparse.size", "14")
        .pax("GNU.sparse.numblocks", "2")
        .pax("GNU.sparse.offset", "2")
        .pax("GNU.sparse.numbytes", "3")
        .pax("GNU.sparse.offset", "10")
        .pax("GNU.sparse.numbytes", "4");
    let inline = |map: &[u8], content: &[u8]| {
        file("GNUSparseFile.0/f", [&padded(map), content].concat())
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.name", "inline")
            .pax("GNU.sparse.realsize", "1000000")
    };
    let mut old = other(b'S', "old").magic(GNU).size(7).bytes();
    old[386..398].copy_from_slice(&number(0, 12));
    old[398..410].copy_from_slice(&number(7, 12));
    old[483..495].copy_from_slice(&number(7, 12));
    let old = [summed(old), padded(b"abcdefg")].concat();
    vec![
        unpacks(
            "sparse files",
            [tar([
                pairs,
                listed("2", "2,3,10,4"),
                inline(b"2\n2\n3\n900000\n4\n", b"abcdefg"),
                file("unknown", "abc").pax("GNU.sparse.major", "7").pax("GNU.sparse.minor", "0"),
                inline(b"0\n", b"").pax("GNU.sparse.name", "hole"),
            ])],
        ),
        refuses("a sparse map with too little data", [tar([listed("2", "2,3,10,5")])]),
        refuses("a sparse map with too much data", [tar([listed("2", "2,3,10,3")])]),
        refuses("a sparse map out of order", [tar([listed("2", "10,4,2,3")])]),
        refuses("a sparse map that is too short", [tar([inline(b"3\n2\n3\n9\n4\n", b"abcdefg")])]),
        refuses("the old sparse format", [[old.clone(), tar([])].concat()]),
    ]
}

pub(in super::super) fn ends() -> Vec<Case> {
    let whole = || tar([dir("d"), file("d/f", "x".repeat(700))]);
    let open = || open_ended([dir("d"), file("d/f", "x".repeat(700))]);
    let content_end = 1024 + 700;
    vec![
        unpacks("no bytes at all", [Vec::new(), whole()]),
        unpacks("only an end", [tar([]), tar([]), whole()]),
        unpacks("only the root", [tar([dir("./").mode(0o700).owner(7, 7)]), tar([dir(".").mode(0o711)]), whole()]),
        unpacks("the same layer twice", [whole(), whole()]),
        unpacks("half of an end", [[open(), vec![0; 512]].concat()]),
        unpacks("no end", [open()]),
        unpacks("an end in the padding", [open()[..content_end + 9].to_vec()]),
        unpacks("an end before the padding", [open()[..content_end].to_vec()]),
        unpacks("garbage behind the end", [[whole(), b"garbage".repeat(1000)].concat()]),
        unpacks("another archive behind the end", [[whole(), tar([file("unseen", "")])].concat()]),
        unpacks("an extended header of nothing", [open_ended([file("a", ""), other(b'x', "pax")])]),
        refuses("a cut in a header", [open()[..600].to_vec()]),
        refuses("a cut in the content", [open()[..content_end - 1].to_vec()]),
        refuses("a cut in an extended header", [file("a", "").pax("path", "b").bytes()[..515].to_vec()]),
        refuses("a cut in an end", [[open(), vec![0; 700]].concat()]),
        refuses("a header behind a block of zeros", [[vec![0; 512], whole()].concat()]),
        refuses("a bad checksum", [[vec![b'x'], whole()[1..].to_vec()].concat()]),
        refuses("no archive", [b"#!/bin/sh\necho no\n".repeat(100)]),
        refuses("a second layer that is none", [whole(), b"no archive ".repeat(100)]),
    ]
}
