//! Getting a bearer token from the server that a challenge names.
//!
//! Specifications: distribution's "Token Authentication" (GET) and "OAuth2 Token
//! Authentication" (POST). With a secret the POST comes first, as in containerd, and the
//! GET where the server does not know the POST.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;

use super::challenge::Challenge;
use super::content::Content;
use super::credentials::Credential;
use super::error::{Reason, RegistryError, Stage};
use super::hosts::{Host, is_loopback};
use super::pace::Pace;
use super::reply;
use super::secret::Secret;
use super::transport::{Lane, Outgoing, Reply, Transport, authority, names_user, read_all, read_some};
use crate::core::limits::Limits;

/// How long a token lives whose server does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Longest life that is believed.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A token is not used in its last seconds, in which it could expire on the way.
const SKEW: Duration = Duration::from_secs(10);
/// Most scopes that are asked for at a time; a challenge names one or two.
const MAX_SCOPES: usize = 16;
/// Who asks, for servers that keep statistics.
const CLIENT_ID: &str = "lighterman";

/// Where a token comes from and what it is for: the name of it in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    pub(super) realm: Url,
    pub(super) service: String,
    pub(super) scopes: BTreeSet<String>,
}

impl Grant {
    /// What a Bearer challenge asks for.
    ///
    /// # Errors
    /// What is missing or wrong about the challenge.
    pub(super) fn from_challenge(challenge: &Challenge) -> Result<Self, &'static str> {
        let realm = challenge.parameter("realm").ok_or("the Bearer challenge has no realm")?;
        let realm = Url::parse(realm).map_err(|_| "the realm is not a URL")?;
        if !matches!(realm.scheme(), "http" | "https") || !realm.has_host() {
            return Err("the realm is neither http nor https");
        }
        if names_user(&realm) {
            return Err("the realm names a user");
        }
        let scopes = challenge.parameter("scope").unwrap_or_default().split_whitespace();
        Ok(Self {
            realm,
            service: challenge.parameter("service").unwrap_or_default().into(),
            scopes: scopes.take(MAX_SCOPES).map(str::to_owned).collect(),
        })
    }

    /// How many bytes it has, about.
    pub(super) fn bytes(&self) -> usize {
        let scopes: usize = self.scopes.iter().map(|scope| scope.len() + size_of::<String>()).sum();
        self.realm.as_str().len() + self.service.len() + scopes
    }

    fn scope(&self) -> String {
        self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// A token and how long it is good.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// `Bearer …`
    pub(super) authorization: HeaderValue,
    pub(super) expires: Instant,
}

impl Token {
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() + SKEW < self.expires
    }
}

#[derive(Deserialize)]
struct TokenDocument {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<f64>,
}

/// One exchange with a token server.
pub(super) struct Exchange<'a> {
    pub(super) transport: &'a Transport,
    pub(super) host: &'a Host,
    pub(super) grant: &'a Grant,
    pub(super) credential: Option<&'a Credential>,
    pub(super) limits: &'a Limits,
    pub(super) patience: Duration,
}

