//! An image that was pulled, looked at again: every blob verified, and what it claims held
//! against the program that it starts, by the [`checks`] that every diagnosis makes.

mod error;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verifier};
use crate::core::limits::Limits;
use crate::core::manifest::{Document, ImageConfig, Manifest};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select::{self, Entry, EntryPath, Inner};
use crate::store::{Known, Store, StoreError};

use super::contents::{self, Contents};
use super::finding::Finding;
use super::report::{Start, entry_text};
use super::rootfs::blobs::Stored;
use super::rootfs::layers::{Effort, Layers};
use super::{checks, fleet, start};

pub use error::InspectError;

/// Bytes read at a time while verifying.
const BUFFER: usize = 256 * 1024;

/// What checks call an image whose name is no reference: other tools name images as they like.
const STAND_IN: &str = "image";

/// Everything about one name of a store.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The name.
    pub reference: String,
    /// What it stands for.
    pub target: Descriptor,
    /// The images behind it that are here; several for an index that was pulled whole.
    pub images: Vec<ImageFacts>,
    /// Where claims and contents contradict each other, worst first, whatever the node.
    pub findings: Vec<Finding>,
}

/// One manifest, with what is behind it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Its place in the index, positions from 0 joined by dots; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The manifest.
    pub digest: Digest,
    /// The platform that the index declares.
    pub declared: Option<Platform>,
    /// The image ID: the config's digest.
    pub id: Digest,
    /// The platform that the config names.
    pub config: Platform,
    /// When it was built, as the config says.
    pub created: Option<String>,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What that is; `None` for what is no image of Linux.
    pub start: Option<Start>,
    /// Blobs whose size and digest were checked: manifest, config and layers.
    pub blobs_verified: usize,
    /// Their bytes.
    pub bytes_verified: u64,
}

/// Looks at the image that a name stands for.
///
/// # Errors
/// [`InspectError`]; a blob that is missing or damaged is one.
pub async fn inspect(store: &Arc<dyn Store>, name: &str, limits: &Limits) -> Result<Inspection, InspectError> {
    let inspector = Inspector { store, name, limits };
    let Some(known) = store.lookup(name).await? else {
        let (store, names) = (store.describe(), store.names().await?);
        return Err(InspectError::NotHere { reference: name.into(), store, names });
    };
    let document = inspector.read(&known.target).await?.ok_or_else(|| inspector.missing(&known.target))?;
    let (subject, images) = match document {
        Document::Manifest(manifest) => inspector.chosen(&known, manifest).await?,
        Document::Index(index) => inspector.whole(&known.target, index.manifests).await?,
    };
    let findings = inspector.findings(&subject);
    Ok(Inspection { reference: name.into(), target: known.target, images, findings })
}

struct Inspector<'a> {
    store: &'a Arc<dyn Store>,
    name: &'a str,
    limits: &'a Limits,
}

/// What checks need to know.
struct Subject {
    root: Descriptor,
    entries: Vec<Entry>,
    contents: Vec<Contents>,
}

/// Blobs whose digest and size hold, so that none is read once more for every entry that names it.
type Sound = HashSet<(Digest, u64)>;

