//! What a repository has, asked of whichever host can tell.

use crate::core::digest::Digest;
use crate::core::reference::Reference;
use crate::registry::{Listing, Operation};

use super::Fetcher;
use super::error::FetchError;

impl Fetcher {
    /// How many bytes a blob of a repository has, without fetching it.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn size_of(&self, reference: &Reference, digest: &Digest) -> Result<u64, FetchError> {
        let mut attempts = self.attempts(digest.to_string(), Operation::Pull)?;
        loop {
            let client = attempts.client();
            match client.head_blob(attempts.host(), reference, digest).await {
                Ok(size) => {
                    attempts.succeeded();
                    return Ok(size);
                }
                Err(error) => attempts.failed(error.into()).await?,
            }
        }
    }

    /// A page of a repository's tags; `query` is the registry's to read.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn tags(&self, reference: &Reference, query: &[(String, String)]) -> Result<Listing, FetchError> {
        let mut attempts = self.attempts(format!("the tags of {}", reference.name()), Operation::Resolve)?;
        loop {
            let client = attempts.client();
            match client.tags(attempts.host(), reference, query).await {
                Ok(listing) => {
                    attempts.succeeded();
                    return Ok(listing);
                }
                Err(error) => attempts.failed(error.into()).await?,
            }
        }
    }

    /// A page of the manifests that refer to one; `query` is the registry's to read.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
        query: &[(String, String)],
    ) -> Result<Listing, FetchError> {
        let mut attempts = self.attempts(format!("what refers to {digest}"), Operation::Referrers)?;
        loop {
            let client = attempts.client();
            match client.referrers(attempts.host(), reference, digest, query).await {
                Ok(listing) => {
                    attempts.succeeded();
                    return Ok(listing);
                }
                Err(error) => attempts.failed(error.into()).await?,
            }
        }
    }
}
