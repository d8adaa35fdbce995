//! A blob while it arrives.

use bytes::Bytes;
use reqwest::Response;

use super::error::{Reason, RegistryError, SizeClaim, Stage};
use super::transport::next_chunk;

/// The body of a blob, from [`BlobStream::offset`] to its end. It never gives more bytes
/// than the blob has, and an end that comes early is an error; whether the bytes are the
/// right ones is for the digest to say.
#[derive(Debug)]
pub struct BlobStream {
    /// The byte of the blob at which the stream starts. It is 0 where the host ignored the
    /// range that was asked for.
    pub offset: u64,
    pub(super) size: u64,
    pub(super) remaining: u64,
    pub(super) response: Response,
    /// Who sends it.
    pub(super) from: String,
    pub(super) subject: String,
}

impl BlobStream {
    /// The next bytes; `None` once all have come.
    ///
    /// # Errors
    /// [`RegistryError`] with stage [`Stage::Body`]: the connection broke, ended early or
    /// fell silent, or the host sends on after the last byte.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let chunk = next_chunk(&mut self.response).await.map_err(|(stage, reason)| self.failed(stage, reason))?;
        let Some(chunk) = chunk else {
            return match self.remaining {
                0 => Ok(None),
                missing => Err(self.failed(Stage::Body, Reason::Truncated { missing })),
            };
        };
        let length = chunk.len() as u64;
        if length > self.remaining {
            let reason = Reason::Size { expected: self.size, claim: SizeClaim::Exceeded };
            return Err(self.failed(Stage::Body, reason));
        }
        self.remaining -= length;
        Ok(Some(chunk))
    }

    /// `host[:port]` that sends it: the host that was asked, or where it redirected to.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    fn failed(&self, stage: Stage, reason: Reason) -> RegistryError {
        RegistryError::new(&self.from, &self.subject, stage, reason)
    }
}
