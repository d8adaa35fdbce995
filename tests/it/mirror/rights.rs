//! Who may read what.

use super::{blob_path, image, layer};
use crate::support::containerd::ContainerdDaemon;
use crate::support::fixture::{Image, base64};
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::mirror::{MirrorServer, Setup, lead};
use crate::support::token::docker_auth;

/// A registry that only lets alice in, and the mirror.
struct Bed {
    image: Image,
    registry: Liar,
    mirror: MirrorServer,
}

fn basic(login: &str) -> String {
    format!("Basic {}", base64(login))
}

impl Bed {
    fn new() -> Self {
        let image = image(8, 200_000);
        let registry = Liar::serving(&image, "private/app:1");
        registry.require(&basic("alice:s3cret"));
        let mirror = MirrorServer::allowing(&[&registry.address()]);
        Self { image, registry, mirror }
    }

    fn blob(&self) -> String {
        blob_path("private/app", layer(&self.image), &self.registry.address())
    }

    fn manifest(&self) -> String {
        format!("/v2/private/app/manifests/{}?ns={}", self.image.root.digest, self.registry.address())
    }
}

#[test]
fn a_stranger_is_asked_for_credentials_and_those_of_the_caller_open() {
    let bed = Bed::new();
    let alice = basic("alice:s3cret");
    for path in [bed.manifest(), bed.blob()] {
        let stranger = bed.mirror.get(&path, &[]);
        assert_eq!((stranger.status, &*stranger.code()), (401, "UNAUTHORIZED"));
        let realm = format!("Basic realm=\"{}\"", bed.registry.address());
        assert_eq!(stranger.field("www-authenticate"), realm);
        assert!(bed.mirror.get(&path, &[("authorization", &alice)]).is_whole());
    }
}

#[test]
fn what_is_kept_is_only_for_those_whom_upstream_lets_in() {
    let bed = Bed::new();
    let alice = basic("alice:s3cret");
    for path in [bed.manifest(), bed.blob()] {
        let answer = bed.mirror.get(&path, &[("authorization", &alice)]);
        assert_eq!(answer.status, 200);
        assert_eq!(bed.mirror.get(&path, &[]).status, 401, "{path}");
        assert_eq!(bed.mirror.head(&path, &[]).status, 401, "{path}");
        // containerd would send the same again where it is told 401.
        assert_eq!(bed.mirror.get(&path, &[("authorization", &basic("bob:s3cret"))]).status, 403, "{path}");
        assert_eq!(bed.mirror.get(&path, &[("authorization", &basic("alice:other"))]).status, 403, "{path}");
        assert_eq!(bed.mirror.get(&path, &[("authorization", "Bearer s3cret")]).status, 401, "{path}");
    }
}

#[test]
fn a_download_under_way_is_joined_by_nobody_without_the_right() {
    let bed = Bed::new();
    bed.registry.always("GET /v2/private/app/blobs/", Reply::Gated(At::Half));
    let alice = basic("alice:s3cret");
    let mut reading = bed.mirror.open("GET", &bed.blob(), &[("authorization", &alice)]);
    reading.read(1000);
    assert_eq!(bed.mirror.get(&bed.blob(), &[]).status, 401);
    bed.registry.open_gate();
    assert!(reading.finish().is_whole());
}

#[test]
fn another_repository_does_not_open_what_is_kept() {
    let bed = Bed::new();
    let alice = [("authorization", &*basic("alice:s3cret"))];
    assert!(bed.mirror.get(&bed.blob(), &alice).is_whole());
    // The attacker's repository, which names the same layer without having it.
    let stolen = blob_path("mallory/app", layer(&bed.image), &bed.registry.address());
    assert_eq!(bed.mirror.get(&stolen, &alice).status, 404);
}

#[test]
fn a_registry_that_grants_everything_opens_nothing_of_another() {
    let bed = Bed::new();
    let alice = basic("alice:s3cret");
    assert!(bed.mirror.get(&bed.blob(), &[("authorization", &alice)]).is_whole());
    // The attacker's registry says that it has the layer, and can only send something else.
    let mallory = Liar::serving(&bed.image, "private/app:1");
    mallory.always("GET /v2/private/app/blobs/", Reply::FlippedInBlob(7));
    let mirror = MirrorServer::allowing(&[&bed.registry.address(), &mallory.address()]);
    assert!(mirror.get(&bed.blob(), &[("authorization", &alice)]).is_whole());
    let stolen = mirror.get(&blob_path("private/app", layer(&bed.image), &mallory.address()), &[]);
    assert!(!stolen.is_whole() || stolen.status != 200, "{}", stolen.status);
    assert!(!mallory.requests_for("GET /v2/private/app/blobs/").is_empty(), "its own bytes are asked of it");
}

/// A registry at another name of this machine that lists what `image` is of and can send none of it.
fn stranger(image: &Image) -> (Liar, String) {
    let mallory = Liar::serving(image, "mallory/app:1");
    mallory.always("GET /v2/mallory/app/manifests/", Reply::status(404));
    mallory.always("GET /v2/mallory/app/blobs/", Reply::Flipped(7));
    let address = mallory.address().replace("127.0.0.1", "localhost");
    (mallory, address)
}

