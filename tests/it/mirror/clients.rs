//! Real clients through the mirror: containerd by hosts.toml, with and without CRI, and skopeo.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lighterman::store::Store;
use lighterman::store::containerd::{Containerd, ContainerdOptions, Handover};
use tokio::runtime::Runtime;

use super::{blob_path, image, layer};
use crate::support::containerd::ContainerdDaemon;
use crate::support::cri::CriImages;
use crate::support::fixture::base64;
use crate::support::liar::{Liar, Reply};
use crate::support::mirror::MirrorServer;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::{succeed, tool};

/// A port where nobody listens.
const NOBODY: &str = "127.0.0.1:9";

/// Makes hosts.toml of `registry` lead to the mirror alone: its own address is a dead end.
fn lead_to(dir: &Path, registry: &str, mirror: &MirrorServer) {
    let dir = dir.join(registry);
    std::fs::create_dir_all(&dir).expect("a writable temporary folder");
    let toml = format!(
        "server = \"http://{NOBODY}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        mirror.address()
    );
    std::fs::write(dir.join("hosts.toml"), toml).expect("a writable temporary folder");
}

struct Bed {
    registry: Registry,
    mirror: MirrorServer,
    containerd: ContainerdDaemon,
}

impl Bed {
    fn new(registry: Registry) -> Self {
        let mirror = MirrorServer::allowing(&[registry.address()]);
        let containerd = ContainerdDaemon::start();
        lead_to(&containerd.folder().join("certs.d"), registry.address(), &mirror);
        Self { registry, mirror, containerd }
    }

