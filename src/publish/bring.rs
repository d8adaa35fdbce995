//! Children that the repository lacks: mounted from another one of the same registry, or copied.

use std::path::Path;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::draft::DraftError;
use crate::core::manifest::{Document, ManifestError};
use crate::core::reference::Reference;
use crate::fetch::{Arrival, Fetcher, Job};
use crate::registry::Content;
use crate::store::layout::Layout;
use crate::store::{Belongs, Role, Store as _};

use super::error::PublishError;
use super::push::{Brought, push_error};
use super::{Publication, Registries};

/// Children that are to be brought, with where each is. Asks for every child; nothing is written.
///
/// # Errors
/// [`PublishError::MissingChildren`] for those that are nowhere.
pub(super) async fn locate(registries: &Registries, publication: &Publication) -> Result<Vec<Reference>, PublishError> {
    let target = registries.of(&publication.reference)?;
    let mut children: Vec<Digest> = publication.draft.entries().into_iter().map(|entry| entry.digest).collect();
    children.sort();
    children.dedup();
    let (mut elsewhere, mut missing) = (Vec::new(), Vec::new());
    for digest in children {
        if target.digest_of(&publication.reference.with_digest(digest.clone())).await?.is_some() {
            continue;
        }
        match publication.sources.get(&digest).map(|source| source.with_digest(digest.clone())) {
            Some(source) if registries.of(&source)?.digest_of(&source).await?.is_some() => elsewhere.push(source),
            _ => missing.push(digest),
        }
    }
    if missing.is_empty() {
        return Ok(elsewhere);
    }
    Err(PublishError::MissingChildren { repository: publication.reference.name(), missing })
}

/// One child on its way from one repository to another.
pub(super) struct Bringing<'a> {
    pub(super) registries: &'a Registries,
    pub(super) source: &'a Fetcher,
    pub(super) from: &'a Reference,
    pub(super) target: &'a Fetcher,
    pub(super) to: &'a Reference,
    /// Where blobs are kept that are copied.
    pub(super) dir: &'a Path,
}

impl Bringing<'_> {
    /// Brings a manifest, or an index, with all that it names.
    ///
    /// # Errors
    /// [`PublishError`]; blobs that were brought before stay.
    pub(super) fn document(&self, digest: Digest, depth: usize) -> BoxFuture<'_, Result<Brought, PublishError>> {
        Box::pin(async move {
            let limits = self.registries.limits();
            let root = self.source.root(&self.from.with_digest(digest.clone())).await?;
            let bytes = root.content.content();
            let malformed = |source: ManifestError| PublishError::Draft {
                reference: self.from.with_digest(digest.clone()).familiar(),
                source: DraftError::Document(source),
            };
            let parsed = Document::parse(bytes, root.media_type.as_ref(), limits).map_err(malformed)?;
            let (from, digest_brought) = (self.from.name(), digest.clone());
            let mut brought = Brought { digest: digest_brought, from, mounted: 0, copied: 0, bytes: 0 };
            match &parsed {
                Document::Manifest(manifest) => {
                    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                        self.blob(blob, &mut brought).await?;
                    }
                }
                Document::Index(_) if depth == 0 => {
                    return Err(malformed(ManifestError::TooMany {
                        what: "index of indexes",
                        count: limits.index_depth + 1,
                        limit: limits.index_depth,
                    }));
                }
                Document::Index(index) => {
                    for entry in &index.manifests {
                        let inner = self.document(entry.digest.clone(), depth - 1).await?;
                        brought.mounted += inner.mounted;
                        brought.copied += inner.copied;
                        brought.bytes += inner.bytes;
                    }
                }
            }
            let media_type = root.media_type.clone().filter(|kind| kind.is_index() || kind.is_manifest());
            let media_type = media_type.unwrap_or_else(|| parsed.media_type(bytes));
            let pushed = self.target.push_document(self.to, &media_type, &root.content).await;
            pushed.map_err(push_error(&digest, self.to))?;
            Ok(brought)
        })
    }

    async fn blob(&self, blob: &Descriptor, brought: &mut Brought) -> Result<(), PublishError> {
        if is_foreign(&blob.media_type) || self.target.has_blob(self.to, &blob.digest).await? {
            return Ok(());
        }
        if self.from.registry() == self.to.registry() {
            let mounted = self.target.mount(self.to, &blob.digest, self.from).await;
            if mounted.map_err(push_error(&blob.digest, self.to))? {
                brought.mounted += 1;
                return Ok(());
            }
        }
        self.copy(blob).await?;
        brought.copied += 1;
        brought.bytes += blob.size;
        Ok(())
    }

    /// By way of this machine, whole and verified before the first byte is uploaded.
    async fn copy(&self, blob: &Descriptor) -> Result<(), PublishError> {
        let layout = Layout::open_or_create(self.dir)?;
        let lease = layout.lease().await?;
        let job = Job { reference: self.from, store: &layout, lease: &lease };
        let belongs = Belongs { role: Role::Layer(None), source: self.from };
        self.source.make_room(&job, &[(blob, belongs)]).await?;
        self.source.blob(&job, blob, belongs, &watch::Sender::new(Arrival::Awaited)).await?;
        let path = layout.blob_path(&blob.digest);
        let content = Content::File { path: path.clone(), size: blob.size };
        let uploaded = self.target.upload(self.to, &blob.digest, &content).await;
        // The whole folder goes in the end; this only saves space until then.
        let _ = tokio::fs::remove_file(&path).await;
        uploaded.map_err(push_error(&blob.digest, self.to))
    }
}

/// A layer that registries do not have to have: clients get it from elsewhere.
fn is_foreign(kind: &MediaType) -> bool {
    kind.is_layer() && (kind.as_str().contains(".foreign.") || kind.as_str().contains(".nondistributable."))
}
