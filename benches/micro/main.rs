//! The pieces that a pull is made of, one at a time: digests, inflating, writing files,
//! members of one gzip side by side, planning, choosing.
//!
//! ```text
//! cargo bench --bench micro                    all of them, in some minutes
//! cargo bench --bench micro -- inflate         one
//! ```
//!
//! Data is what the machine has: programs and texts of `/usr`. Compare figures of one run, on
//! one machine; `benches/README.md` has more.

mod members;
mod unpack;

use std::hint::black_box;
use std::io::Read;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::{Digest, Verified, Verifier};
use lighterman::core::limits::Limits;
use lighterman::core::manifest::Document;
use lighterman::core::platform::{Matcher, Platform};
use lighterman::core::ramp::{Ramp, Window};
use lighterman::core::ranges::Ranges;
use lighterman::core::select::{self, Eligible, Entry};

/// Of each buffer that goes through a pull.
const BUFFER: usize = 256 << 10;
/// Data for one measurement: more than the caches hold, little enough for many rounds.
const DATA: usize = 32 << 20;

fn main() {
    let times = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let mut criterion = times.sample_size(20).configure_from_args();
    let data = data(DATA);
    digests(&mut criterion, &data);
    unpack::inflate(&mut criterion, &data);
    unpack::untar(&mut criterion, &data);
    members::members(&mut criterion);
    planning(&mut criterion);
    selection(&mut criterion);
    criterion.final_summary();
}

/// So many bytes of what layers are made of.
fn data(length: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(length);
    let mut pending = vec![std::path::PathBuf::from("/usr/lib"), "/usr/share".into(), "/usr/bin".into()];
    while let Some(folder) = pending.pop()
        && data.len() < length
    {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_file() && data.len() < length => {
                    // What cannot be read is left out.
                    let _ =
                        std::fs::File::open(entry.path()).and_then(|file| file.take(1 << 20).read_to_end(&mut data));
                }
                _ => {}
            }
        }
    }
    data.truncate(length);
    data
}

fn digests(criterion: &mut Criterion, data: &[u8]) {
    let digest = Verified::seal(data).digest().clone();
    let verify = || {
        let mut verifier = Verifier::new(digest.clone(), data.len() as u64);
        for buffer in data.chunks(BUFFER) {
            verifier.update(buffer).expect("no longer than promised");
        }
        verifier.finish(()).expect("the right digest")
    };
    let mut group = criterion.benchmark_group("sha256");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("one stream", |bencher| bencher.iter(verify));
    group.throughput(Throughput::Bytes(2 * data.len() as u64));
    group.bench_function("two streams on two threads", |bencher| {
        bencher.iter(|| {
            std::thread::scope(|scope| {
                let other = scope.spawn(verify);
                (verify(), other.join().expect("a digest"))
            })
        });
    });
    group.finish();
}

/// What a download asks of its plan: which bytes are missing, and how many connections pay.
fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planning");
    // A blob of 10 GB in the shortest ranges, from sixteen connections that all lag differently.
    let (length, count) = (Limits::default().shortest_range, 2400);
    let mut order: Vec<u64> = (0..count).collect();
    order.chunks_mut(16).for_each(<[u64]>::reverse);
    group.throughput(Throughput::Elements(count));
    group.bench_function("ranges that come, and what is missing after each", |bencher| {
        bencher.iter(|| {
            let mut ranges = Ranges::default();
            for index in &order {
                ranges.insert(index * length..(index + 1) * length);
                black_box((ranges.prefix(), ranges.gaps(&(0..count * length)).len()));
            }
            assert_eq!(ranges.total(), count * length);
        });
    });
    group.bench_function("windows of a host", |bencher| {
        bencher.iter(|| {
            let mut ramp = Ramp::new(16);
            for bytes in 0..count {
                let connections = ramp.allowance();
                ramp.observe(&Window { connections, bytes: bytes << 10, duration: Duration::from_millis(200) });
            }
            black_box(ramp.allowance())
        });
    });
    group.finish();
}

/// An index as large projects publish them: fifteen platforms, each with an attestation.
fn index() -> Vec<Descriptor> {
    let platforms = [
        "amd64", "arm64/v8", "arm/v7", "arm/v6", "arm/v5", "386", "ppc64le", "s390x", "riscv64", "mips64le", "loong64",
        "amd64/v2", "amd64/v3", "mips", "ppc64",
    ];
    let local = Platform::linux("amd64", "");
    let describe = |number: usize, platform: Option<Platform>| {
        let digest: Digest = format!("sha256:{number:064x}").parse().expect("a digest");
        let mut descriptor = Descriptor::new(MediaType::OciManifest, digest, 1234);
        descriptor.platform = platform;
        descriptor
    };
    let platform = |text: &str| Platform::parse(text, &local).expect("a platform");
    let images = platforms.iter().map(|text| Some(platform(&format!("linux/{text}"))));
    let attestations = platforms.iter().map(|_| Some(platform("unknown/unknown")));
    // The one that matches comes last, behind everything that has to be looked at.
    attestations.chain(images.rev()).enumerate().map(|(number, platform)| describe(number, platform)).collect()
}

fn selection(criterion: &mut Criterion) {
    let descriptors = index();
    let document =
        serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(), "manifests": descriptors});
    let bytes = document.to_string();
    let limits = Limits::default();
    let matcher = Matcher::only(&Platform::linux("amd64", ""));
    let mut group = criterion.benchmark_group("selection");
    group.bench_function("parse an index of 30 entries", |bencher| {
        bencher.iter(|| Document::parse(black_box(bytes.as_bytes()), None, &limits).expect("an index"));
    });
    let entries: Vec<Entry> = descriptors.into_iter().map(Entry::unread).collect();
    group.bench_function("choose among 30 entries", |bencher| {
        bencher.iter(|| select::choose(black_box(&entries), &matcher, Eligible::Images).expect("amd64 is there"));
    });
    group.finish();
}