impl Inspector<'_> {
    /// One manifest, with the index that it was chosen from where the store kept that.
    async fn chosen(&self, known: &Known, manifest: Manifest) -> Result<(Subject, Vec<ImageFacts>), InspectError> {
        let declared = known.target.platform.clone().or_else(|| known.platform.clone());
        let target = Descriptor { platform: declared, ..known.target.clone() };
        let (root, entries, path) = match self.chosen_from(known, &target).await? {
            Some(listed) => listed,
            None => (target.clone(), Vec::new(), EntryPath::new()),
        };
        let (contents, facts) = self.image(path, &target, manifest, &mut Sound::new()).await?;
        Ok((Subject { root, entries, contents: vec![contents] }, vec![facts]))
    }

    /// The index that a manifest was chosen from, its entries, and which of them it is.
    async fn chosen_from(
        &self,
        known: &Known,
        target: &Descriptor,
    ) -> Result<Option<(Descriptor, Vec<Entry>, EntryPath)>, InspectError> {
        let Some(digest) = known.root.as_ref().filter(|digest| **digest != target.digest) else { return Ok(None) };
        let Some(document) = self.store.kept(digest).await? else { return Ok(None) };
        let Ok(parsed) = Document::parse(document.content(), None, self.limits) else { return Ok(None) };
        let root = Descriptor::new(parsed.media_type(document.content()), digest.clone(), document.size());
        let Document::Index(index) = parsed else { return Ok(None) };
        let entries = self.listed(index.manifests, 0, &mut self.room()).await?;
        let is_it =
            |entry: &Entry| entry.descriptor.digest == target.digest && entry.descriptor.platform == target.platform;
        let found = select::flatten(&entries).into_iter().find(|(_, entry)| is_it(entry)).map(|(path, _)| path);
        Ok(found.map(|path| (root, entries, path)))
    }

    /// The images of an index that are here, those of nested indexes included.
    async fn whole(
        &self,
        root: &Descriptor,
        listed: Vec<Descriptor>,
    ) -> Result<(Subject, Vec<ImageFacts>), InspectError> {
        let first = listed.first().cloned();
        let entries = self.listed(listed, 0, &mut self.room()).await?;
        let (mut contents, mut images) = (Vec::new(), Vec::new());
        let (mut sound, mut first_missing) = (Sound::new(), None);
        for (path, Entry { descriptor, .. }) in select::flatten(&entries) {
            if descriptor.is_attestation() || !descriptor.media_type.is_manifest() {
                continue;
            }
            let Some(Document::Manifest(manifest)) = self.read(descriptor).await? else { continue };
            match self.image(path, descriptor, manifest, &mut sound).await {
                Ok((inside, facts)) => {
                    contents.push(inside);
                    images.push(facts);
                }
                // Clients keep documents of platforms whose layers they never fetched.
                Err(error @ InspectError::Missing { .. }) => first_missing = first_missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match first_missing {
            _ if !images.is_empty() => Ok((Subject { root: root.clone(), entries, contents }, images)),
            Some(error) => Err(error),
            None => Err(first.map_or_else(|| self.nothing(), |entry| self.missing(&entry))),
        }
    }

    /// Entries that all nested indexes may have together.
    fn room(&self) -> usize {
        self.limits.index_entries
    }

    /// Entries of an index, with those of the indexes among them, as far as they are here.
    fn listed<'b>(
        &'b self,
        listed: Vec<Descriptor>,
        depth: usize,
        room: &'b mut usize,
    ) -> BoxFuture<'b, Result<Vec<Entry>, InspectError>> {
        Box::pin(async move {
            let mut entries = Vec::with_capacity(listed.len());
            for descriptor in listed {
                let inner = match descriptor.media_type.is_index() {
                    true => self.nested(&descriptor, depth, room).await?,
                    false => Inner::Unread,
                };
                entries.push(Entry { descriptor: descriptor.pruned(), inner });
            }
            Ok(entries)
        })
    }

    async fn nested(&self, index: &Descriptor, depth: usize, room: &mut usize) -> Result<Inner, InspectError> {
        if depth >= self.limits.index_depth {
            return Ok(Inner::too_deep(self.limits));
        }
        Ok(match self.read(index).await? {
            None => Inner::Unread,
            Some(Document::Manifest(_)) => Inner::Unusable("announced as an index, and is a manifest".into()),
            Some(Document::Index(inner)) => match room.checked_sub(inner.manifests.len()) {
                None => Inner::too_many_entries(self.limits),
                Some(left) => {
                    *room = left;
                    Inner::Nested(self.listed(inner.manifests, depth + 1, room).await?)
                }
            },
        })
    }

    async fn read(&self, descriptor: &Descriptor) -> Result<Option<Document>, InspectError> {
        if !descriptor.media_type.is_index() && !descriptor.media_type.is_manifest() {
            return Ok(None);
        }
        let Some(document) = self.store.document(descriptor).await? else { return Ok(None) };
        Document::parse(document.content(), Some(&descriptor.media_type), self.limits)
            .map(Some)
            .map_err(|source| InspectError::Document { digest: descriptor.digest.clone(), source })
    }

    async fn image(
        &self,
        path: EntryPath,
        descriptor: &Descriptor,
        manifest: Manifest,
        sound: &mut Sound,
    ) -> Result<(Contents, ImageFacts), InspectError> {
        let document = self.store.document(&manifest.config).await?.ok_or_else(|| self.missing(&manifest.config))?;
        let config = ImageConfig::parse(document.content(), self.limits)
            .map_err(|source| InspectError::Document { digest: manifest.config.digest.clone(), source })?;
        for layer in &manifest.layers {
            let blob = (layer.digest.clone(), layer.size);
            if !sound.contains(&blob) {
                self.verify(layer).await?;
                sound.insert(blob);
            }
        }
        let mut contents = Contents { path, descriptor: descriptor.clone(), manifest, config, start: None };
        if contents.is_of_linux() {
            contents.start = Some(self.start(&contents).await?);
        }
        let facts = facts(&contents);
        Ok((contents, facts))
    }

    async fn verify(&self, blob: &Descriptor) -> Result<(), InspectError> {
        let mut reader = self.store.open(blob).await?.ok_or_else(|| self.missing(blob))?;
        let damaged = |source| InspectError::Damaged { reference: self.name.to_owned(), source };
        let mut verifier = Verifier::new(blob.digest.clone(), blob.size);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = reader
                .read(&mut buffer)
                .await
                .map_err(|source| InspectError::Read { digest: blob.digest.clone(), source })?;
            if count == 0 {
                return verifier.finish(()).map(drop).map_err(damaged);
            }
            verifier.update(&buffer[..count]).map_err(damaged)?;
        }
    }

    async fn start(&self, contents: &Contents) -> Result<contents::Start, InspectError> {
        let (layers, config) = (contents.manifest.layers.clone(), contents.config.clone());
        let effort = Effort::everything(self.limits);
        let mut blobs = Stored::new(Arc::clone(self.store), Handle::current());
        // Inflating and walking archives blocks; it must not stop other work.
        let search = tokio::task::spawn_blocking(move || {
            let mut files = Layers::new(&layers, config.layer_commands(), &mut blobs, effort)?;
            start::examine(&mut files, &config)
        });
        Ok(search.await.map_err(|error| StoreError::thread(&error))??)
    }

    /// What is wrong with what is here, and with the indexes that it is in.
    fn findings(&self, subject: &Subject) -> Vec<Finding> {
        let Subject { root, entries, contents } = subject;
        // The second always is one.
        let Ok(reference) = self.name.parse::<Reference>().or_else(|_| STAND_IN.parse()) else { return Vec::new() };
        let mut findings = checks::all(&reference, fleet::Image { root, entries, contents }, &[]);
        let is_here = |entry: &str| {
            let ways = contents.iter().flat_map(|one| (1..=one.path.len()).map(|end| &one.path[..end]));
            ways.map(select::path_text).any(|way| way == entry)
        };
        findings.retain(|finding| finding.entry.as_deref().is_none_or(is_here));
        findings.sort_by_key(|finding| (Reverse(finding.severity), finding.id));
        let is_named = reference.to_string() == self.name;
        for finding in &mut findings {
            // Every blob was verified before anything was looked for in it.
            finding.evidence.iter_mut().for_each(|evidence| evidence.verified = true);
            // Remedies are commands, in which the stand-in would be some other image.
            finding.remedies.retain(|_| is_named);
        }
        findings
    }

    fn missing(&self, blob: &Descriptor) -> InspectError {
        let (reference, store) = (self.name.to_owned(), self.store.describe());
        InspectError::Missing { digest: blob.digest.clone(), reference, store }
    }

    fn nothing(&self) -> InspectError {
        InspectError::NotHere { reference: self.name.to_owned(), store: self.store.describe(), names: Vec::new() }
    }
}

fn facts(contents: &Contents) -> ImageFacts {
    let Contents { descriptor, manifest, config, .. } = contents;
    let mut start = contents.start.as_ref().map(Start::from);
    for file in start.iter_mut().flat_map(|start| &mut start.files) {
        file.verified = true;
    }
    let layers = manifest.layers.iter().map(|layer| layer.size);
    ImageFacts {
        entry: entry_text(&contents.path),
        digest: descriptor.digest.clone(),
        declared: descriptor.platform.clone(),
        id: manifest.config.digest.clone(),
        config: config.platform.clone(),
        created: config.created.clone(),
        layers: manifest.layers.clone(),
        argv: config.argv(),
        start,
        blobs_verified: manifest.layers.len() + 2,
        bytes_verified: layers.chain([descriptor.size, manifest.config.size]).fold(0, u64::saturating_add),
    }
}
