//! A new disk for every pull, and memory that is there when it is needed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::sandbox::run;

/// Room on each disk; only what is written takes any.
const SIZE: u64 = 32 << 30;

/// How the disk takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    /// Through the page cache.
    Cached,
    /// Every write waits for the disk, which is then slower than the network.
    Synchronous,
}

/// A mounted ext4 with a journal, unmounted and gone when this is dropped.
pub(crate) struct Disk {
    mount_point: PathBuf,
}

impl Disk {
    /// Makes and mounts one: the mount point goes below `scratch`, the image into `images`.
    pub(crate) fn fresh(scratch: &Path, images: &Path, speed: Speed) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let image = images.join(format!("lighterman-bench-{}-{number}.img", std::process::id()));
        let mount_point = scratch.join(format!("d{number}"));
        std::fs::create_dir(&mount_point).expect("a writable scratch folder");
        File::create(&image).and_then(|file| file.set_len(SIZE)).expect("a disk image");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        // Without the background initialisation of inode tables, which would run into the pull.
        let options = match speed {
            Speed::Cached => "loop,noinit_itable",
            Speed::Synchronous => "loop,noinit_itable,sync",
        };
        run(Command::new("mount").args(["-o", options]).arg(&image).arg(&mount_point));
        // The loop device holds it open; its space is free again as soon as that is detached.
        std::fs::remove_file(&image).expect("the image is ours");
        Self { mount_point }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// How long it takes until everything written so far is on the disk.
    pub(crate) fn sync(&self) -> Duration {
        let directory = File::open(&self.mount_point).expect("the mount point");
        let started = Instant::now();
        nix::unistd::syncfs(&directory).expect("a disk that works");
        started.elapsed()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may still have its directory here.
        run(Command::new("umount").arg("--lazy").arg(&self.mount_point));
    }
}

/// Touches so many bytes of memory (at the most half of what is available) and frees them, so
/// that the pull after this does not pay for pages that the host has to give back first.
pub(crate) fn touch_memory(scratch: &Path, bytes: u64) {
    let file = scratch.join("touched");
    let block = vec![1_u8; 1 << 20];
    let mut sink = File::create(&file).expect("a writable scratch folder");
    for _ in 0..bytes.min(available_memory() / 2) >> 20 {
        sink.write_all(&block).expect("room in memory");
    }
    std::fs::remove_file(&file).expect("our own file");
}

fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
