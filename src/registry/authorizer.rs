//! What to put into `Authorization`: what is known of each host, and the token cache.
//!
//! A host's first 401 tells how it wants to be asked. That is remembered, so that later
//! requests carry what it wants from the start. Tokens are kept by where they come from,
//! what they are for and whose they are; of many requests that want the same token at the
//! same time, one fetches it and the others wait for that one's result, good or bad.
//! `remembered` bounds all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Url;

use super::challenge::{Challenge, challenges};
use super::credentials::{Credential, Credentials};
use super::error::{Reason, RegistryError, Stage};
use super::hosts::{Host, is_loopback};
use super::remembered::{Part, Remembered};
use super::token::{Exchange, Grant, Token, basic};
use super::transport::Transport;
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::core::reference::Reference;

/// How a host wants to be asked for one repository.
#[derive(Debug, Clone)]
enum Scheme {
    /// The same header every time.
    Fixed(HeaderValue),
    /// A token.
    Bearer { grant: Grant, credential: Option<Credential> },
}

impl Scheme {
    fn bytes(&self) -> usize {
        match self {
            Self::Fixed(header) => header.len(),
            Self::Bearer { grant, credential } => grant.bytes() + credential.as_ref().map_or(0, Credential::bytes),
        }
    }
}

/// One token, and who is getting it.
#[derive(Default)]
struct Slot {
    token: Option<Token>,
    /// The last failure and when it was known, for those who were waiting then.
    failure: Option<(Instant, RegistryError)>,
}

/// Bytes of all challenges that are remembered by the clients of an engine.
const MOST_SCHEMES: usize = 2 * 1024 * 1024;
/// The same of names of repositories that let somebody in.
const MOST_ADMITTED: usize = 1024 * 1024;
/// The same of tokens: three hundred of the largest that are taken, thousands of ordinary ones.
const MOST_TOKENS: usize = 5 * 1024 * 1024;
/// What a slot takes without its token: a failure has some words in it.
const SLOT_BYTES: usize = 1024;

/// What is known, and who knows it: the rest of the process has a share of its own.
struct Notes {
    schemes: Part<Place, Scheme>,
    /// Where credentials were accepted.
    admitted: Part<Place, ()>,
    tokens: Part<(Grant, Option<Digest>), Arc<tokio::sync::Mutex<Slot>>>,
}

impl Notes {
    fn new() -> Self {
        Self {
            schemes: Part::new(&Remembered::new(MOST_SCHEMES)),
            admitted: Part::new(&Remembered::new(MOST_ADMITTED)),
            tokens: Part::new(&Remembered::new(MOST_TOKENS)),
        }
    }

    /// Nothing yet, within the same bounds.
    fn another(&self) -> Self {
        Self { schemes: self.schemes.another(), admitted: self.admitted.another(), tokens: self.tokens.another() }
    }
}

/// A host (its origin as configured, and for whom it stands in), and what is done there.
type Place = (String, String);

/// What is to be done with a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    repository: String,
    /// To upload, and not only to read.
    pushes: bool,
    /// Another repository of the same registry that is read on the way.
    from: Option<String>,
}

impl Scope {
    /// To read.
    pub(super) fn pull(repository: &Reference) -> Self {
        Self { repository: repository.repository().to_owned(), pushes: false, from: None }
    }

    /// To upload.
    pub(super) fn push(repository: &Reference) -> Self {
        Self { pushes: true, ..Self::pull(repository) }
    }

    /// To upload what another repository has.
    pub(super) fn mount(repository: &Reference, from: &Reference) -> Self {
        Self { from: Some(from.repository().to_owned()), ..Self::push(repository) }
    }

    /// As token servers want it (distribution, "Token Scope Documentation").
    fn texts(&self) -> impl Iterator<Item = String> {
        let actions = if self.pushes { "pull,push" } else { "pull" };
        let own = format!("repository:{}:{actions}", self.repository);
        std::iter::once(own).chain(self.from.as_ref().map(|from| format!("repository:{from}:pull")))
    }

    /// Its name among what is known of a host: a token to read is not one to upload.
    fn name(&self) -> String {
        self.texts().collect::<Vec<_>>().join(" ")
    }
}

/// The cache.
pub(super) struct Authorizer {
    credentials: Credentials,
    limits: Limits,
    transport: Arc<Transport>,
    notes: Notes,
}

