//! The questions that a remote can be asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;

use super::authorizer::{Authorizer, Rejection, Scope};
use super::blob::{BlobSource, BlobStream};
use super::challenge::challenges;
use super::content::Content;
use super::credentials::Credentials;
use super::error::{Reason, RegistryError, Stage};
use super::hosts::Host;
use super::pace::Pace;
use super::reply;
use super::transport::{Lane, Outgoing, Reply, Transport, read_all, read_some};
use super::unranged::Unranged;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::core::reference::Reference;

/// Speaks to remotes. Clones share one connection pool and one token cache.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    authorizer: Arc<Authorizer>,
    unranged: Arc<Unranged>,
    limits: Limits,
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A manifest or index as it came; nothing of it is checked but its size.
#[derive(Debug, Clone)]
pub struct ManifestReply {
    /// `Content-Type`.
    pub media_type: Option<MediaType>,
    /// The document.
    pub bytes: Bytes,
    /// `Docker-Content-Digest`: what the registry says, not what the bytes have.
    pub digest: Option<Digest>,
}

/// One question to one host.
#[derive(Clone)]
pub(super) struct Question<'a> {
    pub(super) host: &'a Host,
    pub(super) reference: &'a Reference,
    pub(super) subject: String,
    pub(super) method: Method,
    /// Behind the repository: `manifests/latest`.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) lane: Lane,
    /// What has to be allowed.
    pub(super) scope: Scope,
    pub(super) content: Content,
    /// Where the host itself has said that this belongs, in place of `path` and `query`.
    pub(super) place: Option<Url>,
}

impl Client {
    /// A client with its own pool and cache.
    ///
    /// # Errors
    /// None today; certificates are read when a host first needs them.
    pub fn new(credentials: Credentials, limits: Limits) -> Result<Self, RegistryError> {
        let transport = Arc::new(Transport::new(limits.redirects));
        let authorizer = Arc::new(Authorizer::new(credentials, limits, Arc::clone(&transport)));
        Ok(Self { transport, authorizer, unranged: Arc::default(), limits, patience: limits.stall_window })
    }

    /// The same client, which waits so long where nothing comes, or too little to count: for the
    /// head of a reply, once the host is reached, and within its body. Else that is
    /// `limits.stall_window`.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same client, which takes no document of more than so many bytes.
    #[must_use]
    pub fn at_most(&self, bytes: u64) -> Self {
        let document_bytes = self.limits.document_bytes.min(bytes);
        Self { limits: Limits { document_bytes, ..self.limits }, ..self.clone() }
    }

