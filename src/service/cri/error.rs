//! Why PullImage did not bring an image.

use std::time::Duration;

use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::pulls::PullsError;

/// How long containerd's CRI may take to show an image. It hears of one by an event, within
/// milliseconds; one that it could not work on, it looks at again after a second.
pub(super) const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The pull itself.
    #[error(transparent)]
    Pull(#[from] PullsError),
    /// An annotation that is none of its values.
    #[error("the pod annotation {name} is {value:?}, and can be {takes} only")]
    Annotation {
        /// Its name.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it may be set to.
        takes: &'static str,
    },
    /// All of it is there, and containers cannot be made of it.
    #[error("it is in containerd, but containerd's CRI does not show it as {id:?} after {} s", SHOWN_WITHIN.as_secs())]
    NotShown {
        /// The image ID.
        id: String,
    },
}

impl Classify for CriError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pull(error) => error.kind(),
            Self::Annotation { .. } => Kind::InvalidArgument,
            Self::NotShown { .. } => Kind::StoreFailed,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Pull(error) => error.blame(),
            Self::Annotation { .. } | Self::NotShown { .. } => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Pull(error) => error.hint(),
            Self::Annotation { .. } => Some("correct the pod's metadata.annotations, or leave it out".into()),
            Self::NotShown { .. } => Some("look into containerd's log for what it says of the image".into()),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Pull(error) => error.attempts(),
            Self::Annotation { .. } | Self::NotShown { .. } => &[],
        }
    }
}
