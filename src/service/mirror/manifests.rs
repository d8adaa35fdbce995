//! Manifests and indexes.
//!
//! What a tag stands for is asked of the registry every time: by HEAD, which registries do not
//! count. A document is fetched once and kept with the blobs. Stores of this node are not looked
//! into: what a digest stands for is only shown by sending all of it, and then it is here.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

use super::Inner;
use super::meter::Source;
use super::refusal::{Code, Refusal};
use super::reply::describe;
use super::route::Which;
use super::upstream::Upstream;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::{Digest, Verified};
use crate::core::reference::Reference;
use crate::fetch::Endpoint;
use crate::store::StoreError;

impl Inner {
    /// Answers for a manifest.
    pub(super) async fn manifest(
        &self,
        upstream: &Upstream,
        which: &Which,
        is_head: bool,
    ) -> Result<Response, Refusal> {
        let (descriptor, sent) = match which {
            Which::Tag(tag) => self.tagged(upstream, tag).await?,
            Which::Digest(digest) => (self.grant(upstream, Endpoint::Manifests, digest).await?, None),
        };
        let (body, source) = match (is_head, sent) {
            (true, _) => (Body::empty(), None),
            (false, Some(bytes)) => (Body::from(bytes), Some(Source::Upstream)),
            (false, None) => {
                let (bytes, source) = self.document(upstream, &descriptor).await?;
                (Body::from(bytes), Some(source))
            }
        };
        let mut response = describe(body, &descriptor.digest, descriptor.media_type.as_str(), descriptor.size);
        if let Some(source) = source {
            response.extensions_mut().insert(source);
        }
        Ok(response)
    }

    /// What a tag stands for, and the document where upstream sent it already.
    async fn tagged(&self, upstream: &Upstream, tag: &str) -> Result<(Descriptor, Option<Bytes>), Refusal> {
        let unknown = |_| Refusal::new(Code::ManifestUnknown, format!("{tag:?} is not a tag"));
        let reference: Reference = upstream.reference.with_tag(tag).map_err(unknown)?;
        let looked_up = upstream.in_time(upstream.look_up(&reference)).await?;
        let (descriptor, document) = looked_up.map_err(|error| upstream.refusal(&error, Code::ManifestUnknown))?;
        self.rights.note(upstream.right(Endpoint::Manifests, &descriptor.digest), descriptor.clone());
        Ok((descriptor, document.map(|document| document.content.into_content())))
    }

    /// The bytes of a document that this caller may read.
    async fn document(&self, upstream: &Upstream, descriptor: &Descriptor) -> Result<(Bytes, Source), Refusal> {
        let registry = upstream.reference.registry();
        if let Some(kept) = self.kept(upstream, descriptor).await {
            return Ok((kept, Source::Cache));
        }
        let fetching = upstream.content.document(&upstream.reference, descriptor, Endpoint::Manifests);
        let fetched = upstream.in_time(fetching).await?;
        let document = fetched.map_err(|error| upstream.refusal(&error, Code::ManifestUnknown))?;
        self.keep(registry, &document).await;
        Ok((document.into_content(), Source::Upstream))
    }

    /// A document that that registry has sent.
    async fn kept(&self, upstream: &Upstream, descriptor: &Descriptor) -> Option<Bytes> {
        let (staging, wanted) = (self.cache.of(upstream.reference.registry()), descriptor.clone());
        let cached = on_disk(move || staging.document(&wanted)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the mirror cannot read what it has kept");
            None
        });
        cached.map(Verified::into_content)
    }

    async fn keep(&self, registry: &str, document: &Verified<Bytes>) {
        let (staging, kept, cache) = (self.cache.of(registry), document.clone(), self.cache.clone());
        let keeping = on_disk(move || {
            cache.make_room(&staging, &as_blob(kept.digest(), kept.size()))?;
            staging.keep(&kept)
        });
        if let Err(error) = keeping.await {
            // Then it is fetched again.
            tracing::warn!(%error, "the mirror cannot keep a manifest");
        }
    }
}

fn as_blob(digest: &Digest, size: u64) -> Descriptor {
    Descriptor::new(MediaType::Other(String::new()), digest.clone(), size)
}

/// Runs what waits for the disk where waiting holds nobody up.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(StoreError::thread(&error)))
}
