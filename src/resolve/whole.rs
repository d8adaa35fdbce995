//! More of an image than a choice needs: every manifest with its config, and images of a store
//! that no registry is asked about.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};

use super::{Image, Reading, ResolveError, Resolver};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Verified;
use crate::core::manifest::{ImageConfig, Manifest};
use crate::core::reference::Reference;
use crate::fetch::Endpoint;

/// A manifest and its config, or why one of them cannot be had.
pub type Behind = Result<(Manifest, ImageConfig), ResolveError>;

impl Resolver<'_> {
    /// The image that a name of the store stands for, `target`, without asking any registry.
    ///
    /// # Errors
    /// [`ResolveError`] where the store does not have it, or it is no image.
    pub async fn stored(&self, reference: &Reference, target: &Descriptor) -> Result<Image, ResolveError> {
        let mut room = self.fetcher.room();
        self.fetcher.make_room_for(target.size, reference, &mut room).await;
        let kept = match self.store {
            Some(store) => self.kept_root(store, target.clone(), target.digest.clone()).await?,
            None => None,
        };
        let (root, content) = kept.ok_or_else(|| ResolveError::NotStored { digest: target.digest.clone() })?;
        self.read_root(reference, ((root, content, 0), room), Reading::Everything).await
    }

    /// Reads manifests and their configs, a few at a time. What is wrong with one of them is its
    /// own affair.
    pub async fn behind_each(&self, image: &mut Image, chosen: &[Descriptor]) -> Vec<Behind> {
        let manifests = self.documents(image, chosen, Endpoint::Manifests).await;
        let manifests: Vec<Result<Manifest, ResolveError>> = manifests
            .into_iter()
            .zip(chosen)
            .map(|(bytes, descriptor)| self.as_manifest(&bytes?, descriptor))
            .collect();
        let configs: Vec<Descriptor> = manifests.iter().flatten().map(|manifest| manifest.config.clone()).collect();
        let mut read = self.documents(image, &configs, Endpoint::Blobs).await.into_iter();
        let behind = manifests.into_iter().map(|manifest| {
            let manifest = manifest?;
            let bytes = read.next().unwrap_or_else(|| Err(ResolveError::unread(&manifest.config)))?;
            let config = ImageConfig::parse(&bytes, &self.limits);
            let what = manifest.config.digest.to_string();
            let config = config.map_err(|source| ResolveError::Document { what, source })?;
            Ok((manifest, config))
        });
        behind.collect()
    }

    async fn documents(
        &self,
        image: &mut Image,
        wanted: &[Descriptor],
        from: Endpoint,
    ) -> Vec<Result<Bytes, ResolveError>> {
        let reference = image.reference.clone();
        let mut seen = BTreeSet::new();
        let missing = wanted.iter().filter(|descriptor| image.document(&descriptor.digest).is_none());
        let mut unread: Vec<&Descriptor> = missing.filter(|descriptor| seen.insert(&descriptor.digest)).collect();
        unread.truncate(self.limits.documents.saturating_sub(image.documents.len()));
        if let Err(error) = self.admit(image, unread.iter().map(|descriptor| descriptor.size)).await {
            tracing::info!("some documents of {} are left out: {error}", reference.familiar());
            unread.clear();
        }
        let reads: Vec<_> = unread.iter().map(|descriptor| self.obtain(&reference, descriptor, from).boxed()).collect();
        let read: Vec<Result<(Verified<Bytes>, u64), ResolveError>> =
            stream::iter(reads).buffered(self.limits.concurrent_downloads).collect().await;
        let mut failures = Vec::new();
        for (descriptor, read) in unread.into_iter().zip(read) {
            match read {
                Ok((document, bytes)) => image.keep(document, bytes),
                Err(error) => failures.push((descriptor.digest.clone(), error)),
            }
        }
        let result = |descriptor: &Descriptor| match image.document(&descriptor.digest) {
            Some(document) => Ok(document.content().clone()),
            None => {
                let failure = failures.iter().position(|(digest, _)| *digest == descriptor.digest);
                Err(failure.map_or_else(|| ResolveError::unread(descriptor), |at| failures.swap_remove(at).1))
            }
        };
        wanted.iter().map(result).collect()
    }
}
