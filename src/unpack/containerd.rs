//! Unpacking with containerd's Snapshots and Diff services, one layer after the other.
//!
//! This works with every snapshotter on every version, because containerd extracts the
//! layer itself. Snapshots are made under the pull's lease; the config's label keeps them
//! once the image has a name.

use std::collections::HashMap;

use async_trait::async_trait;
use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::tonic::Code;
use containerd_client::tonic::transport::Channel;
use containerd_client::types::{self, Mount};

use super::plan::{Step, plan};
use super::{LayerUnpacked, Outcome, Unpack, UnpackError, Unpackable};
use crate::core::digest::Digest;
use crate::store::containerd::{Containerd, labels, unique};
use crate::store::error::RemoteCode;
use crate::store::{Lease, StoreError};

/// Tells containerd which snapshot an active one will become, so that it can refuse at once
/// where that one exists.
const TARGET: &str = "containerd.io/snapshot.ref";
/// What the layer is by itself, and what lies below it: for snapshotters that are programs of
/// their own. containerd's unpacker tells them so since 2.3; older ones pass it on unread.
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
const PARENT: &str = "containerd.io/snapshot/parent-chain-id";
/// Tries when a snapshot vanishes between two calls, which the collector can do once.
const TRIES: usize = 3;

/// Unpacks `image`, whose blobs are all in `store` and under `lease`, and ties the result to
/// its config. Layers that are unpacked already are left alone. Returns the chain ID of the
/// top layer, which a container's root file system is made from; none for an image without layers.
///
/// # Errors
/// [`UnpackError`]; snapshots of the layers below the one that failed stay under the lease.
pub async fn unpack(
    store: &Containerd,
    lease: &Lease,
    image: Unpackable<'_>,
    observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
) -> Result<Option<Digest>, UnpackError> {
    let steps = plan(image)?;
    let Some(top) = steps.last().map(|step| &step.chain_id) else { return Ok(None) };
    store.check_snapshotter().await?;
    let unpacker = Unpacker { store, lease };
    let done = unpacker.hold(top).await?;
    for (index, step) in steps.iter().enumerate() {
        let outcome = if done { Outcome::Present } else { unpacker.unpack(step).await? };
        observer(LayerUnpacked { index, layer: step.layer, outcome });
    }
    let config = &image.manifest.config.digest;
    if store.set_labels(config, labels::snapshot(store.snapshotter(), top)).await? {
        return Ok(Some(top.clone()));
    }
    let message = format!("{config} is not there");
    Err(StoreError::Containerd { action: "label the image's config", message, code: RemoteCode::NotFound }.into())
}

#[async_trait]
impl Unpack for Containerd {
    async fn unpack(
        &self,
        lease: &Lease,
        image: Unpackable<'_>,
        observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
    ) -> Result<Option<Digest>, UnpackError> {
        unpack(self, lease, image, observer).await
    }
}

struct Unpacker<'a> {
    store: &'a Containerd,
    lease: &'a Lease,
}

/// The answer to a preparation.
enum Prepared {
    /// An empty snapshot on top of its parent, to extract into.
    Mounts(Vec<Mount>),
    /// What it would become exists already.
    Exists,
}

