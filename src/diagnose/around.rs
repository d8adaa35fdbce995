//! What is around an image: what other hosts say of its name, and what the node has under it.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::core::limits::Limits;
use crate::core::manifest::{Document, ImageConfig};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select;
use crate::fetch::progress::Silent;
use crate::fetch::{Fetcher, Told};
use crate::resolve::{ResolveError, Resolver, Root};
use crate::store::Store;

use super::checks::places::Place;

/// What the registry itself says, and what its mirrors say; `None` where there is nothing to compare.
pub(super) async fn places(fetcher: &Fetcher, reference: &Reference, limits: &Limits) -> Option<(Place, Vec<Place>)> {
    let told = fetcher.compare(reference).await;
    let (registry, mirrors): (Vec<&Told>, Vec<&Told>) = told.iter().partition(|told| told.is_upstream);
    let registry = *registry.first()?;
    let differs = |told: &&&Told| told.document.content.digest() != registry.document.content.digest();
    let mirrors: Vec<&Told> = mirrors.iter().filter(differs).copied().collect();
    if mirrors.is_empty() {
        return None;
    }
    let registry = place(registry, reference, limits).await?;
    let mirrors = join_all(mirrors.into_iter().map(|told| place(told, reference, limits))).await;
    Some((registry, mirrors.into_iter().flatten().collect()))
}

async fn place(told: &Told, reference: &Reference, limits: &Limits) -> Option<Place> {
    let document = &told.document;
    let parsed = Document::parse(document.content.content(), document.media_type.as_ref(), limits).ok()?;
    let (is_index, platforms) = match parsed {
        Document::Manifest(manifest) => {
            let config = told.blob(reference, &manifest.config).await?;
            let platform = ImageConfig::parse(config.content(), limits).ok()?.platform;
            (false, [platform.normalized()].into_iter().filter(|platform| !platform.architecture.is_empty()).collect())
        }
        Document::Index(index) => {
            let images = index.manifests.iter().filter(|entry| !entry.is_attestation());
            (true, images.filter_map(|entry| entry.platform.as_ref()).map(Platform::normalized).collect())
        }
    };
    Some(Place { host: told.host.clone(), root: document.content.digest().clone(), is_index, platforms })
}

/// What a store has under the name, without asking anybody else: the platforms of which not only
/// the name but the image itself is there.
pub(super) async fn cached(
    store: &dyn Store,
    fetcher: &Fetcher,
    reference: &Reference,
    limits: Limits,
) -> Result<Vec<Platform>, ResolveError> {
    let Some(known) = store.lookup(&reference.to_string()).await? else { return Ok(Vec::new()) };
    let nobody = Fetcher::new(fetcher.engine().clone(), Vec::new(), Arc::new(Silent));
    let resolver = Resolver { fetcher: &nobody, store: Some(store), check_access: false, limits };
    let mut image = resolver.stored(reference, &known.target).await?;
    Ok(match &image.content {
        Root::Manifest(_, platform) => vec![known.platform.as_ref().unwrap_or(platform).normalized()],
        Root::Index(entries) => {
            let images = select::flatten(entries).into_iter();
            let images: Vec<_> = images
                .filter(|(_, entry)| entry.descriptor.media_type.is_manifest() && !entry.descriptor.is_attestation())
                .map(|(_, entry)| entry.descriptor.clone())
                .collect();
            let behind = resolver.behind_each(&mut image, &images).await;
            let here = images.iter().zip(behind).filter_map(|(descriptor, behind)| {
                let (_, config) = behind.ok()?;
                Some(descriptor.platform.as_ref().unwrap_or(&config.platform).normalized())
            });
            here.collect()
        }
    })
}
