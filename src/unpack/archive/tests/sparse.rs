//! Sparse files in their four spellings.

use super::*;

const EXPECTED: [(u64, &[u8]); 2] = [(2, b"abc"), (10, b"defg")];

fn runs() -> Vec<(u64, Vec<u8>)> {
    EXPECTED.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect()
}

fn stored(records: &[(&str, &str)], content: &[u8]) -> Vec<u8> {
    [pax(records), file("GNUSparseFile.0/name", content), file("next", b"x")].concat()
}

#[test]
fn reads_pax_0_0_and_0_1() {
    let pairs = [
        ("GNU.sparse.size", "20"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "2"),
        ("GNU.sparse.numbytes", "3"),
        ("GNU.sparse.offset", "10"),
        ("GNU.sparse.numbytes", "4"),
    ];
    let listed = [
        ("GNU.sparse.size", "20"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.map", "2,3,10,4"),
        ("GNU.sparse.name", "real"),
    ];
    let versioned = [&listed[..], &[("GNU.sparse.major", "0"), ("GNU.sparse.minor", "1")]].concat();
    for (records, name) in [(&pairs[..], "GNUSparseFile.0/name"), (&listed, "real"), (&versioned, "real")] {
        let seen = read(&stored(records, b"abcdefg"));
        assert_eq!(paths(&seen), [name, "next"]);
        assert_eq!(seen[0].entry.kind, Kind::File { size: 20 });
        assert_eq!(seen[0].content, runs());
    }
}

#[test]
fn reads_pax_1_0() {
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "real"),
        ("GNU.sparse.realsize", "20"),
    ];
    let map = padded(b"2\n2\n3\n10\n4\n");
    let seen = read(&stored(&records, &[&map, &b"abcdefg"[..]].concat()));
    assert_eq!(paths(&seen), ["real", "next"]);
    assert_eq!((&seen[0].entry.kind, &seen[0].content), (&Kind::File { size: 20 }, &runs()));
    // A map of many blocks, each run of it one byte.
    let count = 1000;
    let lines: String = (0..count).map(|at| format!("{}\n1\n", 2 * at)).collect();
    let map = padded(format!("{count}\n{lines}").as_bytes());
    let records = [&records[..3], &[("GNU.sparse.realsize", "5000")]].concat();
    let seen = read(&stored(&records, &[map, vec![b'x'; count]].concat()));
    assert_eq!(seen[0].content.len(), count);
    assert_eq!(seen[0].content[count - 1], (1998, b"x".to_vec()));
    // A file that is one hole.
    let seen = read(&stored(&records, &padded(b"0\n")));
    assert_eq!((&seen[0].entry.kind, seen[0].content.len()), (&Kind::File { size: 5000 }, 0));
}

#[test]
fn an_unknown_version_is_a_regular_file() {
    let records = [("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "real")];
    let seen = read(&stored(&records, b"abcdefg"));
    assert_eq!(paths(&seen), ["GNUSparseFile.0/name", "next"]);
    assert_eq!(seen[0].content, [(0, b"abcdefg".to_vec())]);
}

#[test]
fn refuses_maps_that_make_no_sense() {
    let listed = |size: &str, count: &str, map: &str| {
        stored(&[("GNU.sparse.size", size), ("GNU.sparse.numblocks", count), ("GNU.sparse.map", map)], b"abcdefg")
    };
    let inline = |map: &[u8]| {
        let records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "20")];
        stored(&records, map)
    };
    assert_eq!(read(&listed("20", "2", "2,3,10,4")).len(), 2, "the one that makes sense");
    for bytes in [
        listed("20", "1", "2,3,10,4"),
        listed("20", "2", "2,3,10"),
        listed("20", "", "2,3,10,4"),
        listed("20", "-2", "2,3,10,4"),
        listed("20", "9223372036854775807", "2,3,10,4"),
        listed("x", "2", "2,3,10,4"),
        listed("-1", "2", "2,3,10,4"),
        listed("13", "2", "2,3,10,4"),
        listed("20", "2", "2,3,4,4"),
        listed("20", "2", "10,4,2,3"),
        listed("20", "2", "2,-3,10,10"),
        listed("20", "2", "2,3,10,9223372036854775807"),
        listed("20", "2", "2,3,,4"),
        listed("20", "2", "2,3,10,3"),
        listed("20", "2", "2,3,10,5"),
        inline(b"abcdefg"),
        inline(&padded(b"abcdefg")),
        inline(&[padded(b"x\n2\n3\n"), b"abc".to_vec()].concat()),
        inline(&[padded(b"-1\n2\n3\n"), b"abc".to_vec()].concat()),
        inline(&[padded(b"2\n2\n3\n"), b"abc".to_vec()].concat()),
        inline(&[padded(b"1\n2\n3 \n"), b"abc".to_vec()].concat()),
        inline(&[padded(b"9223372036854775807\n2\n3\n"), b"abc".to_vec()].concat()),
    ] {
        let fault = fault(&bytes);
        assert!(matches!(fault, Fault::Malformed { .. }), "{fault}");
    }
    let link = Header { flag: b'2', ..Header::default() };
    let records = [("GNU.sparse.numblocks", "0"), ("GNU.sparse.map", "0,0")];
    assert!(matches!(fault(&[pax(&records), link.bytes()].concat()), Fault::Malformed { .. }));
}

