use proptest::prelude::*;

use tar::{EntryType, Header};

use super::super::testing::{Item, gzip, tar};
use super::*;

fn walk(bytes: &[u8], limits: &Limits) -> Result<Vec<Entry>, DiagnoseError> {
    let mut entries = Entries::open(bytes, 1, limits);
    let mut all = Vec::new();
    while let Some(entry) = entries.advance()? {
        all.push(entry);
    }
    Ok(all)
}

/// A header of this type with this size field, followed by `data` padded to whole blocks.
fn raw(kind: u8, name: &str, size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o755);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn size(entry: &Entry) -> u64 {
    if let Kind::File { size } = entry.kind { size } else { 0 }
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let body: String = records
        .iter()
        .map(|(key, value)| {
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).expect("a length");
            format!("{length} {key}={value}\n")
        })
        .collect();
    raw(b'x', "pax", body.len() as u64, body.as_bytes())
}

#[test]
fn inflates_by_magic_bytes() {
    let plain = tar(&[Item::File("app", b"program"), Item::Symlink("sh", "/app"), Item::Directory("etc/")]);
    let expected = walk(&plain, &Limits::default()).expect("a plain tar");
    assert_eq!(expected.len(), 3);
    assert_eq!((expected[0].path.as_slice(), expected[0].mode), (&b"app"[..], 0o755));
    assert_eq!(expected[0].kind, Kind::File { size: 7 });
    assert_eq!(expected[1].kind, Kind::Symlink(b"/app".into()));
    let zstd = zstd::encode_all(plain.as_slice(), 1).expect("encoded in memory");
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7], zstd.as_slice()].concat();
    for packed in [gzip(&plain), zstd, skippable] {
        assert_eq!(walk(&packed, &Limits::default()).expect("an inflated tar"), expected);
    }
}

#[test]
fn reads_content_of_the_entry_at_hand() {
    let bytes = tar(&[Item::File("a", b"first"), Item::File("b", b"second"), Item::File("c", &[7; 2000])]);
    let mut entries = Entries::open(bytes.as_slice(), 1, &Limits::default());
    entries.advance().expect("readable");
    assert_eq!(entries.content(2).expect("readable"), b"fi");
    assert_eq!(entries.advance().expect("readable").expect("a second entry").path, b"b");
    assert_eq!(entries.content(100).expect("readable"), b"second");
    assert_eq!(entries.content(100).expect("readable"), b"", "it was handed out");
    assert_eq!(entries.advance().expect("readable").expect("a third entry").path, b"c");
    assert_eq!(entries.content(1000).expect("readable"), [7; 1000]);
    assert_eq!(entries.advance().expect("readable"), None);
}

#[test]
fn extended_headers_apply_to_the_next_entry() {
    let long = "d/".repeat(120) + "app";
    let with_nul = format!("{long}\0");
    let bytes = [
        raw(b'L', "././@LongLink", with_nul.len() as u64, with_nul.as_bytes()),
        raw(b'0', "short", 1, b"1"),
        pax(&[("path", "with\nnewline"), ("size", "3"), ("mtime", "1.5")]),
        raw(b'0', "other", 0, b"abc"),
        pax(&[("linkpath", "target")]),
        raw(b'2', "link", 0, b""),
        raw(b'g', "global", 6, b"6 k=v\n"),
        raw(b'0', "plain", 2, b"22"),
    ]
    .concat();
    let entries = walk(&bytes, &Limits::default()).expect("a tar");
    let seen: Vec<_> = entries.iter().map(|e| (String::from_utf8_lossy(&e.path).into_owned(), size(e))).collect();
    let expected =
        [(long, 1), ("with\nnewline".into(), 3), ("link".into(), 0), ("global".into(), 0), ("plain".into(), 2)];
    assert_eq!(seen, expected);
    assert_eq!(entries[2].kind, Kind::Symlink(b"target".into()));
}

#[test]
fn links_and_directories_have_no_content_whatever_they_say() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let bytes = [raw(kind, "odd", 512, b""), raw(b'0', "app", 1, b"x")].concat();
        let entries = walk(&bytes, &Limits::default()).expect("a tar");
        assert_eq!(entries.len(), 2, "type {}", kind as char);
        assert_eq!((size(&entries[0]), entries[1].path.as_slice()), (0, b"app".as_slice()));
    }
}

#[test]
fn skips_old_sparse_files_with_their_maps() {
    let mut sparse = raw(b'S', "sparse", 512, b"");
    sparse[482] = 1;
    let sum: u32 = sparse[..148].iter().chain(&sparse[156..]).map(|b| u32::from(*b)).sum::<u32>() + 256;
    sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let map = [0; BLOCK];
    let bytes = [sparse, map.to_vec(), vec![b's'; BLOCK], raw(b'0', "app", 1, b"x")].concat();
    let entries = walk(&bytes, &Limits::default()).expect("a tar");
    assert_eq!(entries.iter().map(|e| e.path.as_slice()).collect::<Vec<_>>(), [b"sparse".as_slice(), b"app"]);
    assert_eq!(entries[0].kind, Kind::Unsupported { flag: b'S' });
}

#[test]
fn refuses_what_is_over_a_limit() {
    let small = Limits { layer_inflated_bytes: 4096, tar_name_bytes: 16, tar_pax_bytes: 64, ..Limits::default() };
    let bomb = gzip(&raw(b'0', "zeros", 1 << 20, &vec![0; 1 << 20]));
    let endless = raw(b'0', "endless", 0o77_777_777_777, b"");
    let name = "n".repeat(20);
    let huge = [pax(&[("size", "9223372036854775807")]), raw(b'0', "huge", 0, b"")].concat();
    let cases = [
        bomb,
        endless,
        huge,
        [raw(b'L', "l", 20, name.as_bytes()), raw(b'0', "short", 0, b"")].concat(),
        [pax(&[("path", &name)]), raw(b'0', "short", 0, b"")].concat(),
        pax(&[("k", &"v".repeat(99))]),
    ];
    for (at, bytes) in cases.iter().enumerate() {
        assert!(
            matches!(walk(bytes, &small), Err(DiagnoseError::TooLarge { .. })),
            "case {at}: {:?}",
            walk(bytes, &small)
        );
    }
}

#[test]
fn names_the_damage() {
    let good = tar(&[Item::File("app", &[7; 1000])]);
    let mut checksum = good.clone();
    checksum[0] = b'b';
    let bad_pax = raw(b'x', "pax", 9, b"99 a=b\nxx");
    for bytes in [&good[..300], &good[..700], &checksum, &bad_pax] {
        let error = walk(bytes, &Limits::default()).expect_err("damaged");
        assert!(matches!(error, DiagnoseError::Archive { .. }), "{error}");
    }
    let packed = gzip(&good);
    let error = walk(&packed[..packed.len() / 2], &Limits::default()).expect_err("cut off");
    assert_eq!(crate::core::error::Classify::kind(&error), crate::core::error::Kind::InvalidContent, "{error}");
    assert_eq!(walk(b"", &Limits::default()).expect("an empty layer"), []);
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = walk(&bytes, &Limits::default());
    }

    #[test]
    fn never_panics_on_odd_headers(
        kinds in proptest::collection::vec(prop::sample::select(b"01257LKxgS\0".to_vec()), 1..6),
        size in any::<u64>(),
        data in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes: Vec<u8> = kinds.iter().flat_map(|kind| raw(*kind, "n", size, &data)).collect();
        let _ = walk(&bytes, &Limits::default());
    }
}
