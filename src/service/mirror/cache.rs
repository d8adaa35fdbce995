//! Where blobs are kept that came through the mirror: a directory per registry, one quota.

use std::path::PathBuf;
use std::time::Duration;

use crate::core::descriptor::Descriptor;
use crate::core::limits::Limits;
use crate::store::StoreError;
use crate::store::staging::{Staging, sweep_all};

/// The kept blobs.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
    quota: u64,
    age: Duration,
}

impl Cache {
    pub(super) fn new(root: PathBuf, limits: &Limits) -> Self {
        Self { root, quota: limits.staging_bytes, age: Duration::from_secs(limits.staging_age_seconds) }
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
            let others = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
            let folders = others.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let stagings: Vec<Staging> = folders.map(|entry| Staging::cache(entry.path())).collect();
            let keep = std::slice::from_ref(&blob.digest);
            match sweep_all(&stagings, keep, self.quota.saturating_sub(needed), self.age) {
                Ok(0) => {}
                Ok(freed) => tracing::info!(bytes = freed, "removed what nobody asked the mirror for lately"),
                // Whether it is in the way is seen next.
                Err(error) => tracing::warn!(%error, "old blobs of the mirror cannot be removed"),
            }
            stagings.iter().for_each(Staging::tidy);
        }
        staging.require(needed)
    }
}
