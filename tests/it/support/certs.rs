//! Certificates for one test: an authority, and what it signed.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// A certificate authority that lives as long as its test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new authority; nobody trusts it unless told to.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names to refuse");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.self_signed(&key).expect("a self-signed certificate");
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// Writes the authority's certificate for those who shall trust it.
    pub(crate) fn write(&self, file: &Path) -> PathBuf {
        std::fs::write(file, &self.pem).expect("a writable temporary folder");
        file.to_path_buf()
    }

    /// A server certificate for the loopback names, in `dir`.
    pub(crate) fn server(&self, dir: &Path) -> Identity {
        self.sign(dir, "server", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate, in `dir`.
    pub(crate) fn client(&self, dir: &Path) -> Identity {
        self.sign(dir, "client", &["a-lighterman"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, dir: &Path, stem: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("well-formed names");
        params.distinguished_name.push(DnType::CommonName, stem);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        let files = Identity { certificate: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}.key")) };
        std::fs::write(&files.certificate, certificate.pem()).expect("a writable temporary folder");
        std::fs::write(&files.key, key.serialize_pem()).expect("a writable temporary folder");
        files
    }
}
