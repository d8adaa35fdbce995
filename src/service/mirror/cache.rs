//! Where blobs are kept that came through the mirror: a directory per registry, one quota.
//!
//! What is kept is counted as it comes, generously. Only where that count reaches the quota, or
//! is an hour old, are the directories read: then it is known again what they take, and what is
//! too old or too much goes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::descriptor::Descriptor;
use crate::core::limits::Limits;
use crate::store::StoreError;
use crate::store::staging::{Quota, Staging, Usage, sweep_all};

/// Age at which a count is not believed any more: others may have removed files, and what is too
/// old has to go some time.
const COUNT_KEPT: Duration = Duration::from_secs(60 * 60);
/// What a blob takes besides its content: the rest of its last block, and its journal.
const BESIDES: Usage = Usage { bytes: 2 * 4096, files: 2 };
/// Of a quota that was reached so much is left, in eighths: a full cache is not to be read for
/// every blob that comes.
const LEFT: u64 = 7;

/// The kept blobs; clones share the count.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
    quota: Quota,
    count: Arc<Mutex<Option<Count>>>,
}

/// What all blobs took when it was last looked, and what was added since.
#[derive(Debug, Clone, Copy)]
struct Count {
    used: Usage,
    since: Instant,
}

impl Cache {
    pub(super) fn new(root: PathBuf, limits: &Limits) -> Self {
        Self { root, quota: Quota::of(limits), count: Arc::default() }
    }

    /// What came from a registry. Its name is well formed: it has no slash and is not made of
    /// dots alone.
    pub(super) fn of(&self, registry: &str) -> Staging {
        Staging::cache(self.root.join(registry))
    }

    /// Makes room for a blob of a registry: removes what is too old, and the oldest above the
    /// quota. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where the blob does not fit.
    pub(super) fn make_room(&self, staging: &Staging, blob: &Descriptor) -> Result<(), StoreError> {
        let needed = blob.size.saturating_sub(staging.held(&blob.digest));
        if needed > 0 {
            self.add(blob, Usage { bytes: needed, files: 0 }.and(BESIDES), Instant::now());
        }
        staging.require(needed)
    }

    /// Counts what a blob will take, and sweeps where the count is not enough to go by.
    fn add(&self, blob: &Descriptor, more: Usage, now: Instant) {
        // Whole after any panic: it is replaced as a whole.
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = count.filter(|count| now.duration_since(count.since) < COUNT_KEPT);
        let left = match fresh {
            Some(known) if self.quota.holds(known.used.and(more)) => {
                *count = Some(Count { used: known.used.and(more), ..known });
                return;
            }
            Some(_) => self.quota.share(LEFT, 8),
            None => self.quota,
        };
        // Where a directory cannot be read, what is known is still better than nothing.
        let used = self.sweep(blob, left.less(more)).or(fresh.map(|known| known.used)).unwrap_or_default();
        *count = Some(Count { used: used.and(more), since: now });
    }

    /// Removes what is too old or too much; what is left then.
    fn sweep(&self, blob: &Descriptor, quota: Quota) -> Option<Usage> {
        let others = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let folders = others.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let stagings: Vec<Staging> = folders.map(|entry| Staging::cache(entry.path())).collect();
        let swept = sweep_all(&stagings, std::slice::from_ref(&blob.digest), &quota);
        stagings.iter().for_each(Staging::tidy);
        match swept {
            Ok(swept) => {
                if swept.freed.bytes > 0 {
                    tracing::info!(bytes = swept.freed.bytes, "removed what nobody asked the mirror for lately");
                }
                Some(swept.left)
            }
            Err(error) => {
                // Whether it is in the way is seen next.
                tracing::warn!(%error, "old blobs of the mirror cannot be removed");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;
    use crate::core::digest::{Digest, Verified};
    use bytes::Bytes;

    /// A cache that holds so many files and bytes, and its folder.
    fn cache(bytes: u64, files: u64) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let limits = Limits { staging_bytes: bytes, staging_files: files, ..Limits::default() };
        let cache = Cache::new(folder.path().into(), &limits);
        (folder, cache)
    }

    /// Keeps a blob of so many bytes of a registry.
    fn keep(cache: &Cache, registry: &str, seed: u8, size: usize) {
        let content = Verified::seal(Bytes::from(vec![seed; size]));
        let blob = Descriptor::new(MediaType::Other(String::new()), content.digest().clone(), content.size());
        cache.make_room(&cache.of(registry), &blob).expect("there is room");
        cache.of(registry).keep(&content).expect("is kept");
    }

    fn kept(cache: &Cache) -> Usage {
        let stagings: Vec<Staging> = ["a.example", "b.example"].map(|registry| cache.of(registry)).into();
        let everything = Quota { bytes: u64::MAX, files: u64::MAX, age: Duration::MAX };
        sweep_all(&stagings, &[], &everything).expect("can be read").left
    }

    fn counted(cache: &Cache) -> Option<Usage> {
        cache.count.lock().expect("no panic").map(|count| count.used)
    }

    #[test]
    fn the_count_is_never_less_than_what_is_kept_nor_that_more_than_the_quota() {
        let (_folder, cache) = cache(1 << 20, 1000);
        for seed in 0..200 {
            keep(&cache, if seed % 2 == 0 { "a.example" } else { "b.example" }, seed, 20_000);
            let (kept, counted) = (kept(&cache), counted(&cache).expect("it is counted"));
            assert!(counted.bytes >= kept.bytes && counted.files >= kept.files, "{counted:?} for {kept:?}");
            assert!(kept.bytes <= 1 << 20, "{kept:?} after {seed}");
        }
        assert!(kept(&cache).bytes > 1 << 19, "and not much less than may be");
    }

    #[test]
    fn small_blobs_are_bounded_by_their_number() {
        let (_folder, cache) = cache(u64::MAX, 40);
        for seed in 0..100 {
            keep(&cache, "a.example", seed, 10);
            assert!(kept(&cache).files <= 40, "{:?}", kept(&cache));
        }
    }

    #[test]
    fn directories_are_read_at_the_start_and_when_the_count_does_not_do() {
        let (folder, cache) = cache(1 << 20, 1000);
        keep(&cache, "a.example", 1, 100_000);
        // What comes from elsewhere is not seen until then.
        let stray = folder.path().join("a.example").join(format!("sha256-{}", Digest::of(b"stray").hex()));
        std::fs::write(&stray, vec![0; 700_000]).expect("a writable folder");
        let blob = Descriptor::new(MediaType::Other(String::new()), Digest::of(b"more"), 1);
        let more = Usage { bytes: 1, files: 1 };
        let now = Instant::now();
        cache.add(&blob, more, now);
        assert!(counted(&cache).is_some_and(|used| used.bytes < 200_000), "{:?}", counted(&cache));
        cache.add(&blob, more, now + COUNT_KEPT);
        assert!(counted(&cache).is_some_and(|used| used.bytes > 800_000), "{:?}", counted(&cache));
        // And what others removed does not count for ever.
        std::fs::remove_file(&stray).expect("is there");
        cache.add(&blob, Usage { bytes: 500_000, files: 1 }, now + COUNT_KEPT);
        assert!(counted(&cache).is_some_and(|used| used.bytes < 700_000), "{:?}", counted(&cache));
    }
}
