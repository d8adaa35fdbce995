//! Why a reference did not resolve, or its image was refused.

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::core::manifest::ManifestError;
use crate::core::platform::Platform;
use crate::core::select::Inner;
use crate::fetch::FetchError;
use crate::store::StoreError;

/// A reference that did not lead to a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A document could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not what an image has.
    #[error("cannot use {what}: {source}")]
    Document {
        /// Reference or digest.
        what: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// An entry was announced as a manifest and is an index.
    #[error("{digest} was announced as a manifest, and is an index")]
    NotAManifest {
        /// Which.
        digest: Digest,
    },
    /// The store has not got it, and nobody else is asked.
    #[error("{digest} is not in the store")]
    NotStored {
        /// Which.
        digest: Digest,
    },
    /// The image has more documents than are read.
    #[error("{digest} was not read: the image has too many documents")]
    Unread {
        /// Which.
        digest: Digest,
    },
    /// The image has nothing for the platform.
    #[error("{reference} has no manifest for {wanted}; it has {}", list(.available))]
    NoMatch {
        /// The image.
        reference: String,
        /// What was asked for, or what this node is.
        wanted: Platform,
        /// Every platform that the image has, in its order.
        available: Vec<String>,
        /// What to do instead.
        advice: Option<String>,
    },
    /// The index lists nothing that is an image.
    #[error("{reference} is an index without any image")]
    Empty {
        /// The image.
        reference: String,
    },
    /// Its documents are more than a node should keep in memory.
    #[error("the indexes and manifests of {reference} have more than {limit} bytes ({} MiB), over the limit", limit >> 20)]
    TooManyDocuments {
        /// The image.
        reference: String,
        /// [`Limits::documents_bytes`](crate::core::limits::Limits::documents_bytes).
        limit: u64,
    },
    /// The image is for another platform, and no index offers a choice.
    #[error("{reference} {claim}, and {reason}")]
    Mismatch {
        /// The image.
        reference: String,
        /// What its config names, normalised.
        image: Platform,
        /// What that is in words.
        claim: String,
        /// Why that will not do.
        reason: String,
        /// What to do instead.
        advice: Option<String>,
    },
    /// containerd's rule falls back to a platform that this node cannot execute.
    #[error("{reference} offers {image} at best, and {reason}")]
    CannotRun {
        /// The image.
        reference: String,
        /// What the rule chooses.
        image: Platform,
        /// Why it cannot run.
        reason: String,
    },
}

fn list(platforms: &[String]) -> String {
    if platforms.is_empty() { "no image at all".into() } else { platforms.join(", ") }
}

impl ResolveError {
    pub(super) fn unread(descriptor: &Descriptor) -> Self {
        Self::Unread { digest: descriptor.digest.clone() }
    }

    /// An entry that cannot be read because of itself; anything else stays an error.
    pub(super) fn spoils_entry(self) -> Result<Inner, Self> {
        match self.kind() {
            // Another client would find something in it, and perhaps choose that.
            _ if matches!(&self, Self::Document { source, .. } if source.is_ambiguous()) => Err(self),
            Kind::InvalidContent | Kind::Unsupported | Kind::NotFound | Kind::DigestMismatch => {
                Ok(Inner::Unusable(self.to_string()))
            }
            _ => Err(self),
        }
    }
}

impl Classify for ResolveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Fetch(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Document { source, .. } => source.kind(),
            Self::NotAManifest { .. } | Self::TooManyDocuments { .. } | Self::Unread { .. } => Kind::InvalidContent,
            Self::NotStored { .. } => Kind::NotFound,
            Self::Empty { .. } => Kind::NoMatchingPlatform,
            Self::NoMatch { .. } => Kind::NoMatchingPlatform,
            Self::Mismatch { .. } | Self::CannotRun { .. } => Kind::PlatformMismatch,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Fetch(error) => error.blame(),
            Self::Document { source, .. } => source.blame(),
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Document { source, .. } => source.hint(),
            Self::NotStored { .. } => Some("pull the image again; only what is missing is fetched".into()),
            Self::TooManyDocuments { .. } => Some(
                "name one manifest of it by its digest, or pull for fewer platforms; else the publisher has to make them \
                 smaller"
                    .into(),
            ),
            Self::NotAManifest { .. } | Self::Empty { .. } | Self::Unread { .. } => None,
            Self::NoMatch { advice, .. } | Self::Mismatch { advice, .. } => advice.clone(),
            Self::CannotRun { .. } => Some(
                "--allow-mismatch pulls it all the same; an image for this node's own architecture is what is missing"
                    .into(),
            ),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Fetch(error) => error.attempts(),
            _ => &[],
        }
    }
}
