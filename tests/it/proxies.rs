//! Proxies of the environment whose URLs have a password in them.

use crate::support::daemon::Daemon;
use crate::support::fixture::base64;
use crate::support::free_address;
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::mirror::{Client, LISTEN};

const USER: &str = "stowaway";
const PASSWORD: &str = "capstan-bolt";
/// The same as URLs may spell it.
const ESCAPED: &str = "capstan%2Dbolt";

/// What no text of ours may have in it.
fn assert_secret(place: &str, text: &str) {
    let encoded = base64(&format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, ESCAPED, &encoded] {
        assert!(!text.contains(secret), "{secret} is in {place}:\n{text}");
    }
}

/// A proxy that lets nobody in, with or without a password.
fn refusing() -> Liar {
    let proxy = Liar::start();
    let challenge = ("proxy-authenticate", "Basic realm=\"quay\"".to_owned());
    proxy.always("", Reply::Status(407, vec![challenge], "who are you?"));
    proxy
}

#[test]
fn a_proxys_password_is_in_no_log_no_error_and_no_metric() {
    let proxy = refusing();
    let urls = [
        format!("http://{USER}:{PASSWORD}@{}", proxy.address()),
        format!("http://{USER}:{ESCAPED}@{}", proxy.address()),
        // Nobody is there, there is no such name, and that is no URL.
        format!("http://{USER}:{PASSWORD}@{}", free_address()),
        format!("http://{USER}:{PASSWORD}@proxy.invalid:3128"),
        format!("http://{USER}:{PASSWORD}@proxy.invalid:no-port"),
        format!("socks5://{USER}:{PASSWORD}@{}", proxy.address()),
        format!("ftp://{USER}:{PASSWORD}@{}", proxy.address()),
    ];
    for url in &urls {
        for variable in ["HTTPS_PROXY", "HTTP_PROXY"] {
            let user = Lighterman::new().with(variable, url);
            let plain: &[&str] = if variable == "HTTP_PROXY" { &["--plain-http"] } else { &[] };
            let args = [&["resolve", "images.invalid/app:1", "--json", "--log-level", "trace"], plain].concat();
            let outcome = user.run(&args);
            assert_ne!(outcome.code, Some(0), "{url}");
            assert!(outcome.stderr.contains("images.invalid"), "{outcome:?}");
            assert_secret(&format!("what is said of {variable}={url}"), &format!("{outcome:?}"));
        }
    }
    let shown = |request: &crate::support::liar::Request| request.header("proxy-authorization").is_some();
    assert!(proxy.requests().iter().any(shown), "the proxy was shown no password: {:?}", proxy.requests());
}

#[test]
fn nor_does_a_daemon_tell_it_by_any_of_its_doors() {
    let (proxy, metrics) = (refusing(), free_address());
    let url = format!("http://{USER}:{PASSWORD}@{}", proxy.address());
    let node = Lighterman::new().with("HTTPS_PROXY", &url).with("HTTP_PROXY", &url);
    let lines = format!("[mirror]\nallow = [\"images.invalid\"]\n[metrics]\nlisten = [\"{metrics}\"]\n");
    let nowhere = std::path::Path::new("/nowhere/containerd.sock");
    let mut daemon = Daemon::start_with(node, nowhere, &lines, &LISTEN);
    daemon.restart_at("trace");
    let mut told = String::new();
    for args in [&["resolve", "images.invalid/app:1"][..], &["resolve", "images.invalid/app:1", "--json"]] {
        told += &format!("{:?}", daemon.user().run(args));
    }
    told += &format!("{:?}", Client::of_mirror(&daemon).get("/v2/app/manifests/1?ns=images.invalid", &[]));
    let page = Client::of(metrics).get("/metrics", &[]);
    assert_eq!(page.status, 200);
    assert!(proxy.requests().iter().any(|request| request.header("proxy-authorization").is_some()));
    for (place, text) in [("an answer", &*told), ("the metrics", &format!("{page:?}")), ("the log", &daemon.log())] {
        assert_secret(place, text);
    }
}
