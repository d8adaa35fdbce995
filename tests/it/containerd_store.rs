//! Landing images in a real containerd.

mod fixture;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{WriteAction, WriteContentRequest, WriteContentResponse};
use containerd_client::tonic::{Code, Request, Status, Streaming};
use lighterman::core::digest::{Digest, Verified};
use lighterman::core::error::{Classify, Kind};
use lighterman::core::platform::Platform;
use lighterman::store::containerd::{Containerd, ContainerdOptions};
use lighterman::store::staging::Staging;
use lighterman::store::{Belongs, ImageRecord, Role, Store, StoreError};
use lighterman::unpack::containerd::unpack;
use lighterman::unpack::{Outcome, UnpackError, Unpackable};
use tokio::io::AsyncReadExt;

use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::cri::CriImages;
use fixture::{Image, Registry, stage};

const REFERENCE: &str = "registry.example:5000/team/app:v1";

async fn connect_with(daemon: &ContainerdDaemon, namespace: &str, snapshotter: &str) -> Containerd {
    let options = ContainerdOptions {
        namespace: namespace.into(),
        snapshotter: snapshotter.into(),
        staging: Staging::new(daemon.folder().join("staging")),
    };
    Containerd::connect(&daemon.address(), options).await.expect("containerd answers")
}

async fn connect(daemon: &ContainerdDaemon, namespace: &str) -> Containerd {
    connect_with(daemon, namespace, "overlayfs").await
}

/// Lands the image as a pull does: content, snapshots, names; then the lease is released.
async fn land(store: &Containerd, image: &Image, reference: &str) -> Result<Vec<Outcome>, UnpackError> {
    let source = reference.parse().expect("well formed");
    let lease = store.lease().await?;
    fixture::write(store, &lease, image, &source).await?;
    let outcomes = std::sync::Mutex::new(Vec::new());
    let unpackable = Unpackable { manifest: &image.manifest, config: &image.config };
    let observer = |layer: lighterman::unpack::LayerUnpacked<'_>| {
        outcomes.lock().expect("no panic").push(layer.outcome);
    };
    let unpacked = unpack(store, &lease, unpackable, &observer).await;
    if unpacked.is_ok() {
        store.name(&lease, &record(image, reference, false)).await?;
    }
    store.release(lease).await?;
    unpacked.map(|_| outcomes.into_inner().expect("no panic"))
}

fn record(image: &Image, reference: &str, pin_manifest: bool) -> ImageRecord {
    ImageRecord {
        reference: reference.parse().expect("well formed"),
        root: image.root.clone(),
        manifest: Some(image.chosen.clone()),
        config: Some(image.manifest.config.digest.clone()),
        pin_manifest,
    }
}

/// Lines of `ctr content ls` as digest and labels, which have no order there.
fn content(daemon: &ContainerdDaemon, namespace: &str) -> BTreeSet<(String, BTreeSet<String>)> {
    let listing = daemon.ctr_prints(&["-n", namespace, "content", "ls"]);
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').filter(|column| !column.is_empty()).collect();
        let labels = columns.last().expect("labels").split(',').map(str::to_owned).collect();
        (columns[0].to_owned(), labels)
    };
    listing.lines().skip(1).map(row).collect()
}

