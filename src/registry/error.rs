//! What can go wrong between us and one remote.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::credentials::CredentialsError;
use super::hosts::DOCKER_HUB;
use super::tls::TlsError;
use crate::core::digest::Digest;
use crate::core::error::{Blame, Classify, Kind};

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading certificates and credentials, before anything is sent.
    Setup,
    /// Finding the address of the host.
    Dns,
    /// Opening the connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Getting a token, or being refused for want of one.
    Auth,
    /// The request and the head of its reply.
    Request,
    /// The body of the reply.
    Body,
}

/// A failed request to one remote. Cheap to clone, since callers that waited for the same
/// token share its failure.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}: {}", .0.host, .0.subject, .0.reason)]
pub struct RegistryError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: String,
    subject: String,
    stage: Stage,
    reason: Reason,
}

/// A source that can be shared.
type Cause = Arc<dyn StdError + Send + Sync>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The reply's status says no.
    #[error("{status}{}", tail(.message.as_deref()))]
    Status {
        /// The status.
        status: StatusCode,
        /// The registry's own words, bounded and cleaned.
        message: Option<String>,
        /// How long the registry asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The registry does not take what is pushed, and will not take it the next time either.
    #[error("{status}{}", tail(.message.as_deref()))]
    NotTaken {
        /// 405 and 501 where it takes nothing at all, else what it has against this.
        status: StatusCode,
        /// The registry's own words.
        message: Option<String>,
    },
    /// The registry wants credentials and there are none for it.
    #[error("the registry asks for credentials and none are stored for it{}", tail(.message.as_deref()))]
    CredentialsMissing {
        /// `host[:port]` to log in to.
        registry: String,
        /// The registry's own words.
        message: Option<String>,
    },
    /// The registry or its token server did not accept what we have.
    #[error("{status}: access was refused {}{}", with(*.credentials), tail(.message.as_deref()))]
    Refused {
        /// 401, or what the token server answered.
        status: StatusCode,
        /// `host[:port]` to log in to; the token server may have another name.
        registry: String,
        /// Whether credentials were sent.
        credentials: bool,
        /// The registry's own words.
        message: Option<String>,
    },
    /// No challenge that we can answer came with a 401.
    #[error("401 without a usable WWW-Authenticate challenge: {problem}")]
    Challenge {
        /// What is missing or wrong.
        problem: &'static str,
    },
    /// The token server's reply has no token, is malformed or too large.
    #[error("the token server's reply is unusable: {problem}")]
    Token {
        /// What is missing or wrong.
        problem: &'static str,
    },
    /// A redirect that is not followed.
    #[error("redirect to {to} refused: {problem}")]
    Redirect {
        /// Host of the target, or the malformed text.
        to: String,
        /// Why not.
        problem: &'static str,
    },
    /// The host, or whoever it sends us to, is not where a stranger may send us.
    #[error("{place} is not a public address of another machine, and the registry is not listed")]
    NotPublic {
        /// The address, with its name where it was resolved.
        place: String,
    },
    /// The host leads us to this node or close to it, and is not there itself.
    #[error("{place} is on this node or its own link, and the registry that leads there is not")]
    Misled {
        /// The address, with its name where it was resolved.
        place: String,
    },
    /// The host's certificate is not trusted.
    #[error("its certificate is not trusted: {source}")]
    Untrusted {
        /// What the verifier said.
        source: rustls::Error,
    },
    /// The TLS handshake failed for another reason.
    #[error("TLS failed: {source}")]
    Tls {
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The host wants a client certificate, or another one.
    #[error("the host refuses our client certificate or the lack of one: {source}")]
    ClientCertificate {
        /// The alert.
        source: rustls::Error,
    },
    /// Plain HTTP where TLS was expected.
    #[error("the server gave an HTTP response to an HTTPS client")]
    PlainHttp,
    /// The network failed: name resolution, connection, reset.
    #[error("{}", deepest(.source.as_ref()))]
    Network {
        /// What failed.
        source: Cause,
    },
    /// Nothing came for too long.
    #[error("nothing came for {}", span(*.after))]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// So little came that it is as good as nothing.
    #[error("only {rate} bytes per second came over the last {}", span(*.over))]
    Stalled {
        /// Bytes per second.
        rate: u64,
        /// Over how long.
        over: Duration,
    },
    /// A document is larger than we read.
    #[error("the document has more than the {} allowed", mebibytes(*limit))]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The body ended early.
    #[error("the connection ended {missing} bytes early")]
    Truncated {
        /// Bytes that did not come.
        missing: u64,
    },
    /// The size differs from the descriptor's.
    #[error("the blob should have {expected} bytes and the host {claim}")]
    Size {
        /// Size in the descriptor.
        expected: u64,
        /// What the host says or sent.
        claim: SizeClaim,
    },
    /// The host answers a request for one digest with another.
    #[error("asked for {asked}, the host answers with {answered}")]
    Digest {
        /// What was asked for.
        asked: Digest,
        /// What came.
        answered: Digest,
    },
    /// The answer to a range request is not the range.
    #[error("asked for {}, the host answers {answered}", bytes_asked(.asked))]
    Range {
        /// First and last byte that were asked for; `None` for the whole.
        asked: Option<(u64, u64)>,
        /// `Content-Range`, or what stands in its place.
        answered: String,
    },
    /// A host, repository or target that does not make a URL.
    #[error("{0:?} is not a usable URL")]
    Url(String),
    /// Certificates or keys that cannot be used.
    #[error(transparent)]
    TlsSetup(#[from] TlsError),
    /// Stored credentials that cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// How a blob's size was contradicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeClaim {
    /// By a header.
    Announced(u64),
    /// By sending on after the last byte.
    Exceeded,
}

impl fmt::Display for SizeClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announced(size) => write!(f, "announces {size}"),
            Self::Exceeded => f.write_str("sends more"),
        }
    }
}