    /// Pulls with ctr, or says what it said.
    fn ctr_pull(&self, reference: &str, more: &[&str]) -> Result<(), String> {
        let hosts = self.containerd.folder().join("certs.d");
        let pull = ["images", "pull", "--hosts-dir", hosts.to_str().expect("UTF-8")];
        let output = self.containerd.ctr(&[&pull, more, &[reference]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }
}

#[test]
fn containerd_pulls_a_public_image_through_the_mirror() {
    let bed = Bed::new(Registry::plain());
    let image = image(11, 3 << 20);
    let reference = bed.registry.push(&image, "team/app:1");
    bed.ctr_pull(&reference, &[]).expect("the mirror has it");
    assert!(bed.containerd.blobs().join(layer(&image).hex()).exists());
    let log = bed.registry.stop();
    assert_eq!(log.count("GET", "/blobs/"), 2, "config and layer, once each");
}

#[test]
fn containerd_pulls_a_private_image_with_the_credentials_of_the_pull() {
    let bed = Bed::new(Registry::basic());
    let image = image(12, 1 << 20);
    let reference = bed.registry.push(&image, "private/app:1");
    bed.ctr_pull(&reference, &[]).expect_err("nobody is let in without credentials");
    let own = format!("{USER}:{PASSWORD}");
    bed.ctr_pull(&reference, &["--user", &own]).expect("the mirror passes the credentials on");
    // By now all of it is kept by the mirror.
    let path = blob_path("private/app", layer(&image), bed.registry.address());
    assert_eq!(bed.mirror.get(&path, &[]).status, 401);
    let wrong = format!("Basic {}", base64("mallory:guess"));
    assert_eq!(bed.mirror.get(&path, &[("authorization", &wrong)]).status, 403);
    let second = ContainerdDaemon::start();
    let second = Bed { containerd: second, ..bed };
    lead_to(&second.containerd.folder().join("certs.d"), second.registry.address(), &second.mirror);
    second.ctr_pull(&reference, &[]).expect_err("the second caller has no credentials");
    second.ctr_pull(&reference, &["--user", "mallory:guess"]).expect_err("nor has the third");
    second.ctr_pull(&reference, &["--user", &own]).expect("the fourth has");
}

#[test]
fn kubernetes_pulls_a_private_image_with_its_pull_secret() {
    let registry = Registry::basic();
    let image = image(13, 1 << 20);
    let reference = registry.push(&image, "private/app:1");
    let mirror = MirrorServer::allowing(&[registry.address()]);
    let hosts = tempfile::tempdir().expect("a temporary folder");
    lead_to(hosts.path(), registry.address(), &mirror);
    let lines =
        format!("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{}\"\n", hosts.path().display());
    let containerd = ContainerdDaemon::start_cri_configured(&lines);
    Runtime::new().expect("a runtime").block_on(async {
        let mut cri = CriImages::connect(&containerd.address()).await;
        let refused = cri.pull_as(&reference, "mallory", "guess").await;
        assert!(refused.is_err(), "{refused:?}");
        let id = cri.pull_as(&reference, USER, PASSWORD).await.expect("the mirror passes the pull secret on");
        assert_eq!(id, image.manifests[0].config.digest);
    });
}

#[test]
fn skopeo_copies_through_the_mirror() {
    let registry = Registry::plain();
    let image = image(14, 1 << 20);
    registry.push(&image, "team/app:1");
    let address = registry.address().to_owned();
    let change = |settings: &mut lighterman::service::mirror::Settings| {
        (settings.upstream, settings.allow) = (address.clone(), vec![address.clone()]);
    };
    let mirror = MirrorServer::start(change, Vec::new());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = format!("docker://{}/team/app", mirror.address());
    let skopeo = |arguments: &[&str]| {
        let mut command = Command::new(tool("skopeo", "skopeo"));
        command.arg("--insecure-policy").args(arguments);
        command
    };
    let copy = folder.path().join("copy");
    let (from, to) = (format!("{source}:1"), format!("oci:{}:1", copy.display()));
    succeed(&mut skopeo(&["copy", "--preserve-digests", "--src-tls-verify=false", &from, &to]));
    let copied = copy.join("blobs/sha256").join(layer(&image).hex());
    assert!(std::fs::read(copied).expect("skopeo wrote a layout") == layer(&image).bytes);
    let tags = succeed(&mut skopeo(&["list-tags", "--tls-verify=false", &source]));
    let tags: serde_json::Value = serde_json::from_slice(&tags.stdout).expect("JSON");
    assert_eq!(tags["Tags"], serde_json::json!(["1"]));
}

#[test]
fn what_containerd_has_from_a_registry_is_served_for_that_registry() {
    let registry = Registry::plain();
    let image = image(15, 1 << 20);
    let reference = registry.push(&image, "team/app:1");
    let containerd = ContainerdDaemon::start();
    containerd.ctr_prints(&["images", "pull", "--plain-http", &reference]);
    let runtime = Runtime::new().expect("a runtime");
    let options = ContainerdOptions {
        namespace: "default".into(),
        snapshotter: "overlayfs".into(),
        staging: Some(containerd.folder().join("staging")),
        content: Handover::Write,
    };
    let store = runtime.block_on(Containerd::connect(&containerd.address(), options)).expect("containerd answers");
    let store: Arc<dyn Store> = Arc::new(store);
    let address = registry.address().to_owned();
    // Somebody else's registry says that it has the same blobs, and can only send others.
    let mallory = Liar::serving(&image, "team/app:1");
    mallory.always("GET /v2/team/app/blobs/", Reply::FlippedInBlob(7));
    let elsewhere = mallory.address().replace("127.0.0.1", "localhost");
    let allow = vec![address, elsewhere.clone()];
    let mirror = MirrorServer::start(|settings| settings.allow = allow, vec![store]);
    let path = blob_path("team/app", layer(&image), registry.address());
    let whole = mirror.get(&path, &[]);
    assert!(whole.body == layer(&image).bytes);
    let part = mirror.get(&path, &[("range", "bytes=1000-1999")]);
    assert!(part.body == layer(&image).bytes[1000..2000]);
    let manifest = mirror.get(&format!("/v2/team/app/manifests/1?ns={}", registry.address()), &[]);
    assert!(manifest.body == image.root.bytes);
    let stolen = mirror.get(&blob_path("team/app", layer(&image), &elsewhere), &[]);
    assert!(!stolen.is_whole() || stolen.status != 200, "{}", stolen.status);
    assert!(!mallory.requests_for("GET /v2/team/app/blobs/").is_empty(), "its own bytes are asked of it");
    let log = registry.stop();
    // What containerd fetched itself is all that was fetched.
    assert_eq!((log.count("GET", "/blobs/"), log.count("GET", "/manifests/")), (2, 1));
    runtime.shutdown_background();
}
