//! Redirects: how far, where to, and what is left behind.

use http::HeaderMap;
use reqwest::Url;

use super::support::{Response, Server, client};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::registry::{Credentials, Reach, Reason, Secret};

fn login() -> Credentials {
    Credentials::anonymous().with_login("user", Secret::new("hunter2"))
}

#[tokio::test]
async fn secrets_do_not_follow_to_another_port_and_do_not_come_back() {
    let storage = Server::plain(|request| match request.path.as_str() {
        "/blob?sig=secret" => Response::new(200).body("body"),
        path => Response::new(307).header("Location", path.trim_start_matches("/back-to/").to_owned()),
    });
    let elsewhere = storage.authority();
    let registry = Server::plain(move |request| {
        let authorised = request.header("authorization").is_some();
        match (request.path.as_str(), authorised) {
            ("/returned", _) => Response::new(307).header("Location", format!("http://{elsewhere}/blob?sig=secret")),
            (_, false) => Response::new(401).header("WWW-Authenticate", "Basic realm=x"),
            ("/moved", true) => {
                let back = request.header("host").unwrap_or_default();
                let there = format!("http://{elsewhere}/back-to/http://{back}/returned");
                Response::new(302).header("Location", there)
            }
            _ => Response::new(308).header("Location", "/moved"),
        }
    });
    let mut host = registry.host();
    host.headers.insert("x-private", "yes".parse().expect("a value"));
    let blob = Descriptor::new(MediaType::parse("x"), Digest::of(b"body"), 4);
    let mut stream = client(login()).blob(&host, &registry.reference(), &blob).await.expect("the end of the way");
    assert_eq!(stream.from(), storage.authority());
    assert_eq!(stream.next().await.expect("bytes").as_deref(), Some(&b"body"[..]));

    let at_home = registry.requests();
    let moved = at_home.iter().find(|request| request.path == "/moved").expect("the same origin");
    assert!(moved.header("authorization").is_some() && moved.header("x-private").is_some());
    let returned = at_home.iter().find(|request| request.path == "/returned").expect("by way of another origin");
    for request in storage.requests().iter().chain([returned]) {
        assert_eq!(request.header("authorization"), None, "{}", request.path);
        assert_eq!(request.header("x-private"), None, "{}", request.path);
    }
    assert_eq!(storage.requests().len(), 2);
}

#[tokio::test]
async fn a_refusal_elsewhere_is_no_challenge_of_the_registry() {
    let storage = Server::plain(|_| Response::new(401).header("WWW-Authenticate", "Basic realm=x"));
    let there = format!("http://{}/blob?sig=secret", storage.authority());
    let registry = Server::plain(move |_| Response::new(307).header("Location", there.clone()));
    let error = client(login()).manifest(&registry.host(), &registry.reference(), "latest").await.expect_err("refused");
    assert_eq!((error.kind(), error.host()), (Kind::Unauthenticated, storage.authority().as_str()));
    assert_eq!(storage.requests().len(), 1);
    assert!(!format!("{error} {error:?}").contains("sig="), "the URL is signed: {error:?}");
}

#[tokio::test]
async fn redirects_that_lead_nowhere_good() {
    let cases = [
        ("ftp://127.0.0.1/x", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://[", "not a URL"),
        ("/v2/a/b/manifests/latest", "too many"),
    ];
    for (location, expected) in cases {
        let server = Server::plain(move |_| Response::new(302).header("Location", location));
        let client = client(Credentials::anonymous());
        let error = client.manifest(&server.host(), &server.reference(), "latest").await.expect_err(location);
        assert!(matches!(error.reason(), Reason::Redirect { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(server.requests().len() <= 11);
    }
    let server = Server::plain(|_| Response::new(302));
    let client = client(Credentials::anonymous());
    let error = client.manifest(&server.host(), &server.reference(), "latest").await.expect_err("no Location");
    assert!(error.to_string().contains("no Location"), "{error}");
}

#[tokio::test]
async fn a_host_that_nobody_vouches_for_leads_to_no_private_address() {
    let server = Server::plain(|_| Response::new(200).body("body"));
    let mut host = server.host();
    host.reach = Reach::Public;
    let client = client(Credentials::anonymous());
    let [literal, named] = ["127.0.0.1", "localhost"].map(|name| {
        let url = format!("http://{name}:{}/blob", server.authority().rsplit_once(':').expect("a port").1);
        Url::parse(&url).expect("a URL")
    });
    // What the host itself is, and every place that it sends us to, is judged in the same way.
    for url in [literal, named] {
        let error = client.go_to(&host, "blob", &url, HeaderMap::new()).await.err().expect("refused");
        assert!(matches!(error.reason(), Reason::NotPublic { .. }), "{error}");
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
    let error = client.manifest(&host, &server.reference(), "latest").await.expect_err("refused");
    assert!(matches!(error.reason(), Reason::NotPublic { .. }), "{error}");
    assert!(server.requests().is_empty());
}
