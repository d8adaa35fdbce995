//! Pushes: what is asked for, where the bytes go, and which refusals are final.

use bytes::Bytes;

use super::support::{Request, Response, Server, client};
use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::registry::{Content, Credentials, Reason, RegistryError, Secret};

const INDEX: &[u8] = b"{\"schemaVersion\":2,\"manifests\":[]}";

fn login() -> Credentials {
    Credentials::anonymous().with_login("user", Secret::new("hunter2"))
}

async fn put(server: &Server) -> Result<(), RegistryError> {
    let (kind, bytes) = (MediaType::DockerManifestList, Bytes::from_static(INDEX));
    client(login()).put_manifest(&server.host(), &server.reference(), "latest", (&kind, &bytes)).await
}

#[tokio::test]
async fn a_manifest_is_put_as_it_is_and_its_digest_compared() {
    for (answered, right) in [(Some(Digest::of(INDEX)), true), (None, true), (Some(Digest::of(b"other")), false)] {
        let server = Server::plain(move |_| match &answered {
            Some(digest) => Response::new(201).header("Docker-Content-Digest", digest.to_string()),
            None => Response::new(201),
        });
        let outcome = put(&server).await;
        assert_eq!(outcome.is_ok(), right, "{outcome:?}");
        if let Err(error) = outcome {
            assert!(matches!(error.reason(), Reason::Digest { .. }), "{error}");
        }
        let [request] = server.requests().try_into().expect("one request");
        let Request { method, path, body, .. } = &request;
        assert_eq!((method.as_str(), path.as_str()), ("PUT", "/v2/a/b/manifests/latest"));
        assert_eq!(body.as_bytes(), INDEX);
        assert_eq!(request.header("content-type"), Some(MediaType::DockerManifestList.as_str()));
    }
}

#[tokio::test]
async fn tokens_are_asked_for_with_the_right_to_push_and_to_read_what_is_mounted() {
    let server = Server::plain(|request| {
        let bearer = request.header("authorization").is_some_and(|value| value.starts_with("Bearer "));
        match (request.path.split('?').next().unwrap_or_default(), bearer) {
            ("/token", _) => Response::new(200).body(r#"{"token":"t"}"#),
            (_, false) => {
                let host = request.header("host").unwrap_or_default();
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
                Response::new(401).header("WWW-Authenticate", challenge)
            }
            (path, true) if path.ends_with("/uploads/") => Response::new(201),
            (_, true) => Response::new(201),
        }
    });
    let (host, reference, digest) = (server.host(), server.reference(), Digest::of(b"blob"));
    let from = format!("{}/c/d:1", server.authority()).parse().expect("a reference");
    let client = client(Credentials::anonymous());
    let bytes = Bytes::from_static(INDEX);
    client.put_manifest(&host, &reference, "latest", (&MediaType::OciIndex, &bytes)).await.expect("put");
    assert!(client.mount(&host, &reference, &digest, &from).await.expect("mounted"));
    let asked: Vec<String> =
        server.requests().iter().filter(|r| r.path.starts_with("/token")).map(|r| r.path.clone()).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let push = "scope=repository%3Aa%2Fb%3Apull%2Cpush";
    assert!(asked[0].contains(push) && !asked[0].contains("c%2Fd"), "{asked:?}");
    assert!(asked[1].contains(push) && asked[1].contains("scope=repository%3Ac%2Fd%3Apull"), "{asked:?}");
    let mount = server.requests().into_iter().rfind(|request| request.method == "POST").expect("a mount");
    assert_eq!(
        mount.path,
        format!("/v2/a/b/blobs/uploads/?mount={}&from=c%2Fd", digest.to_string().replace(':', "%3A"))
    );
}

#[tokio::test]
async fn a_mount_that_becomes_an_upload_is_given_up() {
    let server = Server::plain(|request| match request.method.as_str() {
        "POST" => Response::new(202).header("Location", "/v2/a/b/blobs/uploads/7?state=x"),
        _ => Response::new(204),
    });
    let from = format!("{}/c/d:1", server.authority()).parse().expect("a reference");
    let client = client(Credentials::anonymous());
    let mounted = client.mount(&server.host(), &server.reference(), &Digest::of(b"blob"), &from).await;
    assert!(!mounted.expect("an answer"));
    let last = server.requests().pop().expect("a request");
    assert_eq!((last.method.as_str(), last.path.as_str()), ("DELETE", "/v2/a/b/blobs/uploads/7?state=x"));
}

#[tokio::test]
async fn a_file_is_uploaded_to_where_the_registry_says_without_its_credentials() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("blob");
    let blob = "plank ".repeat(40_000);
    std::fs::write(&path, &blob).expect("written");
    let storage = Server::plain(|_| Response::new(201));
    let there = format!("http://{}/put?sig=secret", storage.authority());
    for elsewhere in [true, false] {
        let place = if elsewhere { there.clone() } else { "/v2/a/b/blobs/uploads/7?state=x".into() };
        let server =
            Server::plain(move |request| match (request.method.as_str(), request.header("authorization").is_some()) {
                (_, false) => Response::new(401).header("WWW-Authenticate", "Basic realm=x"),
                ("POST", true) => Response::new(202).header("Location", place.clone()),
                _ => Response::new(201),
            });
        let digest = Digest::of(blob.as_bytes());
        let content = Content::File { path: path.clone(), size: blob.len() as u64 };
        let client = client(login());
        client.upload(&server.host(), &server.reference(), &digest, content).await.expect("uploaded");
        let (at, query) =
            if elsewhere { (&storage, "/put?sig=secret") } else { (&server, "/v2/a/b/blobs/uploads/7?state=x") };
        let put = at.requests().into_iter().rfind(|request| request.method == "PUT").expect("an upload");
        assert_eq!(put.path, format!("{query}&digest={}", digest.to_string().replace(':', "%3A")));
        assert!(put.body == blob, "{} bytes came", put.body.len());
        assert_eq!(put.header("authorization").is_some(), !elsewhere);
    }
}

