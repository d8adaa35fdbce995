//! Docker-typed images in an OCI layout.
//!
//! Tools of the OCI family look for OCI media types in `index.json` and pass over Docker's
//! (skopeo says "no descriptor found"). Converting the manifest would change its digest,
//! and with it everything that was verified. So the name stands for a small OCI index of
//! ours that lists the published manifests as they are, and an annotation says what it is
//! about.

use bytes::Bytes;
use serde_json::json;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::{Digest, Verified};
use crate::core::manifest::{Document, declared_media_type};
use crate::store::StoreError;

use super::{Layout, files};

/// Whether tools would pass over a name that stands for this.
pub(super) fn is_needed(target: &Descriptor) -> bool {
    matches!(target.media_type, MediaType::DockerManifest | MediaType::DockerManifestList)
}

/// Writes the index around `target` and returns its descriptor.
pub(super) fn write(layout: &Layout, target: &Descriptor) -> Result<Descriptor, StoreError> {
    let manifests = match target.media_type {
        MediaType::DockerManifestList => listed(layout, target)?,
        _ => vec![target.clone()],
    };
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": manifests});
    let document = Verified::seal(Bytes::from(index.to_string()));
    files::write_whole(&layout.staging, &layout.blob_path(document.digest()), document.content())?;
    Ok(Descriptor::new(MediaType::OciIndex, document.digest().clone(), document.size()))
}

/// What an index of ours is about.
pub(super) fn unwrap(layout: &Layout, wrapper: &Descriptor, about: &Digest) -> Result<Option<Descriptor>, StoreError> {
    if let Some(target) = listed(layout, wrapper)?.into_iter().find(|entry| entry.digest == *about) {
        return Ok(Some(target));
    }
    let Some(bytes) = files::read_bounded(&layout.blob_path(about), layout.limits.document_bytes)? else {
        return Ok(None);
    };
    let media_type = declared_media_type(&bytes).unwrap_or(MediaType::DockerManifestList);
    Ok(Some(Descriptor::new(media_type, about.clone(), bytes.len() as u64)))
}

/// The entries of an index in the layout; none where it is missing or no index.
fn listed(layout: &Layout, index: &Descriptor) -> Result<Vec<Descriptor>, StoreError> {
    let bytes = files::read_bounded(&layout.blob_path(&index.digest), layout.limits.document_bytes)?;
    Ok(match bytes.map(|bytes| Document::parse(&bytes, Some(&index.media_type), &layout.limits)) {
        Some(Ok(Document::Index(index))) => index.manifests,
        _ => Vec::new(),
    })
}
