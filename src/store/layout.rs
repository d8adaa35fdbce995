//! An OCI image layout in a directory: the embedded default, no daemon and no root.
//!
//! ```text
//! DIR/oci-layout          the marker, with the layout's version
//! DIR/index.json          one entry per name, replaced atomically under a lock on DIR
//! DIR/blobs/ALG/HEX       verified content only, linked into place when whole
//! DIR/.lighterman/        partial blobs; gone when nothing is partial
//! ```
//!
//! A name that stands for one manifest of a multi-arch image points straight at that
//! manifest, as skopeo and crane write it, so that every tool reads the layout; the index
//! that it was chosen from is kept as a blob and named in an annotation, so that a later
//! pull can tell that nothing has changed. Docker's media types get a thin index around
//! them, see `wrapper`.
//!
//! Specification: OCI image-spec, image-layout.md; annotations.md for the reference name.

mod files;
mod index;
mod origin;
mod wrapper;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verified};
use crate::core::limits::Limits;
use crate::core::reference::Reference;

use super::staging::{Staged, Staging};
use super::{Belongs, BlobReader, ImageRecord, Known, Lease, Store, StoreError};

/// Name of the staging directory within a layout.
const STAGING: &str = ".lighterman";

/// An OCI image layout.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    staging: Staging,
    limits: Limits,
}

impl Layout {
    /// Opens a layout, or prepares to make one at a path that is free or an empty
    /// directory. Nothing is written before content arrives.
    ///
    /// # Errors
    /// [`StoreError::NotALayout`] where something else is there, [`StoreError::NotWritable`]
    /// where this user cannot write.
    pub fn open_or_create(root: &Path) -> Result<Self, StoreError> {
        files::check_destination(root)?;
        Ok(Self::at(root))
    }

    /// Opens a layout that has to be there.
    ///
    /// # Errors
    /// [`StoreError::NotALayout`] where it is not.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        files::check_layout(root)?;
        Ok(Self::at(root))
    }

    fn at(root: &Path) -> Self {
        Self { root: root.into(), staging: Staging::of_store(root.join(STAGING)), limits: Limits::default() }
    }

    /// Where a blob is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Runs file work on a thread where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let layout = self.clone();
        tokio::task::spawn_blocking(move || work(layout)).await.map_err(|error| StoreError::thread(&error))?
    }
}

#[async_trait]
impl Store for Layout {
    fn describe(&self) -> String {
        format!("oci:{}", self.root.display())
    }

    fn staging(&self) -> Staging {
        self.staging.clone()
    }

    /// A layout has no collector, so a lease protects nothing. It makes the directory, and
    /// remembers what it made, to take that back when nothing comes of the pull.
    async fn lease(&self) -> Result<Lease, StoreError> {
        let made = self.blocking(|layout| files::create(&layout.root, &layout.staging)).await?;
        Ok(Lease::new(made.as_str().into()))
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.blocking(move |layout| {
            layout.staging.tidy();
            files::remove_if_unused(&layout.root, files::Made::parse(&lease.id));
            Ok(())
        })
        .await
    }

    async fn claim(&self, _lease: &Lease, blob: &Descriptor, _belongs: Belongs<'_>) -> Result<bool, StoreError> {
        let (path, size) = (self.blob_path(&blob.digest), blob.size);
        self.blocking(move |_| files::is_whole(&path, size)).await
    }

    async fn adopt(&self, lease: &Lease, blob: &Verified<Staged>, _belongs: Belongs<'_>) -> Result<(), StoreError> {
        let staged = blob.content();
        let (path, size) = (self.blob_path(blob.digest()), blob.size());
        let (file, from) = (Arc::clone(staged.file()), staged.path().to_owned());
        self.blocking(move |_| files::link_into_place((&file, &from), &path, size)).await?;
        lease.tally.linked();
        staged.adopted();
        Ok(())
    }