#[tokio::test]
async fn an_upload_to_nowhere_good_is_refused() {
    for location in ["ftp://127.0.0.1/x", "http://["] {
        let server = Server::plain(move |_| Response::new(202).header("Location", location));
        let content = Content::Bytes(Bytes::from_static(b"blob"));
        let client = client(Credentials::anonymous());
        let outcome = client.upload(&server.host(), &server.reference(), &Digest::of(b"blob"), content).await;
        assert!(matches!(outcome.expect_err(location).reason(), Reason::Redirect { .. }));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_a_registry_will_never_take_is_told_from_what_it_may_take_later() {
    let cases = [
        (405, Kind::PermissionDenied),
        (501, Kind::PermissionDenied),
        (400, Kind::InvalidContent),
        (413, Kind::InvalidContent),
        (403, Kind::PermissionDenied),
        (404, Kind::NotFound),
        (429, Kind::RateLimited),
        (500, Kind::RegistryUnavailable),
    ];
    for (status, kind) in cases {
        let server = Server::plain(move |_| Response::new(status).body(r#"{"errors":[{"code":"X","message":"why"}]}"#));
        let error = put(&server).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains("X: why"), "{error}");
    }
}

#[tokio::test]
async fn a_put_follows_where_the_same_request_belongs_and_nowhere_else() {
    let other = Server::plain(|_| Response::new(201));
    for (status, follows) in [(307, true), (308, true), (302, false), (303, false)] {
        let there = format!("http://{}/v2/a/b/manifests/latest", other.authority());
        let server = Server::plain(move |request| match request.header("authorization") {
            None => Response::new(401).header("WWW-Authenticate", "Basic realm=x"),
            Some(_) => Response::new(status).header("Location", there.clone()),
        });
        assert_eq!(put(&server).await.is_ok(), follows, "{status}");
    }
    let moved = other.requests();
    assert_eq!(moved.len(), 2);
    assert!(moved.iter().all(|request| request.body.as_bytes() == INDEX && request.header("authorization").is_none()));
}
