//! hosts.toml and `--mirror`: which hosts are asked, in which order, for what.

use std::path::Path;

use crate::support::fixture::{Image, tiny};
use crate::support::host;
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, exit};

/// Writes the hosts.toml of one registry into a certs.d folder.
pub(crate) fn write(dir: &Path, registry: &str, toml: impl FnOnce(&str) -> String) {
    let dir = dir.join(registry);
    std::fs::create_dir_all(&dir).expect("a writable temporary folder");
    std::fs::write(dir.join("hosts.toml"), toml(registry)).expect("a writable temporary folder");
}

fn image() -> Image {
    Image::single(tiny(host().arch, ""))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder with a UTF-8 name")
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_not_at_all() {
    let (mirror, registry) = (Liar::serving(&image(), "app:1"), Liar::serving(&image(), "app:1"));
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    let url = format!("http://{}", mirror.address());
    user.run(&["pull", &registry.reference("app:1"), "--mirror", &url, "--to", &destination]).succeeds();
    assert!(registry.requests().is_empty(), "{:?}", registry.requests());
    assert!(!mirror.requests_for("GET /v2/app/blobs/").is_empty());
}

#[test]
fn the_registry_helps_out_where_mirrors_fail() {
    let image = image();
    let registry = Liar::serving(&image, "app:1");
    let (empty, broken) = (Liar::start(), Liar::serving(&image, "app:1"));
    broken.plan("GET ", std::iter::repeat_n(Reply::Status(503, vec![], "busy"), 50));
    broken.plan("HEAD ", std::iter::repeat_n(Reply::Status(503, vec![], ""), 50));
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    let [empty_url, broken_url] = [&empty, &broken].map(|mirror| format!("http://{}", mirror.address()));
    let mirrors = ["--mirror", &empty_url, "--mirror", &broken_url];
    let reference = registry.reference("app:1");
    user.run(&[&["pull", &reference, "--to", &destination], &mirrors[..]].concat()).succeeds();
    assert!(!empty.requests().is_empty(), "the first mirror was not asked");
    assert!(!broken.requests().is_empty(), "the second mirror was not asked");
}

#[test]
fn hosts_toml_sends_a_name_that_does_not_exist_to_its_mirror() {
    let mirror = Liar::serving(&image(), "team/app:1");
    let user = Lighterman::new();
    let hosts = user.path("certs.d");
    write(&hosts, "images.example", |_| {
        format!(
            "server = \"https://images.example\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
             [host.\"http://{0}\".header]\nx-quay = [\"seven\"]\n",
            mirror.address()
        )
    });
    let resolved = user.run(&["resolve", "images.example/team/app:1", "--hosts-dir", text(&hosts)]).succeeds();
    assert!(resolved.stdout.starts_with(&image().root.digest));
    let asked = mirror.requests_for("/v2/team/app/manifests/");
    assert!(!asked.is_empty());
    for request in asked {
        assert!(request.path.contains("ns=images.example"), "{request:?}");
        assert_eq!(request.header("x-quay"), Some("seven"), "{request:?}");
    }
}

#[test]
fn a_host_without_the_resolve_capability_only_serves_content() {
    let image = image();
    let (registry, content) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    let user = Lighterman::new();
    let hosts = user.path("certs.d");
    write(&hosts, &registry.address(), |name| {
        format!("server = \"http://{name}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", content.address())
    });
    let (_, destination) = user.layout("layout");
    let reference = registry.reference("app:1");
    user.run(&["pull", &reference, "--to", &destination, "--hosts-dir", text(&hosts)]).succeeds();
    assert!(content.requests_for("/manifests/1").is_empty(), "a tag was asked of a host that may not resolve");
    assert!(!content.requests_for("GET /v2/app/blobs/").is_empty());
    assert!(registry.requests_for("GET /v2/app/blobs/").is_empty());
}

#[test]
fn override_path_takes_the_url_as_it_is() {
    let mirror = Liar::serving(&image(), "app:1");
    let user = Lighterman::new();
    let hosts = user.path("certs.d");
    write(&hosts, "images.example", |_| {
        format!("[host.\"http://{}/v2/mirrored\"]\noverride_path = true\n", mirror.address())
    });
    mirror.add(&image(), "mirrored/app:1");
    user.run(&["resolve", "images.example/app:1", "--hosts-dir", text(&hosts)]).succeeds();
    let paths = mirror.requests_for("/manifests/");
    assert!(paths.iter().all(|r| r.path.starts_with("/v2/mirrored/app/manifests/")), "{paths:?}");
}

#[test]
fn a_hosts_toml_that_cannot_be_read_is_a_configuration_error() {
    let registry = Liar::serving(&image(), "app:1");
    let user = Lighterman::new();
    let hosts = user.path("certs.d");
    write(&hosts, &registry.address(), |_| "server = [not toml".into());
    let refused = user.run(&["resolve", &registry.reference("app:1"), "--hosts-dir", text(&hosts)]);
    refused.fails(exit::CONFIGURATION).says(&["hosts.toml"]);
    assert!(registry.requests().is_empty());
}

#[test]
fn the_proxy_of_the_environment_is_used_and_no_proxy_is_heeded() {
    let proxy = Liar::start();
    let user = Lighterman::new().with("HTTP_PROXY", &format!("http://{}", proxy.address()));
    let reference = "images.example/app:1";
    user.run(&["resolve", reference, "--plain-http"]).fails(exit::NOT_FOUND);
    assert!(!proxy.requests_for("http://images.example/v2/app/manifests/1").is_empty(), "{:?}", proxy.requests());
    let heard = proxy.requests().len();
    let registry = Liar::serving(&image(), "app:1");
    let direct =
        Lighterman::new().with("HTTP_PROXY", &format!("http://{}", proxy.address())).with("NO_PROXY", "127.0.0.1");
    direct.run(&["resolve", &registry.reference("app:1")]).succeeds();
    assert_eq!(proxy.requests().len(), heard, "the proxy was asked although NO_PROXY names the registry");
}
