//! Blobs become content by a link, and by their bytes wherever a link does not do.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use lighterman::core::digest::{Digest, Verified};
use lighterman::store::containerd::{Containerd, ContainerdOptions, Handover};
use lighterman::store::staging::Staged;
use lighterman::store::{Belongs, Lease, Role, Store, Tally};

use super::fixture::stage;
use super::{REFERENCE, assert_nothing_left, connect, connect_by, options, rows};
use crate::support::containerd::{ContainerdDaemon, ISOLATED};
use crate::support::fixture::{self as images, greeting};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{files_below, host, succeed, tool};

const CARGO: &[u8] = b"three hundred sacks of barley, loose";

fn inode(path: PathBuf) -> u64 {
    std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).ino()
}

async fn adopt(store: &Containerd, lease: &Lease, staged: &Verified<Staged>) {
    let source = REFERENCE.parse().expect("well formed");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    store.adopt(lease, staged, belongs).await.expect("adopts");
}

/// Adopts the cargo; how it went, and whether containerd has the very file that was staged.
async fn adopts(daemon: &ContainerdDaemon, store: &Containerd) -> (Tally, bool) {
    let lease = store.lease().await.expect("a lease");
    let staged = stage(store, CARGO).await;
    let before = inode(staged.content().path().into());
    adopt(store, &lease, &staged).await;
    let path = daemon.blobs().join(Digest::of(CARGO).hex());
    let same = inode(path.clone()) == before;
    assert_eq!(std::fs::read(path).expect("reads"), CARGO);
    let read = daemon.ctr_prints(&["-n", store.namespace(), "content", "get", &Digest::of(CARGO).to_string()]);
    assert_eq!(read.as_bytes(), CARGO);
    drop(staged);
    let mut staged = files_below(store.staging().root());
    // Those of leases.
    staged.retain(|name| !name.starts_with("mark-"));
    assert_eq!(staged, [""; 0], "staging is not empty");
    assert_eq!(rows(daemon, &["content", "active"]), BTreeSet::new(), "an ingest is left");
    let tally = lease.tally();
    store.release(lease).await.expect("releases");
    (tally, same)
}

