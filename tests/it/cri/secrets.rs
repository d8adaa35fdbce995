//! What a daemon keeps to itself, whoever asks and however much it logs.

use super::client::AuthConfig;
use super::node::{Node, porter, push};
use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::daemon::Daemon;
use crate::support::fixture::{Flavour, Image, Manifest, Tree, base64, platform, tiny};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::mirror::{Answer, Client, LISTEN};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{Policy, TokenServer, docker_auth};
use crate::support::{free_address, host};

/// A password that opens nothing.
const WRONG: &str = "herring-barrel";
/// What some storage signs its paths with.
const SIGNED: &str = "path-signature-7f3a";
/// What the mirror's callers log in with: one who may, and one who may not.
const CALLERS: [&str; 2] = ["alice:s3cret-of-alice", "alice:herring-barrel"];

/// All that an answer says.
fn text(answer: &Answer) -> String {
    format!("{answer:?}\n{}", String::from_utf8_lossy(&answer.body))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_door_of_a_daemon_tells_a_secret() {
    let tokens = TokenServer::start(Policy::Users);
    let registries = [Registry::basic(), Registry::token(&tokens)];
    let image = Image::single(tiny(host().arch, host().variant));
    // Nothing that containerd has from the others.
    let layer = Tree::new().file("cargo.bin", 0o644, b"cargo").layer();
    let other = Image::single(Manifest::new(Flavour::Oci, &platform("amd64", ""), &[layer], ("/cargo", &[])));
    let (liar, storage) = (Liar::serving(&other, "app:1"), Liar::serving(&other, "app:1"));
    liar.require(&format!("Basic {}", base64(CALLERS[0])));
    liar.redirect_blobs_to(&storage);
    let signed = format!("http://{}/v2/{SIGNED}/manifests/1", storage.address());
    liar.always("/v2/moved/", Reply::Status(307, vec![("location", signed)], ""));

    let (containerd, metrics) = (ContainerdDaemon::start_with(Cri::On), free_address());
    let lines = format!("[mirror]\nallow = [{:?}]\n[metrics]\nlisten = [{:?}]\n", liar.address(), metrics.to_string());
    let mut daemon = Daemon::start_with(Lighterman::new(), &containerd.address(), &lines, &LISTEN);
    daemon.restart_at("trace");
    let node = Node { daemon, containerd };
    node.ready().await;
    let mut told = String::new();
    for registry in &registries {
        told += &through_kubelet_and_people(&node, registry, &image).await;
    }
    told += &through_the_mirror(&node, &liar, &other.manifests[0].layers[0].digest);
    for signature in ["signature=", SIGNED] {
        assert!(!storage.requests_for(signature).is_empty(), "{:?}", storage.requests());
    }
    let page = text(&Client::of(metrics).get("/metrics", &[]));
    assert!(page.contains("lighterman_pulls"), "{page}");
    for registry in registries.iter().map(Registry::address).chain([&*liar.address()]) {
        assert!(!page.contains(registry), "{registry} is on the page of metrics:\n{page}");
    }

    let log = node.daemon.log();
    assert!(log.contains("DEBUG") && log.contains("request"), "nothing was logged:\n{log}");
    for secret in secrets() {
        for (place, text) in [("the log", &log), ("an answer", &told), ("the metrics", &page)] {
            assert!(!text.contains(&secret), "{secret} is in {place}:\n{text}");
        }
    }
}

/// What kubelet and the command line are told with right and wrong passwords.
async fn through_kubelet_and_people(node: &Node<'_>, registry: &Registry, image: &Image) -> String {
    let ours = node.ours().await;
    let reference = push(registry, image, "app:1");
    ours.pull_as(&reference, Some(porter())).await.expect("pulls");
    let wrong = AuthConfig { password: WRONG.into(), ..porter() };
    let mut told = format!("{:?}", ours.pull_as(&reference, Some(wrong)).await.expect_err("is refused"));
    let login = |password: &str| docker_auth(registry.address(), USER, password);
    for (password, code) in [(PASSWORD, exit::OK), (WRONG, exit::CREDENTIALS)] {
        let user = node.daemon.user().with_docker_config(&login(password));
        for args in [&["pull", &reference, "--json"][..], &["resolve", &reference], &["resolve", &reference, "--json"]]
        {
            let outcome = user.run(args).ends(code);
            told += &(outcome.stdout + &outcome.stderr);
        }
    }
    told
}

/// What clients of the mirror are told with a right and a wrong password, and where a signed URL follows.
fn through_the_mirror(node: &Node<'_>, liar: &Liar, layer: &str) -> String {
    let mirror = Client::of_mirror(&node.daemon);
    let mut told = String::new();
    for login in CALLERS {
        let basic = format!("Basic {}", base64(login));
        for path in ["manifests/1".to_owned(), format!("blobs/{layer}")] {
            let answer = mirror.get(&format!("/v2/app/{path}?ns={}", liar.address()), &[("authorization", &basic)]);
            assert_eq!(answer.status, if login == CALLERS[0] { 200 } else { 403 }, "{answer:?}");
            told += &text(&answer);
        }
    }
    let alice = format!("Basic {}", base64(CALLERS[0]));
    let moved = format!("/v2/moved/manifests/1?ns={}", liar.address());
    told + &text(&mirror.get(&moved, &[("authorization", &alice)]))
}

/// Passwords as they are and as they are sent, tokens, and what signs a URL.
fn secrets() -> impl Iterator<Item = String> {
    let sent = [PASSWORD, WRONG].map(|password| base64(&format!("{USER}:{password}")));
    // Tokens are JWTs, which all begin alike.
    let plain = [PASSWORD, WRONG, "s3cret-of-alice", "eyJ", "signature=", SIGNED].map(str::to_owned);
    plain.into_iter().chain(sent).chain(CALLERS.map(base64))
}
