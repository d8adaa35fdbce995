//! A blob that is larger than any memory, and one that is larger than the disk.
//!
//! It has one gigabyte, or as many as LIGHTERMAN_OVERLOAD_GB says, for which there has to be room
//! in the temporary folder (TMPDIR).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::PEAK;
use crate::faults::memory::image_of;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::liar::{Flood, Liar};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::{asked_for, files_below};

const GB: usize = 1_000_000_000;
/// What is to stay free beside it.
const SPARE: u64 = 2 * GB as u64;

/// Says how many there are to be.
const GIGABYTES: &str = "LIGHTERMAN_OVERLOAD_GB";

/// How large the blob is to be, for which there is room.
fn size() -> usize {
    let gigabytes = asked_for(GIGABYTES).unwrap_or(1);
    let folder = std::env::temp_dir();
    let disk = rustix::fs::statvfs(&folder).expect("the temporary folder is there");
    let (free, needed) = (disk.f_bavail * disk.f_frsize, (gigabytes * GB) as u64 + SPARE);
    assert!(
        free >= needed,
        "a blob of {gigabytes} GB takes {} GB free in {}, and {} GB are: name another folder by TMPDIR, or fewer by \
         {GIGABYTES}",
        needed / GB as u64,
        folder.display(),
        free / GB as u64
    );
    gigabytes * GB
}

/// Bytes that a process has written, whatever to.
fn written(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).expect("it runs, and is ours");
    let value = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    value.and_then(|value| value.parse().ok()).expect("a number")
}

/// Fails the test unless the file is the flood, byte by byte.
fn assert_is(flood: &Flood, path: &Path) {
    let mut file = File::open(path).expect("it landed");
    let (mut at, mut read) = (0, vec![0; 1 << 20]);
    while at < flood.size {
        let piece = flood.piece(at, read.len().min(flood.size - at));
        let read = &mut read[..piece.len()];
        file.read_exact(read).expect("it is as long as it should be");
        assert!(*read == *piece, "bytes differ behind {at}");
        at += piece.len();
    }
    assert_eq!(file.read(&mut read).expect("reads"), 0, "it is longer than it should be");
}

#[test]
fn a_blob_larger_than_memory_is_written_once_verified_and_removed() {
    let flood = Flood::new(size());
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image_of(&flood), "app:1"));
    liar.add_flood(&flood);
    let mut daemon = Daemon::start(&containerd);
    let (reference, process) = (liar.reference("app:1"), daemon.process().id());
    let before = [process, containerd.id()].map(written);
    let user = daemon.user();
    user.run(&["pull", &reference, "--no-unpack"]).succeeds();
    let after = [process, containerd.id()].map(written);
    let [ours, theirs] = [0, 1].map(|who| after[who] - before[who]);
    let size = flood.size as u64;
    assert!((size..size + size / 50).contains(&ours), "{ours} bytes were written for a blob of {size}");
    assert!(theirs < size / 50, "containerd wrote {theirs} bytes of it once more");
    let blob = containerd.blobs().join(flood.digest.trim_start_matches("sha256:"));
    assert_is(&flood, &blob);
    let peak = daemon.process().proc_value("status", "VmHWM").expect("it runs");
    assert!(peak < PEAK, "{peak} KiB");
    containerd.ctr_prints(&["images", "rm", "--sync", &reference]);
    assert!(!blob.exists(), "the collector left it");
    assert_eq!(files_below(&daemon.staging()), [""; 0]);
    if asked_for(GIGABYTES).is_some() {
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "{size} bytes: {ours} written by lighterman, {theirs} by containerd, {peak} KiB at the peak"
        );
    }
}

#[test]
fn a_blob_larger_than_the_disk_is_refused_before_a_byte_of_it_is_fetched() {
    let containerd = ContainerdDaemon::start_on_disk(None, 64, |text| text);
    // Nobody gets so far as to look at its bytes.
    let mut flood = Flood::new(1);
    flood.size = 20 << 30;
    let liar = Liar::serving(&image_of(&flood), "app:1");
    let (address, staging) = (containerd.address(), containerd.folder().join("root/staging"));
    let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
    let into = ["--to", "containerd", "--containerd-address", address, "--staging-dir", staging];
    let reference = liar.reference("app:1");
    let args = [&["pull", &reference], &into[..]].concat();
    let told = ["20.0 GiB are needed in", "MiB are free", "blame: this node", "hint: free some space"];
    Lighterman::new().run(&args).fails(exit::LOCAL_IO).says(&told);
    let asked: Vec<_> = liar.requests_for(&flood.digest).iter().map(|request| request.line()).collect();
    assert_eq!(asked, [""; 0]);
    assert_eq!(containerd.ctr_prints(&["leases", "ls", "-q"]), "");
    assert!(!containerd.folder().join("root/staging").exists());
}
