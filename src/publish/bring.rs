//! Children that the repository lacks: mounted from another one of the same registry, or copied.
//!
//! Whoever made a child may have made it a trap: an index of indexes that name each other's images
//! over and over. So all documents behind a child are read first, each once, and no more of them
//! than [`Bounds`] lets through; nothing is written before that is done.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::{Digest, Verified};
use crate::core::draft::DraftError;
use crate::core::limits::Limits;
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

/// How much there may be behind all children of one push.
#[derive(Debug)]
struct Bounds<'a> {
    limits: &'a Limits,
    /// Documents that are on their way already, so that none is taken twice, whoever names it.
    seen: HashSet<Digest>,
    bytes: u64,
}

/// What there is too much of, and the most that there may be.
type TooMuch = (&'static str, u64);

impl<'a> Bounds<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, seen: HashSet::new(), bytes: 0 }
    }

    /// Whether a document still has to be read. `depth` counts the indexes around it.
    fn admit(&mut self, digest: &Digest, depth: usize) -> Result<bool, TooMuch> {
        let Limits { index_entries, index_depth, .. } = *self.limits;
        if self.seen.contains(digest) {
            return Ok(false);
        }
        if depth > index_depth {
            return Err(("levels of indexes in indexes", index_depth as u64));
        }
        if self.seen.len() == index_entries {
            return Err(("manifests and indexes", index_entries as u64));
        }
        Ok(self.seen.insert(digest.clone()))
    }

    /// Counts what was read; all of it is kept in memory until it is pushed.
    fn take(&mut self, bytes: u64) -> Result<(), TooMuch> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.limits.documents_bytes {
            limit if self.bytes > limit => Err(("bytes of manifests and indexes", limit)),
            _ => Ok(()),
        }
    }
}

/// A document that goes along, and the blobs that have to be there before it.
#[derive(Debug)]
struct Piece {
    media_type: MediaType,
    content: Verified<Bytes>,
    blobs: Vec<Descriptor>,
}

/// A child with all that it names, the innermost first: registries take an index only after what
/// is in it.
#[derive(Debug)]
pub(super) struct Cargo<'a> {
    from: &'a Reference,
    digest: Digest,
    pieces: Vec<Piece>,
}

/// Reads children before anything of them is written.
pub(super) struct Survey<'a> {
    registries: &'a Registries,
    bounds: Bounds<'a>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(registries: &'a Registries) -> Self {
        Self { registries, bounds: Bounds::new(registries.limits()) }
    }

    /// All documents of a child that no child before it has brought.
    ///
    /// # Errors
    /// [`PublishError`]; [`PublishError::TooMuch`] where there is more behind it than may be.
    pub(super) async fn child(&mut self, from: &'a Reference, digest: Digest) -> Result<Cargo<'a>, PublishError> {
        let mut pieces = Vec::new();
        // The index that is pushed is around it.
        self.read(from, digest.clone(), 1, &mut pieces).await?;
        Ok(Cargo { from, digest, pieces })
    }

    fn read<'b>(
        &'b mut self,
        from: &'b Reference,
        digest: Digest,
        depth: usize,
        pieces: &'b mut Vec<Piece>,
    ) -> BoxFuture<'b, Result<(), PublishError>> {
        Box::pin(async move {
            let reference = from.with_digest(digest.clone());
            let over = |(what, limit)| PublishError::TooMuch { child: reference.familiar(), what, limit };
            if !self.bounds.admit(&digest, depth).map_err(over)? {
                return Ok(());
            }
            let root = self.registries.of(from)?.root(&reference).await?;
            self.bounds.take(root.content.size()).map_err(over)?;
            let bytes = root.content.content();
            let malformed = |source: ManifestError| PublishError::Draft {
                reference: reference.familiar(),
                source: DraftError::Document(source),
            };
            let announced = root.media_type.filter(|kind| kind.is_index() || kind.is_manifest());
            let parsed = Document::parse(bytes, announced.as_ref(), self.registries.limits()).map_err(malformed)?;
            let media_type = announced.unwrap_or_else(|| parsed.media_type(bytes));
            let blobs = match parsed {
                Document::Manifest(manifest) => std::iter::once(manifest.config).chain(manifest.layers).collect(),
                Document::Index(index) => {
                    for entry in index.manifests {
                        self.read(from, entry.digest, depth + 1, pieces).await?;
                    }
                    Vec::new()
                }
            };
            pieces.push(Piece { media_type, content: root.content, blobs });
            Ok(())
        })
    }
}