/// A 401 and what led to it.
pub(super) struct Rejection<'a> {
    pub(super) subject: &'a str,
    /// The headers of the reply.
    pub(super) headers: &'a HeaderMap,
    /// The registry's own words.
    pub(super) message: Option<String>,
    /// What the request carried.
    pub(super) sent: Option<HeaderValue>,
    /// How long a token server may be silent.
    pub(super) patience: Duration,
}

impl Authorizer {
    pub(super) fn new(credentials: Credentials, limits: Limits, transport: Arc<Transport>) -> Self {
        Self { credentials, limits, transport, notes: Notes::new() }
    }

    /// The same for somebody else, who begins with nothing, within the same bound of memory.
    pub(super) fn for_another(&self, credentials: Credentials) -> Self {
        let (transport, notes) = (Arc::clone(&self.transport), self.notes.another());
        Self { credentials, limits: self.limits, transport, notes }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// See [`Credentials::fingerprint`].
    pub(super) fn asker(&self) -> Option<Digest> {
        self.credentials.fingerprint()
    }

    /// Takes note that the host answered what it was asked.
    pub(super) fn answered(&self, host: &Host, scope: &Scope) {
        let known = self.recall(host, scope);
        if matches!(known, Some(Scheme::Fixed(_) | Scheme::Bearer { credential: Some(_), .. })) {
            let place = place(host, &scope.name());
            let bytes = bytes(&place);
            self.notes.admitted.put(place, (), bytes, None);
        }
    }

    /// Whether the host has answered because of credentials, and not as it would anybody.
    pub(super) fn was_admitted(&self, host: &Host, scope: &Scope) -> bool {
        self.notes.admitted.get(&place(host, &scope.name())).is_some()
    }

    /// What to send to a host as far as is known; `None` before its first challenge.
    pub(super) async fn known(
        &self,
        host: &Host,
        scope: &Scope,
        patience: Duration,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let Some(scheme) = self.recall(host, scope) else { return Ok(None) };
        match self.header(host, scheme, patience).await {
            // Stored credentials may have been renewed since: the next challenge reads them again.
            Err(error) if matches!(error.reason(), Reason::Refused { .. }) => {
                self.notes.schemes.remove(&place(host, &scope.name()));
                self.notes.schemes.remove(&place(host, ""));
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    /// What to send instead, after a 401.
    pub(super) async fn answer(
        &self,
        host: &Host,
        scope: &Scope,
        rejection: Rejection<'_>,
    ) -> Result<HeaderValue, RegistryError> {
        if let Some(sent) = &rejection.sent {
            self.forget(host, scope, sent).await;
        }
        let scheme = self.scheme(host, &rejection).await?;
        if let (Scheme::Fixed(header), Some(sent)) = (&scheme, &rejection.sent)
            && header == sent
        {
            // The very same was refused just now.
            return Err(refused(host, rejection, Refusal::WithCredentials));
        }
        self.remember(host, scope, &scheme);
        self.header(host, scoped(scheme, scope), rejection.patience).await
    }

    /// The error for a 401 to a request that was answered for already.
    pub(super) async fn refuse(&self, host: &Host, scope: &Scope, rejection: Rejection<'_>) -> RegistryError {
        if let Some(sent) = &rejection.sent {
            self.forget(host, scope, sent).await;
        }
        let refusal = match self.recall(host, scope) {
            Some(Scheme::Bearer { credential: None, .. }) => Refusal::Anonymous,
            _ => Refusal::WithCredentials,
        };
        refused(host, rejection, refusal)
    }

    /// How to meet the first challenge that we understand, the stronger scheme first.
    async fn scheme(&self, host: &Host, rejection: &Rejection<'_>) -> Result<Scheme, RegistryError> {
        let failed = |reason| RegistryError::new(&host.authority, rejection.subject, Stage::Auth, reason);
        let offered = challenges(rejection.headers);
        let find = |name: &str| offered.iter().find(|challenge| challenge.scheme == name);
        let credential = self.credentials.for_host(host).await.map_err(|error| failed(Reason::Credentials(error)))?;
        if let Some(bearer) = find("bearer") {
            return self.bearer(host, bearer, credential).map_err(|problem| failed(Reason::Challenge { problem }));
        }
        if find("basic").is_none() {
            return Err(failed(Reason::Challenge { problem: "it offers neither Basic nor Bearer" }));
        }
        let missing = || {
            let registry = host.authority.clone();
            Reason::CredentialsMissing { registry, message: rejection.message.clone() }
        };
        let credential = credential.ok_or_else(|| failed(missing()))?;
        let unsendable = Reason::Challenge { problem: "the credentials cannot be sent as Basic" };
        basic(&credential).map(Scheme::Fixed).ok_or_else(|| failed(unsendable))
    }

    fn bearer(
        &self,
        host: &Host,
        challenge: &Challenge,
        credential: Option<Credential>,
    ) -> Result<Scheme, &'static str> {
        if let Some(Credential::Registry(token)) = &credential {
            let mut header = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
                .map_err(|_| "the stored registry token cannot be sent")?;
            header.set_sensitive(true);
            return Ok(Scheme::Fixed(header));
        }
        let grant = Grant::from_challenge(challenge)?;
        if grant.realm.scheme() == "http" && !self.may_be_plain(host, &grant.realm, credential.is_some()) {
            return Err("its token server would get credentials over plain http");
        }
        Ok(Scheme::Bearer { grant, credential })
    }

    /// Whether a token server may be asked in plain text: what everybody may know, by registries in
    /// plain text, and credentials where they go no other way than to such a registry itself, or do
    /// not leave this machine.
    fn may_be_plain(&self, host: &Host, realm: &Url, with_credentials: bool) -> bool {
        let name = realm.host_str().unwrap_or_default();
        let is_plain = self.transport.scheme(host) == "http";
        let stays_here = host.is_loopback() && is_loopback(name);
        stays_here || (is_plain && (!with_credentials || name.eq_ignore_ascii_case(host.name())))
    }

    /// How the host wants to be asked. Another repository of a known host is asked for in
    /// the same way, with its own scope.
    fn recall(&self, host: &Host, scope: &Scope) -> Option<Scheme> {
        let find = |scope: &str| self.notes.schemes.get(&place(host, scope));
        find(&scope.name()).or_else(|| find("")).map(|scheme| scoped(scheme, scope))
    }

    fn remember(&self, host: &Host, scope: &Scope, scheme: &Scheme) {
        let anywhere = match scheme.clone() {
            Scheme::Bearer { grant, credential } => {
                Scheme::Bearer { grant: Grant { scopes: [].into(), ..grant }, credential }
            }
            fixed @ Scheme::Fixed(_) => fixed,
        };
        for (scope, scheme) in [(String::new(), anywhere), (scope.name(), scheme.clone())] {
            let place = place(host, &scope);
            let bytes = bytes(&place) + scheme.bytes();
            self.notes.schemes.put(place, scheme, bytes, None);
        }
    }

    async fn header(&self, host: &Host, scheme: Scheme, patience: Duration) -> Result<HeaderValue, RegistryError> {
        match scheme {
            Scheme::Fixed(header) => Ok(header),
            Scheme::Bearer { grant, credential } => self.token(host, &grant, credential.as_ref(), patience).await,
        }
    }

    /// A token that is good now, fetched by one caller at a time.
    async fn token(
        &self,
        host: &Host,
        grant: &Grant,
        credential: Option<&Credential>,
        patience: Duration,
    ) -> Result<HeaderValue, RegistryError> {
        let asked = Instant::now();
        let key = (grant.clone(), credential.map(Credential::fingerprint));
        let size = grant.bytes() + SLOT_BYTES;
        let shared = self.notes.tokens.get_or_put(&key, Arc::default, size);
        let mut slot = shared.lock().await;
        if let Some(token) = slot.token.as_ref().filter(|token| token.is_fresh()) {
            return Ok(token.authorization.clone());
        }
        if let Some((known, error)) = &slot.failure
            && *known > asked
        {
            return Err(error.clone());
        }
        let exchange = Exchange { transport: &self.transport, host, grant, credential, limits: &self.limits, patience };
        match exchange.run().await {
            Ok(token) => {
                let (header, expires) = (token.authorization.clone(), token.expires);
                *slot = Slot { token: Some(token), failure: None };
                self.notes.tokens.put(key, Arc::clone(&shared), size + header.len(), Some(expires));
                Ok(header)
            }
            Err(error) => {
                *slot = Slot { token: None, failure: Some((Instant::now(), error.clone())) };
                Err(error)
            }
        }
    }

    /// Drops the token that was refused, unless somebody has replaced it already.
    async fn forget(&self, host: &Host, scope: &Scope, sent: &HeaderValue) {
        if let Some(Scheme::Bearer { grant, credential }) = self.recall(host, scope)
            && let Some(slot) = self.notes.tokens.get(&(grant, credential.as_ref().map(Credential::fingerprint)))
        {
            let mut slot = slot.lock().await;
            if slot.token.as_ref().is_some_and(|token| token.authorization == *sent) {
                slot.token = None;
            }
        }
    }
}

enum Refusal {
    Anonymous,
    WithCredentials,
}

fn refused(host: &Host, rejection: Rejection<'_>, refusal: Refusal) -> RegistryError {
    let credentials = matches!(refusal, Refusal::WithCredentials);
    let reason = Reason::Refused {
        status: StatusCode::UNAUTHORIZED,
        registry: host.authority.clone(),
        credentials,
        message: rejection.message,
    };
    RegistryError::new(&host.authority, rejection.subject, Stage::Auth, reason)
}

/// The scheme with the scope that is needed, whatever the challenge says.
fn scoped(scheme: Scheme, scope: &Scope) -> Scheme {
    match scheme {
        Scheme::Bearer { mut grant, credential } => {
            grant.scopes.extend(scope.texts());
            Scheme::Bearer { grant, credential }
        }
        fixed @ Scheme::Fixed(_) => fixed,
    }
}

fn place(host: &Host, scope: &str) -> Place {
    // The same host may be an upstream, with the explicit login, and somebody's mirror, without.
    let role = host.namespace.as_deref().unwrap_or_default();
    (format!("{host} {role}"), scope.to_owned())
}

fn bytes((host, scope): &Place) -> usize {
    host.len() + scope.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Secret;
    use crate::registry::hosts::{HostOptions, hosts_for};

    /// Whether a token server would be asked, for somebody with a login or without.
    fn accepts(registry: &str, plain_http: bool, realm: &str, login: bool) -> bool {
        let transport = Arc::new(Transport::new(0));
        let authorizer = Authorizer::new(Credentials::anonymous(), Limits::default(), transport);
        let reference = format!("{registry}/a/b").parse().expect("a reference");
        let options = HostOptions { plain_http, ..HostOptions::default() };
        let host = hosts_for(&reference, &options).expect("hosts").remove(0);
        let mut headers = HeaderMap::new();
        let challenge = format!("Bearer realm=\"{realm}\"").parse().expect("a value");
        headers.insert(http::header::WWW_AUTHENTICATE, challenge);
        let credential = Credential::Basic { user: "user".into(), password: Secret::new("hunter2") };
        authorizer.bearer(&host, &challenges(&headers)[0], login.then_some(credential)).is_ok()
    }

    #[test]
    fn a_token_server_in_plain_text_is_only_for_registries_in_plain_text() {
        for (registry, plain, realm, for_anybody, for_a_login) in [
            ("registry.example", false, "https://auth.example/token", true, true),
            ("registry.example", false, "http://auth.example/token", false, false),
            ("registry.example", false, "http://registry.example/token", false, false),
            ("registry.example", false, "http://localhost/token", false, false),
            // What everybody may know is not kept from those who listen in.
            ("registry.example", true, "http://auth.example/token", true, false),
            ("registry.example", true, "http://localhost/token", true, false),
            ("registry.example:5000", true, "http://REGISTRY.example:5001/token", true, true),
            // A password does not leave this machine in plain text.
            ("localhost:5000", false, "http://127.0.0.1:5001/token", true, true),
            ("localhost:5000", false, "http://auth.example/token", false, false),
            ("localhost:80", false, "http://auth.example/token", true, false),
            ("127.0.0.1:5000", true, "http://[::1]:5001/token", true, true),
        ] {
            assert_eq!(accepts(registry, plain, realm, false), for_anybody, "{registry} {realm}");
            assert_eq!(accepts(registry, plain, realm, true), for_a_login, "{registry} {realm} with a login");
        }
    }

    #[test]
    fn a_realm_names_nobody() {
        for realm in
            ["https://admin:admin@auth.example/token", "https://admin@auth.example/", "https://:x@auth.example/"]
        {
            assert!(!accepts("registry.example", false, realm, false), "{realm}");
        }
    }
}
