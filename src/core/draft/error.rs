//! Why an index cannot be made so.

use crate::core::error::{Blame, Classify, Kind};
use crate::core::manifest::ManifestError;
use crate::core::platform::Platform;

/// A change that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// What should be edited is malformed, or what is added to it.
    #[error(transparent)]
    Document(#[from] ManifestError),
    /// The root is one image.
    #[error("it is a single image and no index, so that there are no entries to change")]
    NotAnIndex,
    /// There is no such entry.
    #[error("the index has no entry {at}")]
    NoEntry {
        /// Its position, from 0.
        at: usize,
    },
    /// The same child for the same platform.
    #[error("entry {at} lists the same manifest for the same platform already")]
    Listed {
        /// Which, from 0.
        at: usize,
    },
    /// Not the JSON of a platform.
    #[error("a platform is malformed: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// An operating system without an architecture, or the other way round.
    #[error("a platform needs an operating system and an architecture, and this has not both: {platform}")]
    Incomplete {
        /// What there is.
        platform: String,
    },
    /// No client would match it.
    #[error("{platform} is not written into an index: {why}")]
    Wrong {
        /// What was asked for.
        platform: Box<Platform>,
        /// What is wrong with it.
        why: String,
        /// What was meant, where that can be told.
        right: Option<Box<Platform>>,
    },
}

impl Classify for DraftError {
    fn kind(&self) -> Kind {
        match self {
            Self::Document(error) => error.kind(),
            _ => Kind::InvalidArgument,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Document(error) => error.blame(),
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Document(error) => error.hint(),
            Self::NotAnIndex => {
                Some("make an index of it with: lighterman manifest create REF CHILD[=PLATFORM]...".into())
            }
            Self::NoEntry { .. } => Some("lighterman manifest inspect REF shows the entries, counted from 0".into()),
            Self::Listed { .. } => Some("once is enough: leave the other one out".into()),
            Self::Malformed { .. } => {
                Some("it has the fields os and architecture, and maybe variant, os.version and os.features".into())
            }
            Self::Incomplete { .. } => Some("name both with --os and --arch, or clear both".into()),
            Self::Wrong { right: Some(right), .. } => Some(format!("the right name is {right}")),
            Self::Wrong { right: None, .. } => None,
        }
    }
}
