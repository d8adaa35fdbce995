//! Snapshots of a containerd, made step by step: prepared, filled by any differ, committed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{CommitSnapshotRequest, PrepareSnapshotRequest};
use containerd_client::services::v1::{ApplyRequest, DiffRequest, WriteAction, WriteContentRequest};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status};
use containerd_client::types::{Descriptor, Mount};
use tokio::runtime::Runtime;

use super::fixture::Blob;

/// Where all of it is.
const NAMESPACE: &str = "by-hand";
/// Bytes of one message.
const CHUNK: usize = 4 << 20;

/// Somebody who does what containerd's unpacker does.
pub(crate) struct ByHand {
    runtime: Runtime,
    containerd: Channel,
    snapshotter: &'static str,
}

impl ByHand {
    /// With the containerd at this socket, and one of its snapshotters.
    pub(crate) fn new(containerd: &Path, snapshotter: &'static str) -> Self {
        let runtime = Runtime::new().expect("threads");
        let containerd = runtime.block_on(containerd_client::connect(containerd)).expect("containerd answers");
        Self { runtime, containerd, snapshotter }
    }

    /// Puts a blob into containerd's content store, to stay.
    pub(crate) fn put(&self, blob: &Blob) {
        let total = i64::try_from(blob.bytes.len()).expect("a size");
        let message = |action: WriteAction, offset: usize, data: &[u8]| WriteContentRequest {
            action: action.into(),
            r#ref: format!("by-hand-{}", blob.digest),
            total,
            expected: blob.digest.clone(),
            offset: i64::try_from(offset).expect("an offset"),
            data: data.to_vec(),
            labels: kept(),
        };
        let chunks = blob.bytes.chunks(CHUNK).enumerate();
        let mut messages: Vec<_> =
            chunks.map(|(index, data)| message(WriteAction::Write, index * CHUNK, data)).collect();
        messages.push(message(WriteAction::Commit, blob.bytes.len(), &[]));
        let request = request(futures_util::stream::iter(messages));
        let written: Result<(), Status> = self.runtime.block_on(async {
            let mut replies = ContentClient::new(self.containerd.clone()).write(request).await?.into_inner();
            while replies.message().await?.is_some() {}
            Ok(())
        });
        match written {
            Err(status) if status.code() != Code::AlreadyExists => panic!("cannot write content: {status}"),
            _ => {}
        }
    }

    /// An empty snapshot on top of another.
    pub(crate) fn prepare(&self, key: &str, parent: &str) -> Vec<Mount> {
        let (snapshotter, key, parent) = (self.snapshotter.into(), key.into(), parent.into());
        let request = request(PrepareSnapshotRequest { snapshotter, key, parent, labels: kept() });
        let prepared = self.runtime.block_on(SnapshotsClient::new(self.containerd.clone()).prepare(request));
        prepared.expect("prepares").into_inner().mounts
    }

    pub(crate) fn commit(&self, key: &str, name: &str) {
        let (snapshotter, key, name) = (self.snapshotter.into(), key.into(), name.into());
        let request = request(CommitSnapshotRequest { snapshotter, key, name, labels: kept() });
        self.runtime.block_on(SnapshotsClient::new(self.containerd.clone()).commit(request)).expect("commits");
    }

    /// Has containerd itself extract a layer.
    pub(crate) fn apply_with_containerd(&self, apply: ApplyRequest) -> Result<Descriptor, Status> {
        self.apply_at(self.containerd.clone(), apply)
    }

    /// Has the differ at a socket extract a layer.
    pub(crate) fn apply(&self, differ: &Path, apply: ApplyRequest) -> Result<Descriptor, Status> {
        self.apply_at(self.channel(differ), apply)
    }

    fn apply_at(&self, differ: Channel, apply: ApplyRequest) -> Result<Descriptor, Status> {
        let reply = self.runtime.block_on(DiffClient::new(differ).apply(request(apply)))?;
        Ok(reply.into_inner().applied.expect("a descriptor"))
    }

    /// Has the differ at a socket make a diff.
    pub(crate) fn diff(&self, differ: &Path) -> Status {
        let made = self.runtime.block_on(DiffClient::new(self.channel(differ)).diff(request(DiffRequest::default())));
        made.expect_err("there is nothing to compare")
    }

    fn channel(&self, socket: &Path) -> Channel {
        self.runtime.block_on(containerd_client::connect(socket)).expect("a differ answers")
    }
}

/// The request to extract a layer.
pub(crate) fn application(blob: &Blob, mounts: &[Mount]) -> ApplyRequest {
    let diff = Descriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.clone(),
        size: i64::try_from(blob.bytes.len()).expect("a size"),
        ..Descriptor::default()
    };
    ApplyRequest { diff: Some(diff), mounts: mounts.to_vec(), ..ApplyRequest::default() }
}

/// Where the files of a snapshot are.
pub(crate) fn directory(mounts: &[Mount]) -> PathBuf {
    let [mount] = mounts else { panic!("one mount was expected: {mounts:?}") };
    let upper = mount.options.iter().find_map(|option| option.strip_prefix("upperdir="));
    PathBuf::from(upper.unwrap_or(&mount.source))
}

/// What keeps the collector away.
fn kept() -> HashMap<String, String> {
    HashMap::from([("containerd.io/gc.root".to_owned(), "by-hand".to_owned())])
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", NAMESPACE.parse().expect("a header"));
    request
}
