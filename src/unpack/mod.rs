//! Layers to snapshots: what makes a fetched image ready to run.
//!
//! A layer is applied on top of the ones below it and named by its chain ID, and only
//! after the tar inside it proved to be the one that the config names (its diffID). The
//! plan is pure; who applies is a matter of the store: here [`containerd`], through
//! containerd's own services. This room neither fetches nor names images.
//!
//! Specification: OCI image-spec, config.md, "Layer DiffID" and "Layer ChainID".

pub mod archive;
#[cfg(feature = "containerd")]
pub mod containerd;
#[cfg(feature = "containerd")]
mod plan;
pub mod tree;

use std::fmt;

use async_trait::async_trait;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::core::manifest::{ImageConfig, Manifest};
use crate::store::{Lease, StoreError};

/// One image whose content is whole in the store.
#[derive(Debug, Clone, Copy)]
pub struct Unpackable<'a> {
    /// Names the layers, lowest first, and the config blob.
    pub manifest: &'a Manifest,
    /// The content of that config blob.
    pub config: &'a ImageConfig,
}

/// How a layer got to be a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was unpacked now.
    Applied,
    /// Its snapshot was there already.
    Present,
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
    /// Unpacks an image whose blobs are all in the store and under `lease`. Returns the chain
    /// ID of the top layer; none for an image without layers.
    async fn unpack(
        &self,
        lease: &Lease,
        image: Unpackable<'_>,
        observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
    ) -> Result<Option<Digest>, UnpackError>;
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
    /// A layer that is no tar.
    #[error("layer {digest} has the media type {media_type}, which is no tar that can be unpacked")]
    UnknownLayer {
        /// The layer.
        digest: Digest,
        /// What the manifest says it is.
        media_type: MediaType,
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
}

impl Classify for UnpackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::UnknownLayer { .. } => Kind::Unsupported,
            Self::LayerCount { .. } | Self::DiffId { .. } | Self::Archive { .. } => Kind::InvalidContent,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::UnknownLayer { .. } => {
                "the image is an artifact or encrypted; it can be pulled with --to oci:DIR".into()
            }
            _ => "the publisher has to rebuild and push this image; no retry will help".into(),
        })
    }
}
