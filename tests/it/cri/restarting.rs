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
    assert_eq!(ours.pull(&reference).await.expect("pulls"), image.manifests[0].config.digest);
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
