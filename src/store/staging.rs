//! Where blobs wait until they are whole: one private directory per store.
//!
//! A partial blob is a file `ALGORITHM-HEX` here, with a journal of what was written beside
//! it. One process writes it at a time, a lock on the file says which, and the next one goes
//! on after an interruption: it asks for what the journal lacks, and every byte on disk is
//! hashed again. Nothing here has a name that a store would show, and the directory is
//! readable by its owner only, since blobs may be private. One that others can change is not used.
//!
//! ```text
//! sha256-9f86d0…            a blob, with gaps; written by `partial`, read while it grows by `follow`
//! sha256-9f86d0….journal    what is there of it, and who gave it
//! sha256-9f86d0….suspect    a download whose digest did not hold, until `suspect` has compared it
//! mark-…                    that a process is at work, and what to clear up after it
//! ```
//!
//! What nobody comes back for is removed by age and above a quota. A staging directory can be
//! a [`cache`](Staging::cache) too: then blobs that no store adopts stay when they are whole,
//! for the next reader, under the same rule. This room fetches nothing and makes nothing visible.

mod cache;
mod follow;
mod in_order;
mod journal;
mod mark;
mod partial;
mod place;
mod quota;
mod suspect;

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;

use super::StoreError;
use journal::Journal;

pub use follow::{Extent, FollowError, Follower};
pub use mark::Mark;
pub use partial::{Partial, PartialError, Staged};
pub use quota::{Quota, Swept, Usage, enough, sweep_all};
pub use suspect::{Culprit, Suspect};

/// A staging directory.
#[derive(Debug, Clone)]
pub struct Staging {
    root: PathBuf,
    /// Whole blobs are for later readers.
    is_cache: bool,
    /// Who can change what is in here can change the store as well.
    is_as_open_as_its_store: bool,
}

/// The answer to [`Staging::begin`].
#[derive(Debug)]
pub enum Turn {
    /// The blob is ours to write.
    Ours(Arc<Partial>),
    /// Another pull is writing it; ask again later, it may be whole by then.
    Taken,
}

impl Staging {
    /// A staging directory at `root`, for this user alone; it is created when the first blob arrives.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, is_cache: false, is_as_open_as_its_store: false }
    }

    /// A staging directory that is a part of its store: it may belong to whoever the store does,
    /// and be on a file system that knows no owners.
    #[must_use]
    pub fn of_store(root: PathBuf) -> Self {
        Self { is_as_open_as_its_store: true, ..Self::new(root) }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts a blob, or takes it up where an earlier run left it. What that run wrote is not
    /// read here: [`Partial::verify`] does that.
    ///
    /// # Errors
    /// [`StoreError`] where the directory or file cannot be used.
    pub fn begin(&self, descriptor: &Descriptor) -> Result<Turn, StoreError> {
        let path = self.path_of(&descriptor.digest);
        let (file, is_ours) = match self.open(&path) {
            // Another pull has tidied up between our two steps.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => (self.open(&path)?, true),
            // A store has it too and made it read-only, or it is another user's. Root gets past that.
            Err(refused @ StoreError::NotWritable { .. }) => (open_to_read(&path).map_err(|_| refused)?, false),
            opened => (opened?, true),
        };
        if !lock(&path, &file)? {
            return Ok(Turn::Taken);
        }
        let found = if is_ours { take_up(&path, &file, descriptor) } else { Ok(Found::Garbage) };
        let found = found.map_err(|error| StoreError::io("read", &path, error))?;
        let (file, journal) = match found {
            Found::Part(journal) => (file, journal),
            Found::Nothing => (file, Journal::new(journal_of(&path), descriptor)),
            Found::Garbage => match self.replace(&path)? {
                Some(file) => (file, Journal::new(journal_of(&path), descriptor)),
                None => return Ok(Turn::Taken),
            },
        };
        remove_unless_locked(&suspect_of(&path));
        if self.is_cache {
            cache::touch(&file);
        }
        let partial = Partial::new(file, path, descriptor.clone(), journal, self.is_cache);
        partial.reserve()?;
        Ok(Turn::Ours(Arc::new(partial)))
    }

    /// Removes what an earlier attempt left of a blob that the store has by now: a process
    /// that is killed between linking and unlinking leaves a second name.
    pub fn forget(&self, digest: &Digest) {
        if self.check().is_err() {
            return;
        }
        let path = self.path_of(digest);
        remove_unless_locked(&suspect_of(&path));
        if remove_unless_locked(&path) {
            let _ = std::fs::remove_file(journal_of(&path));
        }
    }

    /// Bytes of the disk that are taken already by what is staged of a blob.
    #[must_use]
    pub fn held(&self, digest: &Digest) -> u64 {
        std::fs::symlink_metadata(self.path_of(digest)).map_or(0, |found| quota::takes(&found).bytes)
    }

    /// Removes the directory if nothing is in it.
    pub fn tidy(&self) {
        if self.check().is_ok() {
            // Not empty is the ordinary case: partial blobs stay for the next pull.
            let _ = std::fs::remove_dir(&self.root);
        }
    }

    /// Puts an empty file in the place of one that nothing can be made of. That one is not
    /// emptied, since it may be a second name of what a store has.
    fn replace(&self, path: &Path) -> Result<Option<File>, StoreError> {
        let removed = std::fs::remove_file(journal_of(path)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        removed.and_then(|()| std::fs::remove_file(path)).map_err(|error| StoreError::io("remove", path, error))?;
        let file = self.open(path)?;
        Ok(lock(path, &file)?.then_some(file))
    }

    fn open(&self, path: &Path) -> Result<File, StoreError> {
        self.check()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let opened = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir()?;
                options.open(path)
            }
            opened => opened,
        };
        opened.map_err(|error| StoreError::io("open", path, error))
    }

    /// A file for content that is whole at once, gone with its handle unless it is given a name.
    pub(super) fn temporary(&self, permissions: Permissions) -> Result<NamedTempFile, StoreError> {
        let mut builder = tempfile::Builder::new();
        builder.permissions(permissions);
        self.check()?;
        let make = || builder.tempfile_in(&self.root);
        let made = match make() {
            // Not yet there, or tidied up by another pull just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir()?;
                make()
            }
            made => made,
        };
        made.map_err(|error| StoreError::io("write to", &self.root, error))
    }

    /// Makes the directory, for its owner only.
    fn create_dir(&self) -> Result<(), StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.map_err(|error| StoreError::io("create", &self.root, error))?;
        // Somebody may have been faster.
        self.check()
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }
}

