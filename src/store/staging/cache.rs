//! Staged blobs that stay when they are whole, so that they need not be fetched again.
//!
//! A blob that is taken up again is hashed again from the disk, like any other staged one, so
//! nothing is believed because it was once right. Age counts from the last time that it was
//! taken up.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Staging, Turn};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Verified;
use crate::store::StoreError;

/// Where a document is said to come from that was verified in memory.
const MEMORY: &str = "memory";

impl Staging {
    /// A staging directory whose blobs stay when they are whole and nobody has adopted them.
    #[must_use]
    pub fn cache(root: PathBuf) -> Self {
        Self { is_cache: true, ..Self::new(root) }
    }

    /// Keeps a document for later, unless somebody is at it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError`] where the directory or file cannot be used.
    pub fn keep(&self, document: &Verified<Bytes>) -> Result<(), StoreError> {
        let blob = Descriptor::new(MediaType::Other(String::new()), document.digest().clone(), document.size());
        match self.begin(&blob)? {
            Turn::Ours(partial) => match partial.write_at(0, document.content(), MEMORY) {
                Ok(()) | Err(super::PartialError::Mismatch(_)) => Ok(()),
                Err(super::PartialError::Store(error)) => Err(error),
            },
            Turn::Taken => Ok(()),
        }
    }

    /// A document that is whole here; `None` where it is not. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be read.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Option<Verified<Bytes>>, StoreError> {
        self.check()?;
        let path = self.path_of(&descriptor.digest);
        let failed = |error| StoreError::io("read", &path, error);
        let file = match File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        // One byte more than there should be is enough to see that there are too many.
        (&file).take(descriptor.size.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        let document = Verified::check(Bytes::from(bytes), &descriptor.digest, descriptor.size).ok();
        if document.is_some() {
            touch(&file);
        }
        Ok(document)
    }
}

/// Makes a file young again.
pub(super) fn touch(file: &File) {
    // A file that cannot be touched goes a little earlier.
    let _ = file.set_modified(SystemTime::now());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::Digest;
    use crate::store::staging::tests::{begin, descriptor};
    use crate::store::staging::{Quota, journal_of, sweep_all};
    use std::time::Duration;

    fn document(text: &'static str) -> Verified<Bytes> {
        Verified::seal(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_was_written_in_one_piece_is_found_again_in_a_cache_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let blob = descriptor(b"cargo");
        for (staging, found) in
            [(Staging::new(folder.path().join("a")), 0), (Staging::cache(folder.path().join("b")), 5)]
        {
            begin(&staging, &blob).write_at(0, b"cargo", "a:1").expect("writes");
            assert_eq!(begin(&staging, &blob).inherited(), found);
        }
    }

    #[test]
    fn documents_are_kept_and_read_only_as_what_they_are() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::cache(folder.path().join("cache"));
        let kept = document("{}");
        let wanted = descriptor(b"{}");
        assert!(staging.document(&wanted).expect("reads").is_none());
        staging.keep(&kept).expect("keeps");
        staging.keep(&kept).expect("is there already");
        let read = staging.document(&wanted).expect("reads").expect("is there");
        assert_eq!(read.content(), kept.content());
        let longer = Descriptor { size: 3, ..wanted.clone() };
        assert!(staging.document(&longer).expect("reads").is_none(), "of another size it is another document");
        std::fs::write(staging.path_of(&wanted.digest), "[]").expect("writes");
        assert!(staging.document(&wanted).expect("reads").is_none(), "the disk rots");
    }

    #[test]
    fn directories_share_a_quota_and_what_is_used_stays_young() {
        let folder = tempfile::tempdir().expect("folder");
        let [one, other] = ["one", "other"].map(|name| Staging::cache(folder.path().join(name)));
        let contents = [[1; 65536], [2; 65536], [3; 65536]];
        let blobs = contents.map(|content| descriptor(&content));
        for (hours, (staging, (blob, content))) in
            [3, 2, 1].iter().zip([&one, &other, &one].into_iter().zip(blobs.iter().zip(&contents)))
        {
            begin(staging, blob).write_at(0, content, "a:1").expect("writes");
            let then = SystemTime::now() - Duration::from_secs(hours * 3600);
            let file = File::options().write(true).open(staging.path_of(&blob.digest)).expect("opens");
            file.set_modified(then).expect("sets the time");
        }
        drop(begin(&one, &blobs[0]));
        // Two of 64 KiB fit.
        let quota = Quota { bytes: 150_000, files: u64::MAX, age: Duration::MAX };
        sweep_all(&[one.clone(), other.clone()], &[], &quota).expect("sweeps");
        let there = |staging: &Staging, digest: &Digest| staging.path_of(digest).exists();
        assert!(there(&one, &blobs[0].digest), "it was the oldest until it was used");
        assert!(!there(&other, &blobs[1].digest) && !journal_of(&other.path_of(&blobs[1].digest)).exists());
        assert!(there(&one, &blobs[2].digest));
    }
}
