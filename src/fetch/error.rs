//! Why something could not be fetched: the last cause, and every attempt before it.

use std::sync::Arc;
use std::time::Duration;

use crate::core::digest::{Digest, Mismatch};
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::core::manifest::ManifestError;
use crate::registry::{Reason, RegistryError, SizeClaim, Stage};
use crate::store::StoreError;
use crate::store::staging::PartialError;

/// A fetch that failed for good. Cheap to clone, since everybody who waited for the same blob
/// hears of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Every host failed, or one in a way that no other mends.
    #[error("cannot fetch {what}: {}", at_host(.host.as_deref(), .cause))]
    Failed {
        /// What was wanted: a reference, or the digest of what an image consists of.
        what: String,
        /// The last host that was asked, if any was.
        host: Option<String>,
        /// Every attempt, oldest first.
        attempts: Vec<Attempt>,
        /// The last failure.
        cause: Arc<Cause>,
    },
    /// No host may be asked at all.
    #[error("no host may be asked for {what}: the hosts.toml of this registry grants none of them the capability")]
    NoHost {
        /// What was wanted.
        what: String,
    },
}

/// Names the host, unless the cause does so itself or the host has nothing to do with it.
fn at_host(host: Option<&str>, cause: &Cause) -> String {
    match (host, cause) {
        (Some(host), Cause::Mismatch(_) | Cause::Document(_)) => format!("{host}: {cause}"),
        _ => cause.to_string(),
    }
}

/// Every host has the blob with another size than the manifest says: the bytes are where they
/// belong, and the manifest is wrong about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the manifest says that it has {expected} bytes, and every host that it has {announced}")]
pub struct WrongSize {
    /// The descriptor's, in bytes.
    pub expected: u64,
    /// The hosts', in bytes.
    pub announced: u64,
}

impl Classify for WrongSize {
    fn kind(&self) -> Kind {
        Kind::InvalidContent
    }

    fn hint(&self) -> Option<String> {
        Some("the image cannot be pulled from anywhere; tell who published it, and use another tag meanwhile".into())
    }
}

/// How one attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The registry or the way to it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The bytes.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The document.
    #[error(transparent)]
    Document(#[from] ManifestError),
    /// The manifest that names the blob.
    #[error(transparent)]
    WrongSize(#[from] WrongSize),
    /// This node's disk or store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PartialError> for Cause {
    fn from(error: PartialError) -> Self {
        match error {
            PartialError::Store(error) => Self::Store(error),
            PartialError::Mismatch(error) => Self::Mismatch(error),
        }
    }
}

impl Cause {
    fn classified(&self) -> &dyn Classify {
        match self {
            Self::Registry(error) => error,
            Self::Mismatch(error) => error,
            Self::Document(error) => error,
            Self::WrongSize(error) => error,
            Self::Store(error) => error,
        }
    }

    /// How long the registry asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Registry(error) => error.retry_after(),
            _ => None,
        }
    }
}

impl Cause {
    /// The host can serve fewer connections than there were, or not all of them.
    pub(super) fn is_overload(&self) -> bool {
        match self {
            Self::Registry(error) => {
                let is_reached = matches!(error.stage(), Stage::Request | Stage::Body);
                (is_reached && self.is_silence())
                    || error.status().is_some_and(|status| matches!(status.as_u16(), 429 | 503))
            }
            _ => false,
        }
    }

    /// Nothing came, or as good as nothing, for as long as there was patience.
    pub(super) fn is_silence(&self) -> bool {
        let Self::Registry(error) = self else { return false };
        matches!(error.reason(), Reason::Stalled { .. } | Reason::Timeout { .. })
    }

    /// The document has more bytes than were to be read.
    pub(super) fn is_too_large(&self) -> bool {
        matches!(self, Self::Registry(error) if matches!(error.reason(), Reason::TooLarge { .. }))
    }

    /// The size that the manifest says and another one that the host announces.
    pub(super) fn other_size(&self) -> Option<WrongSize> {
        let Self::Registry(error) = self else { return None };
        match error.reason() {
            Reason::Size { expected, claim: SizeClaim::Announced(announced) } => {
                Some(WrongSize { expected: *expected, announced: *announced })
            }
            _ => None,
        }
    }

    /// This node failed, and no host can help.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl Classify for Cause {
    fn kind(&self) -> Kind {
        self.classified().kind()
    }

    fn blame(&self) -> Blame {
        self.classified().blame()
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Mismatch(_) => Some(
                "the registry or a proxy before it sends bytes that are not the published ones; \
                 try another mirror, and tell who runs this one"
                    .into(),
            ),
            _ => self.classified().hint(),
        }
    }
}

impl FetchError {
    /// A refusal that needed no attempt.
    pub(super) fn refused(what: String, cause: Cause) -> Self {
        Self::Failed { what, host: None, attempts: Vec::new(), cause: Arc::new(cause) }
    }

    /// This node failed, and no host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Failed { cause, .. } if cause.is_local())
    }

    /// How long the last host asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed { cause, .. } => cause.retry_after(),
            Self::NoHost { .. } => None,
        }
    }
}

impl Classify for FetchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Failed { cause, .. } => cause.kind(),
            Self::NoHost { .. } => Kind::InvalidConfiguration,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Failed { cause, .. } => cause.blame(),
            Self::NoHost { .. } => Blame::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { what, cause, .. } if cause.kind() == Kind::NotFound && what.parse::<Digest>().is_ok() => Some(
                "the image names it, and the registry does not have it: its push did not end, or somebody removed it                  there; push the image again, or pull from another mirror"
                    .into(),
            ),
            Self::Failed { cause, .. } => cause.hint(),
            Self::NoHost { .. } => Some(
                "grant \"pull\" and \"resolve\", or \"push\" to be pushed to, to a host in hosts.toml; --mirror names \
                     another host to pull from"
                    .into(),
            ),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Failed { attempts, .. } => attempts,
            Self::NoHost { .. } => &[],
        }
    }
}
