use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::diagnose::layer::Entries;
use crate::diagnose::testing::Item::{Directory, File as Regular, HardLink, Symlink};
use crate::diagnose::testing::{Item, Shelf, descriptor, estargz, gzip, noise, tar, zstd_chunked};

const SMALL: usize = 2_000;

fn open(blobs: &[Vec<u8>], commands: &[&str], is_local: bool, effort: Effort) -> Layers {
    let descriptors: Vec<Descriptor> = blobs.iter().map(|blob| descriptor(blob)).collect();
    let mut shelf = if is_local { Shelf::local(blobs.to_vec()) } else { Shelf::remote(blobs.to_vec()) };
    let commands = commands.iter().map(|command| (*command).into()).collect();
    Layers::new(&descriptors, commands, &mut shelf, effort).expect("nothing is read")
}

fn remote(blobs: &[Vec<u8>], effort: Effort) -> Layers {
    open(blobs, &[], false, effort)
}

fn look(layers: &mut Layers, paths: &[&str]) -> Look {
    let paths: Vec<String> = paths.iter().map(|path| (*path).into()).collect();
    layers.look(&paths).expect("readable layers")
}

fn file(look: Look) -> File {
    match look {
        Look::File(file) => file,
        other => panic!("expected a file, got {other:?}"),
    }
}

/// Asked path, real path, number of the layer, content, and whether it is certain and verified.
fn told(layers: &[Vec<u8>], look: Look) -> (String, String, usize, Vec<u8>, bool, bool) {
    let File { asked, path, layer, content, certain, verified, .. } = file(look);
    let layer = layers.iter().position(|bytes| descriptor(bytes).digest == layer).expect("one of them");
    (asked, path, layer, content.prefix().to_vec(), certain, verified)
}

#[test]
fn a_program_at_the_start_of_a_layer_costs_one_small_window() {
    let program = noise(1, 900_000);
    let layer = gzip(&tar(&[Directory("go/"), Directory("go/bin/"), Regular("go/bin/app", &program)]));
    let mut layers = remote(&[layer], Effort::default());
    let found = file(look(&mut layers, &["/go/bin/app"]));
    assert_eq!((found.content.prefix(), found.content.size()), (&program[..4096], 900_000));
    assert_eq!((found.certain, found.verified), (true, false));
    let cost = layers.cost();
    assert!(cost.fetched < 8 * 1024 && cost.requests == 1, "{cost:?}");
    assert_eq!(look(&mut layers, &["/go/bin/app"]), Look::File(found));
    assert_eq!(layers.cost(), cost, "what was read is remembered");
}

#[test]
fn a_small_layer_is_read_whole_and_verified() {
    let blobs = [gzip(&tar(&[Regular("app", b"program"), Regular("after", b"x")]))];
    let mut layers = remote(&blobs, Effort::default());
    let expected = ("/app".into(), "/app".into(), 0, b"program".to_vec(), true, true);
    assert_eq!(told(&blobs, look(&mut layers, &["/app"])), expected);
    assert_eq!(look(&mut layers, &["/gone", "/app/below"]), Look::Absent);
    assert!(matches!(look(&mut layers, &["/"]), Look::Other { kind: "a directory", .. }));
    assert!(layers.is_cheap());
}

#[test]
fn what_lies_above_decides_and_what_was_not_read_leaves_doubt() {
    let filler = noise(3, SMALL * 1000);
    let blobs = [
        gzip(&tar(&[Regular("bin/app", b"old"), Regular("bin/tool", b"tool"), Symlink("sbin", "bin")])),
        gzip(&tar(&[Regular("big", &filler), Regular("bin/app", b"new")])),
        gzip(&tar(&[Regular("etc/.wh.hosts", b""), Symlink("start", "sbin/app")])),
    ];
    let mut layers = remote(&blobs, Effort::default());
    let new = ("/start".into(), "/bin/app".into(), 1, b"new".to_vec(), true, true);
    let (asked, path, layer, content, certain, _) = told(&blobs, look(&mut layers, &["/start"]));
    assert_eq!((asked, path, layer, content, certain), (new.0, new.1, new.2, new.3, new.4));

    let poor = Effort { per_layer: 100_000, ..Effort::default() };
    let mut layers = remote(&blobs, poor);
    let (.., layer, content, certain, verified) = told(&blobs, look(&mut layers, &["/start"]));
    assert_eq!((layer, content, certain, verified), (0, b"old".to_vec(), false, true), "the middle one was not read");
    assert!(matches!(look(&mut layers, &["/gone"]), Look::NotRead(NotRead::Budget { left: 1_800_000.. })));
    assert!(layers.cost().fetched <= 300_000, "{:?}", layers.cost());
}

