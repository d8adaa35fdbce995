//! Layers to snapshots: what makes a fetched image ready to run.
//!
//! A layer is unpacked into a private tree while its bytes arrive: [`inflate`], then
//! [`archive`] (what a tar says), then [`tree`] (what that makes of a directory), put together
//! in [`layer`]. It becomes a snapshot on top of the ones below it, named by its chain ID,
//! only after the blob's digest held and the tar inside proved to be the one that the
//! config names (its diffID); see [`containerd`]. This room neither fetches nor names images.
//!
//! Specification: OCI image-spec, config.md, "Layer DiffID" and "Layer ChainID".

pub mod archive;
#[cfg(feature = "containerd")]
pub mod containerd;
pub mod inflate;
pub mod layer;
pub mod options;
#[cfg(feature = "containerd")]
mod plan;
pub mod tree;
pub mod workspace;

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Blame, Classify, Kind};
use crate::core::manifest::{ImageConfig, Manifest};
use crate::fetch::Arrival;
use crate::store::staging::FollowError;
use crate::store::{Lease, StoreError};
use archive::ArchiveError;
use layer::LayerError;
use tree::TreeError;

/// One image whose config is in the store, and whose layers are there or on their way.
#[derive(Debug, Clone, Copy)]
pub struct Unpackable<'a> {
    /// Names the layers, lowest first, and the config blob.
    pub manifest: &'a Manifest,
    /// The content of that config blob.
    pub config: &'a ImageConfig,
    /// How each layer of the manifest is getting into the store.
    pub arrivals: &'a [watch::Receiver<Arrival>],
}

/// How a layer got to be a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// We extracted it, and put it in place.
    Grafted,
    /// containerd extracted it.
    Applied,
    /// Its snapshot was there already.
    Present,
}

/// An image whose layers are snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The chain ID of its top layer, the name of its snapshot.
    pub chain_id: Digest,
    /// Where its files are, if that can be told.
    pub stack: Option<Stack>,
}

/// Directories on this machine that make up an image's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Absolute paths, that of the top layer first. A single one is the whole root; of several,
    /// each is one layer of an overlay.
    pub directories: Vec<PathBuf>,
    /// Which extended attributes overlayfs goes by in them.
    pub attributes: Attributes,
}

/// Whose extended attributes an overlay goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// `trusted.overlay.*`.
    Trusted,
    /// `user.overlay.*`, of an overlay that is mounted with `userxattr`.
    User,
}

/// Progress: one layer is done.
#[derive(Debug, Clone, Copy)]
pub struct LayerUnpacked<'a> {
    /// Position in the manifest, from 0.
    pub index: usize,
    /// The layer.
    pub layer: &'a Descriptor,
    /// Whether there was anything to do.
    pub outcome: Outcome,
}

/// What makes images in one store ready to run.
#[async_trait]
pub trait Unpack: fmt::Debug + Send + Sync {
    /// Whether an image is unpacked already, and will stay so for as long as its config does.
    async fn is_unpacked(&self, manifest: &Manifest, config: &ImageConfig) -> Result<bool, UnpackError>;

    /// Where the files of an image are that is unpacked already; `None` where that cannot be told.
    async fn stack(&self, manifest: &Manifest, config: &ImageConfig) -> Result<Option<Stack>, UnpackError>;

    /// Unpacks an image under `lease`, following its layers as they arrive. Comes back once all of
    /// them are in the store and unpacked; with nothing for an image without layers. Whoever lets them arrive ends this by dropping it: a layer that never
    /// comes is waited for.
    async fn unpack(
        &self,
        lease: &Lease,
        image: Unpackable<'_>,
        observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
    ) -> Result<Option<Unpacked>, UnpackError>;
}

/// Why an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The store or its services failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Manifest and config are not of one image.
    #[error("the manifest has {layers} layers, but its config names {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// Between the layers are things that are none, and the config knows of the layers alone.
    #[error(
        "{others} of what the manifest has for layers are none by their media types, which lighterman does not unpack"
    )]
    OddLayers {
        /// How many.
        others: usize,
    },
    /// A layer that is no tar, for which containerd has no processor either, or one that fails.
    #[error(
        "layer {digest} has the media type {media_type}, which lighterman does not unpack, and neither does containerd: {reason}"
    )]
    UnknownLayer {
        /// The layer.
        digest: Digest,
        /// What the manifest says it is.
        media_type: MediaType,
        /// In containerd's words.
        reason: String,
    },
    /// The layer holds another file system than the config promises.
    #[error("layer {layer} unpacks to {actual}, but the config promises {expected}")]
    DiffId {
        /// The layer.
        layer: Digest,
        /// The config's diffID.
        expected: Digest,
        /// As it was unpacked, in the words of who unpacked it.
        actual: String,
    },
    /// The bytes are the publisher's and still no archive.
    #[error("layer {layer} cannot be unpacked: {reason}")]
    Archive {
        /// The layer.
        layer: Digest,
        /// What the decompressor or the tar reader says.
        reason: String,
    },
    /// The files of a layer cannot be written here.
    #[error("layer {layer} cannot be unpacked: {source}")]
    Tree {
        /// The layer.
        layer: Digest,
        /// What could not be made.
        source: TreeError,
    },
    /// Nobody lets the layers arrive any more.
    #[error("the download of a layer ended before it was whole")]
    Abandoned,
}

impl UnpackError {
    /// What went wrong with one layer.
    #[must_use]
    pub fn of_layer(layer: &Digest, error: LayerError) -> Self {
        let layer = layer.clone();
        match error {
            LayerError::Follow(FollowError::Io(source)) | LayerError::Read(source) => {
                StoreError::io("read", Path::new(&layer.to_string()), source).into()
            }
            LayerError::Follow(_) | LayerError::CutOff => Self::Abandoned,
            LayerError::Store(error) => error.into(),
            LayerError::Inflate(error) => Self::Archive { layer, reason: error.to_string() },
            LayerError::Archive(ArchiveError::Sink(source)) | LayerError::Tree(source) => Self::Tree { layer, source },
            LayerError::Inflated { .. } => Self::Archive { layer, reason: error.to_string() },
            LayerError::Archive(error) => Self::Archive { layer, reason: error.to_string() },
            LayerError::DiffId { expected, actual } => Self::DiffId { layer, expected, actual: actual.to_string() },
        }
    }
}

impl Classify for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::UnknownLayer { .. } | Self::OddLayers { .. } => Kind::Unsupported,
            Self::LayerCount { .. } | Self::DiffId { .. } | Self::Archive { .. } => Kind::InvalidContent,
            Self::Tree { source, .. } => source.kind(),
            Self::Abandoned => Kind::Internal,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Store(error) => error.blame(),
            Self::Tree { source, .. } => source.blame(),
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Tree { source, .. } => return source.hint(),
            Self::Abandoned => return None,
            Self::OddLayers { .. } => {
                "newer containerds leave them out when they pull; --no-unpack and --to oci:DIR bring all of it".into()
            }
            Self::UnknownLayer { .. } => {
                "an encrypted image needs a stream processor and its key in containerd's configuration; \
                 an artifact can be pulled with --no-unpack or --to oci:DIR"
                    .into()
            }
            _ => "the publisher has to rebuild and push this image; no retry will help".into(),
        })
    }
}
