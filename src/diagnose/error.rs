//! What can go wrong while looking into an image.

use std::io;

use crate::core::digest::Mismatch;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::fetch::FetchError;
use crate::resolve::ResolveError;
use crate::store::StoreError;
use crate::unpack::archive::Fault;

/// Why an image could not be diagnosed at all.
#[derive(Debug, thiserror::Error)]
pub enum DiagnosisError {
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
    /// Its documents cannot be read.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A layer cannot be reached.
    #[error(transparent)]
    Layer(#[from] DiagnoseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for DiagnosisError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotHere { .. } => Kind::NotFound,
            Self::Resolve(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::NotHere { .. } => Blame::Caller,
            Self::Resolve(error) => error.blame(),
            Self::Layer(error) => error.blame(),
            Self::Store(error) => error.blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotHere { .. } => None,
            Self::Resolve(error) => error.hint(),
            Self::Layer(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
    }

    fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Resolve(error) => error.attempts(),
            Self::Layer(error) => error.attempts(),
            _ => &[],
        }
    }
}

/// A layer that cannot be read to its end. Layers are counted from 1, the lowest.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// The reader failed, or the compressed stream is damaged.
    #[error("cannot read layer {layer}: {source}")]
    Read {
        /// Which layer.
        layer: usize,
        /// What the reader said.
        source: io::Error,
    },
    /// The tar archive is damaged.
    #[error("layer {layer}: {source}")]
    Archive {
        /// Which layer.
        layer: usize,
        /// What is wrong with it.
        source: Fault,
    },
    /// More than [`crate::core::limits::Limits`] allows.
    #[error("layer {layer} is over a limit: {what} of more than {limit} bytes")]
    TooLarge {
        /// Which layer.
        layer: usize,
        /// What there is too much of.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// All of it was read, and it is not what the manifest says.
    #[error("layer {layer}: {source}")]
    Wrong {
        /// Which layer.
        layer: usize,
        /// What is different.
        source: Mismatch,
    },
}

impl DiagnoseError {
    /// What kept the bytes from coming, where they are read from a registry or a store.
    fn reader(&self) -> Option<&dyn Classify> {
        let Self::Read { source, .. } = self else { return None };
        let cause = source.get_ref()?;
        let fetching = cause.downcast_ref::<FetchError>().map(|error| error as &dyn Classify);
        fetching.or_else(|| cause.downcast_ref::<StoreError>().map(|error| error as &dyn Classify))
    }
}

impl Classify for DiagnoseError {
    fn kind(&self) -> Kind {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        if let Some(reader) = self.reader() {
            return reader.kind();
        }
        match self {
            // The decoders of gzip and zstd report damage as one of these.
            Self::Read { source, .. }
                if matches!(source.kind(), InvalidData | InvalidInput | Other | UnexpectedEof) =>
            {
                Kind::InvalidContent
            }
            Self::Read { .. } => Kind::StoreFailed,
            Self::Archive { .. } | Self::TooLarge { .. } => Kind::InvalidContent,
            Self::Wrong { source, .. } => source.kind(),
        }
    }

    fn blame(&self) -> Blame {
        self.reader().map_or_else(|| self.kind().blame(), Classify::blame)
    }

    fn hint(&self) -> Option<String> {
        self.reader().and_then(Classify::hint)
    }

    fn attempts(&self) -> &[Attempt] {
        self.reader().map_or(&[], Classify::attempts)
    }
}
