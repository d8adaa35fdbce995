//! Which registry the blobs of a layout came from: the one in the names that lead to them.

use std::collections::HashSet;

use super::Layout;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::manifest::Document;
use crate::core::reference::Reference;
use crate::store::{Store as _, StoreError};

/// Whether a name of `registry` leads to `wanted`. Names and documents are looked at until one
/// does; a document that cannot be read leads nowhere.
pub(super) async fn is_from(layout: &Layout, registry: &str, wanted: &Digest) -> Result<bool, StoreError> {
    let mut pending = Vec::new();
    for name in layout.names().await? {
        let reference = name.parse::<Reference>();
        if reference.is_ok_and(|reference| reference.registry() == registry)
            && let Some(known) = layout.lookup(&name).await?
        {
            pending.extend(known.root);
            pending.push(known.target.digest);
        }
    }
    let mut seen = HashSet::new();
    while let Some(digest) = pending.pop() {
        if digest == *wanted {
            return Ok(true);
        }
        if seen.len() >= layout.limits.index_entries || !seen.insert(digest.clone()) {
            continue;
        }
        let Ok(Some(document)) = layout.kept(&digest).await else { continue };
        match Document::parse(document.content(), None, &layout.limits) {
            Ok(Document::Index(index)) => pending.extend(index.manifests.into_iter().map(digest_of)),
            Ok(Document::Manifest(manifest)) => {
                if manifest.layers.iter().chain([&manifest.config]).any(|blob| blob.digest == *wanted) {
                    return Ok(true);
                }
            }
            Err(_) => {}
        }
    }
    Ok(false)
}

fn digest_of(entry: Descriptor) -> Digest {
    entry.digest
}
