//! A blob being written: by several connections at once, anywhere, every byte once.
//!
//! What was written is published as a frontier, the bytes from the start without a gap, and
//! hashed in order behind it: from memory by whoever wrote them, else from the file. Since no
//! byte that counts as written is ever written a second time, what was hashed is what is there,
//! and a blob that is whole has no writers left.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::in_order::InOrder;
use super::journal::{Journal, Record};
use super::suspect::Suspect;
use super::{Extent, Follower, suspect_of};
use crate::core::descriptor::Descriptor;
use crate::core::digest::{Mismatch, Verified, Verifier};
use crate::core::ranges::Ranges;
use crate::cpu;
use crate::store::StoreError;

/// Bytes read back and hashed at a time: they stay in the cache of a core, and a more urgent task
/// waits for them for a fraction of a millisecond.
const HASH_BUFFER: usize = 256 * 1024;
/// From this size on, space is reserved before the first byte: fragments cost more than the
/// call, and a full disk is known at once.
const RESERVED_FROM: u64 = 8 * 1024 * 1024;

/// A blob that this process writes; shared by whoever writes, hashes and follows it. The lock
/// on its file is held until the last of them is gone.
#[derive(Debug)]
pub struct Partial {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    descriptor: Descriptor,
    inherited: u64,
    /// It has a journal also when it is whole at once, so that it is known for what it is later.
    is_cached: bool,
    state: Mutex<State>,
    extent: watch::Sender<Extent>,
    hashed: InOrder,
}

#[derive(Debug)]
struct State {
    /// Bytes that are there.
    written: Ranges,
    /// Bytes that are there, or that a writer is at.
    claimed: Ranges,
    journal: Journal,
    /// Nothing of it is to be kept any more.
    ended: bool,
}

/// Why a partial blob did not become whole.
#[derive(Debug, thiserror::Error)]
pub enum PartialError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes, or their number.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

impl Partial {
    /// A blob in `file`, which is locked, and of which what `journal` tells is there.
    /// `is_cached`: it is to be found again when it is whole.
    pub(super) fn new(file: File, path: PathBuf, descriptor: Descriptor, journal: Journal, is_cached: bool) -> Self {
        let mut written = Ranges::default();
        for record in journal.records() {
            written.insert(record.range.clone());
        }
        let extent = watch::Sender::new(Extent::Written(written.prefix()));
        let (inherited, claimed) = (written.total(), written.clone());
        let state = Mutex::new(State { written, claimed, journal, ended: false });
        let hashed = InOrder::new(Verifier::new(descriptor.digest.clone(), descriptor.size));
        Self { file: file.into(), path, descriptor, inherited, is_cached, state, extent, hashed }
    }

    /// Reserves space for the blob, where that pays and the file system can.
    pub(super) fn reserve(&self) -> Result<(), StoreError> {
        if self.descriptor.size < RESERVED_FROM {
            return Ok(());
        }
        // The length stays that of the content, so that a file is never taken for more than it is.
        let keep_size = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, keep_size, 0, self.descriptor.size) {
            Err(errno @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => {
                Err(StoreError::io("reserve space for", &self.path, errno.into()))
            }
            // Without a reservation it is merely slower.
            _ => Ok(()),
        }
    }

    /// What it is to become.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Bytes that an earlier run left; they are hashed like all others.
    #[must_use]
    pub fn inherited(&self) -> u64 {
        self.inherited
    }