    /// The same pool and what is known of hosts, for somebody with credentials of his own: nothing
    /// that was granted to one of the two is ever used for the other.
    #[must_use]
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        Self { authorizer: Arc::new(self.authorizer.for_another(credentials)), ..self.clone() }
    }

    /// The same client for somebody with the same credentials, as they are stored by now: nothing
    /// that was granted before is used any more.
    #[must_use]
    pub fn afresh(&self) -> Self {
        self.with_credentials(self.authorizer.credentials().clone())
    }

    /// Tells clients with credentials of their own apart, without telling the credentials; `None`
    /// for one that uses what is stored on this node, or nothing.
    #[must_use]
    pub fn asker(&self) -> Option<Digest> {
        self.authorizer.asker()
    }

    /// Whether a host has answered for this repository because of credentials that it was shown, and
    /// not as it would anybody.
    #[must_use]
    pub fn was_admitted(&self, host: &Host, reference: &Reference) -> bool {
        self.authorizer.was_admitted(host, &Scope::pull(reference))
    }

    /// Asks by HEAD which document a tag or digest stands for. `None` where the reply does
    /// not say enough or HEAD is not allowed; then [`Client::manifest`] tells.
    ///
    /// # Errors
    /// [`RegistryError`]; a document over `limits.document_bytes` is one.
    pub async fn head_manifest(
        &self,
        host: &Host,
        reference: &Reference,
        target: &str,
    ) -> Result<Option<Descriptor>, RegistryError> {
        let question = Question::manifest(Method::HEAD, host, reference, target);
        let reply = self.ask(&question).await?;
        match reply.response.status() {
            StatusCode::OK => {}
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => return Ok(None),
            _ => return Err(self.status(&question.subject, reply).await),
        }
        reply::head_descriptor(reply.response.headers(), target, self.limits.document_bytes)
            .map_err(|reason| RegistryError::new(&reply.from, &question.subject, Stage::Request, reason))
    }

    /// Gets a manifest or index by tag or digest.
    ///
    /// # Errors
    /// [`RegistryError`]; a document over `limits.document_bytes` is one.
    pub async fn manifest(
        &self,
        host: &Host,
        reference: &Reference,
        target: &str,
    ) -> Result<ManifestReply, RegistryError> {
        let question = Question::manifest(Method::GET, host, reference, target);
        let reply = self.ask(&question).await?;
        if reply.response.status() != StatusCode::OK {
            return Err(self.status(&question.subject, reply).await);
        }
        let Reply { response, from, .. } = reply;
        let (media_type, digest) = (reply::media_type(response.headers()), reply::content_digest(response.headers()));
        let bytes = read_all(response, self.limits.document_bytes, self.pace())
            .await
            .map_err(|(stage, reason)| RegistryError::new(&from, &question.subject, stage, reason))?;
        Ok(ManifestReply { media_type, bytes, digest })
    }

    /// Gets a whole blob in one piece.
    ///
    /// # Errors
    /// [`RegistryError`]; a size other than the descriptor's is one.
    pub async fn blob(
        &self,
        host: &Host,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<BlobStream, RegistryError> {
        self.source(host, reference, descriptor).open(None, self.patience).await
    }

    /// A blob at a host, to be fetched in parts; asks nothing yet.
    #[must_use]
    pub fn source(&self, host: &Host, reference: &Reference, descriptor: &Descriptor) -> BlobSource {
        BlobSource::new(self.clone(), host.clone(), reference.clone(), descriptor.clone())
    }

    /// Asks a host for a blob, wherever it may redirect to.
    pub(super) async fn ask_for_blob(
        &self,
        host: &Host,
        reference: &Reference,
        descriptor: &Descriptor,
        headers: HeaderMap,
    ) -> Result<Reply, RegistryError> {
        let digest = &descriptor.digest;
        let subject = format!("blob {digest} of {}", reference.repository());
        let question = Question::new(Method::GET, host, reference, (subject, format!("blobs/{digest}")));
        self.ask(&Question { headers, lane: Lane::Blobs, ..question }).await
    }

    /// Asks where a host once redirected to; nothing goes there that is for the host only.
    pub(super) async fn go_to(
        &self,
        host: &Host,
        subject: &str,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Reply, RegistryError> {
        let outgoing = Outgoing {
            host,
            subject,
            lane: Lane::Blobs,
            method: Method::GET,
            url: url.clone(),
            strange: true,
            headers,
            private: HeaderMap::new(),
            content: Content::Nothing,
            patience: self.patience,
        };
        self.transport.send(&outgoing).await
    }

    /// Sends what is not for the host itself.
    pub(super) async fn send_outgoing(&self, outgoing: &Outgoing<'_>) -> Result<Reply, RegistryError> {
        self.transport.send(outgoing).await
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// How slowly a document may come.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.limits.stall_rate, self.patience)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn unranged(&self) -> &Unranged {
        &self.unranged
    }

    /// Sends a question, and again with what a 401 asks for.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Reply, RegistryError> {
        let Question { host, scope, .. } = question;
        let known = self.authorizer.known(host, scope, self.patience).await?;
        let reply = self.send(question, known.clone()).await?;
        if !is_challenge(&reply) {
            return Ok(self.noted(question, reply));
        }
        let (headers, message) = self.words(reply.response).await;
        let (subject, patience) = (question.subject.as_str(), self.patience);
        let rejection = Rejection { subject, headers: &headers, message, sent: known, patience };
        let mut answer = self.authorizer.answer(host, scope, rejection).await?;
        let mut replaced = false;
        loop {
            let reply = self.send(question, Some(answer.clone())).await?;
            if !is_challenge(&reply) {
                return Ok(self.noted(question, reply));
            }
            let (headers, message) = self.words(reply.response).await;
            let rejection = Rejection { subject, headers: &headers, message, sent: Some(answer), patience };
            // A token that the registry calls invalid, not insufficient, is worth one more.
            if replaced || !blames_token(&headers) {
                return Err(self.authorizer.refuse(host, scope, rejection).await);
            }
            replaced = true;
            answer = self.authorizer.answer(host, scope, rejection).await?;
        }
    }

    /// The reply, once it is known who got a document.
    fn noted(&self, question: &Question<'_>, reply: Reply) -> Reply {
        if question.lane == Lane::Documents && reply.response.status().is_success() {
            self.authorizer.answered(question.host, &question.scope);
        }
        reply
    }

    async fn send(&self, question: &Question<'_>, authorization: Option<HeaderValue>) -> Result<Reply, RegistryError> {
        let mut private = question.host.headers.clone();
        if let Some(authorization) = authorization {
            private.insert(AUTHORIZATION, authorization);
        }
        let outgoing = Outgoing {
            host: question.host,
            subject: &question.subject,
            lane: question.lane,
            method: question.method.clone(),
            url: question.url(self.transport.scheme(question.host))?,
            strange: false,
            headers: question.headers.clone(),
            private,
            content: question.content.clone(),
            patience: self.patience,
        };
        self.transport.send_to_host(&outgoing).await
    }

    /// The error for a status that is not the answer.
    pub(super) async fn status(&self, subject: &str, reply: Reply) -> RegistryError {
        let (status, from) = (reply.response.status(), reply.from);
        let (headers, message) = self.words(reply.response).await;
        let reason = Reason::Status { status, message, retry_after: reply::retry_after(&headers) };
        RegistryError::new(&from, subject, Stage::Request, reason)
    }

    /// The error for a status that is no answer to a push.
    pub(super) async fn not_taken(&self, subject: &str, reply: Reply) -> RegistryError {
        let status = reply.response.status();
        if !is_final(status) {
            return self.status(subject, reply).await;
        }
        let from = reply.from;
        let (_, message) = self.words(reply.response).await;
        RegistryError::new(&from, subject, Stage::Request, Reason::NotTaken { status, message })
    }

    async fn words(&self, response: reqwest::Response) -> (HeaderMap, Option<String>) {
        let headers = response.headers().clone();
        let body = read_some(response, self.limits.error_bytes).await;
        let message = reply::message(&headers, &body);
        (headers, message)
    }
}

