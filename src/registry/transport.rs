//! Sending one request and following where it leads: the pool, TLS, proxies, redirects.
//!
//! One connection pool per distinct TLS and dial setting, shared by everything. Documents
//! and tokens speak HTTP/2 where the host offers it; blobs speak HTTP/1.1, where several
//! connections carry more than one connection's flow-control window would.
//!
//! **What goes where.** Redirects are followed here and not by the HTTP library. As soon
//! as one leads to another origin (scheme, host or port), the `Authorization` header, the
//! headers of hosts.toml and our client certificate stay behind, for good: a later hop
//! back does not bring them back. Whom we trust (authorities, `skip_verify`) stays the same,
//! as in containerd, since a registry and its storage often share an authority. https is never
//! left for http, unless both are on this machine. Requests to loopback hosts do not go through a
//! proxy, as in Go programs. Every hop, token servers and places of uploads included, has to be
//! within the [`Reach`] that the host and those have whom it leads to, and to name no user.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{LOCATION, VIA};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Response, Url, redirect};
use rustls::{AlertDescription, InvalidMessage};

use super::content::Content;
use super::dial;
use super::error::{Reason, RegistryError, Stage};
use super::hosts::{Host, Scheme, is_loopback};
use super::pace::Pace;
use super::plain::PlainHosts;
use super::reach::{Names, OutOfReach, Reach};
use super::reply;
use super::tls::{TlsFactory, TlsSettings};

/// Bound on finding, reaching and greeting a host where hosts.toml sets none; containerd's.
const CONNECT: Duration = Duration::from_secs(30);
/// The same for a mirror: another host is left to ask, so that less time is lost by going there.
const CONNECT_MIRROR: Duration = Duration::from_secs(10);
/// Bound on the wait for a body that only serves a message, or a connection's being used again.
const MESSAGE: Duration = Duration::from_secs(5);
/// Bound on a whole document, so that one that trickles ends too; 4 MiB at 35 kB/s.
const DOCUMENT: Duration = Duration::from_secs(120);
/// Idle connections kept per host: as many as the engine opens in all.
const IDLE_CONNECTIONS: usize = 32;
/// How long they are kept. Load balancers drop idle connections after 60 s and more.
const IDLE_KEPT: Duration = Duration::from_secs(30);
/// Sent with every request, so that operators of registries know whom to ask.
const USER_AGENT: &str = concat!("lighterman/", env!("CARGO_PKG_VERSION"));

/// Which kind of connection a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Small replies, many at a time: HTTP/2 where offered.
    Documents,
    /// Bulk: HTTP/1.1.
    Blobs,
}

/// A request before it is sent.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    /// Whose trust, identity and timeouts apply.
    pub(super) host: &'a Host,
    /// What is asked for, in words for errors.
    pub(super) subject: &'a str,
    pub(super) lane: Lane,
    pub(super) method: Method,
    pub(super) url: Url,
    /// Whether `url` is another origin than the host's: a redirect's target that was kept.
    pub(super) strange: bool,
    /// Headers that may go anywhere.
    pub(super) headers: HeaderMap,
    /// Headers for the origin of `url` only.
    pub(super) private: HeaderMap,
    /// The body.
    pub(super) content: Content,
    /// How long the head of the reply may take, once the host is reached.
    pub(super) patience: Duration,
}

/// A reply, with the name of who gave it.
pub(super) struct Reply {
    pub(super) response: Response,
    /// `host[:port]` that answered in the end.
    pub(super) from: String,
    /// What was asked in the end; it may be signed, and is in no message.
    pub(super) url: Url,
    /// Whether that is another origin than the one first asked.
    pub(super) strange: bool,
}

/// What tells one reqwest client from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    lane: Lane,
    /// `None` for plain http, which needs no trust store.
    tls: Option<TlsSettings>,
    dial: Duration,
    /// Past any proxy.
    direct: bool,
    reach: Reach,
}