#[test]
fn the_first_path_that_is_found_wins_and_earlier_ones_leave_doubt() {
    let filler = noise(3, SMALL * 1000);
    let blobs = [gzip(&tar(&[Regular("bin/sh", b"sh"), Regular("big", &filler), Regular("sbin/sh", b"other")]))];
    let mut layers = remote(&blobs, Effort::default());
    let (asked, .., certain, verified) = told(&blobs, look(&mut layers, &["/sbin/sh", "/bin/sh"]));
    assert_eq!((asked.as_str(), certain, verified), ("/bin/sh", false, false), "found on the way");
    let mut layers = open(&blobs, &[], true, Effort::default());
    let (asked, .., certain, _) = told(&blobs, look(&mut layers, &["/sbin/sh", "/bin/sh"]));
    assert_eq!((asked.as_str(), certain), ("/sbin/sh", true), "what is here is read until it is certain");
    assert_eq!((layers.cost().fetched, layers.cost().read), (0, blobs[0].len() as u64));
}

#[test]
fn history_leads_to_a_layer_below() {
    let filler = noise(3, SMALL * 1000);
    let blobs = [gzip(&tar(&[Regular("srv/app", b"program")])), gzip(&tar(&[Regular("big", &filler)]))];
    let mut layers = open(&blobs, &["COPY app /srv/app", "RUN make"], false, Effort::default());
    let (.., layer, _, certain, verified) = told(&blobs, look(&mut layers, &["/srv/app"]));
    assert_eq!((layer, certain, verified), (0, false, true), "nobody looked above");
    assert!(layers.cost().fetched < 8 * 1024);
}

#[test]
fn a_directory_that_may_be_a_link_leaves_doubt() {
    let filler = noise(3, SMALL * 1000);
    let blobs = [
        gzip(&tar(&[Regular("usr/bin/sh", b"old"), Regular("big", &filler), Symlink("bin", "usr/bin")])),
        gzip(&tar(&[Regular("bin/sh", b"new")])),
    ];
    let mut layers = remote(&blobs, Effort::default());
    assert!(!file(look(&mut layers, &["/usr/bin/sh"])).certain);
    let mut layers = open(&blobs, &[], true, Effort::default());
    let (.., layer, content, certain, _) = told(&blobs, look(&mut layers, &["/usr/bin/sh"]));
    assert_eq!((layer, content, certain), (1, b"new".to_vec(), true));
}

#[test]
fn layers_that_are_none_leave_doubt() {
    let blob = gzip(&tar(&[Regular("app", b"program")]));
    let mut shelf = Shelf::remote([blob.clone()]);
    let mut encrypted = descriptor(&blob);
    encrypted.media_type =
        crate::core::descriptor::MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    let both = [descriptor(&blob), encrypted.clone()];
    let mut layers = Layers::new(&both, Vec::new(), &mut shelf, Effort::default()).expect("nothing is read");
    let found = file(look(&mut layers, &["/app"]));
    assert_eq!((found.certain, found.verified), (false, true));
    let NotRead::Layer { digest, reason } = (match look(&mut layers, &["/gone"]) {
        Look::NotRead(why) => why,
        other => panic!("{other:?}"),
    }) else {
        panic!("the budget was enough")
    };
    assert_eq!((digest, reason.as_str()), (encrypted.digest, "it is encrypted"));
}

#[test]
fn wrong_bytes_are_told_once_all_are_there() {
    let right = gzip(&tar(&[Regular("app", b"program"), Regular("big", &noise(5, 100))]));
    let other = gzip(&tar(&[Regular("app", b"another"), Regular("big", &noise(6, 100))]));
    let mut descriptor = descriptor(&right);
    descriptor.size = other.len() as u64;
    let mut shelf = Shelf::lying(&descriptor.digest, other);
    let layers = Layers::new(&[descriptor], Vec::new(), &mut shelf, Effort::default());
    let error = layers.expect("nothing is read").look(&["/app".into()]).expect_err("the digest does not hold");
    assert!(matches!(error, DiagnoseError::Wrong { layer: 1, .. }), "{error}");
}

