//! Why an image of a store cannot be looked at.

use crate::core::digest::{Digest, Mismatch};
use crate::core::error::{Blame, Classify, Kind};
use crate::core::manifest::ManifestError;
use crate::diagnose::DiagnoseError;
use crate::store::StoreError;

/// Why an image could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No such name.
    #[error("{reference} is not in {store}; it has {}", if .names.is_empty() { "no images".to_owned() } else { .names.join(", ") })]
    NotHere {
        /// What was looked for.
        reference: String,
        /// Where.
        store: String,
        /// The names that are there.
        names: Vec<String>,
    },
    /// No names at all.
    #[error("{store} has no named images")]
    Empty {
        /// Where.
        store: String,
    },
    /// A blob that the image needs is missing.
    #[error("{digest} of {reference} is missing from {store}")]
    Missing {
        /// The blob.
        digest: Digest,
        /// The image.
        reference: String,
        /// Where it should be.
        store: String,
    },
    /// A blob is not what its name says.
    #[error("{reference} is damaged: {source}")]
    Damaged {
        /// The image.
        reference: String,
        /// How.
        source: Mismatch,
    },
    /// A document cannot be used.
    #[error("cannot use {digest}: {source}")]
    Document {
        /// Which.
        digest: Digest,
        /// Why.
        source: ManifestError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer cannot be read.
    #[error(transparent)]
    Layer(#[from] DiagnoseError),
    /// A blob cannot be read.
    #[error("cannot read {digest}: {source}")]
    Read {
        /// Which.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
}

impl Classify for InspectError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotHere { .. } | Self::Empty { .. } => Kind::NotFound,
            Self::Missing { .. } | Self::Read { .. } => Kind::StoreFailed,
            Self::Damaged { .. } => Kind::DigestMismatch,
            Self::Document { source, .. } => source.kind(),
            Self::Store(StoreError::Damaged(_)) => Kind::DigestMismatch,
            Self::Store(error) => error.kind(),
            Self::Layer(error) => error.kind(),
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::NotHere { .. } | Self::Empty { .. } => Blame::Caller,
            Self::Damaged { .. } => Blame::Node,
            Self::Store(error) => error.blame(),
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("pull the image again; only what is missing is fetched".into()),
            Self::Damaged { .. } => Some("remove the damaged blob and pull the image again".into()),
            Self::Store(error) => error.hint(),
            Self::Document { source, .. } => source.hint(),
            _ => None,
        }
    }
}
