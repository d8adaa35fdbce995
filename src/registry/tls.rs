//! Whom we trust and who we are: settings and files become a rustls configuration.
//!
//! Trust is the system's store (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) plus the
//! authorities that were named. Settings hold the bytes of the files, not their names
//! only, so that a renewed certificate is a new setting and is noticed without a restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Whether the host's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verification {
    /// It must be valid for the host and signed by an authority that we trust.
    #[default]
    Full,
    /// Anything goes at this host, and at the storage that it redirects to (`skip_verify` of
    /// hosts.toml, loopback).
    SkipHere,
    /// Anything goes anywhere.
    Skip,
}

/// A PEM file that was read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem {
    /// Where it came from, for messages.
    pub path: PathBuf,
    /// What it holds; keys among it, so never printed.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.path).finish()
    }
}

/// A client certificate with its key; the same file may hold both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate and its chain.
    pub certificate: Pem,
    /// The private key.
    pub key: Pem,
}

/// How to speak TLS with one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsSettings {
    /// Whether its certificate counts.
    pub verification: Verification,
    /// Authorities beside the system's.
    pub authorities: Vec<Pem>,
    /// Who we are, where the host asks.
    pub identities: Vec<Identity>,
}

impl TlsSettings {
    /// The same trust without our identity, for a host that we were redirected to.
    pub(super) fn for_stranger(&self) -> Self {
        Self { identities: Vec::new(), ..self.clone() }
    }

    /// The same for a token server of another origin: what is not verified of the host still is of
    /// whoever gets its passwords.
    pub(super) fn for_token_server(&self) -> Self {
        let verification = match self.verification {
            Verification::SkipHere => Verification::Full,
            everywhere => everywhere,
        };
        Self { verification, ..self.for_stranger() }
    }
}

/// A certificate or key that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or without what it should hold.
    #[error("{path} holds no usable {what}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate`, `private key`.
        what: &'static str,
    },
    /// The TLS library does not take it.
    #[error("{path} cannot be used: {source}", path = path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// Neither the system nor the settings name an authority.
    #[error("no certificate authority is trusted on this node{0}")]
    NoAuthorities(String),
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Makes rustls configurations; reads the system's store once, when it is first needed.
pub(super) struct TlsFactory {
    provider: Arc<CryptoProvider>,
    system: OnceLock<(RootCertStore, String)>,
}

impl TlsFactory {
    pub(super) fn new() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), system: OnceLock::new() }
    }

    /// A configuration for `settings` that offers `alpn`.
    pub(super) fn client(&self, settings: &TlsSettings, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(settings)?);
        let mut config = match self.identities(settings)? {
            Some(resolver) => builder.with_client_cert_resolver(resolver),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    /// A configuration that trusts nobody, for clients that only speak plain http.
    pub(super) fn untrusting(&self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    }

    fn verifier(&self, settings: &TlsSettings) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        if settings.verification != Verification::Full {
            return Ok(Arc::new(AcceptAny(Arc::clone(&self.provider))));
        }
        let (mut roots, problems) = self.system.get_or_init(system_roots).clone();
        let mut pinned = Vec::new();
        for pem in &settings.authorities {
            for certificate in certificates(pem)? {
                roots
                    .add(certificate.clone())
                    .map_err(|source| TlsError::Rejected { path: pem.path.clone(), source })?;
                pinned.push(certificate);
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities(problems));
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|e| TlsError::Setup(rustls::Error::General(e.to_string())))?;
        Ok(Arc::new(Pinning { inner, pinned }))
    }

    fn identities(&self, settings: &TlsSettings) -> Result<Option<Arc<Identities>>, TlsError> {
        let mut keys = Vec::new();
        for Identity { certificate, key } in &settings.identities {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&key.bytes)
                .map_err(|_| TlsError::Pem { path: key.path.clone(), what: "private key" })?;
            let certified = CertifiedKey::from_der(chain, private, &self.provider)
                .map_err(|source| TlsError::Rejected { path: key.path.clone(), source })?;
            keys.push(Arc::new(certified));
        }
        Ok((!keys.is_empty()).then(|| Arc::new(Identities(keys))))
    }
}

