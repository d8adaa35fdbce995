//! The use case before every pull: a reference in, the manifest for a platform out, or a
//! refusal that says what the image has and what this node runs.
//!
//! [`Resolver`] reads as little as decides: the root document; what is behind entries
//! without a platform, only when nothing matches by declaration or when all of it is to be
//! explained; the config of a lone manifest, because nobody else ever checks it.
//! [`choice`] decides, without I/O. Nothing is written here.

pub mod choice;
mod error;
pub mod resolution;
mod whole;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::{Digest, Verified};
use crate::core::limits::Limits;
use crate::core::manifest::{Document, ImageConfig, Index, Manifest};
use crate::core::platform::{Matcher, Platform};
use crate::core::reference::Reference;
use crate::core::select::{self, Entry, Inner};
use crate::fetch::{Endpoint, FetchError, Fetcher, Room};
use crate::store::Store;

pub use error::ResolveError;
pub use whole::Behind;

/// Reads the documents of an image, from the store where it has them, else from the registry.
#[derive(Debug, Clone, Copy)]
pub struct Resolver<'a> {
    /// Where documents come from.
    pub fetcher: &'a Fetcher,
    /// Where they may be already.
    pub store: Option<&'a dyn Store>,
    /// Whether the registry is asked even for a digest that is in the store, and even where a
    /// mirror has answered: that is the check that whoever asks may have it
    /// ([`Fetcher::check_access`]).
    pub check_access: bool,
    /// How much is read at the most.
    pub limits: Limits,
}

/// What a reference stands for, with all that was read of it.
#[derive(Debug)]
pub struct Image {
    /// The reference.
    pub reference: Reference,
    /// The root document's descriptor.
    pub root: Descriptor,
    /// What the root is.
    pub content: Root,
    documents: BTreeMap<Digest, Verified<Bytes>>,
    /// Where those have room.
    room: Room,
    /// Bytes of documents that came over the network.
    pub bytes_fetched: u64,
}

/// A root document.
#[derive(Debug, Clone)]
pub enum Root {
    /// Manifests for several platforms.
    Index(Vec<Entry>),
    /// One manifest, with the platform that its config names.
    Manifest(Manifest, Platform),
}

/// How much of an index to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading<'a> {
    /// What it takes to choose for this matcher.
    Deciding(&'a Matcher),
    /// Everything behind every entry, for an explanation or for all platforms.
    Everything,
}

impl Image {
    /// A document that was read, by digest.
    #[must_use]
    pub fn document(&self, digest: &Digest) -> Option<&Verified<Bytes>> {
        self.documents.get(digest)
    }

    fn bytes_kept(&self) -> u64 {
        self.documents.values().map(Verified::size).sum()
    }

    fn keep(&mut self, document: Verified<Bytes>, bytes_fetched: u64) {
        self.bytes_fetched += bytes_fetched;
        self.documents.insert(document.digest().clone(), document);
    }

    /// Lets go of all that was read only to choose: what the root was parsed into, and every
    /// document but those of these digests. The memory of what stays is held as long as this lives.
    pub fn settle(&mut self, keep: &[Digest]) {
        self.content = Root::Index(Vec::new());
        self.documents.retain(|digest, _| keep.contains(digest));
        self.room.settle(self.bytes_kept());
    }

    /// The entries of the index; none for a lone manifest.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Root::Index(entries) => entries,
            Root::Manifest(..) => &[],
        }
    }
}