#[test]
fn loops_end_and_names_are_bounded() {
    let blobs = [gzip(&tar(&[Symlink("a", "b"), Symlink("b", "a"), Regular("c", b"1")]))];
    assert_eq!(look(&mut remote(&blobs, Effort::default()), &["/a"]), Look::Loop { asked: "/a".into() });
    let effort = Effort { limits: Limits { tree_bytes: 300, ..Limits::default() }, ..Effort::default() };
    let error = remote(&blobs, effort).look(&["/gone".into()]).expect_err("too many names");
    assert!(matches!(error, DiagnoseError::TooLarge { what: "file names", .. }), "{error}");
    let error = remote(&blobs, effort).binaries(&mut |_| {}).expect_err("too many names");
    assert!(matches!(error, DiagnoseError::TooLarge { what: "file names", .. }), "{error}");
}

/// The start of a 32-bit ARM program with data and sections far behind it.
fn arm(size: usize) -> Vec<u8> {
    let (data, sections) = ((size / 2) as u32, (size - 1000) as u32);
    let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2u16, 40].map(u16::to_le_bytes).concat());
    bytes.extend([1u32, 0x1_0000, 52, sections, 0x0500_0200].map(u32::to_le_bytes).concat());
    bytes.extend([52u16, 32, 1, 40, 3, 2].map(u16::to_le_bytes).concat());
    bytes.extend([1u32, data, 0x2_0000, 0x2_0000, 1000, 1000, 6, 0x1000].map(u32::to_le_bytes).concat());
    let start = bytes.len();
    bytes.extend(&noise(11, size)[start..]);
    bytes
}

#[test]
fn what_decides_far_behind_the_start_is_read_if_it_can_be_reached() {
    let program = arm(1_000_000);
    let parts = crate::core::elf::further(&program[..4096], program.len() as u64);
    assert!(!parts.is_empty());
    let is_there = |file: &File| {
        let kept = |part: &std::ops::Range<u64>| {
            let bytes = file.content.get(part.clone());
            bytes.is_some_and(|bytes| bytes == &program[part.start as usize..part.end as usize])
        };
        parts.iter().filter(|part| kept(part)).count()
    };
    let blobs = [gzip(&tar(&[Regular("app", &program), Regular("big", &noise(3, 3_000_000))]))];
    let found = |effort: Effort| {
        let mut layers = remote(&blobs, effort);
        let file = file(look(&mut layers, &["/app"]));
        assert_eq!(file.content.prefix(), &program[..file.content.prefix().len()]);
        (is_there(&file), layers.cost().fetched)
    };
    let (all, cost) = found(Effort::default());
    assert!(all == parts.len() && cost > 500_000, "{cost}");
    assert_eq!(found(Effort { beyond_start: false, ..Effort::default() }), (0, 7 * 1024));
    assert_eq!(found(Effort { per_layer: 150_000, ..Effort::default() }), (0, 7 * 1024), "it cannot be reached");
    for layer in [estargz(&[Regular("app", &program)]), zstd_chunked(&[Regular("app", &program)])] {
        let mut shelf = Shelf::remote([layer.blob.clone()]);
        let mut layers = Layers::new(&[layer.descriptor], Vec::new(), &mut shelf, Effort::default()).expect("blobs");
        assert_eq!(is_there(&file(look(&mut layers, &["/app"]))), parts.len());
        assert!(layers.cost().fetched < layer.blob.len() as u64 + 64 * 1024, "no chunk is read twice");
    }
}

#[test]
fn every_binary_is_found() {
    let elf = [b"\x7fELF".as_slice(), &noise(9, 300)].concat();
    let blobs = [
        gzip(&tar(&[
            Regular("bin/gone", &elf),
            Regular("bin/a", &elf),
            Regular("text", b"text"),
            Symlink("s", "bin/a"),
        ])),
        gzip(&tar(&[Regular("bin/.wh.gone", b""), Regular("lib/b", &elf), HardLink("lib/c", "lib/b")])),
    ];
    for is_local in [false, true] {
        let mut layers = open(&blobs, &[], is_local, Effort::default());
        look(&mut layers, &["/lib/b"]);
        let mut found = Vec::new();
        let left = layers.binaries(&mut |file| found.push(file)).expect("readable layers");
        let paths: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!((paths, left), (vec!["/bin/a", "/lib/b", "/lib/c"], None));
        assert!(found.iter().all(|file| file.verified && file.certain && file.content.prefix() == &elf[..64]));
    }
    let big = [gzip(&tar(&[Regular("a", &elf), Regular("big", &noise(3, 200_000)), Regular("b", &elf)]))];
    let mut layers = remote(&big, Effort { per_image: 50_000, ..Effort::default() });
    let mut found = 0;
    let left = layers.binaries(&mut |_| found += 1).expect("as far as the budget reaches");
    assert!(matches!(left, Some(NotRead::Budget { left: 150_000.. })), "{left:?}");
    assert_eq!(layers.cost().fetched, 50_000);
}

