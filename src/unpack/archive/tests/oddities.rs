//! Extended headers and numbers, and the ways in which they contradict each other.

use super::*;

fn plain() -> Vec<u8> {
    Header::default().bytes()
}

#[test]
fn an_extended_header_says_more_than_the_header() {
    let records = pax(&[
        ("path", "with\nnewline"),
        ("linkpath", "unused"),
        ("size", "3"),
        ("uid", "4294967294"),
        ("gid", "4294967296"),
        ("mtime", "-1.5"),
        ("atime", "4102444800.000000001"),
        ("uname", "nobody"),
        ("comment", "nothing"),
        ("LIBARCHIVE.xattr.user.a", "bm8="),
        ("SCHILY.xattr.user.b", "2"),
        ("SCHILY.xattr.security.capability", "\u{1}\0\0\u{2}"),
        ("SCHILY.xattr.user.empty", ""),
    ]);
    let seen = read(&[records, plain(), padded(b"abc"), plain()].concat());
    let expected = Entry {
        path: b"with\nnewline".to_vec(),
        kind: Kind::File { size: 3 },
        mode: 0o644,
        uid: 4_294_967_294,
        gid: 0,
        modified: at(-2, 500_000_000),
        accessed: Some(at(4_102_444_800, 1)),
        xattrs: vec![
            (b"security.capability".to_vec(), b"\x01\0\0\x02".to_vec()),
            (b"user.b".to_vec(), b"2".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
        ],
    };
    assert_eq!(seen[0].entry, expected);
    assert_eq!(seen[1].entry, only(&plain()), "it applies once");
}

#[test]
fn the_last_extended_header_counts_alone() {
    let bytes = [pax(&[("path", "first"), ("uid", "7")]), pax(&[("gid", "8")]), plain()].concat();
    let entry = only(&bytes);
    assert_eq!((entry.path.as_slice(), entry.uid, entry.gid), (&b"name"[..], 0, 8));
}

#[test]
fn a_long_name_outranks_an_extended_header() {
    for headers in [
        [long(b'L', b"long\0"), pax(&[("path", "pax")])],
        [pax(&[("path", "pax")]), long(b'L', b"long\0ignored")],
        [long(b'L', b"other\0"), long(b'L', b"long")],
    ] {
        assert_eq!(only(&[headers.concat(), plain()].concat()).path, b"long");
    }
    let link = Header { flag: b'2', link: b"short".to_vec(), ..Header::default() };
    let bytes = [long(b'K', b"far/away\0"), pax(&[("linkpath", "pax")]), link.bytes()].concat();
    assert_eq!(only(&bytes).kind, Kind::Symlink(b"far/away".to_vec()));
    // An empty one says nothing.
    assert_eq!(only(&[long(b'L', b"long\0"), long(b'L', b"\0"), plain()].concat()).path, b"name");
    assert_eq!(only(&[long(b'L', b""), plain()].concat()).path, b"name");
}

#[test]
fn a_global_header_is_an_entry_that_ends_what_came_before() {
    let bytes = [pax(&[("path", "lost")]), long(b'L', b"lost"), global(&[("uid", "7"), ("comment", "x")]), plain()];
    let seen = read(&bytes.concat());
    assert_eq!(paths(&seen), ["pax_global_header", "name"]);
    assert_eq!((&seen[0].entry.kind, seen[1].entry.uid), (&Kind::Global, 0));
    // Its own records name it, and those that make no sense are nobody's.
    assert_eq!(only(&global(&[("path", "there"), ("uid", "x")])).path, b"there");
}

#[test]
fn refuses_values_that_make_no_sense() {
    for record in [
        ("size", "x"),
        ("size", "-1"),
        ("size", "9223372036854775808"),
        ("uid", "0x7"),
        ("gid", "1.5"),
        ("mtime", "now"),
        ("atime", "1.x"),
        ("ctime", ""),
        ("ctime", "x"),
        ("path", "a\0b"),
        ("linkpath", "a\0b"),
        ("gname", "a\0b"),
    ] {
        let (_, result) = read_in(&[pax(&[record]), plain()].concat(), &[4096], &Limits::default());
        assert_eq!(result.is_err(), !record.1.is_empty(), "{record:?}");
    }
    // A value that is replaced does no harm.
    assert_eq!(only(&[pax(&[("uid", "x"), ("uid", "7")]), plain()].concat()).uid, 7);
}

#[test]
fn reads_numbers_beyond_octal() {
    let large = Header { uid: 4_294_967_295, gid: -1, modified: 1 << 40, mode: 0o10_7777, ..Header::default() };
    let entry = only(&large.bytes());
    assert_eq!((entry.uid, entry.gid, entry.mode), (u32::MAX, u32::MAX, 0o7777));
    assert_eq!(entry.modified, at(1 << 40, 0));
    let old = Header { modified: -86_400, ..Header::default() };
    assert_eq!(only(&old.bytes()).modified, at(-86_400, 0));
    let device = |flag, major| Header { flag, major, ..Header::default() }.bytes();
    assert_eq!(only(&device(b'4', 4_294_967_295)).kind, Kind::Block { major: u32::MAX, minor: 0 });
    for flag in [b'3', b'4', b'6'] {
        for number in [-1, 1 << 32] {
            assert!(matches!(fault(&device(flag, number)), Fault::Malformed { .. }), "{number}");
        }
    }
    // Nobody looks at the device numbers of a file, but they have to be numbers.
    assert_eq!(only(&device(b'0', -1)).kind, Kind::File { size: 0 });
    let mut nonsense = plain();
    nonsense[329..337].copy_from_slice(b"nonsense");
    assert!(matches!(fault(&summed(nonsense)), Fault::Malformed { .. }));
}

#[test]
fn takes_both_kinds_of_checksum() {
    let mut block = Header { name: b"\xff\xfe\xfd".to_vec(), ..Header::default() }.bytes();
    assert_eq!(only(&block).path, b"\xff\xfe\xfd");
    block[148..156].fill(b' ');
    let signed: i32 = block.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{signed:o} \0  ").as_bytes()[..8].as_ref());
    assert_eq!(only(&block).path, b"\xff\xfe\xfd");
    block[148] ^= 1;
    assert!(matches!(fault(&block), Fault::Malformed { offset: 0, .. }));
}

#[test]
fn names_end_at_a_nul_or_at_the_end_of_their_field() {
    let nul = Header { name: b"name\0garbage".to_vec(), ..Header::default() };
    assert_eq!(only(&nul.bytes()).path, b"name");
    let full = Header { flag: b'2', name: vec![b'n'; 100], link: vec![b'l'; 100], ..Header::default() };
    let entry = only(&full.bytes());
    assert_eq!((entry.path.len(), entry.kind), (100, Kind::Symlink(vec![b'l'; 100])));
    let empty = Header { name: Vec::new(), ..Header::default() };
    assert_eq!(only(&empty.bytes()).path, b"");
}

#[test]
fn a_size_from_an_extended_header_moves_the_next_header() {
    let seen = read(&[pax(&[("size", "0")]), Header { size: 512, ..Header::default() }.bytes(), plain()].concat());
    assert_eq!(paths(&seen), ["name", "name"]);
    // The size that it replaces has to make sense all the same.
    let negative = Header { size: -1, ..Header::default() };
    assert!(matches!(fault(&[pax(&[("size", "0")]), negative.bytes()].concat()), Fault::Malformed { .. }));
}
