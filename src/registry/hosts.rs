//! Which remotes to ask for a reference, in which order, and how to speak to each.
//!
//! The order is: mirrors from the command line, the hosts of `hosts.toml` in the order of
//! the file, then its `server` or else the registry of the reference itself.
//!
//! Everything follows containerd (docs/hosts.md), but for these differences on purpose:
//! a malformed `hosts.toml` or an unknown capability is an error that names file and line
//! (containerd ignores the whole file), capabilities are honoured for every request, and a mirror
//! is pushed to only where its table grants `push` in so many words.
//!
//! **http or https.** https everywhere, with three exceptions: `--plain-http` and `http://`
//! in a file are taken at their word; a registry on a loopback address and a port other
//! than 80 and 443 may speak either, so TLS is tried first and http when the peer answers
//! in plain text; and, as in containerd, so may an `http://` host of `hosts.toml` that
//! has TLS settings and is not on port 80. Certificates of loopback registries are not
//! verified unless an authority was named, since no authority signs for localhost; a
//! loopback host that is written with `https://` in a file is verified like any other.
//!
//! **Identity.** A client certificate from the command line goes to the upstream host
//! only; authorities and `skip_verify` from there apply to every host.

mod directory;
mod file;

use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use reqwest::Url;

use super::reach::{Near, Reach};
use super::tls::{Identity, Pem, TlsSettings, Verification, read_pem};
use crate::core::error::{Blame, Classify, Kind};
use crate::core::reference::Reference;

/// Where docker.io really lives.
pub(super) const DOCKER_HUB: &str = "registry-1.docker.io";
/// Largest configuration or certificate file that is read. A bundle of every public
/// authority has 220 KiB.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS only.
    Https,
    /// Plain text only.
    Http,
    /// TLS, and plain text where the host turns out not to speak TLS.
    HttpsThenHttp,
}

impl Scheme {
    /// The scheme that is tried first.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https | Self::HttpsThenHttp => "https",
            Self::Http => "http",
        }
    }
}

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// What a tag stands for.
    Resolve,
    /// A manifest or blob by its digest.
    Pull,
    /// What refers to a manifest.
    Referrers,
    /// To take what is uploaded.
    Push,
}

/// What a host is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Content by digest.
    pub pull: bool,
    /// Tags to digests; only for hosts that are trusted to be up to date.
    pub resolve: bool,
    /// Uploads.
    pub push: bool,
    /// The referrers endpoint.
    pub referrers: bool,
}

impl Capabilities {
    /// Everything, which is the default.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true, referrers: true };
}

/// One remote, and everything needed to speak to it.
#[derive(Debug, Clone)]
pub struct Host {
    /// TLS or not.
    pub scheme: Scheme,
    /// `host[:port]`.
    pub authority: String,
    /// What comes before the repository: `/v2`, or anything with `override_path`.
    pub path: String,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// Headers that go with every request to it, and nowhere else.
    pub headers: HeaderMap,
    /// Trust and identity.
    pub tls: TlsSettings,
    /// Bound on connecting; `None` for the default.
    pub dial_timeout: Option<Duration>,
    /// For a mirror: the registry that it stands in for, sent as `ns=`.
    pub namespace: Option<String>,
    /// Named by the command line or by a hosts.toml, and not only by the reference.
    pub is_configured: bool,
    /// Where it may be.
    pub reach: Reach,
    /// On whose behalf it is asked (RFC 9110, section 7.6.3). No secret: it goes along wherever the
    /// host leads us, so that a way back to ourselves is noticed.
    pub via: Option<HeaderValue>,
}

impl Host {
    /// Whether this host may be asked.
    #[must_use]
    pub fn can(&self, operation: Operation) -> bool {
        match operation {
            Operation::Resolve => self.capabilities.resolve,
            Operation::Pull => self.capabilities.pull,
            Operation::Referrers => self.capabilities.referrers,
            Operation::Push => self.capabilities.push,
        }
    }