/// Cargo on its way from one repository to another.
pub(super) struct Bringing<'a> {
    pub(super) source: &'a Fetcher,
    pub(super) target: &'a Fetcher,
    pub(super) to: &'a Reference,
    /// Where blobs are kept that are copied.
    pub(super) dir: &'a Path,
}

impl Bringing<'_> {
    /// Brings a child with all that it names.
    ///
    /// # Errors
    /// [`PublishError`]; what was brought before stays.
    pub(super) async fn cargo(&self, cargo: Cargo<'_>) -> Result<Brought, PublishError> {
        let Cargo { from, digest, pieces } = cargo;
        let mut brought = Brought { digest, from: from.name(), mounted: 0, copied: 0, bytes: 0 };
        for piece in pieces {
            for blob in &piece.blobs {
                self.blob(from, blob, &mut brought).await?;
            }
            let pushed = self.target.push_document(self.to, &piece.media_type, &piece.content).await;
            pushed.map_err(push_error(piece.content.digest(), self.to))?;
        }
        Ok(brought)
    }

    async fn blob(&self, from: &Reference, blob: &Descriptor, brought: &mut Brought) -> Result<(), PublishError> {
        if is_foreign(&blob.media_type) || self.target.has_blob(self.to, &blob.digest).await? {
            return Ok(());
        }
        if from.registry() == self.to.registry() {
            let mounted = self.target.mount(self.to, &blob.digest, from).await;
            if mounted.map_err(push_error(&blob.digest, self.to))? {
                brought.mounted += 1;
                return Ok(());
            }
        }
        self.copy(from, blob).await?;
        brought.copied += 1;
        brought.bytes = brought.bytes.saturating_add(blob.size);
        Ok(())
    }

    /// By way of this machine, whole and verified before the first byte is uploaded.
    async fn copy(&self, from: &Reference, blob: &Descriptor) -> Result<(), PublishError> {
        let layout = Layout::open_or_create(self.dir)?;
        let lease = layout.lease().await?;
        let job = Job { reference: from, store: &layout, lease: &lease };
        let belongs = Belongs { role: Role::Layer(None), source: from };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_child_is_bounded() {
        let limits = Limits { index_entries: 3, index_depth: 2, documents_bytes: 100, ..Limits::default() };
        let mut bounds = Bounds::new(&limits);
        let [one, two, three, four] = [b"1", b"2", b"3", b"4"].map(|name| Digest::of(name));
        assert_eq!(bounds.admit(&one, 1), Ok(true));
        assert_eq!(bounds.admit(&one, 1), Ok(false), "twice in one index");
        assert_eq!(bounds.admit(&one, 9), Ok(false), "a way back to where it came from ends there");
        assert_eq!(bounds.admit(&two, 2), Ok(true));
        assert_eq!(bounds.admit(&three, 3), Err(("levels of indexes in indexes", 2)));
        assert_eq!(bounds.admit(&three, 2), Ok(true), "what was refused was not counted");
        assert_eq!(bounds.admit(&four, 1), Err(("manifests and indexes", 3)));
        assert_eq!(bounds.take(100), Ok(()));
        assert_eq!(bounds.take(1), Err(("bytes of manifests and indexes", 100)));
        assert!(bounds.take(u64::MAX).is_err(), "no sum wraps around");
    }
}
