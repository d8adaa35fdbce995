//! A file system of its own, which can lose its power, and run out of room.
//!
//! It is an ext4 on a loop device over a sparse file. Power is lost by the file system's own way to
//! stop at once (`EXT4_IOC_SHUTDOWN`): what only the kernel's memory had is gone at the next mount.
//! That is the kernel's side of a loss of power. A drive that lies about what it has written is
//! not to be had here.
//!
//! Needs root, e2fsprogs, and a free loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};
use tempfile::TempDir;

use super::{succeed, tool};

/// Bytes fewer that are tried to take where so many are not to be had.
const STEP: u64 = 1 << 12;

/// What the file system's own journal gets to the disk before it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    /// Everything: names and sizes are there, and not yet the bytes. So it is from a few
    /// seconds after the last change on.
    Written,
    /// Nothing: the changes of the last seconds are missing altogether.
    Lost,
}

/// A mounted file system; unmounted and gone when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Where the file is that it lies in, and the mount point unless that is named.
    folder: TempDir,
    point: PathBuf,
}

impl Disk {
    /// A new one.
    pub(crate) fn new(mebibytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let point = folder.path().join("disk");
        std::fs::create_dir(&point).expect("creates the mount point");
        Self::make(folder, point, mebibytes)
    }

    /// A new one at this folder, which is there.
    pub(crate) fn at(point: &Path, mebibytes: u64) -> Self {
        Self::make(tempfile::tempdir().expect("a temporary folder"), point.into(), mebibytes)
    }

    fn make(folder: TempDir, point: PathBuf, mebibytes: u64) -> Self {
        let disk = Self { folder, point };
        let image = File::create(disk.image()).expect("creates a file");
        image.set_len(mebibytes << 20).expect("a sparse file");
        // All room is for everybody: none is kept for root, who runs the tests.
        succeed(Command::new(tool("mkfs.ext4", "e2fsprogs")).args(["-q", "-m", "0"]).arg(disk.image()));
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) {
        let mounted =
            Command::new(tool("mount", "mount")).args(["-o", "loop"]).args([&self.image(), &self.point]).output();
        let mounted = mounted.expect("mount runs");
        assert!(
            mounted.status.success(),
            "no ext4 can be mounted from a file, which takes root and a free loop device (in a container: \
             /dev/loop-control and /dev/loop*, and the right to mount): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Writes all of it through.
    pub(crate) fn sync(&self) {
        rustix::fs::syncfs(self.open()).expect("is not broken");
    }

    /// Stops at once. What was not on the disk by now never will be, and whoever uses it fails;
    /// [`Self::restore`] once they have ended.
    #[expect(unsafe_code, reason = "no library has this call")]
    pub(crate) fn lose_power(&self, journal: Journal) {
        // EXT4_GOING_FLAGS_LOGFLUSH and EXT4_GOING_FLAGS_NOLOGFLUSH.
        let how: u32 = if journal == Journal::Written { 1 } else { 2 };
        // SAFETY: it reads a number behind the pointer, which it is declared to write.
        let stopped = unsafe { ioctl(self.open(), Setter::<{ opcode::read::<u32>(b'X', 125) }, u32>::new(how)) };
        stopped.expect("ext4 can be stopped");
    }

    /// Mounts what is on the disk, after a loss of power.
    pub(crate) fn restore(&self) {
        unmount_below(&self.point);
        // Namespaces of other processes may hold the mount for a while yet, and with it a file system
        // that has stopped. A copy has nothing to do with them.
        let copy = self.image().with_extension("copy");
        succeed(Command::new("cp").arg("--sparse=always").args([&self.image(), &copy]));
        std::fs::rename(copy, self.image()).expect("a folder of ours");
        self.mount();
    }

    /// Takes all room but this. Others may write meanwhile.
    pub(crate) fn fill_but(&self, mebibytes: u64) {
        let ballast = File::create(self.ballast()).expect("creates a file");
        let room = rustix::fs::statvfs(&self.point).expect("is mounted");
        let mut taken = (room.f_bavail * room.f_frsize).saturating_sub(mebibytes << 20);
        while taken > 0 {
            match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, taken) {
                Ok(()) => return,
                // The file system needs some of it to know where the file lies.
                Err(Errno::NOSPC) => ballast.set_len(0).expect("gives back what it got"),
                Err(error) => panic!("cannot fill the disk: {error}"),
            }
            taken = taken.saturating_sub(STEP);
        }
    }

    /// Gives it back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    /// Lets nobody write for so long; whoever does, waits. So does a disk that is very slow.
    pub(crate) fn freeze_for(&self, time: Duration) {
        succeed(Command::new(tool("fsfreeze", "util-linux")).arg("--freeze").arg(&self.point));
        std::thread::sleep(time);
        succeed(Command::new(tool("fsfreeze", "util-linux")).arg("--unfreeze").arg(&self.point));
    }

    fn ballast(&self) -> PathBuf {
        self.point.join("ballast")
    }

    fn open(&self) -> File {
        File::open(&self.point).expect("is mounted")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_below(&self.point);
    }
}

/// Unmounts what is mounted at or below a folder, whoever still uses it.
pub(crate) fn unmount_below(folder: &Path) {
    for point in mounts_below(folder) {
        let _ = Command::new("umount").arg("--lazy").arg(point).status();
    }
}

/// The latest first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    below.reverse();
    below
}
