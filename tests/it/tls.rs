//! Certificates: who is trusted, and what is said when nobody is.

use crate::support::certs::Authority;
use crate::support::fixture::Image;
use crate::support::fixture::tiny;
use crate::support::host;
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;

fn image() -> Image {
    Image::single(tiny(host().arch, ""))
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a temporary folder with a UTF-8 name")
}

#[test]
fn an_untrusted_certificate_is_refused_and_named_as_the_reason() {
    let registry = Registry::tls();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    // TLS is what the registry speaks; asking for it beats the default for loopback, plain HTTP.
    let stranger = Authority::new("somebody else").write(&user.path("other.pem"));
    let refused = user.run(&["pull", &reference, "--tlscacert", text(&stranger), "--to", &destination]);
    refused.fails(exit::UNTRUSTED).says(&[registry.address(), "certificate", "hint: ", "--tlscacert"]);
    assert!(!layout.exists(), "a refused pull left {}", layout.display());
}

#[test]
fn an_authority_named_by_flag_is_trusted() {
    let registry = Registry::tls();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let outcome = user.run(&["resolve", &reference, "--tlscacert", text(registry.ca())]).succeeds();
    assert!(outcome.stdout.starts_with(&image().root.digest), "{outcome:?}");
}

#[test]
fn an_authority_of_the_system_store_is_trusted() {
    let registry = Registry::tls();
    let reference = registry.push(&image(), "app:1").replace("127.0.0.1", "localhost");
    let user = Lighterman::new().with("SSL_CERT_FILE", text(registry.ca()));
    // hosts.toml names the scheme: https, for a loopback name.
    let hosts = user.path("certs.d");
    crate::hosts::write(&hosts, registry.address().replace("127.0.0.1", "localhost").as_str(), |name| {
        format!("server = \"https://{name}\"\n")
    });
    user.run(&["resolve", &reference, "--hosts-dir", text(&hosts)]).succeeds();
}

#[test]
fn an_authority_named_in_hosts_toml_is_trusted() {
    let registry = Registry::tls();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let hosts = user.path("certs.d");
    crate::hosts::write(&hosts, registry.address(), |name| {
        format!("server = \"https://{name}\"\nca = {:?}\n", text(registry.ca()))
    });
    user.run(&["resolve", &reference, "--hosts-dir", text(&hosts)]).succeeds();
}

#[test]
fn skip_verify_is_possible_for_who_insists() {
    let registry = Registry::tls();
    let reference = registry.push(&image(), "app:1");
    for flag in ["-k", "--skip-verify"] {
        Lighterman::new().run(&["resolve", &reference, flag]).succeeds();
    }
}

#[test]
fn a_client_certificate_opens_a_registry_that_wants_one() {
    let registry = Registry::mutual_tls();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let ca = text(registry.ca());
    let without = user.run(&["resolve", &reference, "--tlscacert", ca]);
    // In TLS 1.3 the server refuses after the handshake; whether its alert or the end of the
    // connection is seen first is a race that the client cannot win for certain.
    let refused = [exit::UNAVAILABLE, exit::UNTRUSTED, exit::CREDENTIALS];
    assert!(without.code.is_some_and(|code| refused.contains(&code)), "{without:?}");
    assert!(without.stderr.contains(registry.address()) && without.stdout.is_empty(), "{without:?}");
    let (certificate, key) = (text(&registry.client().certificate), text(&registry.client().key));
    let with = ["resolve", &reference, "--tlscacert", ca, "--tlscert", certificate, "--tlskey", key];
    user.run(&with).succeeds();
}

#[test]
fn certificate_files_that_are_none_are_a_configuration_error() {
    let registry = Registry::tls();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let nonsense = user.path("nonsense.pem");
    std::fs::write(&nonsense, "not a certificate").expect("a writable home");
    for file in [text(&nonsense), "/nonexistent/ca.pem"] {
        user.run(&["resolve", &reference, "--tlscacert", file]).fails(exit::CONFIGURATION).says(&[file]);
    }
}
