//! Reading a staged blob from its start while the rest of it is still on its way.
//!
//! A follower reads what was written without a gap, long before anyone knows whether the
//! digest holds: whoever follows must keep what it makes of the bytes to itself until
//! [`Follower::verified`] has answered.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::watch;

/// How far a staged blob has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes from the start are there without a gap; nothing is known of their digest.
    Written(u64),
    /// All of it is there, and the digest held.
    Verified,
    /// Its bytes were wrong and are being fetched again, into another file.
    Discarded,
}

/// Why a blob cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The bytes read so far were wrong. What was made of them must go; the blob may arrive again.
    #[error("the bytes were wrong, and are fetched again")]
    Discarded,
    /// Whoever wrote the blob is gone before it was whole.
    #[error("the download ended before the blob was whole")]
    Abandoned,
    /// The file cannot be read.
    #[error("cannot read a staged blob: {0}")]
    Io(#[from] io::Error),
}

/// Reads one staged blob in order. Clones read on from where the original stood.
#[derive(Debug, Clone)]
pub struct Follower {
    file: Arc<File>,
    extent: watch::Receiver<Extent>,
    size: u64,
    position: u64,
}

impl Follower {
    /// Follows `file`, a blob of `size` bytes, from its first byte.
    #[must_use]
    pub fn new(file: Arc<File>, size: u64, extent: watch::Receiver<Extent>) -> Self {
        Self { file, extent, size, position: 0 }
    }

    /// The blob's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Goes on from `position`, or from the end where that is before it.
    pub fn seek(&mut self, position: u64) {
        self.position = position.min(self.size);
    }

    /// Fills the start of `buffer` with the next bytes, as many as are there, and waits where
    /// there are none yet. 0 at the end of the blob, which says nothing of its digest.
    /// Reading blocks for as long as the page cache takes; cancelling loses nothing.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FollowError> {
        if self.position == self.size {
            return Ok(0);
        }
        let position = self.position;
        let extent = *self.wait(|extent| !matches!(extent, Extent::Written(end) if *end <= position)).await?;
        let end = match extent {
            Extent::Written(end) => end,
            Extent::Verified => self.size,
            Extent::Discarded => return Err(FollowError::Discarded),
        };
        let length = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], position)?;
        if count == 0 && length > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.position += count as u64;
        Ok(count)
    }

    /// Waits until the digest of the whole blob held.
    ///
    /// # Errors
    /// [`FollowError::Discarded`] where it did not, [`FollowError::Abandoned`] where nobody will tell.
    pub async fn verified(&mut self) -> Result<(), FollowError> {
        match *self.wait(|extent| !matches!(extent, Extent::Written(_))).await? {
            Extent::Discarded => Err(FollowError::Discarded),
            _ => Ok(()),
        }
    }

    async fn wait(&mut self, is_enough: impl FnMut(&Extent) -> bool) -> Result<watch::Ref<'_, Extent>, FollowError> {
        self.extent.wait_for(is_enough).await.map_err(|_| FollowError::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(bytes: &[u8]) -> Arc<File> {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(bytes, 0).expect("writes");
        Arc::new(file)
    }

    #[tokio::test]
    async fn reads_only_what_is_there_without_a_gap() {
        let (sender, extent) = watch::channel(Extent::Written(0));
        let mut follower = Follower::new(staged(b"tug and barge"), 13, extent);
        let mut buffer = [0; 64];
        assert!(futures_util::FutureExt::now_or_never(follower.read(&mut buffer)).is_none(), "nothing is there yet");
        sender.send_replace(Extent::Written(3));
        assert_eq!(follower.read(&mut buffer).await.expect("reads"), 3);
        assert!(futures_util::FutureExt::now_or_never(follower.read(&mut buffer)).is_none());
        sender.send_replace(Extent::Written(13));
        assert_eq!(follower.read(&mut buffer).await.expect("reads"), 10);
        assert_eq!(&buffer[..10], b" and barge");
        assert_eq!(follower.read(&mut buffer).await.expect("is at its end"), 0);
        assert!(futures_util::FutureExt::now_or_never(follower.verified()).is_none(), "nobody has vouched for it");
        sender.send_replace(Extent::Verified);
        drop(sender);
        follower.verified().await.expect("is verified");
    }

    #[tokio::test]
    async fn says_when_the_bytes_were_wrong_or_never_come() {
        let (sender, extent) = watch::channel(Extent::Written(2));
        let mut follower = Follower::new(staged(b"tu"), 13, extent);
        let mut late = follower.clone();
        let mut buffer = [0; 2];
        assert_eq!(follower.read(&mut buffer).await.expect("reads"), 2);
        sender.send_replace(Extent::Discarded);
        assert!(matches!(follower.read(&mut buffer).await, Err(FollowError::Discarded)));
        assert!(matches!(late.read(&mut buffer).await, Err(FollowError::Discarded)));
        sender.send_replace(Extent::Written(2));
        drop(sender);
        assert!(matches!(follower.verified().await, Err(FollowError::Abandoned)));
    }
}
