//! Why an archive cannot be read.

use crate::core::error::{Attempt, Blame, Classify, Kind};

/// What is wrong with the archive itself. Offsets count from its first byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header or map that no reader of the reference takes.
    #[error("no valid tar archive: {reason} at byte {offset}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
        /// Where the faulty block starts.
        offset: u64,
    },
    /// The stream ends within a header or a file.
    #[error("no valid tar archive: it ends inside {inside} at byte {offset}")]
    Truncated {
        /// What the end cuts through.
        inside: &'static str,
        /// How long the stream is.
        offset: u64,
    },
    /// More than [`crate::core::limits::Limits`] allows.
    #[error("the archive is over a limit: {what} of more than {limit} bytes")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
}

impl Classify for Fault {
    fn kind(&self) -> Kind {
        Kind::InvalidContent
    }

    fn hint(&self) -> Option<String> {
        Some("the publisher has to rebuild and push this image; no retry will help".into())
    }
}

/// Why reading an archive into a [`Sink`](super::Sink) stopped.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError<E> {
    /// The archive is at fault.
    #[error(transparent)]
    Archive(Fault),
    /// Whoever took the entries failed.
    #[error(transparent)]
    Sink(E),
}

impl<E> From<Fault> for ArchiveError<E> {
    fn from(fault: Fault) -> Self {
        Self::Archive(fault)
    }
}

impl<E: Classify + 'static> Classify for ArchiveError<E> {
    fn kind(&self) -> Kind {
        match self {
            Self::Archive(fault) => fault.kind(),
            Self::Sink(error) => error.kind(),
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Archive(fault) => fault.blame(),
            Self::Sink(error) => error.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Archive(fault) => fault.hint(),
            Self::Sink(error) => error.hint(),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Archive(_) => &[],
            Self::Sink(error) => error.attempts(),
        }
    }
}
