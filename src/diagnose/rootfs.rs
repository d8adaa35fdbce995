//! The files of an image, as its programs would see them, wherever they are read from.
//!
//! Whoever looks for a program or its loader asks a [`RootFs`] and does not know whether the
//! layers stream in from a registry, lie in a store, or were unpacked already. What could not be
//! read is told as such: absence is only claimed where every layer was looked through.

use std::fmt;

use crate::core::digest::Digest;
use crate::core::extract::Extract;

use super::DiagnoseError;

mod binaries;
pub mod blobs;
pub mod directories;
pub mod interest;
mod layer;
pub mod layers;
mod order;
mod stream;
mod toc;
mod walk;
mod wanted;

/// The merged files of an image. Looking blocks.
pub trait RootFs {
    /// The first of `paths` that leads to something, through symbolic links that never leave the
    /// image. Paths are absolute. Asked together, because a layer that streams by shows each of
    /// them only once.
    ///
    /// # Errors
    /// [`DiagnoseError`] where a layer cannot be read; that there is no such file is no error.
    fn look(&mut self, paths: &[String]) -> Result<Look, DiagnoseError>;

    /// What the looking has cost so far.
    fn cost(&self) -> Cost;

    /// Another look costs next to nothing, because everything is on this machine.
    fn is_cheap(&self) -> bool {
        false
    }
}

/// What a directory is called among things that cannot be executed.
pub const A_DIRECTORY: &str = "a directory";

/// What looking for a file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A regular file.
    File(File),
    /// Something that cannot be executed, and what it is: a directory, a device.
    Other {
        /// The path that was asked for.
        asked: String,
        /// What is there.
        kind: &'static str,
    },
    /// None of the paths leads anywhere; all layers were looked through.
    Absent,
    /// A chain of symbolic links that does not end.
    Loop {
        /// The path that was asked for.
        asked: String,
    },
    /// It cannot be said: some of the layers were not read.
    NotRead(NotRead),
}

/// Why something was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRead {
    /// As many bytes as may be read for this were read.
    Budget {
        /// Bytes that would have been left to read.
        left: u64,
    },
    /// A layer of a type that is no tar, for one an encrypted one.
    Layer {
        /// Which.
        digest: Digest,
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { left } => write!(f, "the byte budget was used up, and {left} bytes are left unread"),
            Self::Layer { digest, reason } => write!(f, "layer {digest} cannot be read: {reason}"),
        }
    }
}

/// A regular file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path that was asked for.
    pub asked: String,
    /// Where it lies, all symbolic links resolved.
    pub path: String,
    /// The layer that brought its content.
    pub layer: Digest,
    /// Permission bits.
    pub mode: u32,
    /// Its content, as far as it was kept.
    pub content: Extract,
    /// The layer was read whole and its digest held. Otherwise the bytes are a stranger's word.
    pub verified: bool,
    /// Layers above, and names before, were all looked through. Otherwise another file may hide
    /// this one.
    pub certain: bool,
}

impl File {
    /// Somebody may execute it.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// What looking into an image cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of layers that came over the network.
    pub fetched: u64,
    /// Bytes of layers that were read from this machine.
    pub read: u64,
    /// Bytes of all layers of the image, as its manifest says.
    pub total: u64,
    /// Layers that were touched.
    pub layers: usize,
    /// Requests for parts of layers.
    pub requests: usize,
}
