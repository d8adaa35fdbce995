//! Landing images in a real containerd.

mod faults;
mod fixture;
mod likeness;
mod link;

use std::collections::BTreeSet;

use lighterman::core::digest::{Digest, Verified};
use lighterman::core::limits::Limits;
use lighterman::core::platform::Platform;
use lighterman::cpu::Cpu;
use lighterman::fetch::{Arrival, Engine};
use lighterman::registry::{Client, Credentials};
use lighterman::store::containerd::{Containerd, ContainerdOptions, Handover};
use lighterman::store::{Belongs, ImageRecord, Lease, Role, Store, StoreError};
use lighterman::unpack::containerd::Unpacker;
use lighterman::unpack::options::Options;
use lighterman::unpack::{LayerUnpacked, Outcome, Unpack, UnpackError, Unpackable};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::support::containerd::ContainerdDaemon;
use fixture::{Image, stage};

const REFERENCE: &str = "registry.example:5000/team/app:v1";

fn options(daemon: &ContainerdDaemon, namespace: &str) -> ContainerdOptions {
    ContainerdOptions {
        namespace: namespace.into(),
        snapshotter: "overlayfs".into(),
        staging: Some(daemon.folder().join("staging")),
        content: Handover::Link,
    }
}

async fn connect_by(daemon: &ContainerdDaemon, options: ContainerdOptions) -> Containerd {
    Containerd::connect(&daemon.address(), options).await.expect("containerd answers")
}

async fn connect_with(daemon: &ContainerdDaemon, namespace: &str, snapshotter: &str) -> Containerd {
    connect_by(daemon, ContainerdOptions { snapshotter: snapshotter.into(), ..options(daemon, namespace) }).await
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
    let observer = |layer: LayerUnpacked<'_>| {
        outcomes.lock().expect("no panic").push(layer.outcome);
    };
    let unpacked = unpack(store, &lease, image, &observer).await;
    if unpacked.is_ok() {
        store.name(&lease, &record(image, reference, false)).await?;
    }
    store.release(lease).await?;
    unpacked.map(|_| outcomes.into_inner().expect("no panic"))
}

/// Unpacks an image whose blobs are all in the store.
async fn unpack(
    store: &Containerd,
    lease: &Lease,
    image: &Image,
    observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
) -> Result<Option<Digest>, UnpackError> {
    let arrivals: Vec<_> = image.manifest.layers.iter().map(|_| watch::channel(Arrival::Present).1).collect();
    let unpackable = Unpackable { manifest: &image.manifest, config: &image.config, arrivals: &arrivals };
    let client = Client::new(Credentials::anonymous(), Limits::default()).expect("a client");
    let engine = Engine::new(client, Cpu::new(), Limits::default());
    let unpacker = Unpacker::new(store.clone(), engine, Options::default());
    let unpacked = unpacker.unpack(lease, unpackable, observer).await?;
    Ok(unpacked.map(|unpacked| unpacked.chain_id))
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
    daemon.collect(namespace);
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
    assert_eq!(outcomes, [Outcome::Grafted, Outcome::Grafted]);
    assert_eq!(rows(&daemon, &["-n", "test-ns", "leases", "ls"]), BTreeSet::new());
    let digests: BTreeSet<String> = content(&daemon, "test-ns").into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(digests, image.blobs.keys().map(ToString::to_string).collect());
    assert!(!daemon.folder().join("staging").exists(), "staged files outlive their adoption");

    let machine = std::process::Command::new("uname").arg("-m").output().expect("uname").stdout;
    assert_eq!(daemon.run("test-ns", &[REFERENCE, "first"]).trim(), String::from_utf8_lossy(&machine).trim());

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
    let known = store.lookup(REFERENCE).await.expect("answers").expect("is known");
    assert_eq!((known.target.digest, known.root), (image.root.digest, None));
    assert_eq!(store.lookup(&other.to_string()).await.expect("answers"), None);
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
    assert_eq!(daemon.run("two", &[REFERENCE, "first"]).trim(), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_moves_and_may_stand_for_one_manifest() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["true"]);
    land(&store, &image, REFERENCE).await.expect("lands");
    daemon.ctr_prints(&["images", "label", REFERENCE, "team=ours"]);
    let lease = store.lease().await.expect("a lease");
    let reference: lighterman::core::reference::Reference = REFERENCE.parse().expect("well formed");

    store.name(&lease, &record(&image, REFERENCE, true)).await.expect("names");
    let known = store.lookup(&reference.to_string()).await.expect("answers").expect("is known");
    assert_eq!(known.target.digest, image.chosen.digest);
    assert_eq!(known.root.as_ref(), Some(&image.root.digest));
    assert_eq!(known.platform, image.chosen.platform);

    store.name(&lease, &record(&image, REFERENCE, false)).await.expect("names");
    let known = store.lookup(&reference.to_string()).await.expect("answers").expect("is known");
    assert_eq!((known.target.digest, known.root, known.platform), (image.root.digest, None, None));
    let row = daemon.ctr_prints(&["images", "ls"]);
    assert!(row.contains("team=ours") && !row.contains("io.lighterman"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pullers_of_one_image_do_not_disturb_each_other() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let image = Image::build(&["echo", "once"]);
    let mut pulls = tokio::task::JoinSet::new();
    for number in 0..4 {
        let image = image.clone();
        let staging = Some(daemon.folder().join(format!("staging-{number}")));
        let options = ContainerdOptions { staging, ..options(&daemon, "default") };
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
    assert_eq!(daemon.run("default", &[REFERENCE, "first"]).trim(), "once");
    assert_eq!(store.names().await.expect("lists"), [REFERENCE]);
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
        store.adopt(&lease, &stage(&store, &content).await, belongs).await.expect("adopts");
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