#[test]
fn a_label_that_a_pull_of_a_stranger_left_opens_nothing() {
    // A large layer is shown in part and a small one as a whole.
    for size in [200_000, 1000] {
        let image = image(9, size);
        let registry = Liar::serving(&image, "private/app:1");
        let containerd = ContainerdDaemon::start();
        containerd.ctr_prints(&["images", "pull", "--plain-http", &registry.reference("private/app:1")]);
        let (mallory, at) = stranger(&image);
        containerd.ctr_prints(&["images", "pull", "--plain-http", &format!("{at}/mallory/app:1")]);
        assert!(mallory.requests_for("GET /v2/mallory/app/blobs/").is_empty(), "no byte of it was his");
        let label = containerd.ctr_prints(&["content", "ls"]);
        assert!(label.contains("containerd.io/distribution.source.localhost=mallory/app"), "{label}");

        let mirror = MirrorServer::beside(&containerd, &Setup::allowing(&[&registry.address(), &at]));
        let stolen = mirror.get(&blob_path("mallory/app", layer(&image), &at), &[]);
        assert!(!stolen.is_whole() || stolen.status != 200, "{}", stolen.status);
        let shown = mallory.requests_for("GET /v2/mallory/app/blobs/");
        assert!(!shown.is_empty(), "he was asked to show it");
        let part = mirror.get(&blob_path("mallory/app", layer(&image), &at), &[("range", "bytes=0-99")]);
        assert!(part.body != layer(&image).bytes[..100], "what he made up himself, at the most");
        let manifest = mirror.get(&format!("/v2/mallory/app/manifests/{}?ns={at}", image.root.digest), &[]);
        assert_eq!(manifest.status, 404, "what it says there is nothing of");
        // The registry that it is of has it, and needs to show no more.
        let path = blob_path("private/app", layer(&image), &registry.address());
        let before = registry.requests_for("GET /v2/private/app/blobs/").len();
        for _ in 0..2 {
            assert!(mirror.get(&path, &[]).body == layer(&image).bytes);
        }
        assert_eq!(registry.requests_for("GET /v2/private/app/blobs/").len(), before + 1);
    }
}

#[test]
fn what_a_registry_without_ranges_has_comes_from_there() {
    let image = image(10, 400_000);
    let registry = Liar::serving(&image, "app:1");
    registry.always("GET /v2/app/blobs/", Reply::IgnoreRange);
    let containerd = ContainerdDaemon::start();
    containerd.ctr_prints(&["images", "pull", "--plain-http", &registry.reference("app:1")]);
    let mirror = MirrorServer::beside(&containerd, &Setup::allowing(&[&registry.address()]));
    assert!(mirror.get(&blob_path("app", layer(&image), &registry.address()), &[]).body == layer(&image).bytes);
}

#[test]
fn credentials_go_to_the_registry_and_to_nobody_else() {
    let bed = Bed::new();
    let cache = Liar::serving(&bed.image, "private/app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    lead(folder.path(), &bed.registry.address(), &[&cache.address()]);
    let mirror = MirrorServer::start(&Setup::hosts_dir(folder.path()));
    let alice = basic("alice:s3cret");
    assert!(mirror.get(&bed.blob(), &[("authorization", &alice)]).is_whole());
    assert!(!cache.requests_for("GET /v2/private/app/blobs/").is_empty(), "the mirror's mirror has the bytes");
    assert!(cache.requests().iter().all(|request| request.header("authorization").is_none()));
    // It would give them to anybody, and has no say in that.
    assert_eq!(mirror.get(&bed.blob(), &[]).status, 401);
    assert_eq!(mirror.get(&bed.manifest(), &[]).status, 401);
}

#[test]
fn the_credentials_of_the_node_are_not_the_callers() {
    let bed = Bed::new();
    let address = bed.registry.address();
    let node = Lighterman::new().with_docker_config(&docker_auth(&address, "alice", "s3cret"));
    let mirror = MirrorServer::start_as(node, &Setup::allowing(&[&address]));
    assert_eq!(mirror.get(&bed.blob(), &[]).status, 401);
    assert!(bed.registry.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn the_login_that_hosts_toml_gives_the_node_is_not_the_callers() {
    let bed = Bed::new();
    let address = bed.registry.address();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join(&address);
    std::fs::create_dir(&dir).expect("a writable temporary folder");
    let login = basic("alice:s3cret");
    let toml = format!("server = \"http://{address}\"\n[header]\nAuthorization = \"{login}\"\n");
    std::fs::write(dir.join("hosts.toml"), toml).expect("a writable temporary folder");
    let mirror = MirrorServer::start(&Setup::hosts_dir(folder.path()));
    assert_eq!(mirror.get(&bed.blob(), &[]).status, 401);
    assert_eq!(mirror.get(&bed.manifest(), &[]).status, 401);
    assert!(bed.registry.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn what_was_granted_before_is_served_while_upstream_is_away() {
    let bed = Bed::new();
    let alice = basic("alice:s3cret");
    let alice = [("authorization", &*alice)];
    let tag = format!("/v2/private/app/manifests/1?ns={}", bed.registry.address());
    for path in [&tag, &bed.manifest(), &bed.blob()] {
        assert_eq!(bed.mirror.get(path, &alice).status, 200);
    }
    bed.registry.always("/v2/", Reply::status(503));
    for path in [&bed.manifest(), &bed.blob()] {
        assert!(bed.mirror.get(path, &alice).is_whole(), "{path}");
        assert!(bed.mirror.get(path, &[]).status >= 400, "{path}");
    }
    assert_eq!(bed.mirror.get(&tag, &alice).status, 502, "what a tag stands for is not guessed");
}
