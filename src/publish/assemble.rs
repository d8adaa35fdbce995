//! An index over images that are at registries.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::draft::Draft;
use crate::core::manifest::Manifest;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select::EntryPath;
use crate::diagnose::contents::{Contents, Start};
use crate::diagnose::repair::{Truth, contradict, truth};
use crate::diagnose::rootfs::blobs::Remote;
use crate::diagnose::rootfs::layers::{Effort, Layers};
use crate::diagnose::start;
use crate::fetch::Fetcher;
use crate::resolve::{Image, Reading, Resolver, Root};
use crate::store::StoreError;

use super::{Publication, PublishError, Registries, Target, usual_type};

/// An image to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Where it is.
    pub reference: Reference,
    /// What it is said to run on; else it is asked itself.
    pub platform: Option<Platform>,
}

/// What came of it.
#[derive(Debug)]
pub struct Assembled {
    /// The index.
    pub publication: Publication,
    /// What is worth a remark.
    pub notes: Vec<String>,
}

/// Makes an index over children, in their order. An index among them brings its entries as they are.
///
/// # Errors
/// [`PublishError`] where one of them cannot be read, or does not tell what it runs on.
pub async fn assemble(
    registries: &Registries,
    reference: &Reference,
    children: &[Child],
    kind: Option<MediaType>,
) -> Result<Assembled, PublishError> {
    let target = Target::of(reference)?;
    let replaces = target.stands_for(registries).await?;
    let reference = target.reference;
    let mut entries = Vec::new();
    let mut sources = BTreeMap::new();
    let mut notes = Vec::new();
    for child in children {
        for entry in Box::pin(entries_of(registries, child, &mut notes)).await? {
            if let Ok(Descriptor { digest, .. }) = serde_json::from_value(entry.clone()) {
                sources.insert(digest.clone(), child.reference.with_digest(digest));
            }
            entries.push(entry);
        }
    }
    let types: Vec<MediaType> =
        entries.iter().filter_map(|entry| entry["mediaType"].as_str()).map(MediaType::parse).collect();
    let mut draft = Draft::empty(kind.unwrap_or_else(|| usual_type(&types.iter().collect::<Vec<_>>())));
    for entry in entries {
        let failed = |source| PublishError::Draft { reference: reference.familiar(), source };
        draft.add(entry).map_err(failed)?;
    }
    sources.retain(|_, source: &mut Reference| source.name() != reference.name());
    Ok(Assembled { publication: Publication { reference, draft, replaces, sources }, notes })
}

/// The entries that a child stands for.
async fn entries_of(
    registries: &Registries,
    child: &Child,
    notes: &mut Vec<String>,
) -> Result<Vec<Value>, PublishError> {
    let fetcher = registries.of(&child.reference)?;
    let resolver = Resolver { fetcher, store: None, check_access: false, limits: *registries.limits() };
    let mut image = Box::pin(resolver.image(&child.reference, Reading::Everything)).await?;
    match &image.content {
        Root::Index(_) => {
            if let Some(platform) = child.platform.clone() {
                return Err(PublishError::PlatformOfIndex {
                    child: child.reference.familiar(),
                    platform: platform.into(),
                });
            }
            Ok(listed(&image))
        }
        Root::Manifest(manifest, _) => {
            let manifest = manifest.clone();
            let mut contents = contents(&resolver, &mut image, manifest).await?;
            if contents.manifest.config.media_type.is_config() {
                contents.start = look(fetcher, child, &contents, notes).await?;
            }
            let platform = platform_of(child, &contents, notes)?;
            let Descriptor { media_type, digest, size, .. } = &contents.descriptor;
            Ok(vec![json!({ "mediaType": media_type, "digest": digest, "size": size, "platform": platform })])
        }
    }
}

/// The entries of an index, with all that it says of them.
fn listed(image: &Image) -> Vec<Value> {
    let document = image.document(&image.root.digest);
    let json = document.and_then(|document| serde_json::from_slice::<Value>(document.content()).ok());
    json.and_then(|json| json["manifests"].as_array().cloned()).unwrap_or_default()
}

/// What can be told of a lone image without its layers.
async fn contents(resolver: &Resolver<'_>, image: &mut Image, manifest: Manifest) -> Result<Contents, PublishError> {
    let config = resolver.config(image, &manifest.config).await?;
    Ok(Contents { path: EntryPath::new(), descriptor: image.root.clone(), manifest, config, start: None })
}

/// What the image starts, from as few bytes of its layers as tell; where they cannot be read, the
/// config alone counts, and that is said.
async fn look(
    fetcher: &Fetcher,
    child: &Child,
    contents: &Contents,
    notes: &mut Vec<String>,
) -> Result<Option<Start>, PublishError> {
    let mut blobs = Remote::new(fetcher.clone(), child.reference.clone(), None, Handle::current());
    let (manifest, config) = (contents.manifest.clone(), contents.config.clone());
    // Inflating and walking archives blocks; it must not stop other work.
    let examined = tokio::task::spawn_blocking(move || {
        let mut layers = Layers::new(&manifest.layers, config.layer_commands(), &mut blobs, Effort::default())?;
        start::examine(&mut layers, &config)
    });
    match examined.await.map_err(|error| StoreError::thread(&error))? {
        Ok(start) => Ok(Some(start)),
        Err(error) => {
            notes.push(format!("{} is listed by its config alone: {error}", child.reference.familiar()));
            Ok(None)
        }
    }
}

/// What the entry of an image is to say: the caller's word, else the image's own.
fn platform_of(child: &Child, contents: &Contents, notes: &mut Vec<String>) -> Result<Platform, PublishError> {
    let name = || child.reference.familiar();
    let inside = truth(contents);
    let Some(platform) = &child.platform else {
        return match inside {
            Truth::Known { platform, .. } => Ok(platform),
            Truth::Contradiction { config, binary, shown_by } => Err(PublishError::Contradiction {
                child: name(),
                config: config.into(),
                binary: binary.into(),
                shown_by,
            }),
            Truth::Unknown => Err(PublishError::NoPlatform { child: name() }),
        };
    };
    let found = match inside {
        Truth::Known { platform, because } => Some((platform, because)),
        Truth::Contradiction { binary, shown_by, .. } => Some((binary, shown_by)),
        Truth::Unknown => None,
    };
    if let Some((_, because)) = found.filter(|(found, _)| contradict(platform, found)) {
        notes.push(format!("{} is listed as {platform}, as you say, and {because}", name()));
    }
    Ok(platform.clone())
}
