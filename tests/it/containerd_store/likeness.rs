//! What we land beside what containerd itself pulls from the same registry.

use std::collections::BTreeMap;
use std::time::Duration;

use lighterman::store::Store;

use super::fixture::{self, Image, Registry};
use super::{connect, content, land, record, rows, unpack};
use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::cri::{CriImage, CriImages};

/// Pulls with ctr what this node needs. Since 2.0 it also fetches the manifests and configs of
/// all other platforms unless told not to.
fn ctr_pulls(daemon: &ContainerdDaemon, namespace: &str, reference: &str) {
    let own = "--skip-metadata";
    let help = daemon.ctr_prints(&["images", "pull", "--help"]);
    let only = help.contains(own).then_some(own);
    let args: Vec<&str> = ["-n", namespace, "images", "pull", "--plain-http"].into_iter().chain(only).collect();
    daemon.ctr_prints(&[&args[..], &[reference]].concat());
}

type Labels = BTreeMap<String, String>;

/// Labels of every snapshot.
fn snapshot_labels(daemon: &ContainerdDaemon, namespace: &str) -> BTreeMap<String, Labels> {
    let listed = rows(daemon, &["-n", namespace, "snapshots", "ls"]);
    let keys = listed.iter().map(|row| row.split(' ').next().expect("a key").to_owned());
    let labels = |key: &str| {
        let info = daemon.ctr_prints(&["-n", namespace, "snapshots", "info", key]);
        let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
        serde_json::from_value::<Option<Labels>>(info["Labels"].clone()).expect("labels").unwrap_or_default()
    };
    keys.map(|key| (key.clone(), labels(&key))).collect()
}

/// Our snapshots say what those of containerd's own pull say. What else they say, another
/// version's would: ctr's have no label before 2.0, and what they are made of is said since 2.3.
fn assert_same_snapshots(ours: &BTreeMap<String, Labels>, theirs: &BTreeMap<String, Labels>) {
    let known = ["snapshot.ref", "snapshot/diff-id", "snapshot/parent-chain-id"];
    let mut common = ours.clone();
    for (key, labels) in &mut common {
        let unsaid = |label: &str| theirs.get(key).is_some_and(|theirs| !theirs.contains_key(label));
        labels.retain(|label, _| !(unsaid(label) && known.iter().any(|name| label.ends_with(name))));
    }
    assert_eq!(&common, theirs, "ours are {ours:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctr_cannot_tell_our_image_from_its_own() {
    let daemon = ContainerdDaemon::start();
    let image = Image::build(&["true"]);
    let registry = Registry::serve(&image).await;
    let reference = registry.reference("team/app:v1");
    ctr_pulls(&daemon, "theirs", &reference);
    land(&connect(&daemon, "ours").await, &image, &reference).await.expect("lands");

    assert_eq!(content(&daemon, "ours"), content(&daemon, "theirs"));
    for what in ["images", "snapshots", "leases"] {
        let of = |namespace| rows(&daemon, &["-n", namespace, what, "ls"]);
        assert_eq!(of("ours"), of("theirs"), "{what}");
    }
    assert_same_snapshots(&snapshot_labels(&daemon, "ours"), &snapshot_labels(&daemon, "theirs"));
    let labels = |namespace| daemon.ctr_prints(&["namespaces", "ls"]).lines().any(|line| line.trim() == namespace);
    assert!(labels("ours") && labels("theirs"));
}

/// What CRI knows of an image once it has that many repository digests: it hears of records
/// through events, so it knows of them a little later.
async fn known_with(images: &mut CriImages, name: &str, digests: usize) -> CriImage {
    loop {
        match images.status(name).await {
            Some(known) if known.digests.len() == digests => return known,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_finds_images_that_stand_for_one_manifest() {
    let daemon = ContainerdDaemon::start_with(Cri::On);
    let store = connect(&daemon, "k8s.io").await;
    let mut images = CriImages::connect(&daemon.address()).await;
    let image = Image::build(&["true"]);
    let id = image.manifest.config.digest.to_string();
    let by_index = format!("registry.example/by-digest@{}", image.root.digest);
    let by_manifest = |name: &str| format!("registry.example/{name}@{}", image.chosen.digest);
    // The tag is dropped where there is a digest, as CRI itself does.
    let both = format!("registry.example/by-digest:v1@{}", image.root.digest);
    let cases = [
        ("registry.example/by-tag:v1", vec!["registry.example/by-tag:v1".to_owned(), by_manifest("by-tag")]),
        (both.as_str(), vec![by_index, by_manifest("by-digest")]),
    ];
    let mut digests = 0;
    for (reference, names) in cases {
        let lease = store.lease().await.expect("a lease");
        let source = reference.parse().expect("well formed");
        fixture::write(&store, &lease, &image, &source).await.expect("is written");
        unpack(&store, &lease, &image, &|_| {}).await.expect("unpacks");
        store.name(&lease, &record(&image, reference, true)).await.expect("names");
        store.release(lease).await.expect("releases");
        digests += names.iter().filter(|name| name.contains('@')).count();
        for name in names {
            let known = known_with(&mut images, &name, digests).await;
            assert_eq!(known.id, id, "{name}");
            assert!(known.tags.contains(&name) || known.digests.contains(&name), "{name} is not in {known:?}");
        }
    }
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
        assert_eq!(known_with(&mut images, name, expected.digests.len()).await, expected, "{name}");
    }
    assert_eq!(content(&ours, "k8s.io"), content(&theirs, "k8s.io"));
    for what in ["images", "leases", "snapshots"] {
        let of = |daemon| rows(daemon, &["-n", "k8s.io", what, "ls"]);
        assert_eq!(of(&ours), of(&theirs), "{what}");
    }
    assert_same_snapshots(&snapshot_labels(&ours, "k8s.io"), &snapshot_labels(&theirs, "k8s.io"));
}
