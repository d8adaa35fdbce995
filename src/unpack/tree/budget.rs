//! How much a layer may take: of the disk, of its inodes, and of our memory; and how much of the
//! first two all layers of an image may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What the trees of one image take together. Clones count as one.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    bytes: AtomicU64,
    made: AtomicU64,
}

impl Account {
    /// For one more tree.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { image: self.clone(), bytes: 0, made: 0, stays: false }
    }
}

/// What one tree has of its image's account. It is given back when this is dropped, since the tree
/// is removed then, unless it was said to stay.
#[derive(Debug)]
pub struct Share {
    image: Account,
    bytes: u64,
    made: u64,
    stays: bool,
}

impl Share {
    /// The tree is proven: what it takes is taken for good.
    pub(in crate::unpack) fn stay(&mut self) {
        self.stays = true;
    }

    fn write(&mut self, size: u64, limits: &Limits) -> Result<(), TreeError> {
        let bytes = self.bytes.saturating_add(size);
        within(bytes, limits.layer_inflated_bytes, LAYER, "bytes in files")?;
        self.bytes = bytes;
        let all = self.image.0.bytes.fetch_add(size, Ordering::Relaxed) + size;
        within(all, limits.image_inflated_bytes, IMAGE, "bytes in files")
    }

    fn make(&mut self, limits: &Limits) -> Result<(), TreeError> {
        within(self.made + 1, limits.layer_entries, LAYER, "files and directories")?;
        self.made += 1;
        let all = self.image.0.made.fetch_add(1, Ordering::Relaxed) + 1;
        within(all, limits.image_entries, IMAGE, "files and directories")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.stays {
            self.image.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            self.image.0.made.fetch_sub(self.made, Ordering::Relaxed);
        }
    }
}

/// What is over a limit.
const LAYER: &str = "the layer";
const IMAGE: &str = "the image, in all its layers,";

/// What a tree has taken so far.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    entries: u64,
    share: Share,
    memory: Memory,
}

impl Budget {
    pub(super) fn new(limits: &Limits, (share, memory): (Share, Memory)) -> Self {
        Self { limits: *limits, entries: 0, share, memory }
    }

    /// Entries so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of files so far.
    pub(super) fn bytes(&self) -> u64 {
        self.share.bytes
    }

    /// What was taken: of the image's account, and of memory.
    pub(super) fn into_parts(self) -> (Share, Memory) {
        (self.share, self.memory)
    }

    /// Takes one entry.
    pub(super) fn enter(&mut self) -> Result<(), TreeError> {
        self.entries += 1;
        self.make()
    }

    /// Takes one inode.
    pub(super) fn make(&mut self) -> Result<(), TreeError> {
        self.share.make(&self.limits)
    }

    /// Takes the content of one file.
    pub(super) fn write(&mut self, size: u64) -> Result<(), TreeError> {
        self.share.write(size, &self.limits)
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

fn within(taken: u64, limit: u64, whose: &'static str, what: &'static str) -> Result<(), TreeError> {
    if taken > limit { Err(TreeError::TooLarge { whose, what, limit }) } else { Ok(()) }
}

/// Whether a path is short enough to be opened in a snapshot.
pub(super) fn fits(parent: &[u8], base: &[u8]) -> bool {
    SNAPSHOT + parent.len() + 1 + base.len() < PATH_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Budget as Buffers;

    #[test]
    fn all_layers_of_an_image_count_together_and_trees_that_are_gone_do_not() {
        let limits = Limits { image_inflated_bytes: 10, image_entries: 3, ..Limits::default() };
        let image = Account::default();
        let layer = || Budget::new(&limits, (image.share(), Buffers::new(limits.buffer_bytes).memory()));
        let (mut first, mut second) = (layer(), layer());
        first.write(6).expect("fits");
        first.make().expect("fits");
        second.write(4).expect("fits beside it");
        let over = second.write(1).expect_err("is too much for both");
        assert_eq!(over.to_string(), "the image, in all its layers, is over a limit: more than 10 bytes in files");
        // Its tree goes, and so does what it took.
        drop(second);
        let mut again = layer();
        again.write(4).expect("is free again");
        again.make().expect("fits");
        again.make().expect("fits");
        let over = again.make().expect_err("is too many for both");
        assert!(matches!(over, TreeError::TooLarge { whose: IMAGE, limit: 3, .. }), "{over}");
        drop(again);
        let (mut share, _) = first.into_parts();
        share.stay();
        drop(share);
        layer().write(5).expect_err("what is proven stays taken");
        layer().write(4).expect("and no more than that");
        Budget::new(&limits, (Account::default().share(), Buffers::new(limits.buffer_bytes).memory()))
            .write(10)
            .expect("another image is on its own");
    }

    #[test]
    fn sizes_that_no_disk_has_are_refused_without_being_counted() {
        let limits = Limits::default();
        let image = Account::default();
        let mut layer = Budget::new(&limits, (image.share(), Buffers::new(limits.buffer_bytes).memory()));
        layer.write(u64::MAX).expect_err("is over the layer's own limit");
        layer.write(u64::MAX).expect_err("again");
        layer.write(limits.layer_inflated_bytes).expect("nothing was taken");
    }
}
