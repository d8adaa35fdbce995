//! Some of every disk is left to others: whatever an image unpacks to, the node that refuses it
//! has to go on. Blobs say how large they are, and there is room for them or not; what comes out
//! of one is known only when it is there, so the file system is asked again and again.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Mode, OFlags, StatVfs, fstatvfs};

use super::TreeError;
use crate::core::limits::Limits;

/// Bytes that are written between two looks. Ten layers that grow at a time stay far below the floor
/// of the smallest disks together, and a look takes a microsecond.
const EVERY: u64 = 4 * 1024 * 1024;
/// Bytes that a file or directory is counted for beside its content, so that a thousand of them are
/// worth a look.
const INODE: u64 = 4 * 1024;

/// Looks after the file system of one tree.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    percent: u64,
    most: u64,
    /// Bytes since the last look.
    unseen: u64,
}

impl Room {
    /// For a tree in `dir`. The first thing that is made is looked at as well.
    pub(super) fn new(dir: &Path, limits: &Limits) -> Self {
        Self { dir: dir.into(), percent: limits.disk_floor_percent, most: limits.disk_floor_bytes, unseen: EVERY }
    }

    /// One more file or directory is to be made.
    pub(super) fn make(&mut self, dir: impl AsFd) -> Result<(), TreeError> {
        self.write(dir, INODE)
    }

    /// So many bytes are to be written, which are few beside [`EVERY`].
    pub(super) fn write(&mut self, dir: impl AsFd, bytes: u64) -> Result<(), TreeError> {
        self.unseen += bytes;
        if self.unseen < EVERY { Ok(()) } else { self.require(dir, 0) }
    }

    /// So many bytes are to be taken at once.
    pub(super) fn require(&mut self, dir: impl AsFd, bytes: u64) -> Result<(), TreeError> {
        self.unseen = 0;
        self.look(dir.as_fd(), bytes)
    }

    fn look(&self, dir: BorrowedFd<'_>, bytes: u64) -> Result<(), TreeError> {
        match fstatvfs(dir) {
            Ok(full) => self.judge(&full, bytes),
            Err(error) => {
                tracing::debug!(dir = %self.dir.display(), %error, "free space is not known");
                Ok(())
            }
        }
    }

    fn judge(&self, full: &StatVfs, bytes: u64) -> Result<(), TreeError> {
        let block = full.f_frsize;
        let size = full.f_blocks.saturating_mul(block);
        // What is kept for root is none of an image's, though root writes it.
        let free = full.f_bavail.saturating_mul(block).saturating_sub(bytes);
        let in_bytes = |count: u64| ByteSize(count).display().iec().to_string();
        self.hold(size, free, self.most, in_bytes)?;
        self.hold(full.f_files, full.f_favail, u64::MAX, |count| format!("{count} inodes"))
    }

    /// Some file systems have no number of inodes, and some do not even say how large they are.
    fn hold(&self, whole: u64, free: u64, most: u64, shown: impl Fn(u64) -> String) -> Result<(), TreeError> {
        let floor = (whole / 100 * self.percent).min(most);
        if free >= floor {
            return Ok(());
        }
        let dir = self.dir.clone();
        Err(TreeError::NoRoom { dir, free: shown(free), whole: shown(whole), floor: shown(floor) })
    }
}

/// Refuses to have more unpacked onto the file system of `dir` by others, who do not look.
///
/// # Errors
/// [`TreeError::NoRoom`], and [`TreeError::Io`] where there is no such directory.
pub fn require_room(dir: &Path, limits: &Limits) -> Result<(), TreeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty())
        .map_err(|errno| TreeError::io("open", dir.as_os_str().as_encoded_bytes(), errno))?;
    Room::new(dir, limits).require(folder, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::{Blame, Classify, Kind};

    const GIB: u64 = 1 << 30;

    /// What is said of a disk: its bytes and how many are free, its inodes and how many are.
    fn judged((size, free): (u64, u64), (inodes, unused): (u64, u64), bytes: u64) -> Option<String> {
        let mut full = fstatvfs(tempfile::tempfile().expect("a file")).expect("says");
        (full.f_frsize, full.f_blocks, full.f_bavail) = (4096, size / 4096, free / 4096);
        (full.f_files, full.f_favail) = (inodes, unused);
        let said = Room::new(Path::new("/disk"), &Limits::default()).judge(&full, bytes);
        said.err().map(|error| {
            assert_eq!((error.kind(), error.blame()), (Kind::StoreFull, Blame::Node));
            error.to_string()
        })
    }

    #[test]
    fn every_disk_has_a_floor_and_small_ones_a_low_one() {
        let many = (1_000_000, 500_000);
        let card = 8_000_000_000;
        for (bytes, inodes, more, fits) in [
            ((card, 200_000_000), many, 0, true),
            ((card, 150_000_000), many, 0, false),
            ((card, 200_000_000), many, 100_000_000, false),
            ((4096 * GIB, 5 * GIB), many, 0, true),
            ((4096 * GIB, 3 * GIB), many, 0, false),
            ((card, card / 2), (1_000_000, 20_000), 0, true),
            ((card, card / 2), (1_000_000, 19_999), 0, false),
            // btrfs has no number of inodes; some file systems in user space say nothing at all.
            ((card, card / 2), (0, 0), 0, true),
            ((0, 0), (0, 0), 64 << 20, true),
        ] {
            assert_eq!(judged(bytes, inodes, more).is_none(), fits, "{bytes:?} {inodes:?} {more}");
        }
        let text = judged((100 * GIB, GIB), many, 0).expect("is too full");
        assert_eq!(
            text,
            "unpacking stops before the disk is full: /disk has 1.0 GiB left of 100.0 GiB, and 2.0 GiB stay free"
        );
        let text = judged((card, card), (1000, 10), 0).expect("has too few inodes");
        assert!(text.contains("10 inodes left of 1000 inodes"), "{text}");
    }

    #[test]
    fn it_is_looked_at_first_and_then_every_few_megabytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = std::fs::File::open(dir.path()).expect("opens");
        // More than any disk has.
        let limits = Limits { disk_floor_percent: 101, disk_floor_bytes: u64::MAX, ..Limits::default() };
        let mut room = Room::new(dir.path(), &limits);
        room.make(&file).expect_err("is looked at");
        room.write(&file, EVERY - 1).expect("is not looked at again so soon");
        room.make(&file).expect_err("but by now");
        room.require(&file, 1).expect_err("and whenever much is taken at once");
    }
}