#[test]
fn a_map_is_bounded() {
    let records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "20")];
    let endless = vec![b'0'; 2 << 20];
    assert!(matches!(fault(&stored(&records, &endless)), Fault::TooLarge { what: "a sparse map", .. }));
    let old = [old_sparse(&[], true), vec![1; 2 << 20]].concat();
    assert!(matches!(fault(&old), Fault::Malformed { .. } | Fault::TooLarge { .. }));
    let mut more = vec![0; BLOCK];
    more[504] = 1;
    let old = [old_sparse(&[], true), more.repeat(4096)].concat();
    assert!(matches!(fault(&old), Fault::TooLarge { what: "a sparse map", .. }));
}

/// A header of the old format with these pairs, and whether a block of more follows.
fn old_sparse(pairs: &[(i64, i64)], more: bool) -> Vec<u8> {
    let mut block = Header { format: Magic::Gnu, flag: b'S', size: 7, ..Header::default() }.bytes();
    put(&mut block[386..], pairs);
    block[482] = u8::from(more);
    block[483..495].copy_from_slice(&number(2000, 12));
    summed(block)
}

fn put(place: &mut [u8], pairs: &[(i64, i64)]) {
    for (slot, (offset, length)) in place.chunks_exact_mut(24).zip(pairs) {
        slot[..12].copy_from_slice(&number(*offset, 12));
        slot[12..].copy_from_slice(&number(*length, 12));
    }
}

#[test]
fn the_old_format_is_told_and_skipped() {
    let mut more = vec![0; BLOCK];
    put(&mut more, &[(512, 1), (600, 1)]);
    let next = file("next", b"x");
    for bytes in [
        [old_sparse(&[(0, 7)], false), padded(b"abcdefg"), next.clone()].concat(),
        [old_sparse(&[(0, 1), (9, 4)], true), more.clone(), padded(b"abcdefg"), next.clone()].concat(),
    ] {
        let seen = read(&bytes);
        assert_eq!(paths(&seen), ["name", "next"]);
        assert_eq!((&seen[0].entry.kind, seen[0].content.len()), (&Kind::Unsupported { flag: b'S' }, 0));
    }
    let ustar = Header { flag: b'S', ..Header::default() };
    for bytes in [ustar.bytes(), old_sparse(&[(8, 4), (0, 4)], false), old_sparse(&[(0, 4000)], false)] {
        assert!(matches!(fault(&bytes), Fault::Malformed { .. }));
    }
    put(&mut more, &[(0, 1)]);
    assert!(matches!(fault(&[old_sparse(&[(8, 4)], true), more].concat()), Fault::Malformed { .. }));
    assert!(matches!(fault(&old_sparse(&[(0, 7)], true)), Fault::Truncated { .. }));
}