#[test]
fn what_comes_a_second_time_is_verified_no_more() {
    // More than is kept in memory, so that the rest has to come again.
    let (before, behind) = (noise(1, 17_000_000), noise(2, 100));
    let blob = gzip(&tar(&[Regular("data", &before), Regular("bin/app", b"#!/app\n"), Item::Data("text", &behind)]));
    let mut layers = remote(std::slice::from_ref(&blob), Effort::everything(&Limits::default()));
    assert_eq!(layers.binaries(&mut |_| {}).expect("a readable layer"), None);
    let found = file(look(&mut layers, &["/bin/app"]));
    assert_eq!((found.content.prefix(), found.verified), (&b"#!/app\n"[..], true), "it was kept as it came by");
    assert_eq!(layers.cost().fetched, blob.len() as u64);
    let found = file(look(&mut layers, &["/text"]));
    assert_eq!((found.content.prefix(), found.verified), (&behind[..], false), "nobody keeps all files");
    assert!(layers.cost().fetched > blob.len() as u64);
}

#[test]
fn a_window_that_is_too_large_leaves_doubt() {
    let content = tar(&[Regular("app", b"program")]);
    let packed = |window| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(window).expect("a window");
        std::io::Write::write_all(&mut encoder, &content).expect("compresses");
        encoder.finish().expect("compresses")
    };
    for is_local in [false, true] {
        let mut layers = open(&[packed(23)], &[], is_local, Effort::default());
        assert_eq!(file(look(&mut layers, &["/app"])).content.prefix(), b"program");
        let mut layers = open(&[packed(24)], &[], is_local, Effort::default());
        let Look::NotRead(NotRead::Layer { reason, .. }) = look(&mut layers, &["/app"]) else { panic!("{layers:?}") };
        assert_eq!(reason, "zstd: a window of more than 8 MiB");
        let left = layers.binaries(&mut |_| panic!("nothing can be read")).expect("as far as can be");
        assert!(matches!(left, Some(NotRead::Layer { .. })), "{left:?}");
    }
}

#[test]
fn links_that_make_paths_longer_are_bounded_too() {
    let deep = "d/".repeat(45);
    let names: Vec<String> = (0..10_000).map(|at| format!("l/{at}")).collect();
    let files = names.iter().map(|name| Regular(name, b"x"));
    let blobs = [gzip(&tar(&std::iter::once(Symlink("l", &deep)).chain(files).collect::<Vec<_>>()))];
    let limits = |tree_bytes| Limits { tree_bytes, ..Limits::default() };
    let effort = |tree_bytes| Effort { limits: limits(tree_bytes), ..Effort::default() };
    assert_eq!(look(&mut remote(&blobs, effort(2_500_000)), &["/gone"]), Look::Absent);
    let error = remote(&blobs, effort(1_800_000)).look(&["/gone".into()]).expect_err("10,000 paths of 90 bytes more");
    assert!(matches!(error, DiagnoseError::TooLarge { what: "file names", .. }), "{error}");
}

/// What a tree of everything says.
fn truth(blobs: &[Vec<u8>], path: &str) -> Option<(usize, Vec<u8>)> {
    let mut tree = Tree::default();
    let mut contents = BTreeMap::new();
    for (index, blob) in blobs.iter().enumerate() {
        let mut entries = Entries::open(blob.as_slice(), index + 1, &Limits::default());
        let mut position = 0;
        while let Some(entry) = entries.advance().expect("readable") {
            tree.apply(&entry.into(), index, position);
            contents.insert((index, position), entries.content(4096).expect("readable"));
            position += 1;
        }
    }
    match tree.look(path.as_bytes()).end {
        // Layers that are the same are told by the same digest.
        End::File(at) => blobs
            .iter()
            .position(|blob| *blob == blobs[at.layer])
            .map(|first| (first, contents[&(at.layer, at.entry)].clone())),
        _ => None,
    }
}

const NAMES: [&str; 8] = ["a", "b", "a/x", "a/y", "b/x", "b/y", "a/x/z", "c"];

/// An item that owns its parts: name, what it is, and a number that makes it different.
type Spec = (usize, u8, usize);

