//! What can be served: blobs in memory, and floods that are made while they are sent.

use bytes::Bytes;
use sha2::Digest as _;

use super::super::fixture::{Blob, noise};

/// A blob of any size that takes no memory to speak of: a block that is repeated. The block's
/// length has no factor in common with powers of two, so that no range looks like another.
#[derive(Debug, Clone)]
pub(crate) struct Flood {
    block: Bytes,
    pub(crate) size: usize,
    pub(crate) digest: String,
}

impl Flood {
    /// So many bytes of noise.
    pub(crate) fn new(size: usize) -> Self {
        const BLOCK: usize = (1 << 20) + 7;
        let mut flood = Self { block: noise(11, BLOCK).into(), size, digest: String::new() };
        let mut hash = sha2::Sha256::new();
        let mut at = 0;
        while at < size {
            let piece = flood.piece(at, size - at);
            hash.update(&piece);
            at += piece.len();
        }
        flood.digest = hash.finalize().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        flood
    }

    /// Bytes from `at` on: at least one and at most `most`.
    pub(crate) fn piece(&self, at: usize, most: usize) -> Bytes {
        let start = at % self.block.len();
        self.block.slice(start..(start + most).min(self.block.len()))
    }
}

/// Content with the headers that tell what it is.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: usize,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Memory(Bytes),
    Flood(Flood),
}

impl From<&Blob> for Content {
    fn from(blob: &Blob) -> Self {
        Self {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: blob.bytes.len(),
            source: Source::Memory(blob.bytes.clone()),
        }
    }
}

impl From<&Flood> for Content {
    fn from(flood: &Flood) -> Self {
        Self {
            media_type: "application/octet-stream".into(),
            digest: flood.digest.clone(),
            size: flood.size,
            source: Source::Flood(flood.clone()),
        }
    }
}

impl Content {
    /// Bytes from `at` on: at least one and at most `most`, which must be there.
    pub(super) fn piece(&self, at: usize, most: usize) -> Bytes {
        match &self.source {
            Source::Memory(bytes) => bytes.slice(at..at + most),
            Source::Flood(flood) => flood.piece(at, most),
        }
    }
}
