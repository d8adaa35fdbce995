//! Blobs: from a store of this node, or from upstream while they arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method};
use tokio_util::io::ReaderStream;

use super::Inner;
use super::body::{Arriving, CHUNK};
use super::manifests::on_disk;
use super::meter::Source;
use super::refusal::{Code, Refusal};
use super::reply::Part;
use super::upstream::Upstream;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::fetch::Endpoint;
use crate::fetch::progress::{Event, Observer};
use crate::service::status::http_status;
use crate::store::{Store, StoreError};

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
        let (body, source) = match self.stored(upstream, &blob, &part).await {
            Some(body) => (body, Source::Store),
            None => {
                let (arriving, source) = self.arriving(upstream, &blob, &part).await?;
                (Body::from_stream(arriving.stream()), source)
            }
        };
        let mut response = part.answer(digest, body);
        response.extensions_mut().insert(source);
        Ok(response)
    }

    /// From a store that has it from this registry, which has shown that it has it.
    async fn stored(&self, upstream: &Upstream, blob: &Descriptor, part: &Part) -> Option<Body> {
        let store = self.store_with(upstream, blob).await?;
        if !self.is_shown(upstream, &**store, blob).await {
            return None;
        }
        let opened = store.open_part(blob, part.start..part.end).await;
        let reader = opened.unwrap_or_else(|error| unreadable(&**store, &error))?;
        Some(Body::from_stream(ReaderStream::with_capacity(reader, CHUNK)))
    }

    /// From upstream, or what is kept of it.
    async fn arriving(
        &self,
        upstream: &Upstream,
        blob: &Descriptor,
        part: &Part,
    ) -> Result<(Arriving, Source), Refusal> {
        let staging = self.cache.of(upstream.reference.registry());
        let (cache, place, wanted) = (self.cache.clone(), staging.clone(), blob.clone());
        on_disk(move || cache.make_room(&place, &wanted)).await.map_err(|error| {
            Refusal::local(&error, "the mirror has no room for this blob").with_status(http_status(error.kind()))
        })?;
        let found = Arc::<Found>::default();
        let content = upstream.content.with_observer(found.clone());
        let mut is_again = false;
        loop {
            let reading = content.read(&upstream.reference, blob, &staging);
            match Arriving::begin(reading, part.start..part.end, blob.size).await {
                Ok(arriving) => return Ok((arriving, found.source())),
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

    /// A store that has something from the registry that is asked, as far as it was told.
    async fn store_with(&self, upstream: &Upstream, what: &Descriptor) -> Option<&Arc<dyn Store>> {
        // Stores may not tell the ports of a host apart, and what listens on another port may be
        // another's. An operator who has named the port vouches for it.
        if !upstream.is_vouched_for && upstream.reference.registry().contains(':') {
            return None;
        }
        for store in &self.home.stores {
            let is_from = store.is_from(&upstream.reference, what).await;
            if is_from.unwrap_or_else(|error| unreadable(&**store, &error)) {
                return Some(store);
            }
        }
        None
    }
}

/// Makes do without a store: upstream has the same.
pub(super) fn unreadable<T: Default>(store: &dyn Store, error: &StoreError) -> T {
    tracing::warn!(%error, store = %store.describe(), "the mirror cannot read a store");
    T::default()
}

/// Hears whether a blob was whole here when a reader came.
#[derive(Debug, Default)]
struct Found {
    is_whole: AtomicBool,
}

impl Found {
    fn source(&self) -> Source {
        if self.is_whole.load(Ordering::Relaxed) { Source::Cache } else { Source::Upstream }
    }
}

impl Observer for Found {
    fn notify(&self, event: Event<'_>) {
        if let Event::Started { blob, offset } = event {
            self.is_whole.store(offset == blob.size, Ordering::Relaxed);
        }
    }
}