/// Words of a listing, without those that change from run to run.
fn rows(daemon: &ContainerdDaemon, args: &[&str]) -> BTreeSet<String> {
    let listing = daemon.ctr_prints(args);
    listing.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn assert_nothing_left(daemon: &ContainerdDaemon, namespace: &str) {
    daemon.ctr_prints(&["-n", namespace, "content", "prune", "references"]);
    for what in ["content", "snapshots", "leases", "images"] {
        assert_eq!(rows(daemon, &["-n", namespace, what, "ls"]), BTreeSet::new(), "{what} are left");
    }
    assert_eq!(daemon.ctr_prints(&["-n", namespace, "content", "active"]).lines().count(), 1, "ingests are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_lands_runs_and_goes_without_a_trace() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "test-ns").await;
    let image = Image::build(&["uname", "-m"]);
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    assert!(!store.claim(&lease, &image.manifest.layers[0], belongs).await.expect("answers"));
    store.release(lease).await.expect("releases");

    let outcomes = land(&store, &image, REFERENCE).await.expect("lands");
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(rows(&daemon, &["-n", "test-ns", "leases", "ls"]), BTreeSet::new());
    let digests: BTreeSet<String> = content(&daemon, "test-ns").into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(digests, image.blobs.keys().map(ToString::to_string).collect());
    let staged = std::fs::read_dir(daemon.folder().join("staging")).expect("a folder").count();
    assert_eq!(staged, 0, "staged files are left");

    let run = ["-n", "test-ns", "run", "--rm", "--cgroup", "", REFERENCE, "first"];
    let machine = std::process::Command::new("uname").arg("-m").output().expect("uname").stdout;
    assert_eq!(daemon.ctr_prints(&run).trim(), String::from_utf8_lossy(&machine).trim());

    daemon.ctr_prints(&["-n", "test-ns", "images", "rm", "--sync", REFERENCE]);
    assert_nothing_left(&daemon, "test-ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_claimed_and_read_and_looked_up() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["true"]);
    land(&store, &image, REFERENCE).await.expect("lands");
    assert_eq!(land(&store, &image, REFERENCE).await.expect("lands again"), [Outcome::Present, Outcome::Present]);

    let other = "other.example/app:v1".parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    for layer in &image.manifest.layers {
        let belongs = Belongs { role: Role::Layer(None), source: &other };
        assert!(store.claim(&lease, layer, belongs).await.expect("answers"));
        let mut lying = layer.clone();
        lying.size += 1;
        assert!(!store.claim(&lease, &lying, belongs).await.expect("answers"), "the size is wrong");
    }
    store.release(lease).await.expect("releases");
    let claimed = content(&daemon, "default").into_iter().filter(|(_, labels)| {
        labels.contains("containerd.io/distribution.source.other.example=app")
            && labels.contains("containerd.io/distribution.source.registry.example=team/app")
    });
    assert_eq!(claimed.count(), image.manifest.layers.len());

    let document = store.document(&image.root).await.expect("reads").expect("is there");
    assert_eq!(document.content(), &image.blobs[&image.root.digest]);
    let mut bytes = Vec::new();
    let layer = &image.manifest.layers[0];
    let mut reader = store.open(layer).await.expect("opens").expect("is there");
    reader.read_to_end(&mut bytes).await.expect("reads");
    assert_eq!(bytes, image.blobs[&layer.digest]);
    let mut absent = image.root.clone();
    absent.digest = Digest::of(b"absent");
    assert!(store.document(&absent).await.expect("answers").is_none());
    assert!(store.open(&absent).await.expect("answers").is_none());
    let mut short = image.root.clone();
    short.size -= 1;
    assert!(matches!(store.document(&short).await, Err(StoreError::Damaged(_))));
    absent.size = 5 << 20;
    assert!(matches!(store.document(&absent).await, Err(StoreError::TooLarge { .. })));

    assert_eq!(store.names().await.expect("lists"), [REFERENCE]);
    let known = store.lookup(&REFERENCE.parse().expect("well formed")).await.expect("answers").expect("is known");
    assert_eq!((known.target.digest, known.root), (image.root.digest, None));
    assert_eq!(store.lookup(&other).await.expect("answers"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctr_cannot_tell_our_image_from_its_own() {
    let daemon = ContainerdDaemon::start();
    let image = Image::build(&["true"]);
    let registry = Registry::serve(&image).await;
    let reference = registry.reference("team/app:v1");
    daemon.ctr_prints(&["-n", "theirs", "images", "pull", "--plain-http", &reference]);
    land(&connect(&daemon, "ours").await, &image, &reference).await.expect("lands");

    assert_eq!(content(&daemon, "ours"), content(&daemon, "theirs"));
    for what in ["images", "snapshots", "leases"] {
        let of = |namespace| rows(&daemon, &["-n", namespace, what, "ls"]);
        assert_eq!(of("ours"), of("theirs"), "{what}");
    }
    let labels = |namespace| daemon.ctr_prints(&["namespaces", "ls"]).lines().any(|line| line.trim() == namespace);
    assert!(labels("ours") && labels("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_do_not_share_names_or_fates() {
    let daemon = ContainerdDaemon::start();
    let image = Image::build(&["echo", "still here"]);
    for namespace in ["one", "two"] {
        land(&connect(&daemon, namespace).await, &image, REFERENCE).await.expect("lands");
    }
    assert_eq!(content(&daemon, "one"), content(&daemon, "two"));
    daemon.ctr_prints(&["-n", "one", "images", "rm", "--sync", REFERENCE]);
    assert_nothing_left(&daemon, "one");
    let run = ["-n", "two", "run", "--rm", "--cgroup", "", REFERENCE, "first"];
    assert_eq!(daemon.ctr_prints(&run).trim(), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_moves_and_may_stand_for_one_manifest() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["true"]);
    land(&store, &image, REFERENCE).await.expect("lands");
    daemon.ctr_prints(&["images", "label", REFERENCE, "team=ours"]);
    let lease = store.lease().await.expect("a lease");
    let reference = REFERENCE.parse().expect("well formed");

    store.name(&lease, &record(&image, REFERENCE, true)).await.expect("names");
    let known = store.lookup(&reference).await.expect("answers").expect("is known");
    assert_eq!(known.target.digest, image.chosen.digest);
    assert_eq!(known.root.as_ref(), Some(&image.root.digest));
    assert_eq!(known.platform, image.chosen.platform);

    store.name(&lease, &record(&image, REFERENCE, false)).await.expect("names");
    let known = store.lookup(&reference).await.expect("answers").expect("is known");
    assert_eq!((known.target.digest, known.root, known.platform), (image.root.digest, None, None));
    let row = daemon.ctr_prints(&["images", "ls"]);
    assert!(row.contains("team=ours") && !row.contains("io.lighterman"), "{row}");
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
        (good.with_layer_type("application/vnd.example.model"), Kind::Unsupported, "example.model", 0),
    ];
    for (image, kind, words, committed) in cases {
        let lease = store.lease().await.expect("a lease");
        fixture::write(&store, &lease, &image, &source).await.expect("is written");
        let unpackable = Unpackable { manifest: &image.manifest, config: &image.config };
        let error = unpack(&store, &lease, unpackable, &|_| {}).await.expect_err(words);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let snapshots = rows(&daemon, &["snapshots", "ls"]);
        assert_eq!(snapshots.len(), committed, "only the layer below is left: {snapshots:?}");
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
    let run = ["run", "--rm", "--cgroup", "", "--snapshotter", "native", REFERENCE, "first"];
    assert_eq!(daemon.ctr_prints(&run).trim(), "native");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pullers_of_one_image_do_not_disturb_each_other() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["echo", "once"]);
    let mut pulls = tokio::task::JoinSet::new();
    for number in 0..4 {
        let image = image.clone();
        let options = ContainerdOptions {
            namespace: "default".into(),
            snapshotter: "overlayfs".into(),
            staging: Staging::new(daemon.folder().join(format!("staging-{number}"))),
        };
        let address = daemon.address();
        pulls.spawn(async move {
            let store = Containerd::connect(&address, options).await.expect("containerd answers");
            land(&store, &image, REFERENCE).await.map(|_| ())
        });
    }
    while let Some(result) = pulls.join_next().await {
        result.expect("no panic").expect("lands");
    }
    assert_eq!(rows(&daemon, &["snapshots", "ls"]).len(), 2, "no active snapshot is left");
    assert_eq!(daemon.ctr_prints(&["run", "--rm", "--cgroup", "", REFERENCE, "first"]).trim(), "once");
    assert_eq!(store.names().await.expect("lists"), [REFERENCE]);
}

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
async fn leftovers_and_locks_of_an_earlier_attempt_are_overcome() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    let blobs: [&[u8]; 3] = [b"half of it was there", b"all of it was there, but wrong", b"was being written"];

    let half = Digest::of(blobs[0]);
    drop(unfinished(&store, &daemon.address(), &half, (&blobs[0][..7], blobs[0].len())).await.expect("writes"));
    store.adopt(&lease, stage(&store, blobs[0]), belongs).await.expect("starts again");

    let wrong = vec![b'x'; blobs[1].len()];
    drop(unfinished(&store, &daemon.address(), &Digest::of(blobs[1]), (&wrong, wrong.len())).await.expect("writes"));
    store.adopt(&lease, stage(&store, blobs[1]), belongs).await.expect("starts again");

    let holder =
        unfinished(&store, &daemon.address(), &Digest::of(blobs[2]), (b"was", blobs[2].len())).await.expect("writes");
    let freed = AtomicBool::new(false);
    let waiting = async {
        store.adopt(&lease, stage(&store, blobs[2]), belongs).await.expect("waits for its turn");
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
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_around_a_message_arrive_whole() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    for size in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 40 << 20] {
        let content: Vec<u8> = (0..size).map(|position: usize| (position % 251).to_le_bytes()[0]).collect();
        let begun = Instant::now();
        store.adopt(&lease, stage(&store, &content), belongs).await.expect("adopts");
        println!("{size} bytes adopted in {:?}", begun.elapsed());
        let document = Verified::seal(bytes::Bytes::from(content.clone()));
        let descriptor = fixture::descriptor("application/octet-stream", &content);
        assert!(store.claim(&lease, &descriptor, belongs).await.expect("answers"));
        let mut read = Vec::new();
        let mut reader = store.open(&descriptor).await.expect("opens").expect("is there");
        reader.read_to_end(&mut read).await.expect("reads");
        assert_eq!(Digest::of(&read), Digest::of(&content));
        store.put(&lease, document, belongs).await.expect("is no error a second time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_says_what_it_is_and_matches_with() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    assert!(daemon.ctr_prints(&["version"]).contains(&store.version().await.expect("answers")));
    let platform = store.platform().await.expect("answers").expect("overlayfs says");
    assert!(platform.same_as(&Platform::linux(fixture::architecture(), "")), "{platform}");
    let all = store.snapshotters().await.expect("answers");
    assert!(all.iter().any(|one| one.name == "overlayfs" && one.usable));
    assert!(all.iter().any(|one| !one.usable), "devmapper is never configured: {all:?}");
    let root = store.content_root().await.expect("answers").expect("tells");
    assert!(root.starts_with(daemon.folder()), "{}", root.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_socket_is_said_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = || ContainerdOptions {
        namespace: "default".into(),
        snapshotter: "overlayfs".into(),
        staging: Staging::new(folder.path().join("staging")),
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
        let error = Containerd::connect(address, options()).await.expect_err(words);
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.to_string().contains(words), "{error}");
    }
    closing.abort();
    let bad = ContainerdOptions { namespace: "no/such".into(), ..options() };
    let error = Containerd::connect(&missing, bad).await.expect_err("not a namespace");
    assert_eq!(error.kind(), Kind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containerd_that_dies_midway_is_named() {
    let mut daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["true"]);
    let source = REFERENCE.parse().expect("well formed");
    let lease = store.lease().await.expect("a lease");
    let large = vec![7; 256 << 20];
    let staged = stage(&store, &large);
    let adopting = store.adopt(&lease, staged, Belongs { role: Role::Layer(None), source: &source });
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
    let unpackable = Unpackable { manifest: &image.manifest, config: &image.config };
    let unpacked = unpack(&store, &lease, unpackable, &|_| {}).await.expect_err("nobody is there");
    assert_eq!(unpacked.kind(), Kind::StoreUnavailable, "{unpacked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_cannot_tell_our_image_from_its_own() {
    let image = Image::build(&["true"]);
    let registry = Registry::serve(&image).await;
    let reference = registry.reference("team/app:v1");
    let id = image.manifest.config.digest.to_string();

    let (theirs, ours) = (ContainerdDaemon::start_with(Cri::On), ContainerdDaemon::start_with(Cri::On));
    let mut their_images = CriImages::connect(&theirs.address()).await;
    assert_eq!(their_images.pull(&reference).await, id);
    let expected = their_images.status(&reference).await.expect("is known");

    land(&connect(&ours, "k8s.io").await, &image, &reference).await.expect("lands");
    let mut images = CriImages::connect(&ours.address()).await;
    let by_digest = format!("{}@{}", registry.reference("team/app"), image.root.digest);
    for name in [&reference, &id, &by_digest] {
        // CRI hears of records through events, so it knows of them a little later.
        let known = loop {
            match images.status(name).await {
                Some(known) if known.digests.len() == expected.digests.len() => break known,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(known, expected, "{name}");
    }
    assert_eq!(content(&ours, "k8s.io"), content(&theirs, "k8s.io"));
    for what in ["images", "leases", "snapshots"] {
        let of = |daemon| rows(daemon, &["-n", "k8s.io", what, "ls"]);
        assert_eq!(of(&ours), of(&theirs), "{what}");
    }
    let top = rows(&ours, &["-n", "k8s.io", "snapshots", "ls"]).first().expect("a row").clone();
    let chain = top.split(' ').next().expect("a key").to_owned();
    let labels = |daemon: &ContainerdDaemon| {
        let info = daemon.ctr_prints(&["-n", "k8s.io", "snapshots", "info", &chain]);
        serde_json::from_str::<serde_json::Value>(&info).expect("JSON")["Labels"].clone()
    };
    assert_eq!(labels(&ours), labels(&theirs));
}
