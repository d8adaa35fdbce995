use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::registry::hosts::{HostOptions, hosts_for};

/// The upstream host of a registry.
fn upstream(registry: &str) -> Host {
    let reference = format!("{registry}/a/b").parse().expect("a reference");
    hosts_for(&reference, &HostOptions::default()).expect("hosts").remove(0)
}

fn config(text: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("config.json"), text).expect("written");
    directory
}

fn basic(user: &str, password: &str) -> Option<Credential> {
    Some(Credential::Basic { user: user.into(), password: Secret::new(password) })
}

/// What a config.json gives to a registry.
async fn given(text: &str, registry: &str) -> Result<Option<Credential>, CredentialsError> {
    let directory = config(text);
    Credentials::from_docker_config(directory.path()).for_host(&upstream(registry)).await
}

#[tokio::test]
async fn finds_what_docker_finds() {
    let hub = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"}}}"#;
    let cases = [
        (hub, "docker.io", basic("user", "pass")),
        (r#"{"auths":{"docker.io":{"auth":"dXNlcjpwYXNz"}}}"#, "docker.io", basic("user", "pass")),
        (hub, "quay.io", None),
        (r#"{"auths":{"quay.io":{"auth":"dXNlcjpwOmFzcw=="}}}"#, "quay.io", basic("user", "p:ass")),
        (r#"{"auths":{"quay.io":{"auth":"dXNlcjpwOmFzcw"}}}"#, "quay.io", basic("user", "p:ass")),
        (r#"{"auths":{"quay.io":{"auth":"dXNlcjpwYXNzAAA="}}}"#, "quay.io", basic("user", "pass")),
        (r#"{"auths":{"https://quay.io/v2/":{"auth":"dXNlcjpwYXNz"}}}"#, "quay.io", basic("user", "pass")),
        (r#"{"auths":{"http://r:5000":{"username":"u","password":"p"}}}"#, "r:5000", basic("u", "p")),
        (r#"{"auths":{"r":{"username":"u","password":"p"}}}"#, "r:5000", None),
        (
            r#"{"auths":{"r:1":{"identitytoken":"t","auth":"dXNlcjo="}}}"#,
            "r:1",
            Some(Credential::Identity(Secret::new("t"))),
        ),
        (r#"{"auths":{"r:1":{"registrytoken":"t"}}}"#, "r:1", Some(Credential::Registry(Secret::new("t")))),
        (r#"{"auths":{"quay.io":{}}}"#, "quay.io", None),
        (r#"{"HttpHeaders":{"a":"b"},"psFormat":"x"}"#, "quay.io", None),
        ("{}", "quay.io", None),
    ];
    for (text, registry, expected) in cases {
        assert_eq!(given(text, registry).await.expect(text), expected, "{text}");
    }
    let nowhere = tempfile::tempdir().expect("a directory");
    let credentials = Credentials::from_docker_config(nowhere.path().join("missing"));
    assert_eq!(credentials.for_host(&upstream("quay.io")).await.expect("no file"), None);
}

#[tokio::test]
async fn broken_files_are_named_and_not_quoted() {
    let error = given("{\n \"auths\": {\"hunter2", "quay.io").await.expect_err("cut off");
    assert!(matches!(error, CredentialsError::Malformed { line: 2, .. }), "{error}");
    let error = given(r#"{"auths":{"quay.io":{"auth":"hunter2!"}}}"#, "quay.io").await.expect_err("not base64");
    assert!(matches!(error, CredentialsError::Auth { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(error.kind(), Kind::InvalidConfiguration);
    given(r#"{"auths":{"quay.io":{"auth":"bm9jb2xvbg=="}}}"#, "quay.io").await.expect_err("no colon");
}

#[tokio::test]
async fn the_given_login_is_for_the_upstream_only() {
    let directory = config(r#"{"auths":{"mirror.example":{"username":"m","password":"m"}}}"#);
    let credentials = Credentials::from_docker_config(directory.path()).with_login("me", Secret::new("secret"));
    let reference = "quay.io/a/b".parse().expect("a reference");
    let mirrors = vec!["https://mirror.example".to_owned(), "https://other.example".to_owned()];
    let options = HostOptions { mirrors, ..HostOptions::default() };
    let hosts = hosts_for(&reference, &options).expect("hosts");
    let mut found = Vec::new();
    for host in &hosts {
        found.push(credentials.for_host(host).await.expect("readable"));
    }
    assert_eq!(found, [basic("m", "m"), None, basic("me", "secret")]);
    assert!(!format!("{credentials:?}").contains("secret"));
}

/// A helper `docker-credential-fake` that runs `script`.
fn helper(script: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("docker-credential-fake");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    directory
}

async fn helped(text: &str, script: &str, registry: &str) -> Result<Option<Credential>, CredentialsError> {
    let (config, bin) = (config(text), helper(script));
    let path = format!("{}:/usr/bin:/bin", Path::new(bin.path()).display());
    Credentials::from_docker_config(config.path()).with_helper_path(path).for_host(&upstream(registry)).await
}

#[tokio::test]
async fn helpers_are_asked_as_docker_asks_them() {
    const ECHO: &str = r#"read server; printf '{"ServerURL":"x","Username":"%s","Secret":"%s"}' "$1" "$server""#;
    const STORE: &str = r#"{"credsStore":"fake"}"#;
    let cases = [
        (STORE, ECHO, "quay.io", basic("get", "quay.io")),
        (STORE, ECHO, "docker.io", basic("get", "https://index.docker.io/v1/")),
        (r#"{"credHelpers":{"quay.io":"fake"}}"#, ECHO, "quay.io", basic("get", "quay.io")),
        (r#"{"credHelpers":{"quay.io":"fake"}}"#, ECHO, "gcr.io", None),
        (r#"{"credHelpers":{"quay.io":"fake"},"credsStore":"absent"}"#, ECHO, "quay.io", basic("get", "quay.io")),
        (
            STORE,
            r#"echo '{"Username":"<token>","Secret":"t"}'"#,
            "quay.io",
            Some(Credential::Identity(Secret::new("t"))),
        ),
        (STORE, r#"echo '{"Username":"","Secret":""}'"#, "quay.io", None),
        (STORE, "echo credentials not found in native keychain; exit 1", "quay.io", None),
        (
            r#"{"credsStore":"fake","auths":{"quay.io":{"auth":"dXNlcjpwYXNz"}}}"#,
            "echo credentials not found in native keychain; exit 1",
            "quay.io",
            basic("user", "pass"),
        ),
    ];
    for (text, script, registry, expected) in cases {
        assert_eq!(helped(text, script, registry).await.expect(text), expected, "{text} {script}");
    }
}

#[tokio::test]
async fn helpers_that_fail_are_named() {
    const STORE: &str = r#"{"credsStore":"fake"}"#;
    let error = helped(STORE, "echo the vault is locked; exit 3", "quay.io").await.expect_err("failed");
    let text = error.to_string();
    assert!(
        text.contains("docker-credential-fake") && text.contains("3") && text.contains("vault is locked"),
        "{text}"
    );
    let error = helped(STORE, "echo hunter2", "quay.io").await.expect_err("no JSON");
    assert_eq!(error.to_string(), "the credential helper docker-credential-fake gave an unusable answer");
    let error = helped(r#"{"credsStore":"absent"}"#, "", "quay.io").await.expect_err("no such program");
    assert!(matches!(error, CredentialsError::HelperStart { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("docker-credential-absent")));
    helped(r#"{"credsStore":"../fake"}"#, "", "quay.io").await.expect_err("a path is not a name");
}

#[tokio::test]
async fn a_login_goes_to_its_audience_and_nobody_else() {
    let reference = "quay.io/a/b".parse().expect("a reference");
    let urls = ["https://tls.example", "http://plain.example", "http://127.0.0.1:5000", "https://localhost:5001"];
    let hosts_with = |skip_verify: bool| {
        let mirrors = urls.map(str::to_owned).into();
        hosts_for(&reference, &HostOptions { mirrors, skip_verify, ..HostOptions::default() }).expect("hosts")
    };
    let (verified, unverified) = (hosts_with(false), hosts_with(true));
    let server = |name: &str| Audience::Server(name.into());
    let all = [urls[0], urls[2], urls[3], "https://quay.io"];
    let cases = [
        (Audience::Registry, &verified, &all[3..]),
        (Audience::Hosts, &verified, &all[..]),
        (Audience::Hosts, &unverified, &all[1..]),
        (server("https://quay.io/v2/"), &verified, &all[3..]),
        (server("tls.example"), &verified, &all[..1]),
        // Whoever names it knows how it is reached.
        (server("http://plain.example"), &verified, &["http://plain.example"][..]),
        (server("https://elsewhere.example"), &verified, &[][..]),
    ];
    for (audience, hosts, expected) in cases {
        let credentials =
            Credentials::anonymous().with_login("me", Secret::new("secret")).for_audience(audience.clone());
        let mut given = Vec::new();
        for host in hosts {
            if credentials.for_host(host).await.expect("nothing is stored").is_some() {
                given.push(host.to_string());
            }
        }
        assert_eq!(given, expected, "{audience:?}");
    }
}

#[test]
fn who_has_the_same_login_for_others_is_somebody_else() {
    let login = || Credentials::anonymous().with_login("me", Secret::new("secret"));
    let askers = [Audience::Registry, Audience::Hosts, Audience::Server("quay.io".into())]
        .map(|audience| login().for_audience(audience).fingerprint());
    assert!(askers[0] != askers[1] && askers[1] != askers[2] && askers[0] != askers[2]);
    assert_eq!(Credentials::anonymous().for_audience(Audience::Hosts).fingerprint(), None);
}