fn item<'a>(&(name, kind, number): &Spec, contents: &'a [Vec<u8>]) -> Item<'a> {
    const WHITEOUTS: [&str; 8] =
        [".wh.a", ".wh.b", "a/.wh.x", "a/.wh.y", "b/.wh.x", "a/.wh..wh..opq", "b/.wh..wh..opq", ".wh.c"];
    match kind {
        0..=3 => Regular(NAMES[name], &contents[number % contents.len()]),
        4 => Directory(NAMES[name]),
        5 => Regular(WHITEOUTS[name], b""),
        6 => Symlink(NAMES[name], NAMES[number % NAMES.len()]),
        _ => HardLink(NAMES[name], NAMES[number % NAMES.len()]),
    }
}

fn stack(specs: &[Vec<Spec>]) -> Vec<Vec<u8>> {
    // Contents tell themselves apart; some are larger than a window.
    let contents: Vec<Vec<u8>> = (0..5).map(|seed| noise(seed, [0, 10, 300, 9_000, 40_000][seed as usize])).collect();
    let layer = |items: &Vec<Spec>| items.iter().map(|spec| item(spec, &contents)).collect::<Vec<_>>();
    specs.iter().map(|items| gzip(&tar(&layer(items)))).collect()
}

fn specs(kinds: std::ops::Range<u8>) -> impl Strategy<Value = Vec<Vec<Spec>>> {
    prop::collection::vec(prop::collection::vec((0..NAMES.len(), kinds, 0usize..40), 0..7), 1..4)
}

fn found(blobs: &[Vec<u8>], look: Look) -> Option<(usize, Vec<u8>)> {
    match look {
        Look::File(_) => {
            let (.., layer, content, _, _) = told(blobs, look);
            Some((layer, content))
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn what_was_read_whole_is_what_a_runtime_sees(specs in specs(0..8), is_local in any::<bool>()) {
        let blobs = stack(&specs);
        let mut layers = open(&blobs, &[], is_local, Effort::default());
        prop_assert_eq!(layers.binaries(&mut |_| {}).expect("readable"), None);
        for path in NAMES {
            let look = look(&mut layers, &[path]);
            if let Look::File(file) = &look {
                prop_assert!(file.certain && file.verified);
            }
            prop_assert_eq!(found(&blobs, look), truth(&blobs, path), "{}", path);
        }
    }

    #[test]
    fn what_is_certain_is_what_a_runtime_sees(
        mut specs in specs(0..6), at in 0..NAMES.len(), budget in 0u64..200_000, is_local in any::<bool>(),
    ) {
        // A name twice in one layer is what nobody knows of before he has read all of it.
        for layer in &mut specs {
            let mut seen = std::collections::HashSet::new();
            layer.retain(|(name, kind, _)| seen.insert((*name, *kind == 5)));
            let plain: Vec<&str> = layer.iter().filter(|(_, kind, _)| *kind < 4).map(|(name, ..)| NAMES[*name]).collect();
            let is_inside = |name: &str| plain.iter().any(|file| name.starts_with(&format!("{file}/")));
            let inside: Vec<bool> = layer.iter().map(|(name, ..)| is_inside(NAMES[*name])).collect();
            let mut inside = inside.into_iter();
            layer.retain(|_| !inside.next().unwrap_or_default());
        }
        let blobs = stack(&specs);
        let effort = Effort { per_image: budget, ..Effort::default() };
        let mut layers = open(&blobs, &[], is_local, effort);
        let look = look(&mut layers, &[NAMES[at]]);
        prop_assert!(layers.cost().fetched <= budget);
        let truth = truth(&blobs, NAMES[at]);
        match look {
            Look::Absent => prop_assert_eq!(truth, None),
            // The budget may end in the middle of the file.
            Look::File(ref file) if file.certain => {
                let (Some((layer, content)), Some((right, whole))) = (found(&blobs, look), truth) else {
                    return Err(TestCaseError::fail("one of them has it, and the other has not"));
                };
                prop_assert_eq!(layer, right);
                prop_assert!(whole.starts_with(&content));
            }
            Look::File(_) | Look::NotRead(_) => prop_assert!(!is_local),
            _ => {}
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..3) {
        match kind {
            0 => bytes = gzip(&bytes),
            1 => bytes = zstd::encode_all(bytes.as_slice(), 1).expect("written to memory"),
            _ => {}
        }
        let _ = remote(&[bytes], Effort::default()).look(&["/app".into()]);
    }
}
