//! containerd's Snapshots service: prepare, commit, keep.
//!
//! Snapshots are made under the pull's lease; the config's label keeps them once the image
//! has a name.

use std::collections::HashMap;

use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest, ViewSnapshotRequest,
};
use containerd_client::tonic::Code;
use containerd_client::tonic::transport::Channel;
use containerd_client::types::Mount;

use super::super::plan::Step;
use super::super::{Outcome, Stack};
use super::mounts;
use crate::core::digest::Digest;
use crate::core::unique;
use crate::store::containerd::Containerd;
use crate::store::{Lease, StoreError};

/// Tells containerd which snapshot an active one will become, so that it can refuse at once
/// where that one exists.
const TARGET: &str = "containerd.io/snapshot.ref";
/// What the layer is by itself, and what lies below it: for snapshotters that are programs of
/// their own. containerd's unpacker tells them so since 2.3; older ones pass it on unread.
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
const PARENT: &str = "containerd.io/snapshot/parent-chain-id";

/// Tries when the same snapshot of somebody else comes and goes between two calls, which the
/// collector can do once.
const TRIES: usize = 3;

/// The snapshots of one pull.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshots<'a> {
    pub(super) store: &'a Containerd,
    pub(super) lease: &'a Lease,
}

/// The answer to a preparation.
pub(super) enum Prepared {
    /// An empty snapshot on top of its parent, under this key, to extract into.
    Active { key: String, mounts: Vec<Mount> },
    /// What it would become exists already.
    Exists,
}

impl Snapshots<'_> {
    /// Makes an active snapshot on top of the step's parent.
    pub(super) async fn prepare(&self, step: &Step<'_>) -> Result<Prepared, StoreError> {
        let key = format!("extract-{}-{} {}", self.store.namespace(), unique::name(), step.chain_id);
        let request = PrepareSnapshotRequest {
            snapshotter: self.store.snapshotter().into(),
            key: key.clone(),
            parent: step.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            labels: labels_of(step),
        };
        match self.client().prepare(self.store.leased(self.lease, request)?).await {
            Ok(reply) => Ok(Prepared::Active { key, mounts: reply.into_inner().mounts }),
            Err(status) if status.code() == Code::AlreadyExists => Ok(Prepared::Exists),
            Err(status) => Err(self.store.failure("prepare a snapshot", &status)),
        }
    }

    /// Turns an active snapshot into the layer that it holds.
    pub(super) async fn commit(&self, step: &Step<'_>, key: &str) -> Result<Outcome, StoreError> {
        let request = CommitSnapshotRequest {
            snapshotter: self.store.snapshotter().into(),
            name: step.chain_id.to_string(),
            key: key.into(),
            labels: labels_of(step),
        };
        let mut tries = 1;
        loop {
            match self.client().commit(self.store.leased(self.lease, request.clone())?).await {
                Ok(_) => return Ok(Outcome::Applied),
                Err(status) if status.code() == Code::AlreadyExists => {
                    if self.hold(&step.chain_id).await? {
                        // Somebody else was faster with the same layers.
                        self.remove(key).await;
                        return Ok(Outcome::Present);
                    }
                    // Theirs was collected before our lease held it, and the name is free again.
                    if tries == TRIES {
                        return Err(self.store.failure("commit a snapshot", &status));
                    }
                    tries += 1;
                }
                Err(status) => return Err(self.store.failure("commit a snapshot", &status)),
            }
        }
    }

    /// Keeps a snapshot that is there under the lease; `false` where there is none.
    pub(super) async fn hold(&self, chain_id: &Digest) -> Result<bool, StoreError> {
        if !exists(self.store, chain_id).await? {
            return Ok(false);
        }
        self.store.add_snapshot(self.lease, chain_id).await?;
        // The collector may have taken it just before the lease held it: what is there now, stays.
        exists(self.store, chain_id).await
    }

    /// Removes an active snapshot. One that stays is collected with the lease.
    pub(super) async fn remove(&self, key: &str) {
        remove(self.store, key).await;
    }

    fn client(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.store.channel())
    }
}

/// Whether there is a snapshot of this name.
pub(super) async fn exists(store: &Containerd, chain_id: &Digest) -> Result<bool, StoreError> {
    let request = StatSnapshotRequest { snapshotter: store.snapshotter().into(), key: chain_id.to_string() };
    match SnapshotsClient::new(store.channel()).stat(store.request(request)).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(store.failure("look a snapshot up", &status)),
    }
}

/// Where the files of a snapshot are that is there, if that can be told. It is asked for by a view of
/// it, which nobody mounts. No lease keeps the view: one that stays behind is collected.
pub(super) async fn stack(store: &Containerd, chain_id: &Digest) -> Option<Stack> {
    let key = format!("look-{}-{} {chain_id}", store.namespace(), unique::name());
    let request = ViewSnapshotRequest {
        snapshotter: store.snapshotter().into(),
        key: key.clone(),
        parent: chain_id.to_string(),
        labels: HashMap::new(),
    };
    let stack = match SnapshotsClient::new(store.channel()).view(store.request(request)).await {
        Ok(reply) => {
            // What it shows belongs to the layers, and stays as long as they do.
            remove(store, &key).await;
            mounts::stack(&reply.into_inner().mounts)
        }
        Err(status) => Err(status.message().to_owned()),
    };
    stack.inspect_err(|reason| tracing::debug!(%chain_id, reason, "the image's files cannot be looked at")).ok()
}

async fn remove(store: &Containerd, key: &str) {
    let request = RemoveSnapshotRequest { snapshotter: store.snapshotter().into(), key: key.into() };
    if let Err(status) = SnapshotsClient::new(store.channel()).remove(store.request(request)).await {
        tracing::debug!(key, message = status.message(), "cannot remove an unfinished snapshot");
    }
}

/// What a snapshot is told about itself, when it is prepared and again when it is committed:
/// the second set of labels replaces the first.
fn labels_of(step: &Step<'_>) -> HashMap<String, String> {
    let own = [(TARGET, &step.chain_id), (DIFF_ID, step.diff_id)];
    let parent = step.parent.as_ref().map(|parent| (PARENT, parent));
    own.into_iter().chain(parent).map(|(key, digest)| (key.to_owned(), digest.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::{Descriptor, MediaType};

    #[test]
    fn a_snapshot_is_told_what_it_is_made_of() {
        let [chain_id, diff_id, below] = ["chain", "diff", "below"].map(|text| Digest::of(text.as_bytes()));
        let layer = Descriptor::new(MediaType::parse("application/vnd.oci.image.layer.v1.tar"), diff_id.clone(), 1);
        let mut step =
            Step { layer: &layer, diff_id: &diff_id, chain_id: chain_id.clone(), parent: None, is_tar: true };
        let mut expected = HashMap::from([
            ("containerd.io/snapshot.ref".to_owned(), chain_id.to_string()),
            ("containerd.io/snapshot/diff-id".to_owned(), diff_id.to_string()),
        ]);
        assert_eq!(labels_of(&step), expected);
        expected.insert("containerd.io/snapshot/parent-chain-id".to_owned(), below.to_string());
        step.parent = Some(below);
        assert_eq!(labels_of(&step), expected);
    }
}
