//! What can go wrong while looking into an image.

use std::io;

use crate::core::error::{Classify, Kind};

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
    #[error("layer {layer} is no valid tar archive: {reason} at byte {offset}")]
    Malformed {
        /// Which layer.
        layer: usize,
        /// What is wrong.
        reason: &'static str,
        /// Where, in the inflated archive.
        offset: u64,
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
            Self::Malformed { .. } | Self::TooLarge { .. } => Kind::InvalidContent,
        }
    }
}
