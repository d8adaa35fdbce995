//! Blobs that are read while they arrive, and what becomes of them.

use super::{blob_path, image, layer};
use crate::support::fixture::{Blob, Image};
use crate::support::liar::{At, Liar, Reply, When, sent};
use crate::support::mirror::{MirrorServer, Setup};

/// What the mirror holds back.
const CHUNK: usize = 64 * 1024;
/// Below the size from which on blobs are fetched in ranges.
const SIZE: usize = 4 << 20;

struct Bed {
    image: Image,
    registry: Liar,
    mirror: MirrorServer,
}

impl Bed {
    fn new(size: usize) -> Self {
        let image = image(3, size);
        let registry = Liar::serving(&image, "app:1");
        let mirror = MirrorServer::allowing(&[&registry.address()]);
        Self { image, registry, mirror }
    }

    fn blob(&self) -> &Blob {
        layer(&self.image)
    }

    fn path(&self) -> String {
        blob_path("app", self.blob(), &self.registry.address())
    }

    fn asked(&self) -> String {
        format!("GET /v2/app/blobs/{}", self.blob().digest)
    }

    fn gate(&self, at: At) {
        self.registry.always(&self.asked(), Reply::Gated(at));
    }
}

#[test]
fn the_first_bytes_are_there_before_the_last_were_sent() {
    let bed = Bed::new(SIZE);
    bed.gate(At::Half);
    let mut reading = bed.mirror.open("GET", &bed.path(), &[]);
    assert_eq!(reading.answer.status, 200);
    reading.read(SIZE / 4);
    // The other half is behind the gate, so nobody has it yet.
    assert!(sent(&bed.registry.requests_for(&bed.asked())) < bed.blob().bytes.len());
    bed.registry.open_gate();
    assert!(reading.finish().body == bed.blob().bytes);
}

#[test]
fn a_range_waits_for_its_bytes() {
    let bed = Bed::new(SIZE);
    bed.gate(At::Half);
    let mut first = bed.mirror.open("GET", &bed.path(), &[]);
    first.read(1);
    let (from, to) = (SIZE / 2 + SIZE / 4, SIZE / 2 + SIZE / 4 + 100_000);
    let header = format!("bytes={from}-{}", to - 1);
    std::thread::scope(|scope| {
        let range = scope.spawn(|| bed.mirror.get(&bed.path(), &[("range", &header)]));
        // An early range is there, whether or not the late one has been asked for already.
        let early = bed.mirror.get(&bed.path(), &[("range", "bytes=5-9")]);
        assert!(early.body == bed.blob().bytes[5..10]);
        bed.registry.open_gate();
        let late = range.join().expect("no panic");
        assert_eq!(late.status, 206);
        assert!(late.body == bed.blob().bytes[from..to]);
    });
    assert!(first.finish().is_whole());
    assert_eq!(bed.registry.requests_for(&bed.asked()).len(), 1);
}

#[test]
fn the_end_is_held_back_and_the_connection_broken_where_the_digest_does_not_hold() {
    let bed = Bed::new(SIZE);
    bed.registry.always(&bed.asked(), Reply::FlippedInBlob(1000));
    let answer = bed.mirror.get(&bed.path(), &[]);
    assert_eq!(answer.status, 200);
    assert!(!answer.is_whole(), "nobody may take it for whole");
    assert!(answer.body.len() <= bed.blob().bytes.len() - CHUNK, "the last chunk is not given away");
    let tail = format!("bytes={}-", bed.blob().bytes.len() - 10);
    assert_eq!(bed.mirror.get(&bed.path(), &[("range", &tail)]).status, 502, "nor is it alone");
}

#[test]
fn a_small_blob_with_wrong_bytes_is_refused_by_a_status() {
    let bed = Bed::new(1000);
    bed.registry.always(&bed.asked(), Reply::Flipped(10));
    let answer = bed.mirror.get(&bed.path(), &[]);
    assert_eq!((answer.status, &*answer.code()), (502, "UNKNOWN"));
}

