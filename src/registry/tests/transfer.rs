//! Manifests and blobs: what is asked, and what is made of the answers.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use super::support::{Request, Response, Server, client, host};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::core::limits::Limits;
use crate::registry::{Client, Credentials, HostOptions, Reason, RegistryError, Scheme, Stage, hosts_for};

const BODY: &[u8] = b"0123456789";

#[tokio::test]
async fn head_tells_the_descriptor_or_nothing() {
    let full = |_: &Request| {
        Response::new(200)
            .header("Docker-Content-Digest", Digest::of(BODY).to_string())
            .header("Content-Type", "application/vnd.oci.image.index.v1+json")
            .header("Content-Length", "10")
    };
    let server = Server::plain(full);
    let found = client(Credentials::anonymous())
        .head_manifest(&server.host(), &server.reference(), "latest")
        .await
        .expect("an answer");
    assert_eq!(found, Some(Descriptor::new(MediaType::OciIndex, Digest::of(BODY), 10)));
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("HEAD", "/v2/a/b/manifests/latest"));
    assert_eq!(request.header("accept"), Some(MediaType::ACCEPT_MANIFESTS));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("lighterman/")));
    assert_eq!(request.header("authorization"), None);

    for answer in [Response::new(200).header("Content-Type", "text/plain"), Response::new(405), Response::new(501)] {
        let server = Server::plain(move |_| answer.clone());
        let client = client(Credentials::anonymous());
        let found = client.head_manifest(&server.host(), &server.reference(), "latest").await.expect("an answer");
        assert_eq!(found, None);
    }
}

#[tokio::test]
async fn manifests_come_as_they_are_and_bounded() {
    let server = Server::plain(|request| {
        let answer = Response::new(200).header("Content-Type", "application/vnd.oci.image.manifest.v1+json; x=y");
        match request.path.as_str() {
            "/v2/a/b/manifests/exact" => {
                answer.header("Docker-Content-Digest", Digest::of(BODY).to_string()).body(BODY)
            }
            "/v2/a/b/manifests/announced" => answer.body([BODY, b"!"].concat()),
            _ => answer.header("Transfer-Encoding", "chunked").body("b\r\n0123456789!\r\n0\r\n\r\n"),
        }
    });
    let limits = Limits { document_bytes: 10, ..Limits::default() };
    let client = Client::new(Credentials::anonymous(), limits).expect("a client");
    let (host, reference) = (server.host(), server.reference());
    let reply = client.manifest(&host, &reference, "exact").await.expect("10 bytes");
    assert_eq!(
        (reply.media_type, &reply.bytes[..], reply.digest),
        (Some(MediaType::OciManifest), BODY, Some(Digest::of(BODY)))
    );
    for target in ["announced", "unannounced"] {
        let error = client.manifest(&host, &reference, target).await.expect_err("11 bytes");
        assert_eq!((error.kind(), error.stage()), (Kind::InvalidContent, Stage::Body), "{target}: {error}");
    }
}

