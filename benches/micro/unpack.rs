//! What becomes of a layer's bytes: our decoders against the library alone, our reader and
//! writer of files against the `tar` crate and GNU tar.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use criterion::{BatchSize, Criterion, Throughput};
use lighterman::core::descriptor::MediaType;
use lighterman::core::limits::Limits;
use lighterman::fetch::Budget;
use lighterman::unpack::archive::Archive;
use lighterman::unpack::inflate::{Inflater, Progress};
use lighterman::unpack::tree::{Account, Tree, Whiteouts};

use super::BUFFER;

/// Files of the archive that is unpacked; with a directory for every fifty.
const FILES: usize = 2000;
/// Bytes of most files: half of those below `/usr` are smaller.
const SMALL: usize = 4096;

/// Bytes of output per second, of gzip and of zstd.
pub(super) fn inflate(criterion: &mut Criterion, data: &[u8]) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(data).expect("memory");
    let gzip = encoder.finish().expect("memory");
    let zstd = zstd::encode_all(data, 3).expect("memory");
    let mut buffer = vec![0; BUFFER];
    let mut group = criterion.benchmark_group("inflate");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("gzip -6", |bencher| bencher.iter(|| assert_eq!(ours(&gzip, &mut buffer), data.len())));
    group.bench_function("gzip -6, flate2 alone", |bencher| {
        bencher.iter(|| assert_eq!(drain(flate2::bufread::GzDecoder::new(&gzip[..]), &mut buffer), data.len()));
    });
    group.bench_function("zstd -3", |bencher| bencher.iter(|| assert_eq!(ours(&zstd, &mut buffer), data.len())));
    group.bench_function("zstd -3, zstd alone", |bencher| {
        bencher.iter(|| {
            let decoder = zstd::Decoder::with_buffer(&zstd[..]).expect("memory");
            assert_eq!(drain(decoder, &mut buffer), data.len());
        });
    });
    group.finish();
}

/// Inflates as the first stage of a layer does, and gives the number of bytes.
fn ours(packed: &[u8], buffer: &mut [u8]) -> usize {
    let mut inflater = Inflater::new(&MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip"));
    let mut total = 0;
    let mut step_through = |inflater: &mut Inflater, mut input: &[u8]| loop {
        let progress = inflater.step(input, buffer).expect("our own");
        input = &input[progress.consumed..];
        total += black_box(progress.produced);
        if progress == Progress::NONE {
            break;
        }
    };
    packed.chunks(BUFFER).for_each(|chunk| step_through(&mut inflater, chunk));
    inflater.end_of_input().expect("our own");
    step_through(&mut inflater, &[]);
    inflater.finish().expect("is whole");
    total
}

fn drain(mut from: impl Read, buffer: &mut [u8]) -> usize {
    let mut total = 0;
    loop {
        match from.read(buffer).expect("our own") {
            0 => return total,
            count => total += black_box(count),
        }
    }
}

/// Files per second, into a directory that is fresh and on `TMPDIR`'s disk every time.
pub(super) fn untar(criterion: &mut Criterion, data: &[u8]) {
    let tar = archive(data);
    let mut group = criterion.benchmark_group("untar");
    group.throughput(Throughput::Elements(FILES as u64));
    let folder = || tempfile::tempdir().expect("a writable TMPDIR");
    let mut compare = |name: &str, unpack: &dyn Fn(&Path)| {
        group.bench_function(name, |bencher| {
            let once = |folder: tempfile::TempDir| {
                unpack(folder.path());
                // Dropped, and so removed, outside of what is measured.
                folder
            };
            bencher.iter_batched(folder, once, BatchSize::PerIteration);
        });
    };
    compare("a layer", &|folder| grow(&tar, folder));
    compare("the tar crate", &|folder| {
        let mut archive = tar::Archive::new(&tar[..]);
        archive.set_preserve_permissions(true);
        archive.unpack(folder).expect("unpacks");
    });
    // Through a file, so that its start is all that it has to wait for.
    let mut file = tempfile::NamedTempFile::new().expect("a writable TMPDIR");
    file.write_all(&tar).expect("a writable TMPDIR");
    if Command::new("tar").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        compare("GNU tar", &|folder| {
            let stdin = File::open(file.path()).expect("is there");
            let status = Command::new("tar").arg("-xpC").arg(folder).stdin(stdin).status();
            assert!(status.expect("starts").success());
        });
    }
    group.finish();
}

/// Unpacks as the second stage of a layer does, but for the digest.
fn grow(tar: &[u8], folder: &Path) {
    let limits = Limits::default();
    let memory = Budget::new(limits.buffer_bytes).memory();
    let mut tree =
        Tree::create(folder, Whiteouts::Plain, &limits, (Account::default().share(), memory)).expect("an empty folder");
    let mut archive = Archive::new(&limits);
    for piece in tar.chunks(BUFFER) {
        archive.push(piece, &mut tree).expect("our own");
    }
    archive.finish().expect("is whole");
    black_box(tree.finish().expect("is whole"));
}

/// Small files and every tenth a larger one, all of this user.
fn archive(data: &[u8]) -> Vec<u8> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).expect("memory");
    };
    for number in 0..FILES {
        let folder = format!("usr/share/{}", number / 50);
        if number % 50 == 0 {
            add(tar::EntryType::Directory, &folder, 0o755, &[]);
        }
        let size = if number % 10 == 0 { 16 * SMALL } else { SMALL };
        let from = number * 7919 % (data.len() - size);
        add(tar::EntryType::Regular, &format!("{folder}/{number}"), 0o644, &data[from..from + size]);
    }
    builder.into_inner().expect("memory")
}