/// What an earlier run left of a blob.
enum Found {
    Nothing,
    Part(Journal),
    /// Bytes of which nobody says what they are.
    Garbage,
}

fn take_up(path: &Path, file: &File, descriptor: &Descriptor) -> io::Result<Found> {
    let metadata = file.metadata()?;
    let (length, names) = (metadata.len(), metadata.nlink());
    if length == 0 && names == 1 {
        return Ok(Found::Nothing);
    }
    let journal = match Journal::resume(journal_of(path), descriptor) {
        // Another user's, or a link.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied || is_link(&error) => None,
        resumed => resumed?,
    };
    let Some(journal) = journal else { return Ok(Found::Garbage) };
    let end = journal.records().iter().map(|record| record.range.end).max().unwrap_or_default();
    let written: u64 = journal.records().iter().map(|record| record.range.end - record.range.start).sum();
    // Bytes that a store has too are not written to.
    let shared = names > 1 && written < descriptor.size;
    let sound = end <= length && length <= descriptor.size && !shared;
    Ok(if sound { Found::Part(journal) } else { Found::Garbage })
}

/// Takes the lock of a file that was just opened. Between the two the blob may have been
/// adopted and removed: then this file is the store's now, or nobody's, and not ours.
fn lock(path: &Path, file: &File) -> Result<bool, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(names(path, file)),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path, error)),
    }
}

/// Whether `path` still leads to `file`.
fn names(path: &Path, file: &File) -> bool {
    match (std::fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// Removes a leftover that nobody works on; whether it is gone. A leftover only costs space:
/// the next one that meets it tries again.
fn remove_unless_locked(path: &Path) -> bool {
    let Ok(file) = open_to_read(path) else { return false };
    file.try_lock().is_ok() && names(path, &file) && std::fs::remove_file(path).is_ok()
}

fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)
}

/// Whether something was not opened because it is a link.
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ELOOP)
}

fn journal_of(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

fn suspect_of(path: &Path) -> PathBuf {
    path.with_extension("suspect")
}

#[cfg(test)]
mod tests;
