//! How much a layer may take: of the disk, of its inodes, and of our memory.

use super::TreeError;
use crate::core::limits::Limits;

/// Bytes that one remembered path costs beside its own, rounded up.
const REMEMBERED: u64 = 96;
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
    remembered: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, made: 0, entries: 0, bytes: 0, remembered: 0 }
    }

    /// Entries so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of files so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
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
        self.remembered += path.len() as u64 + REMEMBERED;
        within(self.remembered, self.limits.tree_bytes, "bytes in names of directories")
    }
}

fn within(taken: u64, limit: u64, what: &'static str) -> Result<(), TreeError> {
    if taken > limit { Err(TreeError::TooLarge { what, limit }) } else { Ok(()) }
}

/// Whether a path is short enough to be opened in a snapshot.
pub(super) fn fits(parent: &[u8], base: &[u8]) -> bool {
    SNAPSHOT + parent.len() + 1 + base.len() < PATH_MAX
}
