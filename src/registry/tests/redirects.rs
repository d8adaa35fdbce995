//! Redirects: how far, where to, and what is left behind.

use bytes::Bytes;
use http::HeaderMap;
use reqwest::Url;

use super::support::{Response, Server, client, host};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Blame, Classify as _, Kind};
use crate::registry::transport::target;
use crate::registry::{Content, Credentials, Host, HostOptions, Reach, Reason, RegistryError, Secret};

/// Where no registry that is not there may lead us: this node, its link, its cloud.
const NEAR: [&str; 12] = [
    "127.0.0.1",
    "127.8.9.10",
    "localhost",
    "0.0.0.0",
    "2130706433",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "[fe80::1]",
    "[fd00:ec2::254]",
];

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

/// A host that is not on this machine, in plain text or not.
fn far(plain_http: bool) -> Host {
    let reference = "registry.example/a/b".parse().expect("a reference");
    host(&reference, &HostOptions { plain_http, ..HostOptions::default() })
}

#[track_caller]
fn assert_misled(error: &RegistryError) {
    assert!(matches!(error.reason(), Reason::Misled { .. }), "{error}");
    // A kind that is told over CRI, and not left to containerd, which would go there.
    assert_eq!((error.kind(), error.blame()), (Kind::PermissionDenied, Blame::Registry), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("localhost") && !hint.contains("--")));
}

#[tokio::test]
async fn no_registry_elsewhere_leads_to_this_node_its_link_or_its_cloud() {
    let victim = Server::plain(|_| Response::new(200).body("secret"));
    let client = client(Credentials::anonymous());
    for (place, scheme) in NEAR.iter().flat_map(|place| [(place, "http"), (place, "https")]) {
        let url = Url::parse(&format!("{scheme}://{place}:{}/blob", victim.port())).expect("a URL");
        let error = client.go_to(&far(scheme == "http"), "blob", &url, HeaderMap::new()).await.err().expect(place);
        assert_misled(&error);
    }
    assert!(victim.requests().is_empty());
    // A registry on this node may have its storage there.
    let url = Url::parse(&format!("http://{}/blob", victim.authority())).expect("a URL");
    let local = Server::plain(|_| Response::new(404));
    client.go_to(&local.host(), "blob", &url, HeaderMap::new()).await.map(drop).expect("both are here");
}

#[tokio::test]
async fn a_registry_on_this_node_leads_no_further_than_that() {
    for place in ["169.254.169.254", "169.254.1.1", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200"] {
        let url = format!("http://{place}/latest/meta-data");
        let registry = Server::plain(move |request| match request.method.as_str() {
            "POST" => Response::new(202).header("Location", url.clone()),
            _ => Response::new(307).header("Location", url.clone()),
        });
        let (host, reference, client) = (registry.host(), registry.reference(), client(login()));
        assert_misled(&client.manifest(&host, &reference, "latest").await.expect_err("a redirect"));
        assert_misled(&client.head_manifest(&host, &reference, "latest").await.expect_err("a redirect"));
        let content = Content::Bytes(Bytes::from_static(b"body"));
        let uploaded = client.upload(&host, &reference, &Digest::of(b"body"), content).await;
        assert_misled(&uploaded.expect_err("the place of an upload"));
    }
}

#[tokio::test]
async fn a_redirect_logs_nobody_in() {
    let victim = Server::plain(|_| Response::new(200).body("body"));
    for user in ["admin:admin@", "admin@", ":admin@"] {
        let there = format!("http://{user}{}/blob", victim.authority());
        let registry = Server::plain(move |request| match request.method.as_str() {
            "POST" => Response::new(202).header("Location", there.clone()),
            _ => Response::new(307).header("Location", there.clone()),
        });
        let (host, reference, client) = (registry.host(), registry.reference(), client(login()));
        let content = Content::Bytes(Bytes::from_static(b"body"));
        for error in [
            client.manifest(&host, &reference, "latest").await.expect_err("a redirect"),
            client.upload(&host, &reference, &Digest::of(b"body"), content).await.expect_err("a place of an upload"),
        ] {
            assert!(error.to_string().contains("it names a user") && !error.to_string().contains("admin"), "{error}");
            assert_eq!((error.kind(), error.blame()), (Kind::RegistryUnavailable, Blame::Registry));
        }
    }
    assert!(victim.requests().is_empty());
}

#[test]
fn https_is_left_for_http_on_this_machine_only() {
    let leads = |host: &Host, from: &str, location: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("location", location.parse().expect("a value"));
        target(host, &Url::parse(from).expect("a URL"), &headers).is_ok()
    };
    let (here, far) = (Host { authority: "localhost:5000".into(), ..far(false) }, far(false));
    for (host, from, location, allowed) in [
        (&far, "https://registry.example/x", "http://localhost/x", false),
        (&far, "https://registry.example/x", "http://127.0.0.1:1/x", false),
        (&far, "https://registry.example/x", "http://storage.example/x", false),
        (&far, "https://registry.example/x", "https://storage.example/x", true),
        (&far, "http://registry.example/x", "http://storage.example/x", true),
        (&far, "http://registry.example/x", "https://storage.example/x", true),
        (&here, "https://localhost:5000/x", "http://localhost:1/x", true),
        (&here, "https://localhost:5000/x", "http://storage.example/x", false),
        (&here, "https://storage.example/x", "http://localhost:1/x", true),
    ] {
        assert_eq!(leads(host, from, location), allowed, "{from} to {location}");
    }
}

#[tokio::test]
async fn on_whose_behalf_it_is_asked_goes_wherever_we_are_led() {
    let storage = Server::plain(|request| match request.path.starts_with("/token") {
        true => Response::new(200).body(r#"{"token":"good"}"#),
        false => Response::new(200).body("body"),
    });
    let elsewhere = storage.authority();
    let registry = Server::plain(move |request| match request.header("authorization") {
        None => Response::new(401).header("WWW-Authenticate", format!("Bearer realm=\"http://{elsewhere}/token\"")),
        Some(_) => Response::new(307).header("Location", format!("http://{elsewhere}/blob")),
    });
    let host = Host { via: Some("1.1 somebody".parse().expect("a value")), ..registry.host() };
    client(Credentials::anonymous())
        .manifest(&host, &registry.reference(), "latest")
        .await
        .expect("the end of the way");
    let (asked, stored) = (registry.requests(), storage.requests());
    assert_eq!((asked.len(), stored.len()), (2, 2));
    assert!(asked.iter().chain(&stored).all(|request| request.header("via") == Some("1.1 somebody")));
}