    /// Bytes that are there, wherever.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.state().written.total()
    }

    /// Bytes that are there from the start without a gap.
    #[must_use]
    pub fn frontier(&self) -> u64 {
        self.state().written.prefix()
    }

    /// What is not there yet, in order; empty for a blob that is whole.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.state().written.gaps(&(0..self.descriptor.size))
    }

    /// Writes bytes that `host` gave, and hashes them if it is their turn. Blocks for as long as
    /// the disk takes. Bytes that are there, or that another writer is at, are left as they are.
    ///
    /// # Errors
    /// [`PartialError::Mismatch`] where the bytes end behind the blob: none of them is taken.
    /// [`PartialError::Store`] where the disk fails, or where the blob was discarded meanwhile.
    pub fn write_at(&self, offset: u64, bytes: &[u8], host: &str) -> Result<(), PartialError> {
        let size = self.descriptor.size;
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= size);
        let Some(end) = end else {
            return Err(Mismatch::TooLong { digest: self.descriptor.digest.clone(), expected: size }.into());
        };
        let mut parts = self.claim(offset..end)?.into_iter();
        while let Some(part) = parts.next() {
            let [from, to] = [part.start, part.end].map(|at| usize::try_from(at - offset).unwrap_or(usize::MAX));
            let bytes = &bytes[from..to];
            let written = self.file.write_all_at(bytes, part.start);
            if let Err(error) = written.and_then(|()| self.note(&part, host)) {
                let mut state = self.state();
                std::iter::once(part).chain(parts).for_each(|part| state.claimed.remove(&part));
                return Err(StoreError::io("write", &self.path, error).into());
            }
            // Not before they count as written: what failed may be written again, and differ.
            self.hashed.offer(part.start, bytes, || self.frontier());
        }
        Ok(())
    }

    /// The parts of `range` that are the caller's to write.
    fn claim(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, StoreError> {
        let mut state = self.state();
        if state.ended {
            return Err(StoreError::Discarded { digest: self.descriptor.digest.clone() });
        }
        let parts = state.claimed.gaps(&range);
        state.claimed.insert(range);
        Ok(parts)
    }

    /// Takes note of bytes that were written: in the journal, then to whoever follows.
    fn note(&self, part: &Range<u64>, host: &str) -> std::io::Result<()> {
        let mut state = self.state();
        if state.ended {
            return Ok(());
        }
        state.written.insert(part.clone());
        let needs_none = state.written.prefix() == self.descriptor.size && !self.is_cached;
        if let Err(error) = state.journal.note(part.clone(), host, needs_none) {
            state.written.remove(part);
            return Err(error);
        }
        let frontier = state.written.prefix();
        self.extent.send_if_modified(|extent| {
            let advanced = matches!(extent, Extent::Written(before) if *before < frontier);
            if advanced {
                *extent = Extent::Written(frontier);
            }
            advanced
        });
        Ok(())
    }

    /// Makes what was written so far outlive a power failure. Blocks for as long as the disk
    /// takes; writing goes on meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] where the disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("sync", &self.path, error);
        let count = self.state().journal.seal();
        self.file.sync_data().map_err(failed)?;
        let journal = self.state().journal.note_synced(count).map_err(failed)?;
        journal.map_or(Ok(()), |journal| journal.sync_data()).map_err(failed)
    }

    /// A view of how far it has got.
    #[must_use]
    pub fn extent(&self) -> watch::Receiver<Extent> {
        self.extent.subscribe()
    }

    /// A reader of it from its first byte.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::new(Arc::clone(&self.file), self.descriptor.size, self.extent())
    }

    /// Ends with the verdict when all of the blob is there; until then it hashes what writers
    /// could not. To be run on the CPU pool, once. Nothing else vouches for a staged blob. It
    /// waits for as long as bytes are missing: drop it where they will not come.
    ///
    /// # Errors
    /// [`PartialError::Mismatch`] where the digest does not hold: what is here is then to be
    /// given up with [`Partial::suspect`] or [`Partial::discard`].
    pub fn verify(self: &Arc<Self>) -> impl Future<Output = Result<Verified<Staged>, PartialError>> + Send + 'static {
        let partial = Arc::clone(self);
        async move {
            let mut buffer = Vec::new();
            while partial.hashed.position() < partial.descriptor.size {
                let frontier = partial.frontier_while_kept()?;
                if partial.hashed.position() == frontier {
                    partial.hashed.woken().await;
                    continue;
                }
                buffer.resize(HASH_BUFFER, 0);
                let read = partial.hashed.read_back(&partial.file, frontier, &mut buffer);
                read.map_err(|error| StoreError::io("read", &partial.path, error))??;
                cpu::yield_now().await;
            }
            let staged = Staged { partial: Arc::clone(&partial), adopted: AtomicBool::new(false) };
            let verified = partial.hashed.verifier().finish(staged)?;
            partial.extent.send_replace(Extent::Verified);
            Ok(verified)
        }
    }

    /// The frontier of a blob that was not discarded.
    fn frontier_while_kept(&self) -> Result<u64, StoreError> {
        let state = self.state();
        match state.ended {
            true => Err(StoreError::Discarded { digest: self.descriptor.digest.clone() }),
            false => Ok(state.written.prefix()),
        }
    }

    /// Puts bytes aside that turned out wrong, so that the blob can be begun again and the two
    /// compared. Whoever follows them is told that they are void.
    #[must_use]
    pub fn suspect(&self) -> Suspect {
        let records = self.end();
        let aside = suspect_of(&self.path);
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            // It can be compared without a name, and must not be taken up under this one.
            tracing::warn!(path = %self.path.display(), %error, "cannot put a damaged download aside");
            let _ = std::fs::remove_file(&self.path);
        }
        Suspect::new(Arc::clone(&self.file), aside, records)
    }

    /// Removes what is here. Whoever follows it is told that it is void.
    pub fn discard(&self) {
        self.end();
        // It would be found again and refused again; failing to remove it costs only that.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Forgets the journal; what it knew.
    fn end(&self) -> Vec<Record> {
        let mut state = self.state();
        state.ended = true;
        state.journal.remove();
        self.extent.send_replace(Extent::Discarded);
        self.hashed.wake();
        state.journal.records().to_vec()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical sections panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Partial {
    /// A blob of which nothing came leaves no file, and one that broke off no reserved space.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return;
        }
        match state.written.total() {
            0 => drop(std::fs::remove_file(&self.path)),
            whole if whole == self.descriptor.size => {}
            _ => release(&self.file, &state.written, self.descriptor.size),
        }
        // Whoever still follows it only reads, and must not keep the next writer out.
        let _ = self.file.unlock();
    }
}

