//! A layer that is one gzip of many members, inflated ahead by threads that have nothing else to
//! do, and by none: read only, and unpacked. With two cores there are no such threads, and both
//! are the same.

use std::hint::black_box;
use std::io::{Cursor, Write};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use lighterman::core::descriptor::MediaType;
use lighterman::core::limits::Limits;
use lighterman::cpu::Cpu;
use lighterman::fetch::Budget;
use lighterman::unpack::layer::{self, Order, Source};
use lighterman::unpack::tree::{Account, Whiteouts};
use tokio::runtime::Runtime;

/// Bytes of the files in the layer.
const LAYER: usize = 250 << 20;
/// Of one member of an eStargz, at the most.
const CHUNK: usize = 4 << 20;
/// Of one member of a BGZF.
const BLOCK: usize = 0xff00;
/// Of one block of a tar.
const TAR: usize = 512;

/// Bytes of tar per second.
pub(super) fn members(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("members");
    // A second or two each.
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let (tar, starts) = archive(&super::data(LAYER));
    group.throughput(Throughput::Bytes(tar.len() as u64));
    let kinds = [("eStargz", pieces(&tar, &starts)), ("BGZF", tar.chunks(BLOCK).collect()), ("one", vec![&tar[..]])];
    for (kind, pieces) in kinds {
        let gzip: Vec<u8> = pieces.into_iter().flat_map(member).collect();
        for (how, ahead) in [("in turn", false), ("ahead", true)] {
            let bench = Bench::new(gzip.clone(), ahead);
            group.bench_function(format!("{kind}, {how}, read"), |bencher| {
                bencher.iter_batched(|| bench.source(), |source| bench.read(source), BatchSize::PerIteration);
            });
            group.bench_function(format!("{kind}, {how}, unpacked"), |bencher| {
                let folder = || (bench.source(), tempfile::tempdir().expect("a writable TMPDIR"));
                bencher.iter_batched(folder, |(source, folder)| bench.unpack(source, folder), BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

struct Bench {
    gzip: Vec<u8>,
    cpu: Cpu,
    budget: Budget,
    limits: Limits,
    runtime: Runtime,
    media_type: MediaType,
    /// All that there is to spare, where nothing is to be done ahead.
    _held: Option<lighterman::fetch::Reservation>,
}

impl Bench {
    fn new(gzip: Vec<u8>, ahead: bool) -> Self {
        let (limits, runtime) = (Limits::default(), Runtime::new().expect("threads"));
        let budget = Budget::new(limits.buffer_bytes);
        let held = (!ahead).then(|| runtime.block_on(budget.reserve(u32::MAX)));
        let media_type = MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip");
        Self { gzip, cpu: Cpu::new(), budget, limits, runtime, media_type, _held: held }
    }

    fn source(&self) -> Source {
        Source::Stored(Box::pin(Cursor::new(self.gzip.clone())))
    }

    fn read(&self, source: Source) {
        let read = layer::check(&self.cpu, source, &self.media_type, &self.limits, &self.budget);
        self.runtime.block_on(read).expect("our own");
    }

    /// Gives the folder back, so that it is removed outside of what is measured.
    fn unpack(&self, source: Source, folder: tempfile::TempDir) -> impl Sized + use<> {
        let order = Order {
            index: 0,
            media_type: self.media_type.clone(),
            size: self.gzip.len() as u64,
            diff_id: None,
            whiteouts: Whiteouts::Plain,
            limits: self.limits,
            budget: self.budget.clone(),
            account: Account::default(),
        };
        black_box(self.runtime.block_on(layer::grow(&self.cpu, source, order, folder)).expect("our own"))
    }
}

fn member(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// Files of many lengths of this user, and where in the archive the content of each begins.
fn archive(data: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let mut builder = tar::Builder::new(Vec::with_capacity(data.len() + data.len() / 8));
    let mut starts = Vec::new();
    let (mut rest, mut number) = (data, 0_usize);
    while !rest.is_empty() {
        // As many of each length as there are in a distribution.
        let length = match number % 200 {
            0 => 3 << 20,
            1..=9 => 256 << 10,
            10..=79 => 16 << 10,
            _ => 1 << 10,
        } + number % TAR;
        let (content, after) = rest.split_at(length.min(rest.len()));
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        starts.push(builder.get_ref().len() + TAR);
        builder.append_data(&mut header, format!("{}/{number}", number / 100), content).expect("memory");
        (rest, number) = (after, number + 1);
    }
    (builder.into_inner().expect("memory"), starts)
}

/// An archive cut before the content of each file, and within long ones.
fn pieces<'a>(tar: &'a [u8], starts: &[usize]) -> Vec<&'a [u8]> {
    let ends = starts.iter().copied().skip(1).chain([tar.len()]);
    let files = starts.iter().zip(ends).flat_map(|(&start, end)| tar[start..end].chunks(CHUNK));
    std::iter::once(&tar[..starts[0]]).chain(files).collect()
}