fn bytes_asked(asked: &Option<(u64, u64)>) -> String {
    asked.map_or_else(|| "the whole".into(), |(first, last)| format!("bytes {first} to {last}"))
}

/// Limits are whole MiB by default, and read best so.
fn mebibytes(bytes: u64) -> String {
    match bytes {
        0 => "0 bytes".into(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}

/// A time that was waited. Bounds are whole seconds by default; below one, a rounded second says nothing.
fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) { format!("{} ms", time.as_millis()) } else { format!("{} s", time.as_secs()) }
}

fn tail(message: Option<&str>) -> String {
    message.map(|text| format!(": {text}")).unwrap_or_default()
}

fn with(credentials: bool) -> &'static str {
    if credentials { "with the credentials given" } else { "without credentials" }
}

/// The innermost cause says what happened; the layers around it only where.
fn deepest<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(all(test, feature = "containerd"))]
impl RegistryError {
    /// A host that answered with this status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let reason = Reason::Status { status, message: None, retry_after: None };
        Self::new("registry.example", "a blob", Stage::Request, reason)
    }
}

impl RegistryError {
    /// `host` failed to give `subject`.
    pub(super) fn new(host: impl fmt::Display, subject: &str, stage: Stage, reason: Reason) -> Self {
        Self(Arc::new(Inner { host: host.to_string(), subject: subject.into(), stage, reason }))
    }

