//! Trust: whom we believe, and what we show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::support::{Request, Response, Server, client};
use crate::core::error::{Classify as _, Kind};
use crate::registry::{
    ClientCertificate, Credentials, Host, HostOptions, Reason, RegistryError, Secret, Stage, hosts_for,
};

/// An authority made for one test.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.crt"), certificate.pem()).expect("written");
        Self { certificate, issuer: Issuer::new(params, key), directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    fn sign(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A client certificate and its key as files.
    fn client(&self) -> ClientCertificate {
        let (certificate, key) = self.sign("somebody");
        let (cert, key_file) = (self.directory.path().join("me.cert"), self.directory.path().join("me.key"));
        std::fs::write(&cert, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        ClientCertificate { cert, key: key_file }
    }
}

fn config(certificate: &Certificate, key: &KeyPair, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    Arc::new(builder.with_single_cert(chain, key).expect("a configuration"))
}

fn answer(config: Arc<ServerConfig>) -> Server {
    Server::tls(config, |_| Response::new(200).body("document"))
}

/// The server as hosts.toml would name it: with https://, and so verified also on loopback.
fn named(server: &Server, directory: &Path, lines: &str) -> Host {
    let place = directory.join(format!("127.0.0.1_{}_", server.port()));
    std::fs::create_dir_all(&place).expect("created");
    let text = format!("server = \"https://{}\"\n{lines}", server.authority());
    std::fs::write(place.join("hosts.toml"), text).expect("written");
    let options = HostOptions { hosts_dirs: vec![directory.into()], ..HostOptions::default() };
    super::support::host(&server.reference(), &options)
}

async fn pull(host: &Host, server: &Server) -> Result<(), RegistryError> {
    let client = client(Credentials::anonymous().with_login("user", Secret::new("hunter2")));
    client.manifest(host, &server.reference(), "latest").await.map(|reply| assert_eq!(reply.bytes, "document"))
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted_until_it_is_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let server = answer(config(&certificate, &key, None));
    let directory = tempfile::tempdir().expect("a directory");
    let error = pull(&named(&server, directory.path(), ""), &server).await.expect_err("unknown");
    assert_eq!((error.kind(), error.stage()), (Kind::TlsUntrusted, Stage::Tls), "{error}");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("--tlscacert") && hint.contains("hosts.toml"), "{hint}");
    assert!(server.requests().is_empty());

    let lines = format!("ca = {:?}", authority.file());
    pull(&named(&server, directory.path(), &lines), &server).await.expect("trusted");
    pull(&named(&server, directory.path(), "skip_verify = true"), &server).await.expect("not looked at");
}

#[tokio::test]
async fn a_loopback_registry_is_verified_where_an_authority_is_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let server = answer(config(&certificate, &key, None));
    let with =
        |ca: Vec<PathBuf>| super::support::host(&server.reference(), &HostOptions { ca, ..HostOptions::default() });
    pull(&with(Vec::new()), &server).await.expect("loopback is not verified");
    pull(&with(vec![authority.file()]), &server).await.expect("trusted");
    let stranger = Authority::new();
    let error = pull(&with(vec![stranger.file()]), &server).await.expect_err("another authority");
    assert_eq!(error.kind(), Kind::TlsUntrusted, "{error}");
}

