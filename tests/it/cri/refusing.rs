//! Pulls that come to nothing, each with its code.

use std::process::Command;
use std::time::Duration;

use prost::Message;
use tonic::Code;

use super::client::{PullImage, spec};
use super::node::{Node, eventually, porter, push};
use crate::forgery::{Bed, REFUSED};
use crate::support::fixture::{self, Image, tiny};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::{host, succeed, tool};

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_containerds_and_prefixes_those_that_kubelet_knows() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let index = fixture::Image::multi(fixture::Flavour::Oci, &[tiny("mips64le", ""), tiny("loong64", "")]);
    let foreign = push(&registry, &index, "foreign:1");
    let (ours, theirs) = (node.ours().await, node.theirs().await);
    for name in [&registry.reference("no/such:1"), &foreign, "quay.io/UPPER/case", "", &"0".repeat(64)] {
        let (refused, containerds) =
            (ours.pull(name).await.expect_err("fails"), theirs.pull(name).await.expect_err("fails"));
        assert_eq!(refused.code(), containerds.code(), "{name}: {refused} | {containerds}");
        let start = format!("failed to pull and unpack image \"{name}\": ");
        let ours = refused.message() == containerds.message() || refused.message().starts_with(&start);
        assert!(ours, "{name}: {refused} | {containerds}");
    }
    let gone = registry.reference("app:1");
    drop(registry);
    let refused = ours.pull(&gone).await.expect_err("nobody serves it");
    assert_eq!(refused.code(), Code::Unknown, "{refused}");
    assert!(refused.message().starts_with("RegistryUnavailable: failed to pull"), "{refused}");
    assert!(refused.message().contains("to blame is the network"), "{refused}");
}

/// An image whose big layer never comes, and the request for it.
fn stuck() -> (Liar, String) {
    let image = Image::single(fixture::busybox().of(host()).clone());
    let liar = Liar::serving(&image, "app:1");
    let request = format!("GET /v2/app/blobs/{}", image.manifests[0].layers[2].digest);
    liar.always(&request, Reply::HangAfter(1 << 10));
    (liar, request)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_progress_ends_as_containerds_own() {
    let node = Node::configured(Lighterman::new(), "[serve]\npull-progress-timeout = \"1s\"\n").await;
    let (liar, _) = stuck();
    let ended = node.ours().await.pull(&liar.reference("app:1")).await.expect_err("is given up");
    assert_eq!(ended.code(), Code::Cancelled, "{ended}");
    assert!(ended.message().starts_with("failed to pull and unpack image"), "{ended}");
    assert_eq!(node.ours().await.list().await.expect("lists").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_pull_with_it() {
    let node = Node::start().await;
    let (liar, request) = stuck();
    let (ours, reference) = (node.ours().await, liar.reference("app:1"));
    let pull = tokio::spawn(async move { ours.pull(&reference).await });
    liar.wait_for(&request);
    assert_eq!(node.daemon.pulls().len(), 1);
    pull.abort();
    eventually(async || node.daemon.pulls().is_empty().then_some(())).await;
    node.containerd.collect("k8s.io");
    assert_eq!(node.ours().await.list().await.expect("lists").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_is_not_called_a_cancellation() {
    let node = Node::start().await;
    let (liar, _) = stuck();
    // Our own client would keep the deadline by itself.
    let pull = PullImage { image: Some(spec(&liar.reference("app:1"))), auth: None }.encode_to_vec();
    let body = node.containerd.folder().join("pull");
    let length = u32::try_from(pull.len()).expect("a short message").to_be_bytes();
    std::fs::write(&body, [&[0], &length[..], &pull].concat()).expect("writes");
    let mut curl = Command::new(tool("curl", "curl"));
    curl.args(["--silent", "--include", "--http2-prior-knowledge", "--request", "POST", "--unix-socket"])
        .arg(node.daemon.socket())
        .args(["--header", "content-type: application/grpc", "--header", "te: trailers"])
        .args(["--header", &format!("grpc-timeout: {}m", Duration::from_secs(1).as_millis())])
        .arg("--data-binary")
        .arg(format!("@{}", body.display()))
        .arg("http://localhost/runtime.v1.ImageService/PullImage");
    let answer = succeed(&mut curl).stdout;
    let answer = String::from_utf8_lossy(&answer);
    let status = format!("grpc-status: {}", i32::from(Code::DeadlineExceeded));
    assert!(answer.contains(&status), "{answer}");
    eventually(async || node.daemon.pulls().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_leads_to_this_node_is_refused_and_not_left_to_containerd() {
    let bed = Bed::new();
    let node = Node::configured(Lighterman::inside(&bed.sandbox), "plain-http = true\n").await;
    let ours = node.ours().await;
    for (repository, by_realm) in [("redirect", false), ("realm", true)] {
        let way = bed.lead(repository, "127.0.0.1", by_realm);
        let refused = ours.pull(&bed.reference(&format!("{repository}:1"))).await.expect_err(way);
        assert!(refused.message().contains(REFUSED), "{way}: {refused}");
        assert!(refused.message().contains("to blame is the registry"), "{way}: {refused}");
        assert!(!refused.message().contains("imagePullSecret"), "{way}: {refused}");
    }
    assert!(bed.victim.requests().is_empty(), "{:?}", bed.victim.requests());
    assert!(!node.daemon.log().contains("left to containerd"), "{}", node.daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_credentials_open_nothing_at_the_next_pull() {
    let node = Node::start().await;
    let liar = Liar::serving(&Image::single(tiny(host().arch, host().variant)), "app:1");
    let (ours, reference) = (node.ours().await, liar.reference("app:1"));
    liar.require(&format!("Basic {}", fixture::base64(&format!("{USER}:{PASSWORD}"))));
    ours.pull_as(&reference, Some(porter())).await.expect("pulls");
    liar.require(&format!("Basic {}", fixture::base64(&format!("{USER}:another"))));
    // All of it is here, which changes nothing.
    let refused = ours.pull_as(&reference, Some(porter())).await.expect_err("is refused");
    assert!(refused.message().contains("to blame is the request"), "{refused}");
}