    /// `host[:port]` that failed: the registry, its token server or where it redirected to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// How far the request came.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// What went wrong.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The status of the reply, where there was one and it is the reason.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match &self.0.reason {
            Reason::Status { status, .. } | Reason::NotTaken { status, .. } | Reason::Refused { status, .. } => {
                Some(*status)
            }
            Reason::CredentialsMissing { .. } | Reason::Challenge { .. } => Some(StatusCode::UNAUTHORIZED),
            _ => None,
        }
    }

    /// How long the registry asks us to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.0.reason {
            Reason::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Classify for RegistryError {
    fn kind(&self) -> Kind {
        match &self.0.reason {
            Reason::Status { status, .. } => kind_of(*status),
            Reason::NotTaken { status, .. } if takes_nothing(*status) => Kind::PermissionDenied,
            Reason::NotTaken { .. } => Kind::InvalidContent,
            // Not what is left to others over CRI: containerd would go there.
            Reason::Misled { .. } => Kind::PermissionDenied,
            Reason::CredentialsMissing { .. } | Reason::Refused { .. } | Reason::ClientCertificate { .. } => {
                Kind::Unauthenticated
            }
            Reason::Untrusted { .. } => Kind::TlsUntrusted,
            Reason::Timeout { .. } | Reason::Stalled { .. } => Kind::DeadlineExceeded,
            Reason::TooLarge { .. } => Kind::InvalidContent,
            Reason::Size { .. } | Reason::Digest { .. } => Kind::DigestMismatch,
            Reason::TlsSetup(_) | Reason::Credentials(_) => Kind::InvalidConfiguration,
            Reason::Url(_) | Reason::NotPublic { .. } => Kind::InvalidArgument,
            Reason::Challenge { .. }
            | Reason::Token { .. }
            | Reason::Redirect { .. }
            | Reason::Tls { .. }
            | Reason::PlainHttp
            | Reason::Network { .. }
            | Reason::Truncated { .. }
            | Reason::Range { .. } => Kind::RegistryUnavailable,
        }
    }

    fn blame(&self) -> Blame {
        match &self.0.reason {
            Reason::Status { .. } if self.kind() == Kind::RegistryUnavailable => Blame::Registry,
            Reason::NotTaken { .. }
            | Reason::Misled { .. }
            | Reason::Challenge { .. }
            | Reason::Token { .. }
            | Reason::Redirect { .. }
            | Reason::Range { .. } => Blame::Registry,
            Reason::PlainHttp => Blame::Configuration,
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        let host = &self.0.host;
        Some(match &self.0.reason {
            Reason::Untrusted { .. } => format!(
                "if you trust {host}, name the certificate of its authority with --tlscacert FILE or as 'ca' in hosts.toml"
            ),
            Reason::ClientCertificate { .. } => {
                "give a client certificate with --tlscert and --tlskey, or as 'client' in hosts.toml".into()
            }
            Reason::NotPublic { .. } => {
                "if this registry is to be reached through the mirror, list it, or describe it in a hosts.toml".into()
            }
            Reason::Misled { .. } => {
                "nothing was sent there; a registry that is on this node itself has to be named so: by localhost or \
                 its address, in the reference or a hosts.toml"
                    .into()
            }
            Reason::PlainHttp => {
                "if this registry has no TLS on purpose, use --plain-http, or http:// in hosts.toml".into()
            }
            Reason::Size { .. } | Reason::Digest { .. } => {
                "the registry or a proxy before it serves something else than what was published; \
                 try another mirror, and tell who runs this one"
                    .into()
            }
            Reason::TooLarge { .. } => {
                "the publisher has to rebuild and push this image with fewer entries and annotations; no retry will help"
                    .into()
            }
            Reason::Network { .. } if self.0.stage == Stage::Dns => {
                format!("check the spelling of {host} and this node's name resolution")
            }
            Reason::Network { .. } if self.0.stage == Stage::Connect => {
                format!("check that {host} is up and reachable from here, and HTTPS_PROXY if a proxy is needed")
            }
            refusal => return hint_of_refusal(host, refusal),
        })
    }
}

/// What helps where the registry says no by its status.
fn hint_of_refusal(host: &str, refusal: &Reason) -> Option<String> {
    Some(match refusal {
        Reason::CredentialsMissing { registry, .. } | Reason::Refused { credentials: false, registry, .. } => {
            format!(
                "log in with '{}', or give --user NAME and --password-stdin; \
                 where the image is public, check its name",
                login(registry)
            )
        }
        Reason::Refused { credentials: true, registry, .. } => format!(
            "the name or password is wrong or has no right to pull; log in again with '{}', \
             or give --user NAME and --password-stdin",
            login(registry)
        ),
        Reason::Status { status: StatusCode::FORBIDDEN, .. } => {
            "these credentials may not pull this repository; ask its owner, or use others".into()
        }
        Reason::Status { status: StatusCode::NOT_FOUND, .. } => {
            "check the spelling of the repository and the tag; private repositories look missing to strangers".into()
        }
        Reason::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => {
            "wait, log in for a higher limit, or pull through a mirror (--mirror or hosts.toml)".into()
        }
        Reason::NotTaken { status, .. } if takes_nothing(*status) => {
            format!("{host} takes no pushes: it is read-only, or a cache of another registry; push to that one")
        }
        _ => return None,
    })
}

/// A read-only registry, or a cache.
fn takes_nothing(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// The command that stores a login; docker.io is its default.
fn login(registry: &str) -> String {
    match registry {
        DOCKER_HUB => "docker login".into(),
        _ => format!("docker login {registry}"),
    }
}

/// What a status that is not a success means to the caller.
fn kind_of(status: StatusCode) -> Kind {
    match status {
        StatusCode::UNAUTHORIZED => Kind::Unauthenticated,
        StatusCode::FORBIDDEN => Kind::PermissionDenied,
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => Kind::RateLimited,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Kind::DeadlineExceeded,
        _ => Kind::RegistryUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> RegistryError {
        let status = StatusCode::from_u16(code).expect("a status");
        let reason = Reason::Status { status, message: Some("DENIED: no".into()), retry_after: None };
        RegistryError::new("registry.example", "manifest latest of a/b", Stage::Request, reason)
    }

    #[test]
    fn statuses_map_to_kinds() {
        let cases = [
            (400, Kind::RegistryUnavailable, Blame::Registry),
            (401, Kind::Unauthenticated, Blame::Caller),
            (403, Kind::PermissionDenied, Blame::Caller),
            (404, Kind::NotFound, Blame::Registry),
            (408, Kind::DeadlineExceeded, Blame::Network),
            (416, Kind::RegistryUnavailable, Blame::Registry),
            (429, Kind::RateLimited, Blame::Registry),
            (500, Kind::RegistryUnavailable, Blame::Registry),
            (503, Kind::RegistryUnavailable, Blame::Registry),
            (504, Kind::DeadlineExceeded, Blame::Network),
        ];
        for (code, kind, blame) in cases {
            assert_eq!((status(code).kind(), status(code).blame()), (kind, blame), "{code}");
            assert_eq!(status(code).status().map(|s| s.as_u16()), Some(code));
        }
    }

    #[test]
    fn logins_go_to_the_registry_and_not_to_its_token_server() {
        let hint = |registry: &str| {
            let reason = Reason::Refused {
                status: StatusCode::UNAUTHORIZED,
                registry: registry.into(),
                credentials: true,
                message: None,
            };
            RegistryError::new("auth.example", "token", Stage::Auth, reason).hint().expect("a hint")
        };
        assert!(hint("registry.example").contains("'docker login registry.example'"));
        assert!(hint("registry-1.docker.io").contains("'docker login'"));
    }

    #[test]
    fn short_waits_are_told_in_milliseconds() {
        for (millis, told) in [(0, "0 ms"), (250, "250 ms"), (999, "999 ms"), (1000, "1 s"), (10_000, "10 s")] {
            let time = Duration::from_millis(millis);
            assert_eq!(Reason::Timeout { after: time }.to_string(), format!("nothing came for {told}"));
            let stalled = Reason::Stalled { rate: 7, over: time }.to_string();
            assert_eq!(stalled, format!("only 7 bytes per second came over the last {told}"));
        }
    }

    #[test]
    fn says_who_what_and_why() {
        let text = status(403).to_string();
        assert_eq!(text, "registry.example: manifest latest of a/b: 403 Forbidden: DENIED: no");
    }
}
