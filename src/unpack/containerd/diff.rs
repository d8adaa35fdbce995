//! containerd's Diff service: it extracts the layer itself, on every snapshotter.
//!
//! The documented way, and the only one for snapshotters that are not overlayfs and for
//! layers that we do not decode. It needs the whole blob in containerd's content store.

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::types::{self, Mount};

use super::super::UnpackError;
use super::super::plan::Step;
use super::snapshots::Snapshots;
use crate::store::StoreError;
use crate::store::error::RemoteCode;

/// Extracts the layer of `step` into `mounts`.
///
/// # Errors
/// [`UnpackError`], also where the tar inside is not the one that the config names.
pub(super) async fn apply(snapshots: Snapshots<'_>, step: &Step<'_>, mounts: Vec<Mount>) -> Result<(), UnpackError> {
    let (store, layer) = (snapshots.store, step.layer);
    let diff = types::Descriptor {
        media_type: layer.media_type.to_string(),
        digest: layer.digest.to_string(),
        size: i64::try_from(layer.size).unwrap_or(i64::MAX),
        annotations: layer.annotations.clone().into_iter().collect(),
    };
    let request = ApplyRequest { diff: Some(diff), mounts, ..ApplyRequest::default() };
    let applied = match DiffClient::new(store.channel()).apply(store.leased(snapshots.lease, request)?).await {
        Ok(reply) => reply.into_inner().applied,
        Err(status) => {
            return Err(match store.failure("unpack a layer", &status) {
                StoreError::Containerd { code: RemoteCode::Other, message, .. } if blames_archive(&message) => {
                    UnpackError::Archive { layer: layer.digest.clone(), reason: message }
                }
                error => error.into(),
            });
        }
    };
    let actual = applied.map(|applied| applied.digest).unwrap_or_default();
    if actual == step.diff_id.to_string() {
        return Ok(());
    }
    Err(UnpackError::DiffId { layer: layer.digest.clone(), expected: step.diff_id.clone(), actual })
}

/// Whether containerd's words are those of its tar reader or a decompressor. The bytes had
/// the right digest, so they are what was published.
fn blames_archive(message: &str) -> bool {
    let words = ["archive/tar:", "invalid tar header", "gzip:", "flate:", "unpigz", "igzip", "magic number mismatch"];
    words.iter().any(|word| message.contains(word)) || message.ends_with("unexpected EOF")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_disks() {
        for message in [
            "archive/tar: invalid tar header",
            "failed to extract: gzip: invalid checksum",
            "exit status 1: unpigz: skipping: <stdin>: corrupted",
            "failed to init decompressor: magic number mismatch",
            "unexpected EOF",
        ] {
            assert!(blames_archive(message), "{message}");
        }
        for message in [
            "write /x: no space left on device",
            "failed to mount: operation not permitted",
            "unexpected EOF on socket",
        ] {
            assert!(!blames_archive(message), "{message}");
        }
    }
}
