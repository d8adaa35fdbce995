//! What goes with a request: nothing, some bytes, or a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{TryFutureExt as _, TryStreamExt as _};
use http::header::CONTENT_LENGTH;
use reqwest::{Body, RequestBuilder};
use tokio_util::io::ReaderStream;

/// Bytes that are read from a file at a time.
const PIECE: usize = 64 * 1024;

/// The body of a request. It can be sent again.
#[derive(Debug, Clone, Default)]
pub enum Content {
    /// None.
    #[default]
    Nothing,
    /// What is in memory.
    Bytes(Bytes),
    /// A file, which is read as it is sent.
    File {
        /// Where it is.
        path: PathBuf,
        /// How many bytes it has.
        size: u64,
    },
}

impl Content {
    /// The request with this body. `sent` counts the bytes of a file that were taken from it.
    pub(super) fn attach(&self, request: RequestBuilder, sent: &Arc<AtomicU64>) -> RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Bytes(bytes) => request.body(bytes.clone()),
            Self::File { path, size } => {
                let sent = Arc::clone(sent);
                let pieces = tokio::fs::File::open(path.clone())
                    .map_ok(|file| ReaderStream::with_capacity(file, PIECE))
                    .try_flatten_stream()
                    .inspect_ok(move |piece| {
                        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    });
                request.header(CONTENT_LENGTH, *size).body(Body::wrap_stream(pieces))
            }
        }
    }
}
