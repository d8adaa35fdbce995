//! The bytes of a layer, and whether they are the right ones.

use tokio::io::AsyncReadExt;

use super::{INPUT, LayerError, Unproven};
use crate::cpu;
use crate::store::BlobReader;
use crate::store::staging::Follower;

/// Where the bytes of a layer come from.
pub enum Source {
    /// Staging, where they may still be arriving.
    Arriving(Follower),
    /// A store that had the blob before.
    Stored(BlobReader),
    /// Somewhere that nobody vouches for.
    Unproven(Unproven),
}

impl Source {
    /// Fills the start of `buffer` with the next bytes, and waits where there are none yet. 0 at
    /// the end. Cancelling loses nothing.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        match self {
            Self::Arriving(follower) => Ok(follower.read(buffer).await?),
            Self::Stored(reader) => reader.read(buffer).await.map_err(LayerError::Read),
            Self::Unproven(bytes) => bytes.read(buffer).await,
        }
    }

    /// Whether the bytes are the publisher's, however many of them were read. What makes no sense
    /// may never have been published: where the digest does not hold, the right bytes are
    /// still to come, or were lost by this node. Reading them may block.
    ///
    /// # Errors
    /// [`LayerError`], which says what is wrong with them.
    pub async fn verdict(self) -> Result<(), LayerError> {
        match self {
            Self::Arriving(mut follower) => Ok(follower.verified().await?),
            // What a store has was verified when it went in.
            Self::Stored(_) => Ok(()),
            Self::Unproven(mut bytes) => {
                let mut rest = vec![0; INPUT];
                while bytes.read(&mut rest).await? > 0 {
                    cpu::yield_now().await;
                }
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Arriving(_) => "Arriving",
            Self::Stored(_) => "Stored",
            Self::Unproven(_) => "Unproven",
        })
    }
}