impl Unpacker<'_> {
    async fn unpack(&self, step: &Step<'_>) -> Result<Outcome, UnpackError> {
        for _ in 0..TRIES {
            let key = format!("extract-{}-{} {}", self.store.namespace(), unique(), step.chain_id);
            match self.prepare(step, &key).await? {
                Prepared::Exists if self.hold(&step.chain_id).await? => return Ok(Outcome::Present),
                Prepared::Exists => {}
                Prepared::Mounts(mounts) => {
                    let result = self.extract(step, &key, mounts).await;
                    if result.is_err() {
                        self.remove(&key).await;
                    }
                    return result;
                }
            }
        }
        let message = format!("snapshot {} disappeared {TRIES} times", step.chain_id);
        Err(StoreError::Containerd { action: "prepare a snapshot", message, code: RemoteCode::Other }.into())
    }

    async fn extract(&self, step: &Step<'_>, key: &str, mounts: Vec<Mount>) -> Result<Outcome, UnpackError> {
        let actual = self.apply(step, mounts).await?;
        if actual != step.diff_id.to_string() {
            let (layer, expected) = (step.layer.digest.clone(), step.diff_id.clone());
            return Err(UnpackError::DiffId { layer, expected, actual });
        }
        let outcome = self.commit(step, key).await?;
        // Only now is it proven. Nothing depends on the label if the blob is gone meanwhile.
        let proven = labels::Labels::from([(labels::UNCOMPRESSED.to_owned(), actual)]);
        self.store.set_labels(&step.layer.digest, proven).await?;
        Ok(outcome)
    }

    async fn prepare(&self, step: &Step<'_>, key: &str) -> Result<Prepared, StoreError> {
        let request = PrepareSnapshotRequest {
            snapshotter: self.store.snapshotter().into(),
            key: key.into(),
            parent: step.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            labels: labels_of(step),
        };
        match self.snapshots().prepare(self.store.leased(self.lease, request)?).await {
            Ok(reply) => Ok(Prepared::Mounts(reply.into_inner().mounts)),
            Err(status) if status.code() == Code::AlreadyExists => Ok(Prepared::Exists),
            Err(status) => Err(self.store.failure("prepare a snapshot", &status)),
        }
    }

    /// Extracts the layer; the digest of its tar as containerd saw it.
    async fn apply(&self, step: &Step<'_>, mounts: Vec<Mount>) -> Result<String, UnpackError> {
        let layer = step.layer;
        let diff = types::Descriptor {
            media_type: layer.media_type.to_string(),
            digest: layer.digest.to_string(),
            size: i64::try_from(layer.size).unwrap_or(i64::MAX),
            annotations: layer.annotations.clone().into_iter().collect(),
        };
        let request = ApplyRequest { diff: Some(diff), mounts, ..ApplyRequest::default() };
        let mut client = DiffClient::new(self.store.channel());
        match client.apply(self.store.leased(self.lease, request)?).await {
            Ok(reply) => Ok(reply.into_inner().applied.map(|applied| applied.digest).unwrap_or_default()),
            Err(status) => Err(match self.store.failure("unpack a layer", &status) {
                StoreError::Containerd { code: RemoteCode::Other, message, .. } if blames_archive(&message) => {
                    UnpackError::Archive { layer: layer.digest.clone(), reason: message }
                }
                error => error.into(),
            }),
        }
    }

    async fn commit(&self, step: &Step<'_>, key: &str) -> Result<Outcome, StoreError> {
        let request = CommitSnapshotRequest {
            snapshotter: self.store.snapshotter().into(),
            name: step.chain_id.to_string(),
            key: key.into(),
            labels: labels_of(step),
        };
        match self.snapshots().commit(self.store.leased(self.lease, request)?).await {
            Ok(_) => Ok(Outcome::Applied),
            Err(status) if status.code() == Code::AlreadyExists && self.hold(&step.chain_id).await? => {
                // Somebody else was faster with the same layers.
                self.remove(key).await;
                Ok(Outcome::Present)
            }
            Err(status) => Err(self.store.failure("commit a snapshot", &status)),
        }
    }

    /// Keeps a snapshot that is there under the lease; `false` where there is none.
    async fn hold(&self, chain_id: &Digest) -> Result<bool, StoreError> {
        if !self.exists(chain_id).await? {
            return Ok(false);
        }
        self.store.add_snapshot(self.lease, chain_id).await?;
        // The collector may have taken it just before the lease held it: what is there now, stays.
        self.exists(chain_id).await
    }

    async fn exists(&self, chain_id: &Digest) -> Result<bool, StoreError> {
        let request = StatSnapshotRequest { snapshotter: self.store.snapshotter().into(), key: chain_id.to_string() };
        match self.snapshots().stat(self.store.request(request)).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(self.store.failure("look a snapshot up", &status)),
        }
    }

    /// Removes an active snapshot. One that stays is collected with the lease.
    async fn remove(&self, key: &str) {
        let request = RemoveSnapshotRequest { snapshotter: self.store.snapshotter().into(), key: key.into() };
        if let Err(status) = self.snapshots().remove(self.store.request(request)).await {
            tracing::debug!(key, message = status.message(), "cannot remove an unfinished snapshot");
        }
    }

    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.store.channel())
    }
}

/// What a snapshot is told about itself, when it is prepared and again when it is committed:
/// the second set of labels replaces the first.
fn labels_of(step: &Step<'_>) -> HashMap<String, String> {
    let own = [(TARGET, &step.chain_id), (DIFF_ID, step.diff_id)];
    let parent = step.parent.as_ref().map(|parent| (PARENT, parent));
    own.into_iter().chain(parent).map(|(key, digest)| (key.to_owned(), digest.to_string())).collect()
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
    use crate::core::descriptor::{Descriptor, MediaType};

    #[test]
    fn a_snapshot_is_told_what_it_is_made_of() {
        let [chain_id, diff_id, below] = ["chain", "diff", "below"].map(|text| Digest::of(text.as_bytes()));
        let layer = Descriptor::new(MediaType::parse("application/vnd.oci.image.layer.v1.tar"), diff_id.clone(), 1);
        let mut step = Step { layer: &layer, diff_id: &diff_id, chain_id: chain_id.clone(), parent: None };
        let mut expected = HashMap::from([
            ("containerd.io/snapshot.ref".to_owned(), chain_id.to_string()),
            ("containerd.io/snapshot/diff-id".to_owned(), diff_id.to_string()),
        ]);
        assert_eq!(labels_of(&step), expected);
        expected.insert("containerd.io/snapshot/parent-chain-id".to_owned(), below.to_string());
        step.parent = Some(below);
        assert_eq!(labels_of(&step), expected);
    }

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
