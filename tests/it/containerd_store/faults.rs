//! What goes wrong, and that it is said and leaves nothing behind.

use std::sync::atomic::{AtomicBool, Ordering};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{WriteAction, WriteContentRequest, WriteContentResponse};
use containerd_client::tonic::{Code, Request, Status, Streaming};
use lighterman::core::digest::{Digest, Verified};
use lighterman::core::error::{Classify, Kind};
use lighterman::store::containerd::{Containerd, ContainerdOptions, Handover};
use lighterman::store::{Belongs, Role, Store, StoreError};

use super::fixture::{self, Image, stage};
use super::{REFERENCE, assert_nothing_left, connect, connect_by, connect_with, land, options, record, rows, unpack};
use crate::support::containerd::ContainerdDaemon;
use crate::support::files_below;

/// Writes `bytes` as somebody who then neither commits nor leaves.
async fn unfinished(
    store: &Containerd,
    address: &std::path::Path,
    blob: &Digest,
    (bytes, total): (&[u8], usize),
) -> Result<Unfinished, Status> {
    let channel = containerd_client::connect(address).await.expect("containerd answers");
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let message = WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: format!("lighterman-{blob}"),
        total: i64::try_from(total).expect("small"),
        data: bytes.to_vec(),
        ..WriteContentRequest::default()
    };
    sender.send(message).await.expect("is open");
    let mut request = Request::new(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)));
    let namespace = store.namespace().parse().expect("a header");
    request.metadata_mut().insert("containerd-namespace", namespace);
    let mut replies = ContentClient::new(channel).write(request).await?.into_inner();
    replies.message().await?.expect("an answer");
    Ok(Unfinished { _sender: sender, _replies: replies })
}

