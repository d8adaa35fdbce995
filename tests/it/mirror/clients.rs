//! Real clients through the mirror: containerd by hosts.toml, with and without CRI, and skopeo.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{blob_path, image, layer};
use crate::support::containerd::ContainerdDaemon;
use crate::support::cri::CriImages;
use crate::support::fixture::{Image, base64};
use crate::support::liar::{Liar, Reply};
use crate::support::mirror::{MirrorServer, Setup};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::docker_auth;
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

/// A user of skopeo with settings of his own.
struct Skopeo {
    home: TempDir,
}

impl Skopeo {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Makes `registry` be looked for at the mirror first.
    fn with_mirror(self, registry: &str, mirror: &MirrorServer) -> Self {
        let toml = format!(
            "[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"{}\"\n\
             insecure = true\n",
            mirror.address()
        );
        std::fs::write(self.path("registries.conf"), toml).expect("a writable temporary folder");
        self
    }

    /// Stores credentials, as `skopeo login` does.
    fn with_login(self, server: &str) -> Self {
        std::fs::write(self.path("auth.json"), docker_auth(server, USER, PASSWORD).to_string())
            .expect("a writable temporary folder");
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool("skopeo", "skopeo"));
        if self.path("registries.conf").exists() {
            command.arg("--registries-conf").arg(self.path("registries.conf"));
        }
        command.arg("--insecure-policy").args(arguments).env_clear();
        command
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("REGISTRY_AUTH_FILE", self.path("auth.json"));
        command
    }

    /// Copies an image, or says what it said; whether the layer of `image` arrived.
    fn copy(&self, source: &str, more: &[&str], image: &Image) -> Result<bool, String> {
        let (from, to) = (format!("docker://{source}"), self.path("copy"));
        let to = format!("oci:{}:1", to.display());
        let copy = ["copy", "--preserve-digests", "--src-tls-verify=false"];
        let output = self.command(&[&copy, more, &[&from, &to]].concat()).output().expect("skopeo starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let copied = std::fs::read(self.path("copy/blobs/sha256").join(layer(image).hex()));
        Ok(copied.is_ok_and(|bytes| bytes == layer(image).bytes))
    }
}

/// A mirror that stands for a registry where a client names none.
fn mirror_of(registry: &Registry) -> MirrorServer {
    MirrorServer::start(&Setup { upstream: Some(registry.address().into()), ..Setup::default() })
}

#[test]
fn skopeo_copies_through_the_mirror() {
    let registry = Registry::plain();
    let image = image(14, 1 << 20);
    registry.push(&image, "team/app:1");
    let mirror = mirror_of(&registry);
    let skopeo = Skopeo::new();
    let source = format!("{}/team/app", mirror.address());
    assert_eq!(skopeo.copy(&format!("{source}:1"), &[], &image), Ok(true));
    let tags = succeed(&mut skopeo.command(&["list-tags", "--tls-verify=false", &format!("docker://{source}")]));
    let tags: serde_json::Value = serde_json::from_slice(&tags.stdout).expect("JSON");
    assert_eq!(tags["Tags"], serde_json::json!(["1"]));
}

#[test]
fn skopeo_copies_a_private_image_with_its_credentials_for_the_mirror() {
    let registry = Registry::basic();
    let image = image(16, 1 << 20);
    registry.push(&image, "private/app:1");
    let mirror = mirror_of(&registry);
    let source = format!("{}/private/app:1", mirror.address());
    let own = format!("--src-creds={USER}:{PASSWORD}");
    Skopeo::new().copy(&source, &[], &image).expect_err("nobody is let in without credentials");
    Skopeo::new().copy(&source, &["--src-creds=mallory:guess"], &image).expect_err("nor with wrong ones");
    assert_eq!(Skopeo::new().copy(&source, &[&own], &image), Ok(true));
    let stored = Skopeo::new().with_login(&mirror.address());
    assert_eq!(stored.copy(&source, &[], &image), Ok(true));
    // All of it is kept by now, and opens for nobody else.
    Skopeo::new().copy(&source, &[], &image).expect_err("nobody is let in without credentials");
}

#[test]
fn skopeo_asks_a_mirror_of_registries_conf_with_its_credentials() {
    let registry = Registry::basic();
    let image = image(17, 1 << 20);
    let reference = registry.push(&image, "private/app:1");
    let mirror = mirror_of(&registry);
    let stranger = Skopeo::new().with_mirror(registry.address(), &mirror);
    stranger.copy(&reference, &[], &image).expect_err("nobody is let in without credentials");
    // skopeo keeps --src-creds from mirrors; it is a login there that opens.
    let stored = Skopeo::new().with_mirror(registry.address(), &mirror).with_login(&mirror.address());
    assert_eq!(stored.copy(&reference, &[], &image), Ok(true), "it needs no login at the registry itself");
    assert_eq!(registry.stop().count("GET", "/blobs/"), 2, "config and layer, once each");
}

#[test]
fn what_containerd_has_from_a_registry_is_served_for_that_registry() {
    let registry = Registry::plain();
    let image = image(15, 1 << 20);
    let reference = registry.push(&image, "team/app:1");
    let containerd = ContainerdDaemon::start();
    containerd.ctr_prints(&["images", "pull", "--plain-http", &reference]);
    let address = registry.address().to_owned();
    // Somebody else's registry says that it has the same blobs, and can only send others.
    let mallory = Liar::serving(&image, "team/app:1");
    mallory.always("GET /v2/team/app/blobs/", Reply::FlippedInBlob(7));
    let elsewhere = mallory.address().replace("127.0.0.1", "localhost");
    let mirror = MirrorServer::beside(&containerd, &Setup::allowing(&[&address, &elsewhere]));
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
    // Beside what containerd fetched itself, the registry has shown once that it has the layer, and sent
    // the manifest that clients of the mirror get.
    assert_eq!((log.count("GET", "/blobs/"), log.count("GET", "/manifests/")), (3, 2));
}