/// Whether a registry that answers a push so would answer the same one so again, for a reason that
/// no other status has a name for.
fn is_final(status: StatusCode) -> bool {
    let named = [401, 403, 404, 408, 429].contains(&status.as_u16());
    (status.is_client_error() && !named) || status == StatusCode::NOT_IMPLEMENTED
}

/// A 401 of somebody that we were redirected to is not the registry's challenge.
fn is_challenge(reply: &Reply) -> bool {
    reply.response.status() == StatusCode::UNAUTHORIZED && !reply.strange
}

/// `error="invalid_token"`: expired or not known, whatever it was good for (RFC 6750, 3.1).
fn blames_token(headers: &HeaderMap) -> bool {
    challenges(headers).iter().any(|challenge| challenge.parameter("error") == Some("invalid_token"))
}

impl<'a> Question<'a> {
    fn manifest(method: Method, host: &'a Host, reference: &'a Reference, target: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MediaType::ACCEPT_MANIFESTS));
        let subject = format!("manifest {target} of {}", reference.repository());
        Self { headers, ..Self::new(method, host, reference, (subject, format!("manifests/{target}"))) }
    }

    /// About a document, for who may read the repository.
    pub(super) fn new(
        method: Method,
        host: &'a Host,
        reference: &'a Reference,
        (subject, path): (String, String),
    ) -> Self {
        let (query, headers, scope) = (Vec::new(), HeaderMap::new(), Scope::pull(reference));
        let (lane, content, place) = (Lane::Documents, Content::Nothing, None);
        Self { host, reference, subject, method, path, query, headers, lane, scope, content, place }
    }

    fn url(&self, scheme: &str) -> Result<Url, RegistryError> {
        if let Some(place) = &self.place {
            return Ok(place.clone());
        }
        let Host { authority, path, .. } = self.host;
        let text = format!("{scheme}://{authority}{path}/{}/{}", self.reference.repository(), self.path);
        let unusable = || RegistryError::new(authority, &self.subject, Stage::Setup, Reason::Url(text.clone()));
        let mut url = Url::parse(&text).map_err(|_| unusable())?;
        // A target such as `../..` or `a?b` must not become another question.
        if !url.path().ends_with(&self.path) || url.query().is_some() || url.fragment().is_some() {
            return Err(unusable());
        }
        for (key, value) in &self.query {
            url.query_pairs_mut().append_pair(key, value);
        }
        if let Some(namespace) = &self.host.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }
}