/// Dropped, the write is broken off and its ref is free.
struct Unfinished {
    _sender: tokio::sync::mpsc::Sender<WriteContentRequest>,
    _replies: Streaming<WriteContentResponse>,
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_contradict_themselves_leave_no_snapshot() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let source = REFERENCE.parse().expect("well formed");
    let good = Image::build(&["true"]);
    let layer = good.blobs[&good.manifest.layers[1].digest].clone();
    let cases = [
        (good.clone().with_wrong_diff_id(), Kind::InvalidContent, "but the config promises", 1),
        (good.clone().with_layer(b"not a gzip at all"), Kind::InvalidContent, "cannot be unpacked", 1),
        (good.clone().with_layer(&layer[..layer.len() - 9]), Kind::InvalidContent, "cannot be unpacked", 1),
        (good.clone().without_last_diff_id(), Kind::InvalidContent, "2 layers, but its config names 1", 0),
        (good.with_layer_type("application/vnd.example.model"), Kind::Unsupported, "example.model", 1),
    ];
    for (image, kind, words, committed) in cases {
        let lease = store.lease().await.expect("a lease");
        fixture::write(&store, &lease, &image, &source).await.expect("is written");
        let error = unpack(&store, &lease, &image, &|_| {}).await.expect_err(words);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let snapshots = rows(&daemon, &["snapshots", "ls"]);
        // The layer below may have landed before the other one failed, or not.
        assert!(snapshots.len() <= committed, "more than the layer below is left: {snapshots:?}");
        assert!(snapshots.iter().all(|row| row.ends_with("Committed")), "{snapshots:?}");
        store.release(lease).await.expect("releases");
        assert_nothing_left(&daemon, "default");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_snapshotter_is_answered_with_those_that_exist() {
    let daemon = ContainerdDaemon::start();
    let image = Image::build(&["echo", "native"]);
    let error = land(&connect_with(&daemon, "default", "stargz").await, &image, REFERENCE).await.expect_err("no such");
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.to_string().contains("native") && error.to_string().contains("overlayfs"), "{error}");

    land(&connect_with(&daemon, "default", "native").await, &image, REFERENCE).await.expect("lands");
    let run = ["--snapshotter", "native", REFERENCE, "first"];
    assert_eq!(daemon.run("default", &run).trim(), "native");
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_and_locks_of_an_earlier_attempt_are_overcome() {
    let daemon = ContainerdDaemon::start();
    let linking = connect(&daemon, "default").await;
    let written = ContainerdOptions { content: Handover::Write, ..options(&daemon, "default") };
    let store = connect_by(&daemon, written).await;
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    let blobs: [&[u8]; 3] = [b"half of it was there", b"all of it was there, but wrong", b"was being written"];

    let half = Digest::of(blobs[0]);
    drop(unfinished(&store, &daemon.address(), &half, (&blobs[0][..7], blobs[0].len())).await.expect("writes"));
    store.adopt(&lease, &stage(&store, blobs[0]).await, belongs).await.expect("starts again");

    let wrong = vec![b'x'; blobs[1].len()];
    drop(unfinished(&store, &daemon.address(), &Digest::of(blobs[1]), (&wrong, wrong.len())).await.expect("writes"));
    store.adopt(&lease, &stage(&store, blobs[1]).await, belongs).await.expect("starts again");

    let holder =
        unfinished(&store, &daemon.address(), &Digest::of(blobs[2]), (b"was", blobs[2].len())).await.expect("writes");
    let freed = AtomicBool::new(false);
    let waiting = async {
        store.adopt(&lease, &stage(&store, blobs[2]).await, belongs).await.expect("waits for its turn");
        assert!(freed.load(Ordering::SeqCst), "was adopted while somebody else wrote it");
    };
    let freeing = async {
        // containerd waits a while by itself. Two refusals later, the first attempt was refused too.
        for _ in 0..2 {
            let refused = unfinished(&store, &daemon.address(), &Digest::of(blobs[2]), (b"x", 1)).await;
            assert_eq!(refused.map(drop).expect_err("is held").code(), Code::Unavailable);
        }
        freed.store(true, Ordering::SeqCst);
        drop(holder);
    };
    tokio::join!(waiting, freeing);

    for blob in blobs {
        let digest = Digest::of(blob).to_string();
        assert_eq!(daemon.ctr_prints(&["content", "get", &digest]).as_bytes(), blob);
    }
    store.release(lease).await.expect("releases");
    assert_nothing_left(&daemon, "default");

    // A link needs none of what was written before, and does not wait for who writes.
    let lease = linking.lease().await.expect("a lease");
    let holder = unfinished(&linking, &daemon.address(), &half, (&blobs[0][..7], blobs[0].len())).await;
    linking.adopt(&lease, &stage(&linking, blobs[0]).await, belongs).await.expect("is linked");
    assert_eq!(daemon.ctr_prints(&["content", "get", &half.to_string()]).as_bytes(), blobs[0]);
    assert_eq!(lease.tally().linked, 1);
    drop(holder.expect("writes"));
    linking.release(lease).await.expect("releases");
    assert_nothing_left(&daemon, "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_socket_is_said_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nobody = || ContainerdOptions {
        namespace: "default".into(),
        snapshotter: "overlayfs".into(),
        staging: Some(folder.path().join("staging")),
        content: Handover::Link,
    };
    let deaf = folder.path().join("deaf.sock");
    drop(std::os::unix::net::UnixListener::bind(&deaf).expect("binds"));
    let other = folder.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&other).expect("binds");
    let closing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let missing = folder.path().join("missing.sock");
    for (address, words) in [(&missing, "no such socket"), (&deaf, "nobody listens"), (&other, "no containerd answers")]
    {
        let error = Containerd::connect(address, nobody()).await.expect_err(words);
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.to_string().contains(words), "{error}");
    }
    closing.abort();
    let bad = ContainerdOptions { namespace: "no/such".into(), ..nobody() };
    let error = Containerd::connect(&missing, bad).await.expect_err("not a namespace");
    assert_eq!(error.kind(), Kind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containerd_that_dies_midway_is_named() {
    let mut daemon = ContainerdDaemon::start();
    let written = ContainerdOptions { content: Handover::Write, ..options(&daemon, "default") };
    let store = connect_by(&daemon, written).await;
    let image = Image::build(&["true"]);
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let large = vec![7; 256 << 20];
    let staged = stage(&store, &large).await;
    let adopting = store.adopt(&lease, &staged, Belongs { role: Role::Layer(None), source: &source });
    let dying = async {
        // The ingest exists as soon as the first message was taken.
        while daemon.ctr_prints(&["content", "active"]).lines().count() < 2 {}
        daemon.kill();
    };
    let (adopted, ()) = tokio::join!(adopting, dying);
    let error = adopted.expect_err("nobody is there");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");

    let later = fixture::write(&store, &lease, &image, &source).await.expect_err("nobody is there");
    assert_eq!(later.kind(), Kind::StoreUnavailable, "{later}");
    let unpacked = unpack(&store, &lease, &image, &|_| {}).await.expect_err("nobody is there");
    assert_eq!(unpacked.kind(), Kind::StoreUnavailable, "{unpacked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_what_was_downloaded_stays() {
    let daemon = ContainerdDaemon::start_with_small_disk(16);
    let store = connect(&daemon, "default").await;
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let staged = stage(&store, &vec![7; 32 << 20]).await;
    let path = staged.content().path().to_owned();
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    let error = store.adopt(&lease, &staged, belongs).await.expect_err("does not fit");
    assert_eq!(error.kind(), Kind::StoreFull, "{error}");
    assert!(path.exists(), "the staged file is gone");
    store.release(lease).await.expect("releases");
    assert_nothing_left(&daemon, "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_gets_no_name_once_its_lease_is_gone() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["true"]);
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    fixture::write(&store, &lease, &image, &source).await.expect("is written");
    unpack(&store, &lease, &image, &|_| {}).await.expect("unpacks");
    // As the collector does with one that has expired.
    daemon.ctr_prints(&["leases", "rm", "--sync", lease.id()]);
    let blob = fixture::descriptor("application/octet-stream", b"three hundred sacks");
    let document = Verified::seal(bytes::Bytes::from_static(b"three hundred sacks"));
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    for error in [
        store.name(&lease, &record(&image, REFERENCE, false)).await.expect_err("nothing is left of it"),
        store.put(&lease, document, belongs).await.expect_err("nothing keeps it"),
    ] {
        assert!(matches!(error, StoreError::LeaseGone), "{error:?}");
        assert_eq!(error.kind(), Kind::StoreFailed);
    }
    assert!(!store.claim(&lease, &blob, belongs).await.expect("answers"), "it is not there");
    store.release(lease).await.expect("a lease that is gone is no error");
    assert_nothing_left(&daemon, "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_may_have_been_made_is_ended_by_the_next_pull() {
    let mut daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    // What a first lease finds out, a second one knows.
    let held = store.lease().await.expect("a lease");
    let staging = store.staging();
    let marks = || files_below(staging.root()).iter().filter(|name| name.starts_with("mark-")).count();
    let dying = async {
        while marks() < 2 {
            tokio::task::yield_now().await;
        }
        daemon.kill();
    };
    let (lease, ()) = tokio::join!(store.lease(), dying);
    assert_eq!(lease.expect_err("nobody answers").kind(), Kind::StoreUnavailable);
    assert_eq!(marks(), 2, "nobody would look for the lease");
    daemon.start_again();
    store.release(held).await.expect("releases");
    store.release(store.lease().await.expect("a lease")).await.expect("releases");
    assert_eq!(marks(), 0);
    assert_nothing_left(&daemon, "default");
}
