//! Images whose program does not run here, as pods and the node's configuration would have them.

use super::client::{ImageSpec, Pod, PullForPod, Text, spec};
use super::node::{Node, push};
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Flavour, Image, Manifest, Tree, platform};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{foreign, host};

/// For this machine by its own word, with a program for another one.
fn lying() -> Image {
    let layer = Tree::new().dir("bin").file("bin/app", 0o755, &fixture::busybox_program(foreign())).layer();
    Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, ""), &[layer], ("/bin/app", &[])))
}

/// For a pod with this annotation.
fn pod(reference: &str, action: &str) -> PullForPod {
    let annotations = [("lighterman.dev/arch-mismatch".to_owned(), action.to_owned())].into();
    PullForPod { image: Some(spec(reference)), pod: Some(Pod { annotations }) }
}

#[track_caller]
fn assert_refused(status: &tonic::Status) {
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    for part in ["failed to pull and unpack image", "/bin/app", "PLAT-004", "to blame is the image"] {
        assert!(status.message().contains(part), "{status} does not say {part}");
    }
}

/// kubelet asks for an image that is here where the pod's pull policy is Always.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_refuses_it_is_refused_an_image_that_is_here() {
    let plain_node = Sandbox::without_emulators();
    let registry = Registry::plain();
    let image = lying();
    let reference = push(&registry, &image, "app:1");
    let mut node = Node::configured(Lighterman::inside(&plain_node), "").await;
    let ours = node.ours().await;
    let pull = async |action: &str| ours.call::<Text>("ImageService/PullImage", pod(&reference, action)).await;
    let said = |node: &Node<'_>| node.daemon.log().matches("PLAT-004").count();

    let pulled = pull("allow").await.expect("the pod takes it").text;
    assert_eq!((pulled.as_str(), said(&node)), (image.manifests[0].config.digest.as_str(), 0));
    assert_refused(&pull("refuse").await.expect_err("the pod refuses it"));
    assert!(!node.daemon.log().contains("left to containerd"), "{}", node.daemon.log());
    assert!(ours.image(&reference).await.is_some(), "it is gone, and others may use it");
    // Nobody else is held up by what one pod thinks of it.
    let before = said(&node);
    for action in ["allow", "warn"] {
        assert_eq!(pull(action).await.expect("the pod takes it").text, pulled);
    }
    assert_eq!(ours.pull(&reference).await.expect("the node takes it"), pulled);
    assert_eq!(said(&node), before, "it was looked at for those who take it");

    node.daemon.reload(&node.containerd.address(), "[arch-mismatch]\ndefault = \"refuse\"\n");
    assert_refused(&ours.pull(&reference).await.expect_err("the node refuses it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_may_be_stricter_and_laxer_only_where_the_node_lets_it() {
    let plain_node = Sandbox::without_emulators();
    let registry = Registry::plain();
    let image = lying();
    let reference = push(&registry, &image, "app:1");
    let mut node = Node::configured(Lighterman::inside(&plain_node), "").await;
    let ours = node.ours().await;
    let pull = async |action: &str| ours.call::<Text>("ImageService/PullImage", pod(&reference, action)).await;

    assert_refused(&pull("refuse").await.expect_err("the pod refuses it"));
    assert_eq!(ours.list().await.expect("lists").len(), 0, "a refused image is left behind");
    assert!(!node.daemon.log().contains("left to containerd"), "{}", node.daemon.log());

    let pulled = ours.pull(&reference).await.expect("is warned of");
    assert_eq!(pulled, image.manifests[0].config.digest);
    assert!(node.daemon.log().contains("the image does not run here"), "{}", node.daemon.log());
    ours.remove(&pulled).await;

    let configured = |daemon: &mut Daemon<'_>, more: &str| {
        let lines = format!("[arch-mismatch]\ndefault = \"refuse\"\n{more}\n");
        daemon.reload(&node.containerd.address(), &lines);
    };
    configured(&mut node.daemon, "");
    pull("allow").await.expect_err("the node has decided");
    configured(&mut node.daemon, "pods-may-loosen = true");
    let pulled = pull("allow").await.expect("the node lets pods decide").text;
    assert_eq!(pulled, image.manifests[0].config.digest);
    ours.remove(&pulled).await;

    let unknown = pull("maybe").await.expect_err("means nothing");
    assert_eq!(unknown.code(), tonic::Code::InvalidArgument, "{unknown}");
    assert!(unknown.message().contains("\"refuse\", \"warn\" or \"allow\""), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_a_pod_names_is_no_way_around_the_node() {
    let plain_node = Sandbox::without_emulators();
    let registry = Registry::plain();
    let (wrong, right) = (lying(), fixture::busybox());
    let (refused, fine) = (push(&registry, &wrong, "app:1"), push(&registry, right, "app:2"));
    let lines = "[arch-mismatch]\ndefault = \"refuse\"\n";
    let node = Node::configured(Lighterman::inside(&plain_node), lines).await;
    let ours = node.ours().await;
    let named = || [("io.containerd.cri.runtime-handler".to_owned(), "gvisor".to_owned())].into();
    // kubelet sends a pod's annotations with the image, with the pod, or with both.
    let by_image =
        |reference: &str| PullForPod { image: Some(ImageSpec { annotations: named(), ..spec(reference) }), pod: None };
    let by_pod = |reference: &str| PullForPod { image: Some(spec(reference)), pod: Some(Pod { annotations: named() }) };
    for message in [by_image(&refused), by_pod(&refused)] {
        let status = ours.call::<Text>("ImageService/PullImage", message).await.expect_err("does not run here");
        assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    }
    assert!(!node.containerd.log().contains("PullImage"), "{}", node.containerd.log());
    assert_eq!(ours.list().await.expect("lists").len(), 0, "a refused image is left behind");

    for message in [by_image(&fine), by_pod(&fine)] {
        let pulled: Text = ours.call("ImageService/PullImage", message).await.expect("runs here");
        assert_eq!(pulled.text, right.of(host()).config.digest);
    }
    assert!(node.containerd.log().contains("PullImage"), "containerd may need it elsewhere: {}", node.containerd.log());
}
