//! containerd goes and comes back.

use tonic::Code;

use super::node::{Node, eventually, push};
use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Image};
use crate::support::host;
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_nothing_happens_is_not_noticed_afterwards() {
    let mut node = Node::start().await;
    let registry = Registry::plain();
    let (image, ours) = (fixture::busybox(), node.ours().await);
    let first = push(&registry, image, "app:1");
    let id = ours.pull(&first).await.expect("pulls");
    node.containerd.kill();
    for _ in 0..2 {
        let down = ours.list().await.expect_err("nobody answers");
        assert_eq!(down.code(), Code::Unavailable, "{down}");
        assert!(down.message().starts_with("containerd's CRI does not answer at "), "{down}");
        let down = ours.pull(&first).await.expect_err("nobody answers");
        assert_eq!(down.code(), Code::Unavailable, "{down}");
    }
    node.containerd.start_again();
    node.ready().await;
    assert_eq!(ours.image(&first).await.map(|image| image.id), Some(id.clone()));
    let second = push(&registry, image, "again:1");
    assert_eq!(ours.pull(&second).await.expect("pulls"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_a_pull_ends_it_and_the_next_goes_on() {
    let mut node = Node::start().await;
    let image = Image::single(fixture::busybox().of(host()).clone());
    let liar = Liar::serving(&image, "app:1");
    let request = format!("GET /v2/app/blobs/{}", image.manifests[0].layers[2].digest);
    liar.always(&request, Reply::Gated(At::Half));
    let (ours, reference) = (node.ours().await, liar.reference("app:1"));
    let pulling = tokio::spawn({
        let (ours, reference) = (ours.clone(), reference.clone());
        async move { ours.pull(&reference).await }
    });
    liar.wait_for(&request);
    node.containerd.kill();
    liar.open_gate();
    let ended = pulling.await.expect("no panic").expect_err("containerd is gone");
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    node.containerd.start_again();
    node.ready().await;
    let id = ours.pull(&reference).await.expect("pulls");
    assert_eq!(id, image.manifests[0].config.digest);
    ours.remove(&id).await;
    for (what, left) in left_in(&node) {
        assert_eq!(left.trim(), "", "{what} are left");
    }
}

/// What containerd has of k8s.io, by kind, once its collector has been there.
fn left_in(node: &Node<'_>) -> Vec<(&'static str, String)> {
    node.containerd.collect("k8s.io");
    let listed = |what: &[&str], header: usize| -> String {
        let output = node.containerd.ctr_prints(&[&["-n", "k8s.io"], what].concat());
        output.lines().skip(header).collect::<Vec<_>>().join("\n")
    };
    vec![
        ("leases", listed(&["leases", "ls", "-q"], 0)),
        ("ingests", listed(&["content", "active"], 1)),
        ("content", listed(&["content", "ls", "-q"], 0)),
        ("snapshots", listed(&["snapshots", "ls"], 1)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_pull_leaves_nothing_that_the_next_does_not_use() {
    let mut node = Node::start().await;
    let image = Image::single(fixture::busybox().of(host()).clone());
    let big = &image.manifests[0].layers[2];
    let liar = Liar::serving(&image, "app:1");
    let request = format!("GET /v2/app/blobs/{}", big.digest);
    liar.plan(&request, [Reply::HangAfter(big.bytes.len() / 2)]);
    let (ours, reference) = (node.ours().await, liar.reference("app:1"));
    let pulling = tokio::spawn({
        let reference = reference.clone();
        async move { ours.pull(&reference).await }
    });
    let arrived = (big.bytes.len() / 4) as u64;
    tokio::task::block_in_place(|| {
        node.daemon.wait_for_pulls(|pulls| pulls.iter().any(|pull| pull["bytesDone"].as_u64() >= Some(arrived)));
    });
    assert_ne!(node.containerd.ctr_prints(&["-n", "k8s.io", "leases", "ls", "-q"]).trim(), "", "nothing protects it");
    node.daemon.take().kill();
    pulling.await.expect("no panic").expect_err("lighterman is gone");

    node.daemon.restart();
    let ours = node.ours().await;
    let id = ours.pull(&reference).await.expect("pulls");
    assert_eq!(id, image.manifests[0].config.digest);
    let asked = liar.requests_for(&request);
    let resumed = asked[1..].iter().all(|request| request.range().is_some_and(|(first, _)| first > 0));
    assert!(asked.len() > 1 && resumed, "{asked:?}");
    assert_eq!(crate::support::files_below(&node.daemon.staging()), [""; 0], "something is staged");
    let leases = left_in(&node).into_iter().find(|(what, _)| *what == "leases").expect("is listed").1;
    assert_eq!(leases, "", "a lease is left");
    ours.remove(&id).await;
    for (what, left) in left_in(&node) {
        assert_eq!(left.trim(), "", "{what} are left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lighterman_may_come_before_containerd() {
    let containerd = ContainerdDaemon::start_with(Cri::On);
    let socket = containerd.folder().join("link.sock");
    let daemon = Daemon::start_at(Lighterman::new(), &socket, "");
    let ours = super::client::Client::connect(&daemon.socket()).await;
    let early = ours.list().await.expect_err("nobody is there");
    assert_eq!(early.code(), Code::Unavailable, "{early}");
    std::os::unix::fs::symlink(containerd.address(), &socket).expect("links");
    eventually(async || ours.list().await.ok()).await;
    let registry = Registry::plain();
    ours.pull(&push(&registry, fixture::busybox(), "app:1")).await.expect("pulls");
}
