//! Debian's docker-registry (CNCF Distribution 2.8), each test its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::certs::{Authority, Identity};
use super::fixture::{Image, base64};
use super::remote::{Passport, Remote};
use super::token::TokenServer;
use super::tool;

/// The user whom the registry with Basic authentication knows.
pub(crate) const USER: &str = "porter";
/// Their password.
pub(crate) const PASSWORD: &str = "plank-and-rope";
/// `htpasswd -nbBC 5` of the two.
const HTPASSWD: &str = "porter:$2y$05$FD3TlkMUJdvIkPXU2ixiLeJeDwuVZxWhlDet0iwGj.5HQdiykOOIe\n";

/// A running registry; it ends, and its storage goes, when this is dropped.
pub(crate) struct Registry {
    child: Child,
    address: String,
    dir: TempDir,
    ca: Option<PathBuf>,
    client: Option<Identity>,
    authorization: Option<String>,
    access_log: Option<JoinHandle<Vec<String>>>,
}

impl Registry {
    /// Plain HTTP, open to everybody.
    pub(crate) fn plain() -> Self {
        Self::start(new_dir(), "", "")
    }

    /// HTTPS with a certificate of an authority that the system does not trust; see [`Registry::ca`].
    pub(crate) fn tls() -> Self {
        let dir = new_dir();
        let (ca, http) = tls_settings(dir.path(), "");
        let mut registry = Self::start(dir, &http, "");
        registry.ca = Some(ca);
        registry
    }

    /// HTTPS that only serves who shows a certificate; see [`Registry::client`].
    pub(crate) fn mutual_tls() -> Self {
        let dir = new_dir();
        let clients = Authority::new("lighterman test clients");
        let trusted = clients.write(&dir.path().join("clients.pem"));
        let identity = clients.client(dir.path());
        let (ca, http) = tls_settings(dir.path(), &format!(", clientcas: [{}]", trusted.display()));
        let mut registry = Self::start(dir, &http, "");
        (registry.ca, registry.client) = (Some(ca), Some(identity));
        registry
    }

    /// HTTP Basic authentication: [`USER`] and [`PASSWORD`].
    pub(crate) fn basic() -> Self {
        let dir = new_dir();
        let users = dir.path().join("htpasswd");
        std::fs::write(&users, HTPASSWD).expect("a writable temporary folder");
        let auth = format!("auth: {{htpasswd: {{realm: quay, path: {}}}}}\n", users.display());
        let authorization = format!("Basic {}", base64(&format!("{USER}:{PASSWORD}")));
        let mut registry = Self::start(dir, "", &auth);
        registry.authorization = Some(authorization);
        registry
    }

    /// Bearer tokens from `tokens`.
    pub(crate) fn token(tokens: &TokenServer) -> Self {
        let dir = new_dir();
        let bundle = dir.path().join("tokens.pem");
        std::fs::write(&bundle, tokens.certificate()).expect("a writable temporary folder");
        let auth = format!(
            "auth: {{token: {{realm: \"{}\", service: {}, issuer: {}, rootcertbundle: {}}}}}\n",
            tokens.realm(),
            TokenServer::SERVICE,
            TokenServer::ISSUER,
            bundle.display()
        );
        let mut registry = Self::start(dir, "", &auth);
        registry.authorization = Some(format!("Bearer {}", tokens.master_key()));
        registry
    }

    /// The same registry, with what it has, in its maintenance mode: it takes nothing. It has
    /// another address.
    pub(crate) fn read_only(mut self) -> Self {
        self.end();
        let dir = std::mem::replace(&mut self.dir, new_dir());
        Self::start_with(dir, ", maintenance: {readonly: {enabled: true}}", "", "")
    }

    fn start(dir: TempDir, http: &str, auth: &str) -> Self {
        Self::start_with(dir, "", http, auth)
    }

    fn start_with(dir: TempDir, more: &str, http: &str, auth: &str) -> Self {
        let storage = dir.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage: {{filesystem: {{rootdirectory: {}}}{more}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: not-a-secret{http}}}\n{auth}",
            storage.display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).expect("a writable temporary folder");
        let program = tool("docker-registry", "docker-registry");
        // The kernel ends the registry with us, however we end.
        let mut child = Command::new(tool("setpriv", "util-linux"))
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg("serve")
            .arg(&file)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let access_log = child.stdout.take().expect("a pipe");
        let address = listening_address(child.stderr.take().expect("a pipe"));
        let access_log = std::thread::spawn(|| BufReader::new(access_log).lines().map_while(Result::ok).collect());
        Self { child, address, dir, ca: None, client: None, authorization: None, access_log: Some(access_log) }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The full reference of an image here.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The authority that signed the registry's certificate.
    pub(crate) fn ca(&self) -> &Path {
        self.ca.as_deref().expect("a registry with TLS")
    }

    /// A certificate that a registry with mutual TLS lets in.
    pub(crate) fn client(&self) -> &Identity {
        self.client.as_ref().expect("a registry with mutual TLS")
    }

    /// The tests' own client, with every right.
    pub(crate) fn remote(&self) -> Remote {
        let passport = Passport {
            ca: self.ca.as_deref(),
            identity: self.client.as_ref(),
            authorization: self.authorization.clone(),
        };
        Remote::new(&self.address, passport)
    }

    /// Pushes an image and returns its full reference. `name` is `repository:tag`.
    pub(crate) fn push(&self, image: &Image, name: &str) -> String {
        let (repository, tag) = name.split_once(':').expect("repository:tag");
        self.remote().push(image, repository, tag);
        self.reference(name)
    }

    /// Loses a blob, so that only who has it already can do without it.
    pub(crate) fn lose_blob(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
        let blob = format!("storage/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        std::fs::remove_file(self.dir.path().join(blob)).expect("the registry had the blob");
    }

    /// Ends the registry and returns its access log, which is only complete then.
    pub(crate) fn stop(mut self) -> AccessLog {
        self.end();
        AccessLog(self.access_log.take().expect("stopped once").join().expect("the log reader"))
    }

    fn end(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}

/// What was asked of a registry, one combined-log line per request.
pub(crate) struct AccessLog(Vec<String>);

impl AccessLog {
    /// How many requests had this method and this text in their path.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.matching(method, part).count()
    }

    fn matching<'a>(&'a self, method: &'a str, part: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |line| {
            let mut request = line.split('"').nth(1).unwrap_or_default().split(' ');
            request.next() == Some(method) && request.next().is_some_and(|path| path.contains(part))
        })
    }
}

fn new_dir() -> TempDir {
    tempfile::Builder::new().prefix("lighterman-registry-").tempdir().expect("a temporary folder")
}

fn tls_settings(dir: &Path, more: &str) -> (PathBuf, String) {
    let authority = Authority::new("lighterman test servers");
    let server = authority.server(dir);
    let ca = authority.write(&dir.join("ca.pem"));
    (ca, format!(", tls: {{certificate: {}, key: {}{more}}}", server.certificate.display(), server.key.display()))
}

/// Reads the registry's log up to the line that names its port, then goes on draining it.
fn listening_address(log: impl Read + Send + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let address = line.split("listening on ").nth(1).map(|rest| rest.split([',', '"']).next().unwrap_or(rest));
            if let Some(address) = address {
                // Nobody listens any more after the first.
                let _ = sender.send(Ok(address.to_owned()));
            }
            said.push_str(&line);
            said.push('\n');
        }
        let _ = sender.send(Err(said));
    });
    match receiver.recv().expect("the log reader") {
        Ok(address) => address,
        Err(said) => panic!("docker-registry ended before it listened:\n{said}"),
    }
}