    async fn put(&self, _lease: &Lease, document: Verified<Bytes>, _belongs: Belongs<'_>) -> Result<(), StoreError> {
        let path = self.blob_path(document.digest());
        let kept = self.blocking(move |layout| {
            let there = files::read_bounded(&path, layout.limits.document_bytes)?;
            if there.as_ref() == Some(document.content()) {
                return Ok(());
            }
            files::write_whole(&layout.staging, &path, document.content())
        });
        kept.await
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Verified<Bytes>>, StoreError> {
        let (path, limit) = (self.blob_path(&descriptor.digest), self.limits.document_bytes);
        let bytes = self.blocking(move |_| files::read_bounded(&path, limit)).await?;
        let check = |bytes| Verified::check(bytes, &descriptor.digest, descriptor.size);
        Ok(bytes.map(check).transpose()?)
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<Verified<Bytes>>, StoreError> {
        let (path, limit) = (self.blob_path(digest), self.limits.document_bytes);
        let bytes = self.blocking(move |_| files::read_bounded(&path, limit)).await?;
        let check = |bytes: Bytes| {
            let size = bytes.len() as u64;
            Verified::check(bytes, digest, size)
        };
        Ok(bytes.map(check).transpose()?)
    }

    async fn open(&self, descriptor: &Descriptor) -> Result<Option<BlobReader>, StoreError> {
        let path = self.blob_path(&descriptor.digest);
        match tokio::fs::File::open(&path).await {
            Ok(file) => Ok(Some(Box::pin(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    async fn open_part(&self, descriptor: &Descriptor, part: Range<u64>) -> Result<Option<BlobReader>, StoreError> {
        let path = self.blob_path(&descriptor.digest);
        let failed = |error| StoreError::io("read", &path, error);
        let mut file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        file.seek(std::io::SeekFrom::Start(part.start)).await.map_err(failed)?;
        Ok(Some(Box::pin(file.take(part.end.saturating_sub(part.start)))))
    }

    async fn is_from(&self, source: &Reference, blob: &Descriptor) -> Result<bool, StoreError> {
        let (path, size) = (self.blob_path(&blob.digest), blob.size);
        if !self.blocking(move |_| files::is_whole(&path, size)).await? {
            return Ok(false);
        }
        origin::is_from(self, source.registry(), &blob.digest).await
    }

    async fn name(&self, _lease: &Lease, record: &ImageRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.blocking(move |layout| {
            let target = record.manifest.clone().unwrap_or_else(|| record.root.clone());
            let wrapper = wrapper::is_needed(&target).then(|| wrapper::write(&layout, &target)).transpose()?;
            files::create(&layout.root, &layout.staging)?;
            index::set(&layout.root, &layout.staging, &index::Name::new(&record, &target, wrapper.as_ref()))
        })
        .await
    }

    async fn stands(&self, record: &ImageRecord, blobs: &[&Descriptor]) -> Result<bool, StoreError> {
        let target = record.manifest.as_ref().unwrap_or(&record.root);
        match self.lookup(&record.reference.to_string()).await? {
            Some(known) if known.target.digest == target.digest && known.platform == target.platform => {
                if known.root.as_ref().unwrap_or(&target.digest) != &record.root.digest {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
        let paths: Vec<_> = blobs.iter().map(|blob| (self.blob_path(&blob.digest), blob.size)).collect();
        let whole = move |_| {
            for (path, size) in &paths {
                if !files::is_whole(path, *size)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.blocking(whole).await
    }

    async fn lookup(&self, name: &str) -> Result<Option<Known>, StoreError> {
        let name = name.to_owned();
        self.blocking(move |layout| {
            let Some(found) = index::find(&layout.root, &name)? else { return Ok(None) };
            let target = match &found.about {
                None => Some(found.target),
                Some(about) => wrapper::unwrap(&layout, &found.target, about)?,
            };
            Ok(target.map(|target| Known { platform: target.platform.clone(), target, root: found.root }))
        })
        .await
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        self.blocking(|layout| index::names(&layout.root)).await
    }
}

#[cfg(test)]
mod tests;
