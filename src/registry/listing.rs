//! Questions about what a repository has, without fetching it: blobs, tags, referrers.

use bytes::Bytes;
use http::header::{ACCEPT, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;

use super::client::{Client, Question};
use super::error::{Reason, RegistryError, Stage};
use super::hosts::Host;
use super::reply;
use super::transport::{Reply, read_all, read_some};
use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::reference::Reference;

/// Of the body of an answer that is not used this much is read, so that the connection stays.
const UNUSED_BODY: usize = 4096;

/// A page of a listing, as the registry sent it.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The document; nothing of it is checked but its size. It may hold more than the query asks for.
    pub bytes: Bytes,
    /// The query that asks for the next page; `None` for the last one.
    pub next: Option<Vec<(String, String)>>,
}

impl Client {
    /// Asks whether a repository has a blob, and how many bytes it has.
    ///
    /// # Errors
    /// [`RegistryError`]; a registry that does not tell the size is one.
    pub async fn head_blob(&self, host: &Host, reference: &Reference, digest: &Digest) -> Result<u64, RegistryError> {
        let subject = format!("blob {digest} of {}", reference.repository());
        let mut question = Question::new(Method::HEAD, host, reference, (subject, format!("blobs/{digest}")));
        let reply = self.ask(&question).await?;
        let status = reply.response.status();
        if let Some(size) = reply::blob_size(status, reply.response.headers()) {
            return Ok(size);
        }
        // Storage that a registry redirects to is often signed for GET alone, and some
        // registries know no HEAD of blobs.
        let is_silent = matches!(status, StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        if !is_silent && !reply.strange {
            return Err(self.status(&question.subject, reply).await);
        }
        question.method = Method::GET;
        question.headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let reply = self.ask(&question).await?;
        match reply::blob_size(reply.response.status(), reply.response.headers()) {
            Some(size) => {
                // One byte, unless the range was ignored: then the connection is dropped.
                read_some(reply.response, UNUSED_BODY).await;
                Ok(size)
            }
            None if reply.response.status().is_success() => {
                let reason = Reason::Range { asked: Some((0, 0)), answered: "without the blob's size".into() };
                Err(RegistryError::new(&reply.from, &question.subject, Stage::Request, reason))
            }
            None => Err(self.status(&question.subject, reply).await),
        }
    }

    /// Asks for a page of a repository's tags; `query` says which.
    ///
    /// # Errors
    /// [`RegistryError`]; a page over `limits.document_bytes` is one.
    pub async fn tags(
        &self,
        host: &Host,
        reference: &Reference,
        query: &[(String, String)],
    ) -> Result<Listing, RegistryError> {
        let subject = format!("tags of {}", reference.repository());
        self.list(host, reference, (subject, "tags/list".into()), (query, "application/json")).await
    }

    /// Asks for a page of the manifests that refer to one; `query` says which.
    ///
    /// # Errors
    /// [`RegistryError`]; a page over `limits.document_bytes` is one.
    pub async fn referrers(
        &self,
        host: &Host,
        reference: &Reference,
        digest: &Digest,
        query: &[(String, String)],
    ) -> Result<Listing, RegistryError> {
        let subject = format!("referrers of {digest} in {}", reference.repository());
        let accepted = MediaType::OciIndex;
        self.list(host, reference, (subject, format!("referrers/{digest}")), (query, accepted.as_str())).await
    }

    async fn list(
        &self,
        host: &Host,
        reference: &Reference,
        (subject, path): (String, String),
        (query, accepted): (&[(String, String)], &str),
    ) -> Result<Listing, RegistryError> {
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(accepted).map(|value| (ACCEPT, value)));
        let query = query.to_vec();
        let question = Question { query, headers, ..Question::new(Method::GET, host, reference, (subject, path)) };
        let reply = self.ask(&question).await?;
        if reply.response.status() != StatusCode::OK {
            return Err(self.status(&question.subject, reply).await);
        }
        let Reply { response, from, url, .. } = reply;
        let next = next_page(&url, response.headers());
        let bytes = read_all(response, self.limits().document_bytes, self.pace())
            .await
            .map_err(|(stage, reason)| RegistryError::new(&from, &question.subject, stage, reason))?;
        Ok(Listing { bytes, next })
    }
}

/// The query that asks for the next page. Where else its URL leads does not matter: it is asked for
/// at the same place as this one.
fn next_page(url: &Url, headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    let next = url.join(reply::next_page(headers)?).ok()?;
    Some(next.query_pairs().into_owned().filter(|(key, _)| key != "ns").collect())
}

#[cfg(test)]
mod tests {
    use http::header::LINK;

    use super::*;

    #[test]
    fn finds_the_query_of_the_next_page() {
        let url = Url::parse("https://a.example/v2/app/tags/list?n=2").expect("a URL");
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().expect("a value"));
            next_page(&url, &headers)
                .map(|pairs| pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&"))
        };
        for (link, expected) in [
            ("</v2/app/tags/list?last=b&n=2>; rel=\"next\"", Some("last=b&n=2")),
            ("<tags/list?last=b%2Bc>; rel=next", Some("last=b+c")),
            ("<https://elsewhere.example/?token=x&ns=y>;rel=\"next\"", Some("token=x")),
            ("</a?x=1>; rel=\"prev\", </a?x=2>; rel=\"next\"", Some("x=2")),
            ("</a?x=1>; rel=\"prev\"", None),
            ("nonsense", None),
        ] {
            assert_eq!(next(link).as_deref(), expected, "{link}");
        }
    }
}
