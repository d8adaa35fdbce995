//! What can go wrong while looking into an image.

use std::io;

use crate::core::error::{Classify, Kind};
use crate::unpack::archive::Fault;

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
}

impl Classify for DiagnoseError {
    fn kind(&self) -> Kind {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        match self {
            // The decoders of gzip and zstd report damage as one of these.
            Self::Read { source, .. }
                if matches!(source.kind(), InvalidData | InvalidInput | Other | UnexpectedEof) =>
            {
                Kind::InvalidContent
            }
            Self::Read { .. } => Kind::StoreFailed,
            Self::Archive { .. } | Self::TooLarge { .. } => Kind::InvalidContent,
        }
    }
}