/// The pool.
pub(super) struct Transport {
    factory: TlsFactory,
    clients: Mutex<HashMap<Key, reqwest::Client>>,
    /// Of those that may speak either.
    plain: PlainHosts,
    redirects: usize,
}

impl Transport {
    pub(super) fn new(redirects: usize) -> Self {
        Self { factory: TlsFactory::new(), clients: Mutex::default(), plain: PlainHosts::default(), redirects }
    }

    /// The scheme that `host` is spoken to with, as far as is known.
    pub(super) fn scheme(&self, host: &Host) -> &'static str {
        let is_plain = host.scheme == Scheme::HttpsThenHttp && self.plain.knows(&host.authority);
        if is_plain { "http" } else { host.scheme.as_str() }
    }

    /// Sends a request to its host, in plain text if that is all the host speaks and it may.
    pub(super) async fn send_to_host(&self, outgoing: &Outgoing<'_>) -> Result<Reply, RegistryError> {
        let result = self.send(outgoing).await;
        let Err(error) = &result else { return result };
        if !speaks_no_tls(error)
            || outgoing.host.scheme != Scheme::HttpsThenHttp
            || error.host() != outgoing.host.authority
        {
            return result;
        }
        self.plain.note(&outgoing.host.authority);
        let mut url = outgoing.url.clone();
        if url.set_scheme("http").is_err() {
            return result;
        }
        let again = Outgoing {
            url,
            headers: outgoing.headers.clone(),
            private: outgoing.private.clone(),
            method: outgoing.method.clone(),
            content: outgoing.content.clone(),
            ..*outgoing
        };
        self.send(&again).await
    }

    /// Sends a request to its URL and follows redirects: of GET and HEAD all, of PUT those that
    /// say that the same request belongs elsewhere, and none of others.
    pub(super) async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Reply, RegistryError> {
        let mut url = outgoing.url.clone();
        let mut strange = outgoing.strange;
        for _ in 0..=self.redirects {
            let response = self.one(outgoing, &url, strange).await?;
            let from = authority(&url);
            let fail = |to: String, problem| {
                RegistryError::new(&from, outgoing.subject, Stage::Request, Reason::Redirect { to, problem })
            };
            if !follows(outgoing, response.status()) {
                return Ok(Reply { response, from, url, strange });
            }
            let next = target(outgoing.host, &url, response.headers()).map_err(|(to, problem)| fail(to, problem))?;
            // Reading the rest lets the connection be used again.
            read_some(response, REDIRECT_BODY).await;
            strange |= next.origin() != outgoing.url.origin();
            url = next;
        }
        let reason = Reason::Redirect { to: authority(&url), problem: "there were too many before it" };
        Err(RegistryError::new(authority(&outgoing.url), outgoing.subject, Stage::Request, reason))
    }

    async fn one(&self, outgoing: &Outgoing<'_>, url: &Url, strange: bool) -> Result<Response, RegistryError> {
        let from = authority(url);
        let failed = |stage, reason| RegistryError::new(&from, outgoing.subject, stage, reason);
        let reach = self.reach(outgoing.host, url);
        reach.judge(url).await.map_err(|barred| failed(Stage::Setup, barred.into()))?;
        let key = self.key(outgoing, url, strange);
        let connect = key.dial;
        let client = self.client(key).map_err(|reason| failed(Stage::Setup, reason))?;
        let mut headers = outgoing.headers.clone();
        if !strange {
            headers.extend(outgoing.private.clone());
        }
        headers.extend(outgoing.host.via.clone().map(|via| (VIA, via)));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let sent = Arc::<AtomicU64>::default();
        let request = client.request(outgoing.method.clone(), url.clone()).headers(headers);
        let request = outgoing.content.attach(request, &sent);
        // Storage may sign in the path as well.
        let path = if strange { "(not shown)" } else { url.path() };
        tracing::debug!(method = %outgoing.method, host = %from, path, "request");
        match dial::within(outgoing.patience, &sent, request.send()).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => {
                let (stage, reason) = diagnose(error, Stage::Request, connect);
                Err(failed(stage, reason))
            }
            None => Err(failed(Stage::Request, Reason::Timeout { after: outgoing.patience })),
        }
    }

    fn key(&self, outgoing: &Outgoing<'_>, url: &Url, strange: bool) -> Key {
        let settings = &outgoing.host.tls;
        let tls = (url.scheme() == "https").then(|| if strange { settings.for_stranger() } else { settings.clone() });
        let dial = dial_timeout(outgoing.host);
        Key { lane: outgoing.lane, tls, dial, direct: is_local(url), reach: self.reach(outgoing.host, url) }
    }

    fn reach(&self, host: &Host, url: &Url) -> Reach {
        if self.is_home(host, url) { host.reach } else { host.reach_of_others(url) }
    }

    /// Whether a URL is of the host's own origin.
    pub(super) fn is_home(&self, host: &Host, url: &Url) -> bool {
        let home = Url::parse(&format!("{}://{}", self.scheme(host), host.authority));
        home.is_ok_and(|home| home.origin() == url.origin())
    }

    fn client(&self, key: Key) -> Result<reqwest::Client, Reason> {
        // Whole after any panic: every change is one insertion.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, key: &Key) -> Result<reqwest::Client, Reason> {
        let alpn: &[&[u8]] = match key.lane {
            Lane::Documents => &[b"h2", b"http/1.1"],
            Lane::Blobs => &[b"http/1.1"],
        };
        let tls = match &key.tls {
            Some(settings) => self.factory.client(settings, alpn)?,
            None => self.factory.untrusting()?,
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(key.dial)
            .connector_layer(dial::TimeDials)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_KEPT);
        if key.lane == Lane::Blobs || key.tls.is_none() {
            builder = builder.http1_only();
        }
        if key.direct {
            builder = builder.no_proxy();
        }
        if key.reach != Reach::Anywhere {
            builder = builder.dns_resolver(Arc::new(Names(key.reach)));
        }
        builder.build().map_err(|error| Reason::Network { source: Arc::new(error.without_url()) })
    }
}

