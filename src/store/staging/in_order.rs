//! The digest of a blob that arrives, as far as it is known: in order, whoever brings the bytes.
//!
//! Whoever has just written the next bytes hashes them from memory, while they are in the cache
//! of its core. What came before its turn, or from an earlier run, is read back from the file by
//! the one who waits for the verdict; he is woken for that, and at the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::Notify;

use crate::core::digest::{Mismatch, Verifier};

/// What is hashed of a blob.
#[derive(Debug)]
pub(super) struct InOrder {
    verifier: Mutex<Verifier>,
    behind: Notify,
}

impl InOrder {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self { verifier: Mutex::new(verifier), behind: Notify::new() }
    }

    /// Takes bytes that were written at `offset`, if it is their turn and nobody else is hashing.
    /// `frontier` is asked afterwards: whether something is left for whoever awaits the verdict.
    pub(super) fn offer(&self, offset: u64, bytes: &[u8], frontier: impl Fn() -> u64) {
        // Whoever hashes looks at the frontier again when he is done.
        let Some(mut verifier) = self.try_lock() else { return };
        // Too many bytes are the verdict's to tell.
        let taken = verifier.seen() == offset && verifier.update(bytes).is_ok();
        let (seen, is_whole) = (verifier.seen(), taken && verifier.seen() == verifier.size());
        drop(verifier);
        if is_whole || seen < frontier() {
            self.behind.notify_one();
        }
    }

    /// Takes the next bytes before `frontier` from the file, a buffer full at the most.
    pub(super) fn read_back(&self, file: &File, frontier: u64, buffer: &mut [u8]) -> io::Result<Result<(), Mismatch>> {
        let mut verifier = self.lock();
        let position = verifier.seen();
        let length = usize::try_from(frontier.saturating_sub(position)).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..length], position)?;
        Ok(verifier.update(&buffer[..length]))
    }

    /// Bytes hashed so far.
    pub(super) fn position(&self) -> u64 {
        self.lock().seen()
    }

    /// Waits until there is something to read back, or nothing more to wait for.
    pub(super) async fn woken(&self) {
        self.behind.notified().await;
    }

    /// Wakes whoever awaits the verdict.
    pub(super) fn wake(&self) {
        self.behind.notify_one();
    }

    /// What was hashed, for the verdict.
    pub(super) fn verifier(&self) -> Verifier {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Verifier> {
        // A panic while hashing ends in a digest that does not hold.
        self.verifier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Verifier>> {
        match self.verifier.try_lock() {
            Ok(verifier) => Some(verifier),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::core::digest::Digest;

    const BYTES: &[u8] = b"tug and barge";

    fn in_order() -> InOrder {
        InOrder::new(Verifier::new(Digest::of(BYTES), BYTES.len() as u64))
    }

    #[test]
    fn bytes_in_order_are_hashed_from_memory_and_only_the_end_wakes() {
        let hashed = in_order();
        hashed.offer(0, &BYTES[..3], || 3);
        assert_eq!(hashed.position(), 3);
        assert!(hashed.woken().now_or_never().is_none(), "there is nothing to read back");
        hashed.offer(3, &BYTES[3..], || 13);
        assert!(hashed.woken().now_or_never().is_some());
        assert!(hashed.verifier().finish(()).is_ok());
    }

    #[test]
    fn bytes_out_of_turn_are_read_back_once_the_gap_is_closed() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(BYTES, 0).expect("writes");
        let hashed = in_order();
        hashed.offer(4, &BYTES[4..], || 0);
        assert_eq!(hashed.position(), 0);
        assert!(hashed.woken().now_or_never().is_none(), "the bytes before are missing");
        hashed.offer(0, &BYTES[..4], || 13);
        assert_eq!(hashed.position(), 4);
        assert!(hashed.woken().now_or_never().is_some());
        let mut buffer = [0; 5];
        for expected in [9, 13, 13] {
            hashed.read_back(&file, 13, &mut buffer).expect("reads").expect("no byte too many");
            assert_eq!(hashed.position(), expected);
        }
        assert!(hashed.verifier().finish(()).is_ok());
    }

    #[test]
    fn whoever_finds_somebody_hashing_leaves_it_to_him() {
        let hashed = in_order();
        let busy = hashed.lock();
        hashed.offer(0, BYTES, || 13);
        assert_eq!(busy.seen(), 0);
    }
}
