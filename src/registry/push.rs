//! Giving something to one remote: documents by name, blobs by upload or from another repository.
//!
//! Specification: OCI distribution-spec, "Push".

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;

use super::authorizer::Scope;
use super::client::{Client, Question};
use super::content::Content;
use super::error::{Reason, RegistryError, Stage};
use super::hosts::Host;
use super::reply;
use super::transport::{Lane, Outgoing, Reply, read_some, target};
use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::reference::Reference;

/// Of the body of an answer that is not used this much is read, so that the connection stays.
const UNUSED_BODY: usize = 4096;

impl Client {
    /// Puts a manifest or index under a tag or its own digest.
    ///
    /// # Errors
    /// [`RegistryError`]; a registry that has understood another digest than the bytes have is one.
    pub async fn put_manifest(
        &self,
        host: &Host,
        reference: &Reference,
        name: &str,
        (media_type, bytes): (&MediaType, &Bytes),
    ) -> Result<(), RegistryError> {
        let subject = format!("pushing manifest {name} of {}", reference.repository());
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(media_type.as_str()).map(|value| (CONTENT_TYPE, value)));
        let scope = Scope::push(reference);
        let question = Question::new(Method::PUT, host, reference, (subject, format!("manifests/{name}")));
        let question = Question { headers, scope, content: Content::Bytes(bytes.clone()), ..question };
        let reply = self.ask(&question).await?;
        if !reply.response.status().is_success() {
            return Err(self.not_taken(&question.subject, reply).await);
        }
        let asked = Digest::of(bytes);
        match reply::content_digest(reply.response.headers()) {
            Some(answered) if answered != asked && answered.algorithm() == asked.algorithm() => {
                let reason = Reason::Digest { asked, answered };
                Err(RegistryError::new(&reply.from, &question.subject, Stage::Request, reason))
            }
            _ => {
                read_some(reply.response, UNUSED_BODY).await;
                Ok(())
            }
        }
    }

    /// Asks the registry to take a blob over from another of its repositories; whether it has. One
    /// that has not wants the blob uploaded: it does not know mounts, or not this blob.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount(
        &self,
        host: &Host,
        reference: &Reference,
        digest: &Digest,
        from: &Reference,
    ) -> Result<bool, RegistryError> {
        let subject = format!("mounting blob {digest} of {} into {}", from.repository(), reference.repository());
        let question = Question::new(Method::POST, host, reference, (subject, "blobs/uploads/".into()));
        let query = vec![("mount".into(), digest.to_string()), ("from".into(), from.repository().to_owned())];
        let question = Question { query, scope: Scope::mount(reference, from), ..question };
        let reply = self.ask(&question).await?;
        match reply.response.status() {
            StatusCode::CREATED => {
                read_some(reply.response, UNUSED_BODY).await;
                Ok(true)
            }
            StatusCode::ACCEPTED => {
                self.give_up_upload(&question, &reply).await;
                Ok(false)
            }
            _ => Err(self.not_taken(&question.subject, reply).await),
        }
    }

    /// Uploads a blob, in one piece. The registry checks its digest.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn upload(
        &self,
        host: &Host,
        reference: &Reference,
        digest: &Digest,
        content: Content,
    ) -> Result<(), RegistryError> {
        let subject = format!("uploading blob {digest} to {}", reference.repository());
        let scope = Scope::push(reference);
        let question = Question::new(Method::POST, host, reference, (subject, "blobs/uploads/".into()));
        let question = Question { scope, ..question };
        let begun = self.ask(&question).await?;
        if begun.response.status() != StatusCode::ACCEPTED {
            return Err(self.not_taken(&question.subject, begun).await);
        }
        let mut place = place(&question, &begun)?;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        let is_strange = begun.strange || place.origin() != begun.url.origin();
        read_some(begun.response, UNUSED_BODY).await;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let reply = if is_strange {
            self.put_elsewhere(&question, place, (headers, content)).await?
        } else {
            let (method, lane) = (Method::PUT, Lane::Blobs);
            let put = Question { method, lane, headers, content, place: Some(place), ..question.clone() };
            self.ask(&put).await?
        };
        if !reply.response.status().is_success() {
            return Err(self.not_taken(&question.subject, reply).await);
        }
        read_some(reply.response, UNUSED_BODY).await;
        Ok(())
    }

    /// Uploads to where the host sends us, with nothing that is for the host only.
    async fn put_elsewhere(
        &self,
        question: &Question<'_>,
        url: Url,
        (headers, content): (HeaderMap, Content),
    ) -> Result<Reply, RegistryError> {
        let (host, subject, patience) = (question.host, question.subject.as_str(), self.patience());
        let (method, lane, private) = (Method::PUT, Lane::Blobs, HeaderMap::new());
        let outgoing =
            Outgoing { host, subject, lane, method, url, strange: true, headers, private, content, patience };
        self.send_outgoing(&outgoing).await
    }

    /// Ends an upload that was begun for us and is not wanted. Registries forget it by themselves
    /// after some days, so that no failure matters.
    async fn give_up_upload(&self, question: &Question<'_>, reply: &Reply) {
        if let Ok(place) = place(question, reply)
            && place.origin() == reply.url.origin()
        {
            let method = Method::DELETE;
            let end = Question { method, query: Vec::new(), place: Some(place), ..question.clone() };
            if let Err(error) = self.ask(&end).await {
                tracing::debug!(%error, "an upload that was begun could not be ended");
            }
        }
    }
}

/// Where an upload that was begun goes on.
fn place(question: &Question<'_>, reply: &Reply) -> Result<Url, RegistryError> {
    target(question.host, &reply.url, reply.response.headers()).map_err(|(to, problem)| {
        RegistryError::new(&reply.from, &question.subject, Stage::Request, Reason::Redirect { to, problem })
    })
}
