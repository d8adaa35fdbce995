//! Challenges, tokens, and who gets which credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;

use super::support::{Request, Response, Server, client, host};
use crate::core::error::{Classify as _, Kind};
use crate::core::limits::Limits;
use crate::registry::challenge::challenges;
use crate::registry::token::{Exchange, Grant};
use crate::registry::transport::Transport;
use crate::registry::{Client, Credential, Credentials, HostOptions, Reason, RegistryError, Secret, Stage, hosts_for};

/// A registry that is its own token server, with scripted token replies. Tokens that it
/// takes begin with `good`.
fn registry(tokens: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Server {
    Server::plain(move |request| {
        if request.path.starts_with("/token") {
            return tokens(request);
        }
        match request.header("authorization") {
            Some(token) if token.starts_with("Bearer good") => Response::new(200).body("document"),
            _ => Response::new(401).header("WWW-Authenticate", challenge(request)),
        }
    })
}

fn challenge(request: &Request) -> String {
    let here = request.header("host").expect("a host");
    format!(r#"Bearer realm="http://{here}/token?tenant=1",service="the registry",scope="repository:a/b:pull""#)
}

fn grant(name: &str) -> Response {
    Response::new(200).body(format!(r#"{{"token":"{name}","expires_in":300}}"#))
}

fn login() -> Credentials {
    Credentials::anonymous().with_login("user", Secret::new("hunter2"))
}

async fn pull(client: &Client, server: &Server) -> Result<(), RegistryError> {
    client
        .manifest(&server.host(), &server.reference(), "latest")
        .await
        .map(|reply| assert_eq!(reply.bytes, "document"))
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_and_used_from_then_on() {
    let server = registry(|_| grant("good"));
    let client = client(Credentials::anonymous());
    for _ in 0..3 {
        pull(&client, &server).await.expect("pulled");
    }
    let paths: Vec<_> = server.requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let manifest = "GET /v2/a/b/manifests/latest";
    let token = "GET /token?tenant=1&service=the+registry&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(paths, [manifest, token, manifest, manifest, manifest]);
    assert_eq!(server.requests()[1].header("authorization"), None);
}

#[tokio::test]
async fn another_repository_gets_its_own_scope_without_a_challenge() {
    let server = registry(|_| grant("good"));
    let client = client(Credentials::anonymous());
    pull(&client, &server).await.expect("pulled");
    let other = format!("{}/c", server.authority()).parse().expect("a reference");
    client.manifest(&server.host(), &other, "latest").await.expect("pulled");
    let last = server.requests().len();
    assert_eq!(last, 5, "token, then manifest, and no 401");
    assert!(server.requests()[3].path.ends_with("scope=repository%3Ac%3Apull"), "{}", server.requests()[3].path);
}

#[tokio::test]
async fn many_at_once_fetch_one_token() {
    let server = registry(|_| grant("good"));
    let client = client(Credentials::anonymous());
    let (host, reference) = (server.host(), server.reference());
    let pulls: Vec<_> = (0..8).map(|_| client.manifest(&host, &reference, "latest")).collect();
    for reply in futures_util::future::join_all(pulls).await {
        reply.expect("pulled");
    }
    assert_eq!(server.count("/token"), 1);
}

#[tokio::test]
async fn many_at_once_share_one_failure() {
    let server = registry(|_| Response::new(500));
    let client = client(Credentials::anonymous());
    pull(&client, &server).await.expect_err("no token");
    // From here on everybody knows where tokens come from and asks at the same moment.
    let (host, reference) = (server.host(), server.reference());
    let before = server.count("/token");
    let pulls: Vec<_> = (0..8).map(|_| client.manifest(&host, &reference, "latest")).collect();
    for reply in futures_util::future::join_all(pulls).await {
        assert_eq!(reply.expect_err("no token").kind(), Kind::RegistryUnavailable);
    }
    assert_eq!(server.count("/token") - before, 1);
    assert_eq!(server.count("/v2/"), 1);
}

#[tokio::test]
async fn tokens_that_expire_or_are_revoked_are_replaced() {
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let server = registry(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Response::new(200).body(r#"{"access_token":"good","expires_in":1}"#)
    });
    let client = client(Credentials::anonymous());
    pull(&client, &server).await.expect("pulled");
    pull(&client, &server).await.expect("pulled with another token");
    assert_eq!(issued.load(Ordering::SeqCst), 2);
    assert_eq!(server.count("/v2/"), 3, "one challenge only");

    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let revoked = Arc::clone(&issued);
    let server = Server::plain(move |request| {
        if request.path.starts_with("/token") {
            return grant(&format!("token{}", counter.fetch_add(1, Ordering::SeqCst)));
        }
        // The first token is good for one request only.
        let used = request.header("authorization").unwrap_or_default();
        let first = used == "Bearer token0" && !request.path.contains("second");
        if first || used == "Bearer token1" {
            return Response::new(200).body("document");
        }
        Response::new(401).header("WWW-Authenticate", challenge(request))
    });
    let client = super::support::client(Credentials::anonymous());
    pull(&client, &server).await.expect("pulled");
    client.manifest(&server.host(), &server.reference(), "second").await.expect("pulled with another token");
    assert_eq!(revoked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_login_goes_by_oauth2_first() {
    let server = registry(|request| match request.method.as_str() {
        "POST" => grant("good"),
        _ => Response::new(500),
    });
    pull(&client(login()), &server).await.expect("pulled");
    let post = server.requests().into_iter().find(|request| request.method == "POST").expect("a POST");
    assert_eq!(post.path, "/token?tenant=1");
    assert_eq!(post.header("authorization"), None);
    assert_eq!(
        post.body,
        "service=the+registry&client_id=lighterman&scope=repository%3Aa%2Fb%3Apull&grant_type=password&username=user&password=hunter2"
    );
}

#[tokio::test]
async fn and_by_get_where_the_server_knows_no_oauth2() {
    for status in [400, 401, 404, 405] {
        let server = registry(move |request| match (request.method.as_str(), request.header("authorization")) {
            ("GET", Some("Basic dXNlcjpodW50ZXIy")) => grant("good"),
            _ => Response::new(status),
        });
        pull(&client(login()), &server).await.expect("pulled");
        assert_eq!(server.count("/token"), 2, "{status}");
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = registry(|request| match request.body.contains("grant_type=refresh_token&refresh_token=identity") {
        true => grant("good"),
        false => Response::new(401),
    });
    let directory = tempfile::tempdir().expect("a directory");
    let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"identity"}}}}}}"#, server.authority());
    std::fs::write(directory.path().join("config.json"), config).expect("written");
    pull(&client(Credentials::from_docker_config(directory.path())), &server).await.expect("pulled");
}

#[tokio::test]
async fn basic_is_sent_from_the_start_once_known() {
    let server = Server::plain(|request| match request.header("authorization") {
        Some("Basic dXNlcjpodW50ZXIy") => Response::new(200).body("document"),
        _ => Response::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let known = client(login());
    for _ in 0..2 {
        pull(&known, &server).await.expect("pulled");
    }
    assert_eq!(server.requests().len(), 3);

    let error = pull(&client(Credentials::anonymous()), &server).await.expect_err("no login");
    assert!(matches!(error.reason(), Reason::CredentialsMissing { .. }), "{error}");
    assert_eq!((error.kind(), error.stage()), (Kind::Unauthenticated, Stage::Auth));
    assert!(error.hint().is_some_and(|hint| hint.contains("docker login") && hint.contains("--password-stdin")));

    let wrong = client(Credentials::anonymous().with_login("user", Secret::new("wrong-password")));
    let before = server.requests().len();
    let error = pull(&wrong, &server).await.expect_err("a wrong password");
    assert!(matches!(error.reason(), Reason::Refused { credentials: true, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong-password"));
    assert_eq!(server.requests().len() - before, 2, "one repeat and no more");
}

#[tokio::test]
async fn refusals_of_the_token_server_are_told() {
    let words = r#"{"details":"incorrect username or password"}"#;
    let server = registry(move |_| Response::new(401).body(words));
    let error = pull(&client(login()), &server).await.expect_err("refused");
    assert_eq!((error.kind(), error.stage()), (Kind::Unauthenticated, Stage::Auth));
    assert!(error.to_string().ends_with("with the credentials given: incorrect username or password"), "{error}");

    let server = registry(|_| grant("bad"));
    let error = pull(&client(Credentials::anonymous()), &server).await.expect_err("a token that does not help");
    assert!(matches!(error.reason(), Reason::Refused { credentials: false, .. }), "{error}");
    assert_eq!((server.count("/v2/"), server.count("/token")), (2, 1));
}

#[tokio::test]
async fn renewed_credentials_are_read_again() {
    let server = registry(|request| match request.body.contains("password=new") {
        true => Response::new(200).body(r#"{"token":"good","expires_in":1}"#),
        false if request.body.contains("password=old1") && request.method == "POST" => {
            Response::new(200).body(r#"{"token":"good","expires_in":1}"#)
        }
        false => Response::new(401),
    });
    let directory = tempfile::tempdir().expect("a directory");
    let write = |password: &str| {
        let auths = format!(r#"{{"auths":{{"{}":{{"username":"u","password":"{password}"}}}}}}"#, server.authority());
        std::fs::write(directory.path().join("config.json"), auths).expect("written");
    };
    let client = client(Credentials::from_docker_config(directory.path()));
    write("old1");
    pull(&client, &server).await.expect("pulled");
    write("expired");
    pull(&client, &server).await.expect("with what is remembered");
    write("expired");
    let fresh = super::support::client(Credentials::from_docker_config(directory.path()));
    pull(&fresh, &server).await.expect_err("expired");
    write("new");
    pull(&fresh, &server).await.expect("read again");
}

#[tokio::test]
async fn bad_challenges_are_errors_and_not_panics() {
    let cases = [
        (None, "neither Basic nor Bearer"),
        (Some("Digest realm=x"), "neither Basic nor Bearer"),
        (Some("Bearer"), "no realm"),
        (Some("Bearer realm=\"\""), "not a URL"),
        (Some("Bearer realm=\"ftp://x/y\""), "neither http nor https"),
        (Some("Bearer realm=\"unclosed"), "not a URL"),
        (Some("Bearer realm=\"https://admin:admin@127.0.0.1/\""), "names a user"),
        (Some("=,=\"\\"), "neither Basic nor Bearer"),
    ];
    for (header, expected) in cases {
        let server = Server::plain(move |_| match header {
            Some(header) => Response::new(401).header("WWW-Authenticate", header),
            None => Response::new(401),
        });
        let error = pull(&client(login()), &server).await.expect_err("unusable");
        assert!(matches!(error.reason(), Reason::Challenge { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{header:?}: {error}");
    }
}

#[tokio::test]
async fn token_replies_are_bounded_and_checked() {
    let limits = Limits::default();
    let large = format!(r#"{{"token":"good{}"}}"#, "x".repeat(16 * 1024));
    for (body, expected) in [(large.as_str(), "more than the 16384 bytes"), ("{}", "no token"), ("<html>", "JSON")] {
        let body = body.to_owned();
        let server = registry(move |_| Response::new(200).body(body.clone()));
        let client = Client::new(Credentials::anonymous(), limits).expect("a client");
        let error = pull(&client, &server).await.expect_err("unusable");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.stage(), Stage::Auth);
    }
}

#[tokio::test]
async fn a_mirror_never_gets_the_registrys_login() {
    let mirror = Server::plain(|_| Response::new(401).header("WWW-Authenticate", "Basic realm=x"));
    let reference = "registry.example/a/b".parse().expect("a reference");
    let directory = tempfile::tempdir().expect("a directory");
    let config = r#"{"auths":{"registry.example":{"username":"stored","password":"too"}}}"#;
    std::fs::write(directory.path().join("config.json"), config).expect("written");
    let credentials = Credentials::from_docker_config(directory.path()).with_login("user", Secret::new("hunter2"));
    let options = HostOptions { mirrors: vec![format!("http://{}", mirror.authority())], ..HostOptions::default() };
    let hosts = hosts_for(&reference, &options).expect("hosts");
    let error = client(credentials).manifest(&hosts[0], &reference, "latest").await.expect_err("no login for it");
    assert!(matches!(error.reason(), Reason::CredentialsMissing { .. }), "{error}");
    assert!(mirror.requests().iter().all(|request| request.header("authorization").is_none()));

    // A login of its own is another matter.
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6aXQ="}}}}}}"#, mirror.authority());
    std::fs::write(directory.path().join("config.json"), config).expect("written");
    let own = client(Credentials::from_docker_config(directory.path()));
    own.manifest(&hosts[0], &reference, "latest").await.expect_err("this mirror takes nobody");
    let sent: Vec<_> = mirror.requests().iter().filter_map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent, ["Basic bWU6aXQ="]);
}

#[tokio::test]
async fn headers_of_hosts_toml_stay_with_their_host() {
    let tokens = Server::plain(|_| grant("good"));
    let realm = format!("Bearer realm=\"http://{}/token\"", tokens.authority());
    let server = Server::plain(move |request| match request.header("authorization") {
        Some("Bearer good") => Response::new(200).body("document"),
        _ => Response::new(401).header("WWW-Authenticate", realm.clone()),
    });
    let mut elsewhere = host(&server.reference(), &HostOptions { plain_http: true, ..HostOptions::default() });
    elsewhere.headers.insert("x-private", "yes".parse().expect("a value"));
    let client = client(Credentials::anonymous());
    client.manifest(&elsewhere, &server.reference(), "latest").await.expect("pulled");
    assert!(server.requests().iter().all(|request| request.header("x-private") == Some("yes")));
    assert!(tokens.requests().iter().all(|request| request.header("x-private").is_none()));
    assert_eq!(tokens.requests().len(), 1);
}

#[tokio::test]
async fn a_realm_leads_neither_to_this_node_nor_to_its_link() {
    let victim = Server::plain(|_| grant("good"));
    let reference = "registry.example/a/b".parse().expect("a reference");
    let (transport, limits) = (Transport::new(10), Limits::default());
    for place in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]"] {
        for (scheme, credential) in [("http", None), ("https", None), ("https", Some(password()))] {
            let host = host(&reference, &HostOptions { plain_http: scheme == "http", ..HostOptions::default() });
            let header = format!("Bearer realm=\"{scheme}://{place}:{}/token\"", victim.port());
            let mut headers = HeaderMap::new();
            headers.insert("www-authenticate", header.parse().expect("a value"));
            let grant = Grant::from_challenge(&challenges(&headers)[0]).expect("a realm");
            let (patience, credential) = (limits.stall_window, credential.as_ref());
            let exchange =
                Exchange { transport: &transport, host: &host, grant: &grant, credential, limits: &limits, patience };
            let error = exchange.run().await.expect_err(place);
            assert!(matches!(error.reason(), Reason::Misled { .. }), "{error}");
        }
    }
    assert!(victim.requests().is_empty());
}

fn password() -> Credential {
    Credential::Basic { user: "user".into(), password: Secret::new("hunter2") }
}

#[tokio::test]
async fn all_who_ask_remember_within_one_bound_of_memory() {
    // Tokens that are almost as large as any that is taken.
    let server = registry(|_| grant(&format!("good{}", "x".repeat(15 * 1024))));
    let (host, first) = (server.host(), client(Credentials::anonymous()));
    let ask = async |client: &Client, repository: String| {
        let reference = format!("{}/{repository}", server.authority()).parse().expect("a reference");
        let before = server.count("/token");
        client.manifest(&host, &reference, "latest").await.expect("pulled");
        server.count("/token") - before
    };
    assert_eq!((ask(&first, "a".into()).await, ask(&first, "a".into()).await), (1, 0), "it is remembered");
    for number in 0..10 {
        let another = first.with_credentials(Credentials::anonymous());
        for part in 0..10 {
            ask(&another, format!("b{number}/c{part}")).await;
        }
        assert_eq!(ask(&another, format!("b{number}/c9")).await, 0, "what is new is remembered");
        // They take no room any more once nobody can use them.
        drop(another);
    }
    assert_eq!(ask(&first, "a".into()).await, 0, "it is remembered still");
    let others: Vec<Client> = (0..40).map(|_| first.with_credentials(Credentials::anonymous())).collect();
    for (number, other) in others.iter().enumerate() {
        for part in 0..10 {
            ask(other, format!("b{number}/c{part}")).await;
        }
    }
    assert_eq!(ask(&first, "a".into()).await, 1, "others have taken its room");
}

#[tokio::test]
async fn a_client_that_begins_afresh_uses_nothing_that_was_granted_before() {
    let server = registry(|request| match request.body.contains("password=s3cret") {
        true => grant("good"),
        false => Response::new(401),
    });
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.json");
    let auths = format!(r#"{{"auths":{{"{}":{{"username":"u","password":"s3cret"}}}}}}"#, server.authority());
    std::fs::write(&config, auths).expect("written");
    let client = client(Credentials::from_docker_config(directory.path()));
    pull(&client, &server).await.expect("pulled");
    std::fs::remove_file(&config).expect("it was there");
    pull(&client, &server).await.expect("what is under way goes on");
    let error = pull(&client.afresh(), &server).await.expect_err("nobody");
    assert_eq!(error.kind(), Kind::Unauthenticated, "{error}");
}
