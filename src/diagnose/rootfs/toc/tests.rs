use proptest::prelude::*;

use super::*;
use crate::diagnose::rootfs::layers::{Effort, Layers};
use crate::diagnose::rootfs::{File, Look, RootFs as _};
use crate::diagnose::testing::Item::{Directory, HardLink, Symlink};
use crate::diagnose::testing::{Item, Seekable, Shelf, estargz, noise, zstd_chunked};

const FILES: usize = 40;

/// Forty files of noise, and a program among them.
fn items(filler: &[Vec<u8>]) -> Vec<Item<'_>> {
    const NAMES: [&str; 4] = ["usr/a", "usr/b", "usr/c", "usr/d"];
    let files = filler.iter().enumerate().map(|(at, bytes)| Item::File(NAMES[at % NAMES.len()], bytes));
    let mut items: Vec<Item<'_>> = files.collect();
    let more = [
        Directory("bin/"),
        Item::File("bin/app", b"#!/bin/true\n"),
        Symlink("app", "bin/app"),
        HardLink("bin/other", "bin/app"),
    ];
    items.splice(FILES / 2..FILES / 2, more);
    items
}

fn filler() -> Vec<Vec<u8>> {
    (0..FILES as u64).map(|seed| noise(seed, 80_000)).collect()
}

/// A budget for all of it, but none that is without end: who has that does not ask for lists.
fn enough() -> Effort {
    Effort { per_layer: 1 << 30, per_image: 1 << 30, ..Effort::default() }
}

fn layers(layer: &Seekable, effort: Effort) -> Layers {
    let mut shelf = Shelf::remote([layer.blob.clone()]);
    Layers::new(std::slice::from_ref(&layer.descriptor), Vec::new(), &mut shelf, effort).expect("nothing is read")
}

fn file(look: Look) -> File {
    match look {
        Look::File(file) => file,
        other => panic!("expected a file, got {other:?}"),
    }
}

#[test]
fn a_list_leads_to_a_file_for_few_bytes() {
    let filler = filler();
    for layer in [estargz(&items(&filler)), zstd_chunked(&items(&filler))] {
        let mut layers = layers(&layer, Effort::default());
        for path in ["/app", "/bin/other"] {
            let found = file(layers.look(&[path.into()]).expect("a readable layer"));
            assert_eq!((found.path.as_str() == "/bin/app", found.mode), (path == "/app", 0o755));
            assert_eq!(found.content.prefix(), b"#!/bin/true\n");
            assert!(!found.verified && !found.certain, "the layer itself was not looked through");
        }
        let cost = layers.cost();
        assert!(cost.fetched < 20_000 && cost.total > 3_100_000, "{cost:?}");
        assert_eq!(layers.look(&["/gone".into()]).expect("a readable layer"), Look::Absent, "the whole was read");
        assert!(file(layers.look(&["/app".into()]).expect("a readable layer")).verified);
        let effort = Effort { per_layer: 100_000, ..Effort::default() };
        let mut poor = self::layers(&layer, effort);
        assert!(matches!(poor.look(&["/gone".into()]), Ok(Look::NotRead(_))), "no list says that there is nothing");
        assert!(poor.cost().fetched <= 100_000);
    }
}

#[test]
fn a_list_that_is_wrong_is_left_alone() {
    let filler = filler();
    let right = || [estargz(&items(&filler)), zstd_chunked(&items(&filler))];
    let effort = enough();
    for mut layer in right() {
        for name in [STARGZ_DIGEST, CHUNKED_DIGEST] {
            layer.descriptor.annotations.entry(name.into()).and_modify(|digest| *digest = Digest::of(b"x").to_string());
        }
        let found = file(layers(&layer, effort).look(&["/app".into()]).expect("the layer itself"));
        assert_eq!(found.content.prefix(), b"#!/bin/true\n");
    }
    for position in ["", "1:2", "0:10:10:1", "99999999999:1:1:1", "0:18446744073709551615:1:1", "x:y:z:1", "5:9:9:2"] {
        let [_, mut layer] = right();
        layer.descriptor.annotations.insert(CHUNKED_POSITION.into(), position.into());
        layer.descriptor.annotations.remove(CHUNKED_DIGEST);
        let found = file(layers(&layer, effort).look(&["/app".into()]).expect("the layer itself"));
        assert_eq!(found.content.prefix(), b"#!/bin/true\n", "{position}");
    }
    let [mut layer, _] = right();
    let footer = layer.blob.len() - FOOTER as usize + FOOTER_OFFSET.start;
    layer.blob[footer] = b'f';
    let annotations = std::mem::take(&mut layer.descriptor.annotations);
    layer.descriptor = Descriptor { annotations, ..crate::diagnose::testing::descriptor(&layer.blob) };
    assert_eq!(file(layers(&layer, effort).look(&["/app".into()]).expect("the layer itself")).mode, 0o755);
}