/// Whether the peer answered a TLS greeting in plain text, or hung up on it.
fn speaks_no_tls(error: &RegistryError) -> bool {
    match error.reason() {
        Reason::PlainHttp => true,
        Reason::Network { source } if error.stage() == Stage::Connect => chain(&**source)
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)),
        _ => false,
    }
}

/// Of a redirect's body this much is read; bodies are a line of HTML.
const REDIRECT_BODY: usize = 4096;

fn follows(outgoing: &Outgoing<'_>, status: StatusCode) -> bool {
    match outgoing.method {
        Method::GET | Method::HEAD => matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308),
        Method::PUT => matches!(status.as_u16(), 307 | 308),
        // The body of a POST may hold a password.
        _ => false,
    }
}

/// Where a `Location` of a URL leads to which `host` has brought us, or what is wrong with it and
/// its host or text.
pub(super) fn target(host: &Host, url: &Url, headers: &HeaderMap) -> Result<Url, (String, &'static str)> {
    let text =
        headers.get(LOCATION).and_then(|value| value.to_str().ok()).ok_or(("nowhere".to_owned(), "no Location"))?;
    // The text may hold a signed URL, so that only its host is fit for a message.
    let next = url.join(text).map_err(|_| ("a malformed URL".to_owned(), "not a URL"))?;
    let stays_here = host.is_loopback() && is_local(&next);
    match next.scheme() {
        "http" if url.scheme() == "https" && !stays_here => Err((authority(&next), "it leaves https for http")),
        // The HTTP library would log in there as whoever the registry wants us to be.
        _ if names_user(&next) => Err((authority(&next), "it names a user")),
        "http" | "https" if next.has_host() => Ok(next),
        scheme => Err((reply::clean(scheme), "neither http nor https")),
    }
}

