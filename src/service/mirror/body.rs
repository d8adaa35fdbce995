//! A blob, or a part of one, to a client while it arrives.
//!
//! Nothing is held in memory but one chunk: what arrives is on disk, and is read when the
//! client takes it. The last chunk of the blob is given away when the digest of the whole has
//! held, and not before; where it does not, the connection breaks instead of ending.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;

use crate::fetch::{FetchError, Reading};
use crate::store::staging::{FollowError, Follower};

/// Bytes read at a time, and held back at the end of a blob.
pub(super) const CHUNK: usize = 64 * 1024;
/// How long the head of the reply may wait for the first byte: within that, a failure of
/// upstream is told by a status, which is kinder than a broken connection.
const FIRST_BYTE: Duration = Duration::from_secs(20);

/// Bytes of a blob on their way to a client.
#[derive(Debug)]
pub(super) struct Arriving {
    reading: Reading,
    follower: Option<Follower>,
    at: u64,
    range: Range<u64>,
    /// From here on the digest has to hold first.
    tail: u64,
    /// What came before the head of the reply was sent.
    first: Option<Bytes>,
}

/// Why no more bytes come.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl Arriving {
    /// Waits for the first byte of a range of a blob of `size` bytes, but not for too long.
    ///
    /// # Errors
    /// [`FetchError`] where it will not come.
    pub(super) async fn begin(reading: Reading, range: Range<u64>, size: u64) -> Result<Self, FetchError> {
        let tail = size.saturating_sub(CHUNK as u64);
        let mut arriving = Self { reading, follower: None, at: range.start, range, tail, first: None };
        match tokio::time::timeout(FIRST_BYTE, arriving.next()).await {
            Ok(Ok(first)) => arriving.first = first,
            Ok(Err(Broken::Fetch(error))) => return Err(error),
            // The client sees the connection break, as it would a moment later.
            Ok(Err(Broken::Follow(_))) | Err(_) => {}
        }
        Ok(arriving)
    }

    /// The body of the reply.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures_util::stream::try_unfold(self, |mut arriving| async move {
            if let Some(first) = arriving.first.take() {
                return Ok(Some((first, arriving)));
            }
            match arriving.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, arriving))),
                Err(error) => {
                    tracing::warn!(%error, "broke off a blob on its way to a client of the mirror");
                    Err(io::Error::other(error))
                }
            }
        })
    }

    /// The next bytes; `None` behind the last one. Cancelling loses nothing.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if self.at == self.range.end {
                return Ok(None);
            }
            let follower = match &mut self.follower {
                Some(follower) => follower,
                None => {
                    let mut follower = self.reading.follow().await?;
                    follower.seek(self.at);
                    self.follower.insert(follower)
                }
            };
            match chunk(follower, self.at..self.range.end, self.tail).await {
                Ok(bytes) => {
                    self.at += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                // Nobody has seen any of these bytes: another host may have the right ones.
                Err(FollowError::Discarded | FollowError::Abandoned) if self.at == self.range.start => {
                    self.follower = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The first bytes of a range, as many as are there and may be given away.
async fn chunk(follower: &mut Follower, range: Range<u64>, tail: u64) -> Result<Bytes, FollowError> {
    let end = if range.start < tail {
        range.end.min(tail)
    } else {
        follower.verified().await?;
        range.end
    };
    let length = usize::try_from(end - range.start).unwrap_or(CHUNK).min(CHUNK);
    let mut buffer = vec![0; length];
    let count = follower.read(&mut buffer).await?;
    if count == 0 {
        // It is shorter than upstream said. Nothing at all would be asked for again without end.
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    buffer.truncate(count);
    Ok(buffer.into())
}