#[test]
fn a_list_that_lies_gives_no_more_than_unverified_evidence() {
    let filler = filler();
    let lie = |json: &str| {
        let Seekable { mut blob, mut descriptor } = zstd_chunked(&items(&filler));
        let list = zstd::encode_all(json.as_bytes(), 1).expect("written to memory");
        blob.extend([0x50, 0x2a, 0x4d, 0x18]);
        blob.extend(u32::try_from(list.len()).expect("short").to_le_bytes());
        let position = format!("{}:{}:{}:1", blob.len(), list.len(), json.len());
        blob.extend(&list);
        let mut annotations = std::mem::take(&mut descriptor.annotations);
        annotations.insert(CHUNKED_POSITION.into(), position);
        annotations.insert(CHUNKED_DIGEST.into(), Digest::of(&list).to_string());
        let descriptor = Descriptor { annotations, ..crate::diagnose::testing::descriptor(&blob) };
        layers(&Seekable { blob, descriptor }, enough())
    };
    for chunk in [
        r#""offset":9223372036854775807,"size":12"#,
        r#""offset":0,"size":9223372036854775807,"chunkOffset":5"#,
        r#""offset":0,"size":12,"innerOffset":18446744073709551615"#,
    ] {
        let json = format!(r#"{{"entries":[{{"type":"reg","name":"bin/app",{chunk}}}]}}"#);
        let found = file(lie(&json).look(&["/bin/app".into()]).expect("the layer itself"));
        assert_eq!(found.content.prefix(), b"#!/bin/true\n", "{chunk}");
    }
    let json = r#"{"entries":[{"type":"reg","name":"bin/app","offset":0,"size":4,"mode":420}]}"#;
    let found = file(lie(json).look(&["/bin/app".into()]).expect("what the list says"));
    assert_eq!((found.content.prefix(), found.verified), (&b"usr/"[..], false), "wrong, and told as unproven");
}

#[test]
fn who_reads_everything_asks_for_no_list() {
    let filler = filler();
    for layer in [estargz(&items(&filler)), zstd_chunked(&items(&filler))] {
        let mut layers = layers(&layer, Effort::everything(&Limits::default()));
        assert_eq!(layers.binaries(&mut |_| {}).expect("a readable layer"), None);
        let found = file(layers.look(&["/app".into()]).expect("a readable layer"));
        assert!(found.verified && found.certain);
        assert_eq!(layers.cost().fetched, layer.blob.len() as u64, "each byte once");
    }
}

#[test]
fn a_list_takes_no_more_memory_than_it_may() {
    let file = r#"{"type":"reg","name":"f","size":1}"#;
    let list = |entry: &str, times| format!(r#"{{"entries":[{file},{}]}}"#, vec![entry; times].join(","));
    let (name, chunk) = (r#"{"type":"dir","name":"d"}"#, r#"{"type":"chunk","name":"d"}"#);
    for (entry, enough, too_many) in [(name, 100_000, 200_000), (chunk, 400_000, 800_000)] {
        assert!(Toc::parse(list(entry, enough).as_bytes()).is_ok(), "{entry}");
        assert!(Toc::parse(list(entry, too_many).as_bytes()).is_err(), "{entry}");
    }
}

#[test]
fn chunks_are_found_by_where_they_begin() {
    let json = br#"{"entries":[
        {"type":"chunk","name":"nothing before"},
        {"type":"reg","name":"a","size":30,"offset":100,"chunkSize":10},
        {"type":"chunk","name":"a","offset":200,"chunkOffset":10},
        {"type":"chunk","name":"a","offset":300,"chunkOffset":20,"innerOffset":7},
        {"type":"reg","name":"empty","size":0}
    ]}"#;
    let toc = Toc::parse(json).expect("a list");
    assert_eq!(toc.names.len(), 2);
    let offsets = [0, 9, 10, 29].map(|at| toc.chunk(0, at).map(|chunk| (chunk.offset, chunk.skip)));
    assert_eq!(offsets, [Some((100, 0)), Some((100, 0)), Some((200, 0)), Some((300, 7))]);
    assert_eq!(toc.chunk(1, 0), None);
}

proptest! {
    #[test]
    fn no_list_panics(
        kinds in prop::collection::vec(prop::sample::select(vec!["reg", "chunk", "dir", "symlink", "odd"]), 0..6),
        offset in any::<u64>(), size in any::<u64>(), at in any::<u64>(),
    ) {
        let entry = |kind: &&str| serde_json::json!({
            "type": kind, "name": "app", "linkName": "x", "offset": offset, "size": size, "chunkOffset": at,
        });
        let entries: Vec<_> = kinds.iter().map(entry).collect();
        let toc = Toc::parse(serde_json::json!({ "entries": entries }).to_string().as_bytes()).expect("a list");
        for position in 0..6 {
            let _ = toc.chunk(position, at);
        }
    }
}