#[tokio::test]
async fn targets_that_would_ask_something_else_are_refused() {
    let server = Server::plain(|_| Response::new(200).body("x"));
    let client = client(Credentials::anonymous());
    for target in ["../../../x", "a?b", "a#b"] {
        let error = client.manifest(&server.host(), &server.reference(), target).await.expect_err(target);
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn refusals_carry_the_registrys_words() {
    let text = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\u001b down"}]}"#;
    let answer = Response::new(429).header("Retry-After", "17").header("Content-Type", "application/json").body(text);
    let server = Server::plain(move |_| answer.clone());
    let client = client(Credentials::anonymous());
    let error = client.manifest(&server.host(), &server.reference(), "latest").await.expect_err("429");
    assert_eq!(error.kind(), Kind::RateLimited);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    assert_eq!(error.status().map(|status| status.as_u16()), Some(429));
    let expected = "manifest latest of a/b: 429 Too Many Requests: TOOMANYREQUESTS: slow down";
    assert_eq!(error.to_string(), format!("{}: {expected}", server.authority()));
    for (status, kind) in [(403, Kind::PermissionDenied), (404, Kind::NotFound), (503, Kind::RegistryUnavailable)] {
        let server = Server::plain(move |_| Response::new(status));
        let error = client.manifest(&server.host(), &server.reference(), "latest").await.expect_err("a refusal");
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn nobody_there() {
    let server = Server::plain(|_| Response::new(200));
    let (host, reference) = (server.host(), server.reference());
    drop(server);
    // The acceptor goes away once it has noticed; until then it hangs up on us, which is no better.
    let error = client(Credentials::anonymous()).manifest(&host, &reference, "latest").await.expect_err("nobody");
    assert_eq!(error.kind(), Kind::RegistryUnavailable, "{error}");

    let unknown = "no-such-host.invalid/a/b".parse().expect("a reference");
    let host = host_of(&unknown);
    let error = client(Credentials::anonymous()).manifest(&host, &unknown, "latest").await.expect_err("unknown");
    assert_eq!((error.kind(), error.stage()), (Kind::RegistryUnavailable, Stage::Dns), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("no-such-host.invalid")));
}

fn host_of(reference: &crate::core::reference::Reference) -> crate::registry::Host {
    host(reference, &HostOptions { plain_http: true, ..HostOptions::default() })
}

#[tokio::test]
async fn a_host_that_never_greets_costs_its_dial_timeout() {
    // The kernel accepts the connection; nobody answers on it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let reference = format!("localhost:{port}/a/b").parse().expect("a reference");
    let mut host = host(&reference, &HostOptions::default());
    host.dial_timeout = Some(Duration::from_millis(10));
    let error = client(Credentials::anonymous()).manifest(&host, &reference, "latest").await.expect_err("silence");
    assert_eq!((error.kind(), error.stage()), (Kind::DeadlineExceeded, Stage::Connect), "{error}");
    assert!(matches!(error.reason(), Reason::Timeout { after } if after.as_millis() == 10), "{error:?}");
}

/// The document at a loopback registry that is named without a scheme.
async fn pull_either(client: &Client, port: u16) -> Result<Vec<u8>, RegistryError> {
    let reference = format!("localhost:{port}/a/b").parse().expect("a reference");
    let host = host(&reference, &HostOptions::default());
    assert_eq!(host.scheme, Scheme::HttpsThenHttp);
    client.manifest(&host, &reference, "latest").await.map(|reply| reply.bytes.to_vec())
}

#[tokio::test]
async fn a_loopback_registry_may_speak_plain_text() {
    let server = Server::plain(|_| Response::new(200).body(BODY));
    let known = client(Credentials::anonymous());
    for _ in 0..2 {
        assert_eq!(pull_either(&known, server.port()).await.expect("plain text in the end"), BODY);
    }
    assert_eq!(server.count("manifests"), 2);

    // hyper, with which other tools are built, has its own way to say no to TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let serving =
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(|| async { BODY })).await });
    let found = pull_either(&client(Credentials::anonymous()), port).await;
    serving.abort();
    assert_eq!(found.expect("plain text in the end"), BODY);
}

#[tokio::test]
async fn or_hang_up_on_tls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let mut first = [0; 4096];
        let (mut stream, _) = listener.accept().expect("a client");
        let read = stream.read(&mut first).expect("a greeting");
        assert_eq!((read > 0, first[0]), (true, 0x16), "a TLS handshake record");
        drop(stream);
        let (mut stream, _) = listener.accept().expect("a client");
        assert!(stream.read(&mut first).expect("a request") > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").expect("written");
    });
    let found = pull_either(&client(Credentials::anonymous()), port).await;
    assert_eq!(found.expect("plain text in the end"), BODY);
    server.join().expect("no panic");
}

#[tokio::test]
async fn mirrors_learn_for_whom_they_stand_in() {
    let server = Server::plain(|_| Response::new(200).body(BODY));
    let reference = "registry.example:5000/a/b".parse().expect("a reference");
    let options =
        HostOptions { mirrors: vec![format!("http://{}/cache", server.authority())], ..HostOptions::default() };
    let hosts = hosts_for(&reference, &options).expect("hosts");
    client(Credentials::anonymous()).manifest(&hosts[0], &reference, "latest").await.expect("a reply");
    assert_eq!(server.requests()[0].path, "/cache/v2/a/b/manifests/latest?ns=registry.example%3A5000");
}
