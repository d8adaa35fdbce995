//! What holds for every archive, however odd.

use proptest::prelude::*;

use super::*;

/// Pieces of archives, in any order: what precedes what is where readers go wrong.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop::sample::select(b"\x0001234567SVgxLK".to_vec());
    let formats = prop::sample::select(vec![Magic::V7, Magic::Ustar, Magic::Gnu, Magic::Star]);
    let header = (flags, formats, 0..1500_i64, prop::collection::vec(any::<u8>(), 0..1500)).prop_map(
        |(flag, format, size, body)| [Header { flag, format, size, ..Header::default() }.bytes(), body].concat(),
    );
    let extended = prop::sample::select(vec![
        pax(&[("path", "long/")]),
        pax(&[("size", "700"), ("SCHILY.xattr.user.a", "1")]),
        pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "3000")]),
        pax(&[("GNU.sparse.map", "1,2,5,3"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.size", "9")]),
        global(&[("path", "everywhere")]),
        long(b'L', b"a/long/name\0"),
        long(b'K', b"a/long/target\0"),
        file("sparse", &[padded(b"2\n1\n2\n700\n3\n"), b"abcde".to_vec()].concat()),
        file("five", b"abcde"),
        padded(b"1\n0\n3\n"),
        vec![0; BLOCK],
    ]);
    prop_oneof![2 => extended, 1 => header, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

fn archive() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat())
}

/// A header whose fields were overwritten at random, its checksum put right.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (0..BLOCK, prop::collection::vec(prop::sample::select(b"\x00 017-/x\x80\xff".to_vec()), 1..12));
    (prop::collection::vec((piece(), prop::collection::vec(change, 0..4)), 1..4)).prop_map(|pieces| {
        let mut bytes = Vec::new();
        for (mut piece, changes) in pieces {
            if piece.len() >= BLOCK {
                for (at, new) in changes {
                    let count = new.len().min(BLOCK - at);
                    piece[at..at + count].copy_from_slice(&new[..count]);
                }
                let body = piece.split_off(BLOCK);
                piece = [summed(piece), body].concat();
            }
            bytes.extend(piece);
        }
        bytes
    })
}

fn small() -> Limits {
    Limits { layer_inflated_bytes: 64 << 10, tar_pax_bytes: 4096, tar_name_bytes: 64, ..Limits::default() }
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same(bytes in archive(), pieces in prop::collection::vec(1..1200_usize, 1..6)) {
        let whole = read_in(&bytes, &[usize::MAX], &small());
        prop_assert_eq!(&read_in(&bytes, &pieces, &small()), &whole);
        prop_assert_eq!(&read_in(&bytes, &[1], &small()), &whole);
    }

    #[test]
    fn mutated_headers_do_no_harm(bytes in mutated(), pieces in prop::collection::vec(1..1200_usize, 1..6)) {
        let whole = read_in(&bytes, &[usize::MAX], &small());
        prop_assert_eq!(read_in(&bytes, &pieces, &small()), whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (seen, _) = read_in(&bytes, &[700], &Limits::default());
        prop_assert_eq!(seen.len(), 0, "noise has no checksum");
    }

    #[test]
    fn a_cut_archive_holds_the_start_of_the_whole(bytes in archive(), cut in any::<prop::sample::Index>()) {
        let (whole, _) = read_in(&bytes, &[usize::MAX], &small());
        let (part, _) = read_in(&bytes[..cut.index(bytes.len() + 1)], &[usize::MAX], &small());
        prop_assert!(part.len() <= whole.len());
        for (part, whole) in part.iter().zip(&whole) {
            prop_assert_eq!(&part.entry, &whole.entry);
        }
    }

    #[test]
    fn content_stays_within_the_file(bytes in archive()) {
        for Seen { entry, content, .. } in read_in(&bytes, &[usize::MAX], &small()).0 {
            let size = if let Kind::File { size } = entry.kind { size } else { 0 };
            let end = content.last().map_or(0, |(at, run)| at + run.len() as u64);
            prop_assert!(end <= size);
            prop_assert!(content.is_sorted_by_key(|(at, _)| *at));
        }
    }
}
