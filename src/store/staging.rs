//! Where blobs wait until they are whole: one private directory per store.
//!
//! A partial blob is a file `ALGORITHM-HEX` here. One process writes it at a time, a lock
//! on the file says which, and the next one goes on after an interruption: the bytes on
//! disk are hashed again before more are asked for. Nothing here has a name that a store
//! would show, and the directory is readable by its owner only, since blobs may be private.

mod follow;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Mismatch, Verified, Verifier};

use super::StoreError;

pub use follow::{Extent, FollowError, Follower};

/// Bytes hashed at a time when a partial blob is taken up again.
const REHASH_BUFFER: usize = 256 * 1024;

/// A staging directory.
#[derive(Debug, Clone)]
pub struct Staging {
    root: PathBuf,
}

/// The answer to [`Staging::begin`].
#[derive(Debug)]
pub enum Turn {
    /// The blob is ours to write.
    Ours(Box<Partial>),
    /// Another pull is writing it; ask again later, it may be whole by then.
    Taken,
}

/// A blob being written, from as far as an earlier attempt got.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    descriptor: Descriptor,
    verifier: Verifier,
}

/// Why a partial blob did not become whole.
#[derive(Debug, thiserror::Error)]
pub enum PartialError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes. The partial blob was removed: a prefix of wrong bytes is worth nothing.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// A whole blob in a staging directory, with every writer gone. The lock is held until it
/// is removed or dropped, so that nobody goes on writing to what was verified.
#[derive(Debug)]
pub struct Staged {
    file: File,
    path: PathBuf,
}

impl Staging {
    /// A staging directory at `root`; it is created when the first blob arrives.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts or takes up a blob. Reads and hashes what an earlier attempt left, so this
    /// blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError`] where the directory or file cannot be used.
    pub fn begin(&self, descriptor: &Descriptor) -> Result<Turn, StoreError> {
        let path = self.path_of(&descriptor.digest);
        let file = match self.open(&path) {
            // Another pull has tidied up between our two steps.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => self.open(&path)?,
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Turn::Taken),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path, error)),
        }
        // Between our open and our lock the blob may have been adopted and removed: then this
        // file is the store's now, or nobody's.
        if !names(&path, &file) {
            return Ok(Turn::Taken);
        }
        let verifier = Verifier::new(descriptor.digest.clone(), descriptor.size);
        let mut partial = Partial { file, path, descriptor: descriptor.clone(), verifier };
        partial.take_up().map_err(|error| StoreError::io("read", &partial.path, error))?;
        Ok(Turn::Ours(Box::new(partial)))
    }

    /// Removes what an earlier attempt left of a blob that the store has by now: a process
    /// that is killed between linking and unlinking leaves a second name.
    pub fn forget(&self, digest: &Digest) {
        let path = self.path_of(digest);
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
            && names(&path, &file)
        {
            // A leftover only costs space; the next pull that sees it tries again.
            let _ = std::fs::remove_file(&path);
        }
    }

    /// Removes the directory if nothing is in it.
    pub fn tidy(&self) {
        // Not empty is the ordinary case: partial blobs stay for the next pull.
        let _ = std::fs::remove_dir(&self.root);
    }

    fn open(&self, path: &Path) -> Result<File, StoreError> {
        self.create()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        options.open(path).map_err(|error| StoreError::io("open", path, error))
    }

    /// Makes the directory, for its owner only.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
        made.map_err(|error| StoreError::io("create", &self.root, error))
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }
}

/// Whether `path` still leads to `file`.
fn names(path: &Path, file: &File) -> bool {
    match (std::fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

impl Partial {
    /// Bytes that are here already; the next one to fetch.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.verifier.seen()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`PartialError::Mismatch`] where they exceed the blob's size, [`PartialError::Store`]
    /// where the disk fails; whole chunks that were written before stay.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PartialError> {
        if let Err(mismatch) = self.verifier.update(bytes) {
            self.discard();
            return Err(mismatch.into());
        }
        self.file.write_all(bytes).map_err(|error| StoreError::io("write", &self.path, error).into())
    }

    /// Ends the blob.
    ///
    /// # Errors
    /// [`Mismatch`] where digest or size differ. Bytes that are wrong are removed; a blob
    /// that is merely short stays, to be continued.
    pub fn finish(self) -> Result<Verified<Staged>, Mismatch> {
        let Self { file, path, verifier, .. } = self;
        let kept = path.clone();
        verifier.finish(Staged { file, path }).inspect_err(|mismatch| {
            if !matches!(mismatch, Mismatch::TooShort { .. }) {
                let _ = std::fs::remove_file(kept);
            }
        })
    }

    /// Removes what is here, because it cannot be right.
    pub fn discard(&self) {
        // It would be found again and refused again; failing to remove it costs only that.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Hashes what is on disk. More bytes than the blob has cannot be right: start over.
    fn take_up(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.descriptor.size {
            self.file.set_len(0)?;
        }
        let mut buffer = vec![0; REHASH_BUFFER];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                count => self.verifier.update(&buffer[..count]).map_err(io::Error::other)?,
            }
        }
    }
}