#[tokio::test]
async fn the_name_must_fit() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("registry.example");
    let server = answer(config(&certificate, &key, None));
    let directory = tempfile::tempdir().expect("a directory");
    let lines = format!("ca = [{:?}]", authority.file());
    let error = pull(&named(&server, directory.path(), &lines), &server).await.expect_err("another name");
    assert_eq!(error.kind(), Kind::TlsUntrusted, "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_may_be_named_as_its_own_authority() {
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let server = answer(config(&certificate, &key, None));
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("self.pem"), certificate.pem()).expect("written");
        pull(&named(&server, directory.path(), "ca = \"../self.pem\""), &server).await.expect("trusted");
        let error = pull(&named(&server, directory.path(), ""), &server).await.expect_err("not named");
        assert_eq!(error.kind(), Kind::TlsUntrusted, "{error}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_named_is_still_for_its_own_host() {
    let mut params = CertificateParams::new(["registry.example".to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let server = answer(config(&certificate, &key, None));
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("self.pem"), certificate.pem()).expect("written");
    let error = pull(&named(&server, directory.path(), "ca = \"../self.pem\""), &server).await.expect_err("a name");
    assert_eq!(error.kind(), Kind::TlsUntrusted, "{error}");
}

/// One that asks for a client's certificate.
fn careful(authority: &Authority, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Server {
    let (certificate, key) = authority.sign("127.0.0.1");
    Server::tls(config(&certificate, &key, Some(authority)), answer)
}

/// The registry leads elsewhere, where our certificate is asked for in vain.
async fn assert_not_shown(authority: &Authority, registry: &Server, elsewhere: &Server) {
    let options =
        HostOptions { ca: vec![authority.file()], client: Some(authority.client()), ..HostOptions::default() };
    let host = super::support::host(&registry.reference(), &options);
    let error = pull(&host, registry).await.expect_err("it asks in vain");
    assert!(matches!(error.reason(), Reason::ClientCertificate { .. }), "{error}");
    assert_eq!((error.host(), registry.requests().len()), (elsewhere.authority().as_str(), 1));
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_client_certificate_does_not_follow_a_redirect() {
    let authority = Authority::new();
    let storage = careful(&authority, |_| Response::new(200));
    let there = format!("https://{}/blob", storage.authority());
    let registry = careful(&authority, move |_| Response::new(307).header("Location", there.clone()));
    assert_not_shown(&authority, &registry, &storage).await;
}

#[tokio::test]
async fn a_client_certificate_is_not_shown_to_a_token_server_elsewhere() {
    let authority = Authority::new();
    let tokens = careful(&authority, |_| Response::new(200));
    let realm = format!("Bearer realm=\"https://{}/token\"", tokens.authority());
    let registry = careful(&authority, move |_| Response::new(401).header("WWW-Authenticate", realm.clone()));
    assert_not_shown(&authority, &registry, &tokens).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_registry_only() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let server = answer(config(&certificate, &key, Some(&authority)));
    let directory = tempfile::tempdir().expect("a directory");
    let ca = format!("ca = {:?}\n", authority.file());
    let error = pull(&named(&server, directory.path(), &ca), &server).await.expect_err("nothing shown");
    assert!(matches!(error.reason(), Reason::ClientCertificate { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--tlscert")));

    let files = authority.client();
    let lines = format!("{ca}client = [[{:?}, {:?}]]", files.cert, files.key);
    pull(&named(&server, directory.path(), &lines), &server).await.expect("recognised");
    // As docker's directories of certificates have it.
    let place = authority.directory.path().join(format!("127.0.0.1:{}", server.port()));
    std::fs::create_dir(&place).expect("created");
    for (name, file) in [("ca.crt", authority.file()), ("me.cert", files.cert.clone()), ("me.key", files.key.clone())] {
        std::fs::copy(file, place.join(name)).expect("copied");
    }
    let options = HostOptions { hosts_dirs: vec![authority.directory.path().into()], ..HostOptions::default() };
    pull(&super::support::host(&server.reference(), &options), &server).await.expect("recognised");

    let options = HostOptions {
        ca: vec![authority.file()],
        client: Some(files),
        mirrors: vec![format!("https://localhost:{}", server.port())],
        ..HostOptions::default()
    };
    let hosts = hosts_for(&server.reference(), &options).expect("hosts");
    pull(&hosts[1], &server).await.expect("recognised");
    assert!(hosts[0].tls.identities.is_empty(), "the mirror does not learn who we are");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused_but_for_this_machine() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let here = Server::plain(|_| Response::new(200).body("document"));
    let directory = tempfile::tempdir().expect("a directory");
    let ca = format!("ca = {:?}", authority.file());
    for (target, allowed) in
        [(format!("http://{}/x", here.authority()), true), ("http://storage.example/x".into(), false)]
    {
        let server = Server::tls(config(&certificate, &key, None), move |_| {
            Response::new(307).header("Location", target.clone())
        });
        let result = pull(&named(&server, directory.path(), &ca), &server).await;
        match result {
            Ok(()) => assert!(allowed),
            Err(error) => assert!(!allowed && matches!(error.reason(), Reason::Redirect { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn plain_text_from_an_https_registry_is_named() {
    let server = Server::plain(|_| Response::new(400));
    let directory = tempfile::tempdir().expect("a directory");
    let error = pull(&named(&server, directory.path(), ""), &server).await.expect_err("no TLS there");
    assert!(matches!(error.reason(), Reason::PlainHttp), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--plain-http")));
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let server = Server::plain(|_| Response::new(400));
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("junk.pem"), "junk").expect("written");
    let error = pull(&named(&server, directory.path(), "ca = \"../junk.pem\""), &server).await.expect_err("junk");
    assert_eq!(error.kind(), Kind::InvalidConfiguration);
    assert!(error.to_string().contains("junk.pem holds no usable certificate"), "{error}");
}
