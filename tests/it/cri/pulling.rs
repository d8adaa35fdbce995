//! Pulls that come to something, and what is left of them.

use prost::Message;

use super::client::{Client, Image as Shown, ImageStatus, Images, Pod, PullForPod, PullImage, Text, spec};
use super::node::{Node, porter, push};
use super::recorder::Recorder;
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Image, tiny};
use crate::support::liar::Liar;
use crate::support::lighterman::Lighterman;
use crate::support::odd;
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{foreign, host};

fn app() -> Image {
    Image::single(tiny(host().arch, ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn images_look_the_same_at_both_sockets_and_go_by_their_bare_id() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = push(&registry, image, "library/busybox:1");
    let (ours, theirs) = (node.ours().await, node.theirs().await);
    let id = ours.pull(&reference).await.expect("pulls");
    assert_eq!(id, image.of(host()).config.digest);

    assert_eq!(ours.list().await.expect("lists"), theirs.list().await.expect("lists"));
    let repository = reference.rsplit_once(':').expect("a tag").0;
    let by_digest = format!("{repository}@{}", image.root.digest);
    let hex = id.strip_prefix("sha256:").expect("an ID");
    for name in [&id, hex, &hex[..12], &reference, &by_digest, &format!("{reference}@{}", image.root.digest)] {
        let shown = ours.image(name).await.unwrap_or_else(|| panic!("{name} is not shown"));
        assert_eq!(
            (shown.id.as_str(), &shown.repo_tags[..]),
            (id.as_str(), std::slice::from_ref(&reference)),
            "{name}"
        );
        assert_eq!(shown.repo_digests, std::slice::from_ref(&by_digest), "{name}");
        assert!(shown.size > 0, "{name}");
    }
    let batches = ours.stream("ImageService/StreamImages", Text::default()).await.expect("streams");
    let streamed: Vec<_> =
        batches.into_iter().flat_map(|batch| Images::decode(batch).expect("images").images).collect();
    assert_eq!(streamed, Images::decode(theirs.list().await.expect("lists")).expect("images").images);

    ours.remove(hex).await;
    for name in [&id, &reference, &by_digest] {
        assert_eq!((ours.image(name).await, theirs.image(name).await), (None, None), "{name}");
    }
    assert_eq!(ours.list().await.expect("lists").len(), 0);
    ours.remove(hex).await;
    node.containerd.collect("k8s.io");
    assert_eq!(node.containerd.ctr_prints(&["-n", "k8s.io", "content", "ls", "-q"]), "");
    assert_eq!(ours.pull(&reference).await.expect("pulls again"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_name_is_pulled() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let image = app();
    let tagged = push(&registry, &image, "team/app:latest");
    let untagged = tagged.strip_suffix(":latest").expect("a tag");
    let by_digest = format!("{untagged}@{}", image.root.digest);
    let both = format!("{untagged}:gone@{}", image.root.digest);
    let ours = node.ours().await;
    for name in [untagged, &tagged, &by_digest, &both] {
        let id = ours.pull(name).await.unwrap_or_else(|status| panic!("{name}: {status}"));
        assert_eq!(id, image.manifests[0].config.digest, "{name}");
        assert_eq!(ours.image(name).await.map(|image| image.id), Some(id.clone()), "{name}");
        ours.remove(&id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_asked_by_every_pull_even_for_what_is_here() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = push(&registry, image, "app:1");
    let by_digest = format!("{}@{}", reference.rsplit_once(':').expect("a tag").0, image.root.digest);
    let ours = node.ours().await;
    ours.pull(&reference).await.expect("pulls");
    for name in [&reference, &by_digest] {
        for _ in 0..3 {
            ours.pull(name).await.expect("pulls");
        }
    }
    let log = registry.stop();
    assert_eq!(log.count("HEAD", "/manifests/1"), 3);
    assert_eq!(log.count("HEAD", &format!("/manifests/{}", image.root.digest)), 3);
    // The index and this node's manifest, by the first.
    assert_eq!(log.count("GET", "/manifests/"), 2);
    assert_eq!(log.count("GET", "/blobs/"), image.of(host()).blobs().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_for_those_who_may_read_it_even_when_it_is_here() {
    let registry = Registry::basic();
    // The node's own credentials are nobody else's.
    let config = crate::support::token::docker_auth(
        registry.address(),
        crate::support::registry::USER,
        crate::support::registry::PASSWORD,
    );
    let node = Node::configured(Lighterman::new().with_docker_config(&config), "").await;
    let image = app();
    let reference = push(&registry, &image, "app:1");
    let by_digest = format!("{}@{}", reference.rsplit_once(':').expect("a tag").0, image.root.digest);
    let (ours, theirs) = (node.ours().await, node.theirs().await);
    let here = format!("http://{}", registry.address());
    for server_address in [String::new(), registry.address().to_owned(), here.clone()] {
        let auth = super::client::AuthConfig { server_address, ..porter() };
        ours.pull_as(&reference, Some(auth)).await.expect("pulls");
    }

    let wrong = super::client::AuthConfig { password: "herring-barrel".into(), ..porter() };
    let elsewhere = super::client::AuthConfig { server_address: "https://quay.io".into(), ..porter() };
    for name in [&reference, &by_digest] {
        for auth in [None, Some(wrong.clone()), Some(elsewhere.clone())] {
            let refused = ours.pull_as(name, auth.clone()).await.expect_err("is refused");
            let start = format!("failed to pull and unpack image \"{name}\": ");
            assert!(refused.message().starts_with(&start), "{refused}");
            assert!(refused.message().contains("imagePullSecret"), "{refused}");
            assert!(!refused.message().contains("herring-barrel"), "{refused}");
            let containerds = theirs.pull_as(name, auth).await.expect_err("is refused");
            assert_eq!(refused.code(), containerds.code(), "{containerds}");
        }
    }
    assert!(!node.daemon.log().contains("herring-barrel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_another_cpu_is_refused_unless_the_pod_says_otherwise() {
    let plain_node = Sandbox::without_emulators();
    let node = Node::configured(Lighterman::inside(&plain_node), "").await;
    let registry = Registry::plain();
    let image = Image::single(tiny(foreign().arch, foreign().variant));
    let reference = push(&registry, &image, "app:1");
    let ours = node.ours().await;
    let refused = ours.pull(&reference).await.expect_err("is refused");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("lighterman.dev/arch-mismatch"), "{refused}");
    assert_eq!(ours.list().await.expect("lists").len(), 0, "a refused image is left behind");

    let mut allowing = spec(&reference);
    allowing.annotations.insert("lighterman.dev/allow-mismatch".into(), "true".into());
    let pulled: Text =
        ours.call("ImageService/PullImage", PullImage { image: Some(allowing), auth: None }).await.expect("pulls");
    assert_eq!(pulled.text, image.manifests[0].config.digest);
    ours.remove(&pulled.text).await;

    // Older kubelets send a pod's annotations with the pod alone.
    let within = |value: &str| {
        let annotations = [("lighterman.dev/allow-mismatch".to_owned(), value.to_owned())].into();
        PullForPod { image: Some(spec(&reference)), pod: Some(Pod { annotations }) }
    };
    let pulled: Text = ours.call("ImageService/PullImage", within("true")).await.expect("pulls");
    assert_eq!(pulled.text, image.manifests[0].config.digest);
    let refused = ours.call::<Text>("ImageService/PullImage", within("yes")).await.expect_err("means nothing");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("lighterman.dev/allow-mismatch is \"yes\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_finishes_what_is_delegated_to_it() {
    let node = Node::configured(Lighterman::new(), "[cri]\ndelegate = true\n").await;
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = push(&registry, image, "app:1");
    let id = node.ours().await.pull(&reference).await.expect("pulls");
    assert_eq!(id, image.of(host()).config.digest);
    assert!(node.containerd.log().contains("PullImage"), "{}", node.containerd.log());
    let log = registry.stop();
    let manifest = image.of(host());
    for blob in manifest.blobs() {
        assert_eq!(log.count("GET", &blob.digest), 1, "{} was fetched again", blob.digest);
    }
    assert_eq!(log.count("HEAD", "/manifests/1"), 1, "containerd did not ask by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_cannot_unpack_is_left_to_containerd() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let tar = b"no archive at all";
    let layer = fixture::Layer::packed("application/vnd.lighterman.test.cargo", tar.to_vec(), tar);
    let platform = fixture::platform(host().arch, host().variant);
    let odd = fixture::Manifest::new(fixture::Flavour::Oci, &platform, &[layer], ("/odd", &[]));
    let reference = push(&registry, &Image::single(odd), "odd:1");
    // Up to 2.0 it refuses the image; since then it leaves such layers out.
    let outcome =
        |pulled: Result<String, tonic::Status>| pulled.map_err(|status| (status.code(), status.message().to_owned()));
    let ours = outcome(node.ours().await.pull(&reference).await);
    assert_eq!(ours, outcome(node.theirs().await.pull(&reference).await));
    assert!(node.daemon.log().contains("left to containerd"), "{}", node.daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_a_limit_or_means_two_things_is_refused_and_not_left_to_containerd() {
    let node = Node::start().await;
    let ours = node.ours().await;
    let damaged = fixture::Layer::packed("application/vnd.oci.image.layer.v1.tar+gzip", b"no gzip".into(), b"");
    let platform = fixture::platform(host().arch, host().variant);
    let of = |layers: &[fixture::Layer]| {
        Image::single(fixture::Manifest::new(fixture::Flavour::Oci, &platform, layers, ("/none", &[])))
    };
    let unknown = fixture::Layer::packed("application/vnd.lighterman.test.cargo", b"cargo".into(), b"cargo");
    let cases = [
        ("both", odd::ambiguous(), "ambiguous"),
        ("two cases", odd::two_cases(), "ambiguous"),
        ("a field twice", odd::repeated(), "ambiguous"),
        ("4 MiB", odd::oversized(&tiny(host().arch, "")), "4 MiB allowed"),
        ("too many layers", odd::too_many_layers(host().arch), "501"),
        ("a header of 2 MiB", of(&[odd::bloated()]), "limit"),
        ("the same above a layer that newer containerds leave out", of(&[unknown, odd::bloated()]), "limit"),
        ("no archive", of(&[damaged]), "cannot be unpacked"),
    ];
    for (what, image, part) in cases {
        let liar = Liar::serving(&image, "app:1");
        let refused = ours.pull(&liar.reference("app:1")).await.expect_err(what);
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{what}: {refused}");
        assert!(refused.message().contains(part), "{what}: {refused}");
    }
    assert!(!node.daemon.log().contains("left to containerd"), "{}", node.daemon.log());
    assert!(!node.containerd.log().contains("PullImage"), "{}", node.containerd.log());
    assert_eq!(ours.list().await.expect("lists").len(), 0, "a refused image is left behind");
}

/// What a CRI says of `reference` as containerd's tells it of new images: bit by bit.
fn shown_late(image: &Image, reference: &str) -> Vec<bytes::Bytes> {
    let by_digest = format!("{}@{}", reference.rsplit_once(':').expect("a tag").0, image.root.digest);
    let id = Shown { id: image.manifests[0].config.digest.clone(), size: 1, ..Shown::default() };
    let tagged = Shown { repo_tags: vec![reference.into()], ..id.clone() };
    let whole = Shown { repo_digests: vec![by_digest], ..tagged.clone() };
    let answers = [None, None, Some(id), Some(tagged), Some(whole)].map(|image| ImageStatus { image });
    answers.iter().map(|answer| answer.encode_to_vec().into()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_ends_once_containers_can_be_made_of_the_image() {
    let node = Node::start().await;
    let registry = Registry::plain();
    let image = app();
    let reference = push(&registry, &image, "app:1");
    let answers = shown_late(&image, &reference);
    for (known, looks) in [(&answers[..], answers.len()), (&answers[..4], 10)] {
        let recorder = Recorder::start(Some(("ImageStatus", Ok(known.to_vec()))));
        let endpoint = format!("[cri]\nendpoint = \"{}\"\n", recorder.socket().display());
        let daemon = Daemon::start_at(Lighterman::new(), &node.containerd.address(), &endpoint);
        let pulled = Client::connect(&daemon.socket()).await.pull(&reference).await;
        let asked = |method: &str| recorder.asked().iter().filter(|(asked, ..)| asked == method).count();
        assert!(asked("ImageStatus") >= looks, "it was looked {} times", asked("ImageStatus"));
        if known.len() == answers.len() {
            assert_eq!(pulled.expect("pulls"), image.manifests[0].config.digest);
            assert_eq!((asked("ImageStatus"), asked("PullImage")), (looks, 0));
        } else {
            // Never whole: containerd has to see for itself. The answer is the recorder's.
            assert_eq!(asked("PullImage"), 1, "{pulled:?}");
        }
    }
}