/// The system's authorities, and what went wrong while reading them. One bad file among a
/// hundred must not keep us from the rest, so problems only show when nothing is left.
fn system_roots() -> (RootCertStore, String) {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    (roots, found.errors.first().map(|error| format!(": {error}")).unwrap_or_default())
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = || TlsError::Pem { path: pem.path.clone(), what: "certificate" };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem.bytes).collect::<Result<_, _>>().map_err(|_| bad())?;
    if found.is_empty() { Err(bad()) } else { Ok(found) }
}

/// Reads a PEM file of sane size.
pub(super) fn read_pem(path: &Path) -> std::io::Result<Pem> {
    Ok(Pem { path: path.into(), bytes: super::hosts::read_bounded(path)?.into() })
}

/// The ordinary verifier, which also accepts a host that presents exactly a certificate
/// that was named as authority. People name self-signed server certificates as `ca`, and
/// Go programs such as docker and containerd accept that.
#[derive(Debug)]
struct Pinning {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinning {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // An expired certificate stays expired; only its being an authority is forgiven.
        let forgivable = matches!(
            verdict,
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::UnknownIssuer))
        );
        if forgivable && self.pinned.iter().any(|pinned| pinned == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `skip_verify`: any certificate, for any name. The handshake's signatures still count,
/// which costs nothing and keeps the channel whole.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Our client certificates, of which the host gets the one that its authorities signed.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identities {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = || self.0.iter().filter(|key| key.key.choose_scheme(schemes).is_some());
        // A certificate holds its issuer's encoded name verbatim, so no parsing is needed.
        let named = |key: &CertifiedKey| {
            hints.iter().any(|hint| !hint.is_empty() && key.cert.iter().any(|der| contains(der, hint)))
        };
        usable().find(|key| named(key)).or_else(|| usable().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(text: &str) -> Pem {
        Pem { path: "some.pem".into(), bytes: text.as_bytes().into() }
    }

    #[test]
    fn unusable_files_are_named() {
        let factory = TlsFactory::new();
        let settings = TlsSettings { authorities: vec![pem("not PEM")], ..TlsSettings::default() };
        let error = factory.client(&settings, &[]).expect_err("no certificate");
        assert_eq!(error.to_string(), "some.pem holds no usable certificate");

        let pair = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
        let identity = Identity { certificate: pem(&pair.cert.pem()), key: pem("nothing") };
        let settings = TlsSettings { identities: vec![identity], ..TlsSettings::default() };
        let error = factory.client(&settings, &[]).expect_err("no key");
        assert_eq!(error.to_string(), "some.pem holds no usable private key");
    }

    #[test]
    fn keys_are_not_printed() {
        let identity = Identity { certificate: pem("CERT"), key: pem("KEY") };
        assert!(!format!("{identity:?}").contains("75, 69, 89"));
        assert!(format!("{identity:?}").contains("some.pem"));
    }

    #[test]
    fn the_identity_that_the_host_asks_for_wins() {
        let factory = TlsFactory::new();
        let identity = |name: &str| {
            let pair = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
            Identity { certificate: pem(&pair.cert.pem()), key: pem(&pair.signing_key.serialize_pem()) }
        };
        let settings =
            TlsSettings { identities: vec![identity("first"), identity("second")], ..TlsSettings::default() };
        let identities = factory.identities(&settings).expect("usable").expect("some");
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let second = &identities.0[1];
        let chosen = identities.resolve(&[b"second"], &schemes).expect("one");
        assert!(Arc::ptr_eq(&chosen, second));
        let chosen = identities.resolve(&[], &schemes).expect("one");
        assert!(Arc::ptr_eq(&chosen, &identities.0[0]));
        assert!(identities.resolve(&[], &[SignatureScheme::ED25519]).is_none());
    }
}