/// Gives the space back that was reserved for bytes that did not come: another week on a full
/// disk is a long time for it. Where the file system cannot, it stays until the sweep.
fn release(file: &File, written: &Ranges, size: u64) {
    let mut gaps = written.gaps(&(0..size));
    // Cutting at the end frees what is reserved behind it, also where the length stays the same.
    if let Some(rest) = gaps.pop_if(|gap| gap.end == size) {
        let _ = file.set_len(rest.start);
    }
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    for gap in gaps {
        let _ = rustix::fs::fallocate(file, flags, gap.start, gap.end - gap.start);
    }
}

/// A whole blob in a staging directory, every writer gone. Several stores, or one store under
/// several leases, can adopt it. When it is dropped it goes if any of them has; else it
/// stays for the next run. The lock is held until then.
#[derive(Debug)]
pub struct Staged {
    partial: Arc<Partial>,
    adopted: AtomicBool,
}

impl Staged {
    /// The file, to be read by position.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.partial.file
    }

    /// Where it is, for linking.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.partial.path
    }

    /// A reader of it from its first byte.
    #[must_use]
    pub fn follow(&self) -> Follower {
        self.partial.follow()
    }

    /// A store has it now: the staging name is needed no longer than this handle.
    pub fn adopted(&self) {
        self.adopted.store(true, Ordering::Release);
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if *self.adopted.get_mut() {
            let mut state = self.partial.state();
            state.ended = true;
            state.journal.remove();
            // A second name costs nothing but itself, and the next pull that meets it removes it.
            let _ = std::fs::remove_file(&self.partial.path);
        }
    }
}