impl Resolver<'_> {
    /// Reads the root of a reference, and behind it as much as `reading` says.
    ///
    /// # Errors
    /// [`ResolveError`] where it cannot be fetched or is not an image.
    pub async fn image(&self, reference: &Reference, reading: Reading<'_>) -> Result<Image, ResolveError> {
        let mut room = self.fetcher.room();
        let root = self.root(reference, &mut room).await?;
        let (image, ()) = try_join(self.read_root(reference, (root, room), reading), self.allowed(reference)).await?;
        Ok(image)
    }

    async fn allowed(&self, reference: &Reference) -> Result<(), ResolveError> {
        if self.check_access {
            // Seldom waited for, and as large as all of its attempts.
            Box::pin(self.fetcher.check_access(reference)).await?;
        }
        Ok(())
    }

    /// The image of a root document that was read, and the room that it has.
    async fn read_root(
        &self,
        reference: &Reference,
        ((root, content, bytes_fetched), room): ((Descriptor, Verified<Bytes>, u64), Room),
        reading: Reading<'_>,
    ) -> Result<Image, ResolveError> {
        let parsed = Document::parse(content.content(), Some(&root.media_type), &self.limits)
            .map_err(|source| ResolveError::Document { what: reference.familiar(), source })?;
        let mut image = Image {
            reference: reference.clone(),
            root: described(root, &parsed, content.content()),
            content: Root::Index(Vec::new()),
            documents: BTreeMap::new(),
            room,
            bytes_fetched,
        };
        image.documents.insert(content.digest().clone(), content);
        match parsed {
            Document::Manifest(manifest) => {
                let platform = self.config(&mut image, &manifest.config).await?.platform;
                image.content = Root::Manifest(manifest, platform);
            }
            Document::Index(index) => {
                let mut entries = entries(index);
                self.read_on(&mut image, &mut entries, reading).await?;
                image.content = Root::Index(entries);
            }
        }
        Ok(image)
    }

    /// Reads the manifest of a descriptor that was chosen.
    ///
    /// # Errors
    /// [`ResolveError`] where it cannot be fetched or is not a manifest.
    pub async fn manifest(&self, image: &mut Image, chosen: &Descriptor) -> Result<Manifest, ResolveError> {
        let bytes = self.read(image, chosen, Endpoint::Manifests).await?;
        self.as_manifest(&bytes, chosen)
    }

    fn as_manifest(&self, bytes: &Bytes, chosen: &Descriptor) -> Result<Manifest, ResolveError> {
        match Document::parse(bytes, Some(&chosen.media_type), &self.limits) {
            Ok(Document::Manifest(manifest)) => Ok(manifest),
            Ok(Document::Index(_)) => Err(ResolveError::NotAManifest { digest: chosen.digest.clone() }),
            Err(source) => Err(ResolveError::Document { what: chosen.digest.to_string(), source }),
        }
    }

    /// Reads several manifests, a few at a time.
    ///
    /// # Errors
    /// As [`Self::manifest`]; the first one counts.
    pub async fn manifests(&self, image: &mut Image, chosen: &[Descriptor]) -> Result<Vec<Manifest>, ResolveError> {
        let missing: Vec<&Descriptor> =
            chosen.iter().filter(|descriptor| !image.documents.contains_key(&descriptor.digest)).collect();
        self.admit(image, missing.iter().map(|descriptor| descriptor.size)).await?;
        let reference = image.reference.clone();
        // A list of boxes, because the compiler could not tell of a stream of closures that it may
        // change threads.
        let missing = missing.into_iter();
        let reads: Vec<_> =
            missing.map(|descriptor| self.obtain(&reference, descriptor, Endpoint::Manifests).boxed()).collect();
        let read: Vec<(Verified<Bytes>, u64)> =
            stream::iter(reads).buffered(self.limits.concurrent_downloads).try_collect().await?;
        for (document, bytes) in read {
            image.keep(document, bytes);
        }
        let mut manifests = Vec::with_capacity(chosen.len());
        for descriptor in chosen {
            manifests.push(self.manifest(image, descriptor).await?);
        }
        Ok(manifests)
    }

    /// Reads the config that a manifest names.
    ///
    /// # Errors
    /// [`ResolveError`] where it cannot be fetched or is malformed.
    pub async fn config(&self, image: &mut Image, config: &Descriptor) -> Result<ImageConfig, ResolveError> {
        let bytes = self.read(image, config, Endpoint::Blobs).await?;
        ImageConfig::parse(&bytes, &self.limits)
            .map_err(|source| ResolveError::Document { what: config.digest.to_string(), source })
    }

    /// The root's descriptor and bytes, and how many of them came over the network. A name
    /// that the store knows is asked for with HEAD first: registries do not count those, and
    /// an unchanged image then costs one round trip and no body.
    async fn root(
        &self,
        reference: &Reference,
        room: &mut Room,
    ) -> Result<(Descriptor, Verified<Bytes>, u64), ResolveError> {
        if let Some(store) = self.store
            && let Some(known) = store.lookup(&reference.to_string()).await?
        {
            let unchanged = match reference.digest() {
                Some(digest) if !self.check_access => Some((digest.clone(), None)),
                // A host whose answer names no digest is asked for the document.
                Some(digest) => self.fetcher.resolve(reference).await?.map(|found| (digest.clone(), Some(found.size))),
                None => self.fetcher.resolve(reference).await?.map(|found| (found.digest, Some(found.size))),
            };
            let is_known = |digest: &Digest| *digest == known.target.digest || known.root.as_ref() == Some(digest);
            if let Some((digest, size)) = unchanged.filter(|(digest, _)| is_known(digest)) {
                let size = size.unwrap_or(self.limits.document_bytes).max(known.target.size);
                self.fetcher.make_room_for(size, reference, room).await;
                if let Some((descriptor, content)) = self.kept_root(store, known.target, digest).await?
                    && content.size() <= room.bytes()
                {
                    return Ok((descriptor, content, 0));
                }
            }
        }
        let document = self.fetcher.root_into(reference, room).await?;
        let bytes = document.content.size();
        // A body without a type is told apart by its own fields; the fallback only names it.
        let descriptor = document.descriptor(MediaType::Other(String::new()));
        Ok((descriptor, document.content, bytes))
    }

    async fn kept_root(
        &self,
        store: &dyn Store,
        target: Descriptor,
        digest: Digest,
    ) -> Result<Option<(Descriptor, Verified<Bytes>)>, ResolveError> {
        if target.digest == digest {
            let descriptor = Descriptor { annotations: BTreeMap::new(), platform: None, ..target };
            return Ok(store.document(&descriptor).await?.map(|content| (descriptor, content)));
        }
        // The store kept the index beside the manifest that was chosen from it.
        let Some(content) = store.kept(&digest).await? else { return Ok(None) };
        let descriptor = Descriptor::new(MediaType::Other(String::new()), digest, content.size());
        Ok(Some((descriptor, content)))
    }

    /// Reads behind entries, level by level, until nothing that matters is unread.
    async fn read_on(
        &self,
        image: &mut Image,
        entries: &mut [Entry],
        reading: Reading<'_>,
    ) -> Result<(), ResolveError> {
        // One document that is named again and again, level by level, would fill all memory.
        let mut nested = 0;
        for _ in 0..self.limits.index_depth {
            if let Reading::Deciding(matcher) = reading
                && select::has_declared_match(entries, matcher)
            {
                return Ok(());
            }
            let unread = unread(entries);
            if unread.is_empty() {
                return Ok(());
            }
            for entry in unread {
                entry.inner = match image.documents.len() < self.limits.documents {
                    true => self.behind(image, &entry.descriptor).await?,
                    false => Inner::too_many_documents(&self.limits),
                };
                if let Inner::Nested(inner) = &entry.inner {
                    nested += inner.len();
                    if nested > self.limits.index_entries {
                        entry.inner = Inner::too_many_entries(&self.limits);
                    }
                }
            }
        }
        for entry in unread(entries) {
            entry.inner = Inner::too_deep(&self.limits);
        }
        Ok(())
    }

    /// What is behind one entry. A document that is malformed spoils its entry, not the image;
    /// a registry that cannot be reached spoils everything.
    async fn behind(&self, image: &mut Image, descriptor: &Descriptor) -> Result<Inner, ResolveError> {
        if descriptor.media_type.is_index() {
            let read = self.read(image, descriptor, Endpoint::Manifests).await;
            return match read.map(|bytes| Document::parse(&bytes, Some(&descriptor.media_type), &self.limits)) {
                Ok(Ok(Document::Index(index))) => Ok(Inner::Nested(entries(index))),
                Ok(Ok(Document::Manifest(_))) => Ok(Inner::Unusable("announced as an index, and is a manifest".into())),
                Ok(Err(error)) => Ok(Inner::Unusable(error.to_string())),
                Err(error) => error.spoils_entry(),
            };
        }
        let manifest = match self.manifest(image, descriptor).await {
            Ok(manifest) => manifest,
            Err(error) => return error.spoils_entry(),
        };
        match self.config(image, &manifest.config).await {
            Ok(config) => Ok(Inner::Config(config.platform)),
            Err(error) => error.spoils_entry(),
        }
    }

    async fn read(&self, image: &mut Image, descriptor: &Descriptor, from: Endpoint) -> Result<Bytes, ResolveError> {
        if let Some(document) = image.documents.get(&descriptor.digest) {
            return Ok(document.content().clone());
        }
        self.admit(image, [descriptor.size]).await?;
        let (document, bytes) = self.obtain(&image.reference, descriptor, from).await?;
        let content = document.content().clone();
        image.keep(document, bytes);
        Ok(content)
    }

    /// Makes room for documents of these sizes, as far as an image may have so many.
    async fn admit(&self, image: &mut Image, sizes: impl IntoIterator<Item = u64>) -> Result<(), ResolveError> {
        let limit = self.limits.documents_bytes;
        let wanted = sizes.into_iter().fold(image.bytes_kept(), u64::saturating_add);
        if wanted > limit {
            return Err(ResolveError::TooManyDocuments { reference: image.reference.familiar(), limit });
        }
        self.fetcher.make_room_for(wanted, &image.reference, &mut image.room).await;
        Ok(())
    }

    /// A document and the bytes that it cost: from the store for nothing, else from the registry.
    async fn obtain(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        from: Endpoint,
    ) -> Result<(Verified<Bytes>, u64), ResolveError> {
        if let Some(store) = self.store
            && let Some(document) = store.document(descriptor).await?
        {
            return Ok((document, 0));
        }
        match self.fetcher.document(reference, descriptor, from).await {
            Ok(document) => {
                let size = document.size();
                Ok((document, size))
            }
            // No registry is to be asked: the store is all there is.
            Err(FetchError::NoHost { .. }) if self.store.is_some() => {
                Err(ResolveError::NotStored { digest: descriptor.digest.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The root's descriptor with its real type: what the registry said, else what the document
/// says of itself, else what it has the shape of.
fn described(root: Descriptor, parsed: &Document, bytes: &[u8]) -> Descriptor {
    let is_root = |kind: &MediaType| kind.is_index() || kind.is_manifest();
    let announced = Some(root.media_type.clone()).filter(is_root);
    let media_type = announced.unwrap_or_else(|| parsed.media_type(bytes));
    Descriptor { media_type, ..root }
}

fn entries(index: Index) -> Vec<Entry> {
    index.manifests.into_iter().map(|manifest| Entry::unread(manifest.pruned())).collect()
}

fn unread(entries: &mut [Entry]) -> Vec<&mut Entry> {
    let mut unread = Vec::new();
    for entry in entries {
        if entry.needs_reading() {
            unread.push(entry);
        } else if let Inner::Nested(inner) = &mut entry.inner {
            unread.extend(self::unread(inner));
        }
    }
    unread
}