const LINKED: Tally = Tally { linked: 1, written: 0 };
const WRITTEN: Tally = Tally { linked: 0, written: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_adopted_without_a_copy_by_every_namespace() {
    let daemon = ContainerdDaemon::start();
    let first = connect(&daemon, "default").await;
    let lease = first.lease().await.expect("a lease");
    assert_eq!(files_below(&daemon.blobs()), [""; 0], "the probe is left");
    let staged = stage(&first, CARGO).await;
    let before = inode(staged.content().path().into());
    // Two pulls of one process share one download.
    let other = first.lease().await.expect("a lease");
    adopt(&first, &lease, &staged).await;
    adopt(&first, &other, &staged).await;
    drop(staged);
    let path = daemon.blobs().join(Digest::of(CARGO).hex());
    assert_eq!(inode(path.clone()), before);
    assert_eq!(std::fs::metadata(&path).expect("is there").nlink(), 1, "our own name is left");

    let second = connect(&daemon, "second").await;
    assert_eq!(adopts(&daemon, &second).await, (LINKED, false), "what was there stays");
    assert_eq!(inode(path.clone()), before);

    first.release(lease).await.expect("releases");
    daemon.collect("default");
    assert!(path.exists(), "the other lease holds it");
    first.release(other).await.expect("releases");
    assert_nothing_left(&daemon, "default");
    assert_nothing_left(&daemon, "second");
    assert_eq!(files_below(&daemon.blobs()), [""; 0], "what nobody holds is collected");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_sent_where_a_link_does_not_do() {
    let sharing = ContainerdDaemon::start();
    let forced = ContainerdOptions { content: Handover::Write, ..options(&sharing, "default") };
    assert_eq!(adopts(&sharing, &connect_by(&sharing, forced).await).await, (WRITTEN, false));

    let isolated = ContainerdDaemon::start_configured(ISOLATED);
    assert_eq!(adopts(&isolated, &connect(&isolated, "default").await).await, (WRITTEN, false));
    assert_eq!(files_below(&isolated.blobs()).len(), 1, "the probe is left");

    let elsewhere = ContainerdDaemon::start_with_small_disk(16);
    assert_eq!(adopts(&elsewhere, &connect(&elsewhere, "default").await).await, (WRITTEN, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_holds_for_one_life_of_containerd() {
    let mut daemon = ContainerdDaemon::start_configured(ISOLATED);
    let store = connect(&daemon, "default").await;
    assert_eq!(adopts(&daemon, &store).await.0, WRITTEN);
    daemon.restart_configured("");
    assert_eq!(adopts(&daemon, &store).await.0, LINKED, "it shares by now");
    daemon.restart_configured(ISOLATED);
    assert_eq!(adopts(&daemon, &store).await.0, WRITTEN, "and not any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_fails_is_no_verdict() {
    let mut daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    daemon.kill();
    store.lease().await.expect_err("nobody is there");
    daemon.restart_configured("");
    assert_eq!(adopts(&daemon, &store).await.0, LINKED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_on_a_full_disk_is_no_verdict() {
    let daemon = ContainerdDaemon::start_on_disk(None, 64, |text| text);
    let staging = Some(daemon.folder().join("root/staging"));
    let store = connect_by(&daemon, ContainerdOptions { staging, ..options(&daemon, "default") }).await;
    daemon.disk().fill_but(0);
    let full = store.lease().await;
    store.links().await.expect_err("nothing can be tried");
    daemon.disk().make_room();
    if let Ok(lease) = full {
        store.release(lease).await.expect("releases");
    }
    assert_eq!(adopts(&daemon, &store).await, (LINKED, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_namespace_has_is_taken_over_where_containerd_shares() {
    let source = REFERENCE.parse().expect("well formed");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    let blob = super::fixture::descriptor("application/octet-stream", CARGO);
    let claims = async |daemon: &ContainerdDaemon, options: ContainerdOptions| {
        let first = connect(daemon, "first").await;
        let lease = first.lease().await.expect("a lease");
        adopt(&first, &lease, &stage(&first, CARGO).await).await;
        let second = connect_by(daemon, options).await;
        let other = second.lease().await.expect("a lease");
        let lying = lighterman::core::descriptor::Descriptor { size: blob.size + 1, ..blob.clone() };
        assert!(!second.claim(&other, &lying, belongs).await.expect("answers"), "the size is wrong");
        let claimed = second.claim(&other, &blob, belongs).await.expect("answers");
        assert_eq!(rows(daemon, &["-n", "second", "content", "active"]), BTreeSet::new(), "an ingest is left");
        // It is held by the other lease alone.
        first.release(lease).await.expect("releases");
        daemon.collect("first");
        let digest = blob.digest.to_string();
        let there = daemon.ctr(&["-n", "second", "content", "get", &digest]);
        assert_eq!(there.status.success(), claimed);
        let labels = super::content(daemon, "second");
        if claimed {
            assert_eq!(there.stdout, CARGO);
            let source = "containerd.io/distribution.source.registry.example=team/app";
            assert!(labels.iter().any(|(name, labels)| *name == digest && labels.contains(source)), "{labels:?}");
        }
        second.release(other).await.expect("releases");
        assert_nothing_left(daemon, "first");
        assert_nothing_left(daemon, "second");
        claimed
    };
    let sharing = ContainerdDaemon::start();
    assert!(claims(&sharing, options(&sharing, "second")).await);
    let written = ContainerdOptions { content: Handover::Write, ..options(&sharing, "second") };
    assert!(claims(&sharing, written).await, "however blobs are handed over");
    let isolated = ContainerdDaemon::start_configured(ISOLATED);
    assert!(!claims(&isolated, options(&isolated, "second")).await);
    let small = ContainerdDaemon::start_with_small_disk(16);
    assert!(claims(&small, options(&small, "second")).await, "also where nothing can be linked");
}

/// A folder from which nothing can be removed, until this is dropped.
struct AppendOnly(std::path::PathBuf);

impl AppendOnly {
    fn new(folder: std::path::PathBuf) -> Self {
        let made = Self(folder);
        made.change("+a");
        made
    }

    fn change(&self, attribute: &str) {
        succeed(std::process::Command::new(tool("chattr", "e2fsprogs")).arg(attribute).arg(&self.0));
    }
}

impl Drop for AppendOnly {
    fn drop(&mut self) {
        self.change("-a");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_cannot_be_taken_back_costs_a_download_and_no_pull() {
    let daemon = ContainerdDaemon::start_configured(ISOLATED);
    let first = connect(&daemon, "first").await;
    let held = first.lease().await.expect("a lease");
    adopt(&first, &held, &stage(&first, CARGO).await).await;
    let second = connect(&daemon, "second").await;
    let lease = second.lease().await.expect("a lease");
    let source = REFERENCE.parse().expect("well formed");
    let belongs = Belongs { role: Role::Layer(None), source: &source };
    let blob = super::fixture::descriptor("application/octet-stream", CARGO);
    let ingests = daemon.folder().join("root/io.containerd.content.v1.content/ingest");
    let stuck = AppendOnly::new(ingests.clone());
    assert!(!second.claim(&lease, &blob, belongs).await.expect("goes on without"));
    assert_ne!(std::fs::read_dir(&ingests).expect("a folder").count(), 0, "it could be taken back");
    drop(stuck);
    adopt(&second, &lease, &stage(&second, CARGO).await).await;
    let digest = blob.digest.to_string();
    assert_eq!(daemon.ctr_prints(&["-n", "second", "content", "get", &digest]).as_bytes(), CARGO);
    first.release(held).await.expect("releases");
    second.release(lease).await.expect("releases");
    assert_nothing_left(&daemon, "first");
    assert_nothing_left(&daemon, "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_between_link_and_commit_is_overcome() {
    let daemon = ContainerdDaemon::start();
    let store = connect(&daemon, "default").await;
    let lease = store.lease().await.expect("a lease");
    let staged = stage(&store, CARGO).await;
    let path = daemon.blobs().join(Digest::of(CARGO).hex());
    daemon.pause();
    let collecting = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        // The commit is on its way, and finds nothing.
        std::fs::remove_file(&path).expect("is there");
        daemon.resume();
    };
    tokio::join!(adopt(&store, &lease, &staged), collecting);
    assert_eq!(lease.tally(), LINKED);
    assert_eq!(std::fs::read(&path).expect("reads"), CARGO);
    assert_eq!(inode(path), inode(staged.content().path().into()));
    drop(staged);
    assert_eq!(rows(&daemon, &["content", "active"]), BTreeSet::new(), "an ingest is left");
    store.release(lease).await.expect("releases");
    assert_nothing_left(&daemon, "default");
}

#[test]
fn staging_is_found_where_links_work() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(images::busybox(), "library/busybox:1");
    // The usual place is on another file system, and that beside containerd's content is not.
    let node = Sandbox::divided(std::path::Path::new("/var/lib"), &daemon.folder().join("state"));
    let user = Lighterman::inside(&node);
    let address = daemon.address();
    let args = ["pull", &reference, "--json", "--containerd-address", address.to_str().expect("UTF-8")];
    let pulled = user.run(&args).succeeds().pulled();
    assert_eq!((&pulled["contentLinked"], &pulled["contentWritten"]), (&pulled["blobsFetched"], &0.into()));
    assert!(!daemon.folder().join("root/io.lighterman.staging").exists(), "staging is left");
    assert_eq!(daemon.run("default", &[&reference, "linked"]), greeting(host()));
}

#[test]
fn a_mount_in_between_is_noticed() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(images::busybox(), "library/busybox:1");
    // One file system, and no link from here to there: what a service's sandbox makes of it.
    let content = daemon.folder().join("root/io.containerd.content.v1.content");
    // Since 1.7.24, containerd makes it when it first needs it.
    std::fs::create_dir_all(&content).expect("creates");
    let node = Sandbox::divided(std::path::Path::new("/var/lib"), &content);
    let user = Lighterman::inside(&node);
    let address = daemon.address();
    let args = ["pull", &reference, "--json", "--containerd-address", address.to_str().expect("UTF-8")];
    let outcome = user.run(&args).succeeds();
    let pulled = outcome.pulled();
    assert_eq!((&pulled["contentLinked"], &pulled["contentWritten"]), (&0.into(), &pulled["blobsFetched"]));
    outcome.says(&["copied into containerd", "no hard link"]);
    assert_eq!(daemon.run("default", &[&reference, "written"]), greeting(host()));
}
