//! Why a pull failed.

use crate::core::digest::Digest;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::fetch::FetchError;
use crate::resolve::ResolveError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

use super::mismatch::Refused;

/// A pull that did not happen. Nothing of it is visible; partial blobs are kept.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The reference did not lead to a manifest, or the image was refused.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A blob could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The destination failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// What the image starts does not run here.
    #[error("{} does not run on this node: {}", .0.mismatch.image, .0.mismatch)]
    Mismatch(Box<Refused>),
    /// The user interrupted it.
    #[error("interrupted; what was downloaded is kept, and the same command goes on from there")]
    Cancelled,
    /// The store lost a document between writing and reading it.
    #[error("{0} was stored and is gone again: something else is deleting content")]
    Lost(Digest),
}

impl PullError {
    /// The destination failed, and neither the image nor its registry.
    #[must_use]
    pub fn is_about_the_store(&self) -> bool {
        match self {
            Self::Store(_) | Self::Resolve(ResolveError::Store(_)) | Self::Unpack(UnpackError::Store(_)) => true,
            Self::Fetch(error) | Self::Resolve(ResolveError::Fetch(error)) => error.is_local(),
            _ => false,
        }
    }

    fn inner(&self) -> Option<&dyn Classify> {
        match self {
            Self::Resolve(error) => Some(error),
            Self::Fetch(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Unpack(error) => Some(error),
            Self::Mismatch(_) | Self::Cancelled | Self::Lost(_) => None,
        }
    }
}

impl Classify for PullError {
    fn kind(&self) -> Kind {
        match self {
            Self::Mismatch(_) => Kind::PlatformMismatch,
            Self::Cancelled => Kind::Cancelled,
            Self::Lost(_) => Kind::StoreFailed,
            _ => self.inner().map_or(Kind::Internal, Classify::kind),
        }
    }

    fn blame(&self) -> Blame {
        self.inner().map_or_else(|| self.kind().blame(), Classify::blame)
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Mismatch(refused) => {
                let advice = refused.advice.as_deref().unwrap_or("ask the publisher for a build that runs here");
                Some(format!("{advice}; --allow-mismatch pulls it all the same"))
            }
            _ => self.inner().and_then(Classify::hint),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        self.inner().map_or(&[], Classify::attempts)
    }
}
