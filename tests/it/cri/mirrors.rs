//! Mirrors of hosts.toml: whose credentials they get, and whose word they stand in for.

use std::path::Path;

use tempfile::TempDir;

use super::client::AuthConfig;
use super::node::{Node, porter, push};
use crate::hosts::write;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{Image, tiny};
use crate::support::host;
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::silent::BlackHole;

fn app() -> Image {
    Image::single(tiny(host().arch, ""))
}

/// A folder for hosts.toml files.
struct Hosts(TempDir);

impl Hosts {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts mirrors before a registry.
    fn lead(&self, registry: &str, mirrors: &[&str]) {
        let hosts = mirrors
            .iter()
            .map(|mirror| format!("[host.\"http://{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"));
        write(self.path(), registry, |_| hosts.collect());
    }

    /// A line of lighterman's configuration.
    fn ours(&self) -> String {
        format!("hosts-dir = [{:?}]\n", self.path())
    }

    /// The lines of containerd's, up to 1.7 and since 2.0.
    fn containerds(&self) -> String {
        let path = self.path();
        format!(
            "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = {path:?}\n\
             [plugins.\"io.containerd.cri.v1.images\".registry]\n  config_path = {path:?}\n"
        )
    }
}

async fn node(hosts: &Hosts) -> Node<'static> {
    let containerd = ContainerdDaemon::start_cri_configured(&hosts.containerds());
    let daemon = Daemon::start_as(Lighterman::new(), &containerd, &hosts.ours());
    let node = Node { daemon, containerd };
    node.ready().await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_open_mirrors_as_they_do_for_containerd() {
    // The registry itself has nothing.
    let (registry, mirror, hosts) = (Registry::plain(), Registry::basic(), Hosts::new());
    let image = app();
    push(&mirror, &image, "app:1");
    hosts.lead(registry.address(), &[mirror.address()]);
    let node = node(&hosts).await;
    let (ours, theirs) = (node.ours().await, node.theirs().await);
    let reference = registry.reference("app:1");
    let for_server = |server: &str| Some(AuthConfig { server_address: server.into(), ..porter() });
    let wrong = AuthConfig { password: "herring-barrel".into(), ..porter() };
    let cases = [
        (for_server(""), true),
        (for_server(&format!("http://{}", mirror.address())), true),
        (for_server(&format!("http://{}", registry.address())), false),
        (for_server("https://quay.io"), false),
        (Some(wrong), false),
        (None, false),
    ];
    for (auth, opens) in cases {
        let server = auth.as_ref().map(|auth| auth.server_address.clone());
        for (client, whose) in [(&theirs, "containerd's"), (&ours, "ours")] {
            let pulled = client.pull_as(&reference, auth.clone()).await;
            assert_eq!(pulled.is_ok(), opens, "{whose}, for {server:?}: {pulled:?}");
            if let Ok(id) = pulled {
                assert_eq!(id, image.manifests[0].config.digest);
                client.remove(&id).await;
            }
        }
    }
    assert!(!node.daemon.log().contains("herring-barrel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_gives_to_anybody_does_not_say_who_may_have_an_image() {
    let (registry, mirror, hosts) = (Registry::basic(), Registry::plain(), Hosts::new());
    let image = app();
    let reference = push(&registry, &image, "app:1");
    push(&mirror, &image, "app:1");
    let by_digest = format!("{}@{}", reference.rsplit_once(':').expect("a tag").0, image.root.digest);
    hosts.lead(registry.address(), &[mirror.address()]);
    let node = node(&hosts).await;
    let ours = node.ours().await;
    let wrong = AuthConfig { password: "herring-barrel".into(), ..porter() };
    let strangers = [None, Some(wrong)];
    for name in [&reference, &by_digest] {
        // Before it is here, and when it is.
        for _ in 0..2 {
            for stranger in &strangers {
                let refused = ours.pull_as(name, stranger.clone()).await.expect_err("is refused");
                assert!(refused.message().contains("imagePullSecret"), "{refused}");
            }
            ours.pull_as(name, Some(porter())).await.expect("pulls");
        }
    }
    // What the registry never had it denies to everybody, whatever its mirror has.
    let extra = push(&mirror, &image, "extra:1").replace(mirror.address(), registry.address());
    let refused = ours.pull_as(&extra, Some(porter())).await.expect_err("is refused");
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused}");

    // Once it cannot be asked, the mirror is there in its place.
    let log = registry.stop();
    assert_eq!(log.count("GET", "/blobs/"), 0, "the mirror was passed over");
    ours.pull_as(&reference, None).await.expect("pulls");
    assert!(node.daemon.log().contains("its mirror's word counts"), "{}", node.daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_behind_a_firewall_holds_up_one_pull_and_not_the_next() {
    let (mirror, hosts) = (Registry::plain(), Hosts::new());
    // For ever, since it has a runtime of its own, which cannot end within another.
    let firewall: &BlackHole = Box::leak(Box::new(tokio::task::block_in_place(BlackHole::open)));
    push(&mirror, &app(), "app:1");
    hosts.lead(&firewall.address(), &[mirror.address()]);
    let node = node(&hosts).await;
    let (ours, reference) = (node.ours().await, format!("{}/app:1", firewall.address()));
    ours.pull(&reference).await.expect("the mirror has it");
    ours.pull(&reference).await.expect("the mirror has it");
    let log = node.daemon.log();
    assert_eq!(log.matches("it said nothing for").count(), 1, "{log}");
    assert_eq!(log.matches("was out of reach lately").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_may_stand_in_the_place_of_a_registry() {
    let (registry, mirror, hosts) = (Registry::basic(), Registry::plain(), Hosts::new());
    let reference = push(&registry, &app(), "app:1");
    push(&mirror, &app(), "app:1");
    write(hosts.path(), registry.address(), |_| format!("server = \"http://{}\"\n", mirror.address()));
    let node = node(&hosts).await;
    node.ours().await.pull(&reference).await.expect("pulls");
    assert_eq!(registry.stop().count("HEAD", "/app/manifests/"), 0, "the registry was asked");
}
