//! How much a layer may take: of the disk, of its inodes, and of our memory.

use super::TreeError;
use crate::core::limits::Limits;
use crate::fetch::Memory;

/// Bytes that one remembered path costs beside its own: in the map, in what comes of that, and
/// for the group that it may pass on; rounded up.
const REMEMBERED: u64 = 128;
/// Bytes that a hash costs in a set that has just doubled, while the old one is still there.
const HASHED: u64 = 32;
/// Bytes that stand before a path when containerd opens it in a snapshot, at the least. What
/// Linux would not open then, containerd cannot unpack.
const SNAPSHOT: usize = 80;
/// Bytes of a path that Linux opens, with the NUL at its end (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// What a tree has taken so far.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    made: u64,
    entries: u64,
    bytes: u64,
    memory: Memory,
}

impl Budget {
    pub(super) fn new(limits: &Limits, memory: Memory) -> Self {
        Self { limits: *limits, made: 0, entries: 0, bytes: 0, memory }
    }

    /// Entries so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of files so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory that was taken.
    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }

    /// Takes one entry.
    pub(super) fn enter(&mut self) -> Result<(), TreeError> {
        self.entries += 1;
        self.make()
    }

    /// Takes one inode.
    pub(super) fn make(&mut self) -> Result<(), TreeError> {
        self.made += 1;
        within(self.made, self.limits.layer_entries, "files and directories")
    }

    /// Takes the content of one file.
    pub(super) fn write(&mut self, size: u64) -> Result<(), TreeError> {
        self.bytes = self.bytes.saturating_add(size);
        within(self.bytes, self.limits.layer_inflated_bytes, "bytes in files")
    }

    /// Takes the memory for one path.
    pub(super) fn remember(&mut self, path: &[u8]) -> Result<(), TreeError> {
        self.take(path.len() as u64 + REMEMBERED)
    }

    /// Gives the memory for one path back.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.memory.give_back(path.len() as u64 + REMEMBERED);
    }

    /// Takes the memory for one hash.
    pub(super) fn hash(&mut self) -> Result<(), TreeError> {
        self.take(HASHED)
    }

    fn take(&mut self, bytes: u64) -> Result<(), TreeError> {
        if self.memory.take(bytes) { Ok(()) } else { Err(TreeError::Memory) }
    }
}

fn within(taken: u64, limit: u64, what: &'static str) -> Result<(), TreeError> {
    if taken > limit { Err(TreeError::TooLarge { what, limit }) } else { Ok(()) }
}

/// Whether a path is short enough to be opened in a snapshot.
pub(super) fn fits(parent: &[u8], base: &[u8]) -> bool {
    SNAPSHOT + parent.len() + 1 + base.len() < PATH_MAX
}