impl Exchange<'_> {
    /// Gets a token.
    pub(super) async fn run(&self) -> Result<Token, RegistryError> {
        let reply = match self.credential {
            Some(credential) => {
                let posted = self.post(credential).await?;
                // Google answers 404, Artifactory 401, Azure 400, others 405 to a POST that they do not know.
                if matches!(posted.response.status().as_u16(), 400 | 401 | 404 | 405) {
                    tracing::debug!(status = %posted.response.status(), "no OAuth2 token; asking by GET");
                    self.get().await?
                } else {
                    posted
                }
            }
            None => self.get().await?,
        };
        self.read(reply).await
    }

    async fn get(&self) -> Result<Reply, RegistryError> {
        let mut url = self.grant.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if !self.grant.service.is_empty() {
                query.append_pair("service", &self.grant.service);
            }
            for scope in &self.grant.scopes {
                query.append_pair("scope", scope);
            }
        }
        let mut private = HeaderMap::new();
        if let Some(credential) = self.credential {
            let header = basic(credential).ok_or_else(|| self.failed(Reason::Token { problem: UNSENDABLE }))?;
            private.insert(AUTHORIZATION, header);
        }
        self.send(Method::GET, url, (private, None)).await
    }

    async fn post(&self, credential: &Credential) -> Result<Reply, RegistryError> {
        let mut form = Url::parse("form:/").map_err(|_| self.failed(Reason::Token { problem: UNSENDABLE }))?;
        {
            let mut pairs = form.query_pairs_mut();
            pairs.append_pair("service", &self.grant.service).append_pair("client_id", CLIENT_ID);
            if !self.grant.scopes.is_empty() {
                pairs.append_pair("scope", &self.grant.scope());
            }
            match credential {
                Credential::Basic { user, password } => pairs
                    .append_pair("grant_type", "password")
                    .append_pair("username", user)
                    .append_pair("password", password.reveal()),
                Credential::Identity(token) | Credential::Registry(token) => {
                    pairs.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.reveal())
                }
            };
        }
        let body = form.query().map(str::to_owned);
        self.send(Method::POST, self.grant.realm.clone(), (HeaderMap::new(), body)).await
    }

    /// Who is asked: the host, where it is its own token server. Another one is somebody else, to
    /// whom the host's headers and our identity there are not shown, and whose own certificate counts.
    fn server(&self) -> Cow<'_, Host> {
        if self.transport.is_home(self.host, &self.grant.realm) {
            return Cow::Borrowed(self.host);
        }
        let stays_here = self.host.is_loopback() && self.grant.realm.host_str().is_some_and(is_loopback);
        let tls = if stays_here { self.host.tls.for_stranger() } else { self.host.tls.for_token_server() };
        Cow::Owned(Host { tls, headers: HeaderMap::new(), ..self.host.clone() })
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        (own, body): (HeaderMap, Option<String>),
    ) -> Result<Reply, RegistryError> {
        let server = self.server();
        let mut private = server.headers.clone();
        private.extend(own);
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        }
        let outgoing = Outgoing {
            host: &server,
            subject: SUBJECT,
            lane: Lane::Documents,
            method,
            url,
            strange: false,
            headers,
            private,
            content: body.map_or(Content::Nothing, |body| Content::Bytes(body.into())),
            patience: self.patience,
        };
        self.transport.send(&outgoing).await
    }

    async fn read(&self, reply: Reply) -> Result<Token, RegistryError> {
        let Reply { response, from, .. } = reply;
        let failed = |reason| RegistryError::new(&from, SUBJECT, Stage::Auth, reason);
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let body = read_some(response, self.limits.error_bytes).await;
            let message = reply::message(&headers, &body);
            return Err(failed(match status {
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
                    let registry = self.host.authority.clone();
                    Reason::Refused { status, registry, credentials: self.credential.is_some(), message }
                }
                _ => Reason::Status { status, message, retry_after: reply::retry_after(&headers) },
            }));
        }
        let pace = Pace::new(self.limits.stall_rate, self.patience);
        let body = read_all(response, self.limits.token_bytes as u64, pace).await;
        let body = body.map_err(|(_, reason)| failed(reason))?;
        token(&body).map_err(|problem| failed(Reason::Token { problem }))
    }

    fn failed(&self, reason: Reason) -> RegistryError {
        RegistryError::new(authority(&self.grant.realm), SUBJECT, Stage::Auth, reason)
    }
}

const SUBJECT: &str = "token";
const UNSENDABLE: &str = "the credentials cannot be sent";

/// Reads a token server's answer.
fn token(body: &[u8]) -> Result<Token, &'static str> {
    let document: TokenDocument = serde_json::from_slice(body).map_err(|_| "not the JSON that it should be")?;
    let given = |secret: &Secret| !secret.reveal().is_empty();
    let secret = document.access_token.filter(given).or(document.token.filter(given)).ok_or("it has no token")?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", secret.reveal()))
        .map_err(|_| "its token has characters that no header can carry")?;
    authorization.set_sensitive(true);
    let life = document
        .expires_in
        .filter(|seconds| *seconds > 0.0)
        .map_or(DEFAULT_LIFE, |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFE).min(MAX_LIFE));
    Ok(Token { authorization, expires: Instant::now() + life })
}

/// `Basic …` for a credential; an identity token goes without a name.
pub(super) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let (user, secret) = match credential {
        Credential::Basic { user, password } => (user.as_str(), password),
        Credential::Identity(token) | Credential::Registry(token) => ("", token),
    };
    // A colon would move the border between name and password.
    if user.contains(':') {
        return None;
    }
    let encoded = STANDARD.encode(format!("{user}:{}", secret.reveal()));
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_token_servers_answer() {
        let value = |body: &str| token(body.as_bytes()).map(|t| t.authorization.to_str().expect("text").to_owned());
        assert_eq!(value(r#"{"token":"a"}"#).as_deref(), Ok("Bearer a"));
        assert_eq!(value(r#"{"access_token":"b","token":"a","expires_in":300}"#).as_deref(), Ok("Bearer b"));
        assert_eq!(value(r#"{"access_token":"","token":"a"}"#).as_deref(), Ok("Bearer a"));
        for bad in ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":1}"#, r#"{"token":"a\nb"}"#] {
            assert!(value(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn tokens_live_as_long_as_they_say_less_a_margin() {
        let fresh = |body: &str| token(body.as_bytes()).expect("a token").is_fresh();
        assert!(fresh(r#"{"token":"a"}"#), "60 s where nothing is said");
        assert!(fresh(r#"{"token":"a","expires_in":0}"#), "0 says nothing");
        assert!(fresh(r#"{"token":"a","expires_in":1e300}"#));
        assert!(!fresh(r#"{"token":"a","expires_in":5}"#), "within the margin");
    }

    #[test]
    fn tokens_are_not_printed() {
        let token = token(br#"{"token":"hunter2"}"#).expect("a token");
        assert!(!format!("{token:?}").contains("hunter2"));
    }

    #[test]
    fn a_name_with_a_colon_is_not_sent() {
        let credential = |user: &str| Credential::Basic { user: user.into(), password: Secret::new("b") };
        assert_eq!(basic(&credential("a")).expect("sendable").to_str().ok(), Some("Basic YTpi"));
        assert_eq!(basic(&credential("a:b")), None);
    }
}