    /// Whether this is the registry that the reference names, not a mirror of it.
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        self.namespace.is_none()
    }

    /// Whether it is at one of these addresses of this machine.
    #[must_use]
    pub fn is_at(&self, own: &[SocketAddr]) -> bool {
        let (host, port) = split_authority(&self.authority);
        let usual = if self.scheme == Scheme::Http { 80 } else { 443 };
        let port = port.unwrap_or(usual);
        let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        own.iter().filter(|own| own.port() == port).any(|own| match literal {
            Ok(address) => address == own.ip() || (is_local(address) && is_local(own.ip())),
            Err(_) => host.eq_ignore_ascii_case("localhost") && is_local(own.ip()),
        })
    }

    /// Whether nobody on the way can read what it is told: it is on this machine, or behind TLS that
    /// is verified.
    #[must_use]
    pub fn keeps_secrets(&self) -> bool {
        let verified = self.scheme == Scheme::Https && self.tls.verification == Verification::Full;
        verified || self.is_loopback()
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.name())
    }

    /// The authority without its port.
    pub(super) fn name(&self) -> &str {
        split_authority(&self.authority).0
    }

    /// Where somebody may be whom it leads us to by this URL of another origin. An operator who
    /// describes a host has said where its name leads, whatever the port.
    pub(super) fn reach_of_others(&self, url: &Url) -> Reach {
        let is_namesake = url.host_str().is_some_and(|name| name.eq_ignore_ascii_case(self.name()));
        match self.reach {
            Reach::Anywhere if self.is_configured && is_namesake => Reach::Anywhere,
            Reach::Anywhere => Reach::Elsewhere(self.near()),
            narrower => narrower,
        }
    }

    /// How near it is itself, as far as its name says so.
    fn near(&self) -> Option<Near> {
        let address = self.name().trim_start_matches('[').trim_end_matches(']');
        if self.is_loopback() { Some(Near::Node) } else { address.parse().ok().and_then(Near::of) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

/// A client certificate and its key, by file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// What the command line or the configuration says about hosts.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Directories in containerd's `certs.d` layout; the first that has one for the registry wins.
    pub hosts_dirs: Vec<PathBuf>,
    /// Mirrors to try before everything else, as URLs or `host[:port]`.
    pub mirrors: Vec<String>,
    /// The registry itself speaks plain HTTP.
    pub plain_http: bool,
    /// Do not verify certificates, but where hosts.toml says `skip_verify = false`.
    pub skip_verify: bool,
    /// Further authorities, PEM.
    pub ca: Vec<PathBuf>,
    /// Who we are to the registry.
    pub client: Option<ClientCertificate>,
    /// Where this process listens itself: no file leads it there.
    pub own: Vec<SocketAddr>,
}

/// Why the hosts of a reference cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// A mirror that is not a URL.
    #[error("mirror {url:?}: {problem}")]
    Mirror {
        /// As given.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A hosts.toml that says something else than hosts.
    #[error("{path}:{line}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Classify for HostsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Mirror { .. } => Kind::InvalidArgument,
            Self::Read { .. } | Self::Malformed { .. } => Kind::InvalidConfiguration,
        }
    }

    fn blame(&self) -> Blame {
        self.kind().blame()
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Mirror { .. } => "mirrors look like https://mirror.example or mirror.example:5000/path".into(),
            Self::Read { .. } => "check the path and its permissions".into(),
            Self::Malformed { path, .. } => format!(
                "correct {}; its format is that of containerd (docs/hosts.md), which would ignore the whole file",
                path.display()
            ),
        })
    }
}

/// Where a host is, as a URL in a file or on the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    scheme: Scheme,
    authority: String,
    path: String,
}

/// A host as hosts.toml or a directory of certificates describes it.
#[derive(Debug, Clone, Default)]
struct Entry {
    /// `None` for the registry of the reference itself.
    endpoint: Option<Endpoint>,
    /// Stands beside the registry, and not in its place as `server` does.
    is_mirror: bool,
    capabilities: Option<Capabilities>,
    headers: HeaderMap,
    authorities: Vec<Pem>,
    identities: Vec<Identity>,
    skip_verify: Option<bool>,
    dial_timeout: Option<Duration>,
}

/// The hosts to ask for `reference`, in order.
///
/// # Errors
/// [`HostsError`] where a mirror is not a URL or a file cannot be read or understood.
pub fn hosts_for(reference: &Reference, options: &HostOptions) -> Result<Vec<Host>, HostsError> {
    let common = Common::read(options)?;
    let registry = reference.registry();
    let mut entries = Vec::new();
    for url in &options.mirrors {
        let endpoint =
            mirror(url, options.plain_http).map_err(|problem| HostsError::Mirror { url: redacted(url), problem })?;
        entries.push(Entry { endpoint: Some(endpoint), is_mirror: true, ..Entry::default() });
    }
    entries.extend(directory::entries(&options.hosts_dirs, registry)?.unwrap_or_else(|| vec![Entry::default()]));
    let hosts = entries.into_iter().map(|entry| complete(entry, registry, &common));
    Ok(hosts.filter(|host| host.is_upstream() || !host.is_at(&options.own)).collect())
}

/// What the options say about every host, with the files read.
struct Common {
    plain_http: bool,
    skip_verify: bool,
    authorities: Vec<Pem>,
    identity: Option<Identity>,
}

impl Common {
    fn read(options: &HostOptions) -> Result<Self, HostsError> {
        let authorities = options.ca.iter().map(|path| pem(path)).collect::<Result<_, _>>()?;
        let identity = match &options.client {
            Some(files) => Some(Identity { certificate: pem(&files.cert)?, key: pem(&files.key)? }),
            None => None,
        };
        Ok(Self { plain_http: options.plain_http, skip_verify: options.skip_verify, authorities, identity })
    }
}