/// `host[:port]` of a URL, for messages: no user, path or query.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a URL says as whom to log in.
pub(super) fn names_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn is_local(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// Up to `limit` bytes of a body that only serves a message, or as much as comes in time.
pub(super) async fn read_some(mut response: Response, limit: usize) -> Bytes {
    let mut body = BytesMut::new();
    let reading = async {
        while body.len() < limit
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
        }
    };
    // What has come so far serves as well.
    let _ = tokio::time::timeout(MESSAGE, reading).await;
    body.freeze()
}

/// A body of at most `limit` bytes that comes at its pace.
pub(super) async fn read_all(mut response: Response, limit: u64, mut pace: Pace) -> Result<Bytes, (Stage, Reason)> {
    let too_large = || (Stage::Body, Reason::TooLarge { limit });
    if reply::content_length(response.headers()).is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = next_chunk(&mut response, &mut pace).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let late = |_| Err((Stage::Body, Reason::Timeout { after: DOCUMENT }));
    tokio::time::timeout(DOCUMENT, reading).await.unwrap_or_else(late)
}

/// The next bytes of a body that comes at its pace; `None` at its end.
pub(super) async fn next_chunk(response: &mut Response, pace: &mut Pace) -> Result<Option<Bytes>, (Stage, Reason)> {
    let asked = Instant::now();
    let arrived = tokio::time::timeout(pace.patience(), response.chunk()).await;
    let length = arrived.as_ref().ok().and_then(|chunk| Some(chunk.as_ref().ok()?.as_ref()?.len()));
    pace.note(asked.elapsed(), length.unwrap_or_default() as u64);
    match arrived {
        Ok(chunk) => chunk.map_err(|error| diagnose(error, Stage::Body, pace.window())),
        Err(_) => Err((Stage::Body, Reason::Stalled { rate: pace.rate(), over: pace.window() })),
    }
}

/// What an error of the HTTP library means; `bound` is what a timeout of its own would have been.
fn diagnose(error: reqwest::Error, stage: Stage, bound: Duration) -> (Stage, Reason) {
    // URLs of blobs are signed, so they must not end up in messages.
    let error = error.without_url();
    if let Some(source) = tls_error(&error) {
        return (Stage::Tls, tls_reason(source.clone()));
    }
    if let Some(barred) = chain(&error).find_map(|error| error.downcast_ref::<OutOfReach>()) {
        return (Stage::Dns, barred.clone().into());
    }
    let stage = if error.is_dns() {
        Stage::Dns
    } else if error.is_connect() {
        Stage::Connect
    } else {
        stage
    };
    if error.is_timeout() {
        return (stage, Reason::Timeout { after: bound });
    }
    (stage, Reason::Network { source: Arc::new(error) })
}

impl From<OutOfReach> for Reason {
    fn from(OutOfReach { place, reach }: OutOfReach) -> Self {
        match reach {
            Reach::Elsewhere(_) => Self::Misled { place },
            Reach::Public | Reach::Anywhere => Self::NotPublic { place },
        }
    }
}

fn tls_reason(source: rustls::Error) -> Reason {
    use AlertDescription as Alert;
    match source {
        rustls::Error::InvalidCertificate(_) => Reason::Untrusted { source },
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Reason::PlainHttp,
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate,
        ) => Reason::ClientCertificate { source },
        source => Reason::Tls { source },
    }
}

/// The TLS library's error within another.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// An error and all that it wraps. An `io::Error` does not name what it wraps as its
/// source, so it is looked into.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

fn dial_timeout(host: &Host) -> Duration {
    let usual = if host.is_upstream() { CONNECT } else { CONNECT_MIRROR };
    host.dial_timeout.unwrap_or(usual)
}