#[test]
fn wrong_bytes_that_nobody_has_seen_are_fetched_elsewhere() {
    let bed = Bed::new(1000);
    let other = Liar::serving(&bed.image, "app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    crate::support::mirror::lead(folder.path(), &bed.registry.address(), &[&other.address()]);
    other.always(&bed.asked(), Reply::Flipped(10));
    let mirror = MirrorServer::start(&Setup::hosts_dir(folder.path()));
    let answer = mirror.get(&bed.path(), &[]);
    assert_eq!(answer.status, 200);
    assert!(answer.body == bed.blob().bytes);
    assert!(!other.requests_for(&bed.asked()).is_empty());
}

#[test]
fn twenty_who_want_the_same_cause_one_download() {
    let bed = Bed::new(SIZE);
    bed.gate(At::Byte(1));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let reading = bed.mirror.open("GET", &bed.path(), &[]);
                    bed.registry.open_gate();
                    reading.finish()
                })
            })
            .collect();
        // Those that come late get it from the disk, which is one download, too.
        bed.registry.wait_for(&bed.asked());
        bed.registry.open_gate();
        for reader in readers {
            assert!(reader.join().expect("no panic").body == bed.blob().bytes);
        }
    });
    let downloads = bed.registry.requests_for(&bed.asked());
    assert_eq!((downloads.len(), sent(&downloads)), (1, bed.blob().bytes.len()));
}

#[test]
fn a_blob_in_ranges_comes_as_it_should() {
    let bed = Bed::new(20 << 20);
    let answer = bed.mirror.get(&bed.path(), &[]);
    assert!(answer.body == bed.blob().bytes);
    assert!(bed.registry.requests_for(&bed.asked()).len() > 1, "it is large enough to be divided");
    assert!(bed.mirror.get(&bed.path(), &[]).body == bed.blob().bytes);
}

#[test]
fn what_came_once_is_kept_and_hashed_again() {
    let bed = Bed::new(SIZE);
    assert!(bed.mirror.get(&bed.path(), &[]).is_whole());
    assert!(bed.mirror.get(&bed.path(), &[]).body == bed.blob().bytes);
    assert_eq!(bed.registry.requests_for(&bed.asked()).len(), 1);
    // The disk rots.
    let file = bed.mirror.cache().join(bed.registry.address()).join(format!("sha256-{}", bed.blob().hex()));
    let mut kept = std::fs::read(&file).expect("it is kept");
    kept[100] ^= 1;
    std::fs::write(&file, kept).expect("a writable file");
    let answer = bed.mirror.get(&bed.path(), &[]);
    assert!(!answer.is_whole() || answer.body == bed.blob().bytes, "what is kept is not believed");
    assert!(bed.mirror.get(&bed.path(), &[]).body == bed.blob().bytes, "and not kept any longer");
    assert!(bed.registry.requests_for(&bed.asked()).len() > 1);
}

#[test]
fn a_small_blob_is_kept_too() {
    let bed = Bed::new(1000);
    for _ in 0..3 {
        assert!(bed.mirror.get(&bed.path(), &[]).body == bed.blob().bytes);
    }
    assert_eq!(bed.registry.requests_for(&bed.asked()).len(), 1);
}

#[test]
fn who_goes_away_takes_nothing_from_those_who_stay() {
    let bed = Bed::new(SIZE);
    bed.gate(At::Half);
    let mut one = bed.mirror.open("GET", &bed.path(), &[]);
    let mut other = bed.mirror.open("GET", &bed.path(), &[]);
    one.read(1000);
    other.read(1000);
    drop(one);
    bed.registry.open_gate();
    assert!(other.finish().body == bed.blob().bytes);
    assert_eq!(bed.registry.requests_for(&bed.asked()).len(), 1);
}

#[test]
fn the_last_who_goes_ends_the_download_and_what_came_is_kept() {
    let bed = Bed::new(SIZE);
    bed.registry.plan(When::asked(&bed.asked()), [Reply::Gated(At::Half)]);
    let mut only = bed.mirror.open("GET", &bed.path(), &[]);
    only.read(SIZE / 4);
    drop(only);
    // Returns when the mirror has closed its connection, with the gate still shut.
    bed.registry.settle();
    let half = sent(&bed.registry.requests_for(&bed.asked()));
    assert!(half < bed.blob().bytes.len());
    assert!(bed.mirror.get(&bed.path(), &[]).body == bed.blob().bytes);
    let asked = bed.registry.requests_for(&bed.asked());
    let from = asked[1].range().map(|(first, _)| first);
    assert!(from.is_some_and(|from| from >= SIZE / 4), "it goes on behind what is staged: {from:?}");
}