impl Staged {
    /// The file, for reading; its position is at the end.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is, for linking.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the staging name; what was linked elsewhere stays.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be removed.
    pub fn remove(self) -> Result<(), StoreError> {
        std::fs::remove_file(&self.path).map_err(|error| StoreError::io("remove", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;

    fn descriptor(content: &[u8]) -> Descriptor {
        Descriptor::new(MediaType::Other("x".into()), Digest::of(content), content.len() as u64)
    }

    fn begin(staging: &Staging, blob: &Descriptor) -> Partial {
        match staging.begin(blob).expect("begins") {
            Turn::Ours(partial) => *partial,
            Turn::Taken => panic!("the blob is taken"),
        }
    }

    #[test]
    fn continues_where_it_was_interrupted() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        let blob = descriptor(b"a barge on the river");
        let mut partial = begin(&staging, &blob);
        partial.write(b"a barge ").expect("writes");
        drop(partial);
        let mut partial = begin(&staging, &blob);
        assert_eq!(partial.offset(), 8);
        partial.write(b"on the river").expect("writes");
        let staged = partial.finish().expect("is whole").into_content();
        assert_eq!(std::fs::read(staged.path()).expect("reads"), b"a barge on the river");
        staged.remove().expect("removes");
        staging.tidy();
        assert!(!staging.root().exists());
    }

    #[test]
    fn a_second_name_of_an_adopted_blob_is_forgotten_unless_somebody_writes_it() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        let blob = descriptor(b"cargo");
        let writing = begin(&staging, &blob);
        staging.forget(&blob.digest);
        assert!(staging.path_of(&blob.digest).exists(), "it is being written");
        drop(writing);
        staging.forget(&blob.digest);
        staging.tidy();
        assert!(!staging.root().exists());
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().into());
        let blob = descriptor(b"cargo");
        let first = begin(&staging, &blob);
        assert!(matches!(staging.begin(&blob), Ok(Turn::Taken)));
        drop(first);
        assert!(matches!(staging.begin(&blob), Ok(Turn::Ours(_))));
    }

    #[test]
    fn a_file_that_was_adopted_meanwhile_is_not_written_to() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        let blob = descriptor(b"cargo");
        let mut first = begin(&staging, &blob);
        first.write(b"cargo").expect("writes");
        let staged = first.finish().expect("is whole").into_content();
        let waiting = File::open(staged.path()).expect("opens");
        std::fs::hard_link(staged.path(), folder.path().join("adopted")).expect("links");
        let path = staged.path().to_owned();
        staged.remove().expect("removes");
        assert!(!names(&path, &waiting));
    }

    #[test]
    fn wrong_bytes_leave_nothing_behind_and_missing_ones_stay() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        let blob = descriptor(b"cargo");
        let mut wrong = begin(&staging, &blob);
        wrong.write(b"barge").expect("writes");
        assert!(matches!(wrong.finish(), Err(Mismatch::Digest { .. })));
        let mut long = begin(&staging, &blob);
        assert!(matches!(long.write(b"cargoes"), Err(PartialError::Mismatch(_))));
        drop(long);
        staging.tidy();
        assert!(!staging.root().exists());
        let mut short = begin(&staging, &blob);
        short.write(b"car").expect("writes");
        assert!(matches!(short.finish(), Err(Mismatch::TooShort { .. })));
        assert_eq!(begin(&staging, &blob).offset(), 3);
    }

    #[test]
    fn an_overlong_leftover_is_started_again() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().into());
        let blob = descriptor(b"cargo");
        std::fs::write(staging.path_of(&blob.digest), b"cargo and more").expect("writes");
        assert_eq!(begin(&staging, &blob).offset(), 0);
    }
}
