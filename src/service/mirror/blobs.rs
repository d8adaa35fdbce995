//! Blobs: from a store of this node, or from upstream while they arrive.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method};
use tokio_util::io::ReaderStream;

use super::Inner;
use super::body::{Arriving, CHUNK};
use super::manifests::{on_disk, unreadable};
use super::refusal::{Code, Refusal};
use super::reply::Part;
use super::upstream::Upstream;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::fetch::Endpoint;
use crate::service::status::http_status;

impl Inner {
    /// Answers for a blob.
    pub(super) async fn blob(
        &self,
        upstream: &Upstream,
        digest: &Digest,
        (is_head, headers): (bool, &HeaderMap),
    ) -> Result<Response, Refusal> {
        let blob = self.grant(upstream, Endpoint::Blobs, digest).await?;
        let method = if is_head { Method::HEAD } else { Method::GET };
        let part = Part::asked(&method, headers, digest, blob.size)?;
        if is_head || part.length() == 0 {
            return Ok(part.answer(digest, Body::empty()));
        }
        if let Some(body) = self.stored(upstream, &blob, &part).await {
            return Ok(part.answer(digest, body));
        }
        let arriving = self.arriving(upstream, &blob, &part).await?;
        Ok(part.answer(digest, Body::from_stream(arriving.stream())))
    }

    /// From a store that has it from this registry.
    async fn stored(&self, upstream: &Upstream, blob: &Descriptor, part: &Part) -> Option<Body> {
        let store = self.store_with(upstream, blob).await?;
        let opened = store.open_part(blob, part.start..part.end).await;
        let reader = opened.unwrap_or_else(|error| unreadable(&**store, &error))?;
        Some(Body::from_stream(ReaderStream::with_capacity(reader, CHUNK)))
    }

    /// From upstream, or what is kept of it.
    async fn arriving(&self, upstream: &Upstream, blob: &Descriptor, part: &Part) -> Result<Arriving, Refusal> {
        let staging = self.cache.of(upstream.reference.registry());
        let (cache, place, wanted) = (self.cache.clone(), staging.clone(), blob.clone());
        on_disk(move || cache.make_room(&place, &wanted)).await.map_err(|error| {
            Refusal::local(&error, "the mirror has no room for this blob").with_status(http_status(error.kind()))
        })?;
        let mut is_again = false;
        loop {
            let reading = upstream.content.read(&upstream.reference, blob, &staging);
            match Arriving::begin(reading, part.start..part.end, blob.size).await {
                Ok(arriving) => return Ok(arriving),
                // Perhaps it was the credentials of another caller that upstream did not take any more.
                Err(error) if !is_again && matches!(error.kind(), Kind::Unauthenticated | Kind::PermissionDenied) => {
                    is_again = true;
                }
                Err(error) => {
                    self.rights.withdraw(&upstream.right(Endpoint::Blobs, &blob.digest));
                    return Err(upstream.refusal(&error, Code::BlobUnknown));
                }
            }
        }
    }
}
