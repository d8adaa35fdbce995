//! How layers are unpacked, as a user may choose it.

use clap::ValueEnum;

/// How layers are unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Who extracts them.
    pub extractor: Extractor,
    /// When it starts.
    pub start: Start,
    /// Whether the trees are on disk before the image has a name.
    pub durability: Durability,
}

/// Who extracts layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Extractor {
    /// We do, where the snapshotter is containerd's overlayfs.
    #[default]
    Lighterman,
    /// containerd's Diff service, always.
    DiffService,
}

/// When the extraction of a layer starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Start {
    /// With its first bytes, into a private tree that goes if they turn out to be wrong.
    #[default]
    Arriving,
    /// Once the digest of the whole blob held.
    Verified,
}

/// Whether trees are written through to the disk; the more durable is the greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The kernel writes them when it likes, as with containerd's own pull.
    Cached,
    /// Before their snapshots are committed, so that a loss of power leaves none of empty files.
    #[default]
    Synced,
}
