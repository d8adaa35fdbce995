//! Why a daemon did not pull.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::core::mismatch::Mismatch;
use crate::core::platform::PlatformError;
use crate::diagnose::DiagnosisError;
use crate::pull::PullError;
use crate::registry::HostsError;
use crate::resolve::ResolveError;
use crate::store::StoreError;

/// A pull or a question that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PullsError {
    /// The platform that was asked for is none.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// It cannot be said which hosts to ask.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// The reference did not lead to a manifest.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The image cannot be diagnosed.
    #[error(transparent)]
    Diagnosis(#[from] DiagnosisError),
    /// containerd cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pull itself. Shared, since all who waited for it hear of it.
    #[error(transparent)]
    Pull(Arc<PullError>),
    /// Every attempt was still being made, and nothing came of them.
    #[error("the pull made no progress for {} s and was given up; what was downloaded is kept", .after.as_secs())]
    NoProgress {
        /// How long.
        after: Duration,
    },
    /// A diagnosis that others wait for the end of.
    #[error("the image was looked into for {} s, and not enough of it came to tell", .after.as_secs())]
    TooSlow {
        /// How long.
        after: Duration,
    },
}

impl From<PullError> for PullsError {
    fn from(error: PullError) -> Self {
        Self::Pull(Arc::new(error))
    }
}

impl PullsError {
    /// The same for those who waited for a pull; `None` where it says nothing about theirs.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::Pull(error) if !matches!(**error, PullError::Cancelled) => Some(Self::Pull(Arc::clone(error))),
            Self::NoProgress { after } => Some(Self::NoProgress { after: *after }),
            _ => None,
        }
    }

    /// What is wrong with an image that was refused for the program that it starts.
    pub(super) fn mismatch(&self) -> Option<&Mismatch> {
        match self {
            Self::Pull(error) => match &**error {
                PullError::Mismatch(refused) => Some(&refused.mismatch),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whoever does not unpack would not have met with it.
    pub(super) fn is_about_unpacking(&self) -> bool {
        matches!(self, Self::Pull(error) if matches!(**error, PullError::Unpack(_) | PullError::Mismatch(_)))
    }

    /// containerd, or the way to it, failed, and neither the image nor its registry.
    #[must_use]
    pub fn is_about_the_store(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Pull(error) => error.is_about_the_store(),
            _ => false,
        }
    }

    fn inner(&self) -> Option<&dyn Classify> {
        match self {
            Self::Platform(error) => Some(error),
            Self::Hosts(error) => Some(error),
            Self::Resolve(error) => Some(error),
            Self::Diagnosis(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Pull(error) => Some(&**error),
            Self::NoProgress { .. } | Self::TooSlow { .. } => None,
        }
    }
}

impl Classify for PullsError {
    fn kind(&self) -> Kind {
        self.inner().map_or(Kind::DeadlineExceeded, Classify::kind)
    }

    fn blame(&self) -> Blame {
        self.inner().map_or_else(|| self.kind().blame(), Classify::blame)
    }

    fn hint(&self) -> Option<String> {
        match self.inner() {
            Some(inner) => inner.hint(),
            None if matches!(self, Self::TooSlow { .. }) => {
                Some("ask with a smaller --budget, or in a process of your own: --address none".into())
            }
            None => Some("pull again, it goes on from there; look at the log for what the registry's hosts did".into()),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        self.inner().map_or(&[], Classify::attempts)
    }
}