/// Fills in what the entry leaves open.
fn complete(entry: Entry, registry: &str, common: &Common) -> Host {
    let told = entry.endpoint.is_some();
    let tls_told = !entry.authorities.is_empty() || !entry.identities.is_empty() || entry.skip_verify.is_some();
    let mut endpoint = entry.endpoint.unwrap_or_else(|| upstream(registry, common.plain_http));
    let (host, port) = split_authority(&endpoint.authority);
    if told && endpoint.scheme == Scheme::Http && tls_told && port != Some(80) {
        endpoint.scheme = Scheme::HttpsThenHttp;
    }
    let authorities = [common.authorities.clone(), entry.authorities].concat();
    let unsigned = !told && is_loopback(host) && authorities.is_empty();
    let verification = match entry.skip_verify {
        Some(false) => Verification::Full,
        _ if common.skip_verify => Verification::Skip,
        None if !unsigned => Verification::Full,
        _ => Verification::SkipHere,
    };
    let namespace = (!is_same_registry(registry, &endpoint.authority)).then(|| registry.to_owned());
    let mut identities = entry.identities;
    if namespace.is_none() {
        identities.extend(common.identity.clone());
    }
    // What is uploaded to a mirror by accident, the registry never gets.
    let usual = Capabilities { push: !entry.is_mirror || namespace.is_none(), ..Capabilities::ALL };
    Host {
        scheme: endpoint.scheme,
        authority: endpoint.authority,
        path: endpoint.path,
        // containerd ignores capabilities beside an absent `server`: the registry itself can do everything.
        capabilities: entry.capabilities.filter(|_| told).unwrap_or(usual),
        headers: entry.headers,
        tls: TlsSettings { verification, authorities, identities },
        dial_timeout: entry.dial_timeout,
        namespace,
        is_configured: told,
        reach: Reach::Anywhere,
        via: None,
    }
}

/// The registry that a reference names.
fn upstream(registry: &str, plain_http: bool) -> Endpoint {
    let authority = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let (host, port) = split_authority(authority);
    let scheme = match port {
        _ if plain_http => Scheme::Http,
        None | Some(443) => Scheme::Https,
        Some(80) if is_loopback(host) => Scheme::Http,
        Some(_) if is_loopback(host) => Scheme::HttpsThenHttp,
        Some(_) => Scheme::Https,
    };
    Endpoint { scheme, authority: authority.into(), path: "/v2".into() }
}

/// A mirror of the command line; without scheme it is treated as a registry of that name would be.
fn mirror(text: &str, plain_http: bool) -> Result<Endpoint, &'static str> {
    let mut endpoint = Endpoint::parse(text, PathRule::Standard)?;
    if !text.contains("://") {
        endpoint.scheme = upstream(&endpoint.authority, plain_http).scheme;
    }
    Ok(endpoint)
}

/// Whether `/v2` belongs at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathRule {
    /// It does; it is added where it is missing.
    Standard,
    /// The path is as the operator says (`override_path`).
    AsGiven,
}

impl Endpoint {
    /// Reads `[scheme://]host[:port][/path]`; https where no scheme is given.
    fn parse(text: &str, rule: PathRule) -> Result<Self, &'static str> {
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).map_err(|_| "not a URL")?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err("the scheme must be http or https"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials do not belong in a URL; use docker login");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a host has no query and no fragment");
        }
        // `Url` drops the scheme's own port, which is the same place under a shorter name.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing")?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        // `Url` takes characters that no request can have, and would fail then and there.
        if authority.parse::<http::uri::Authority>().is_err() {
            return Err("no host has such a name");
        }
        // `Url` has resolved dots already; empty segments and the last slash are left.
        let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let mut path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if rule == PathRule::Standard && segments.last() != Some(&"v2") {
            path.push_str("/v2");
        }
        Ok(Self { scheme, authority, path })
    }
}

/// Whether `authority` is the registry called `registry`, docker.io's two names included.
fn is_same_registry(registry: &str, authority: &str) -> bool {
    registry == authority || (registry == "docker.io" && authority == DOCKER_HUB)
}

/// A URL for a message: without what stands before an `@`.
fn redacted(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, rest)| format!("…@{rest}"))
}

/// `host[:port]` in its parts; a port that is not a number is part of the host.
pub(super) fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

/// `localhost`, 127.0.0.0/8 and `[::1]`.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn pem(path: &Path) -> Result<Pem, HostsError> {
    read_pem(path).map_err(|source| HostsError::Read { path: path.into(), source })
}

/// A whole file, unless it is absurdly large.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
