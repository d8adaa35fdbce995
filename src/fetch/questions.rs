//! What a repository has, asked of whichever host can tell.

use crate::core::digest::Digest;
use crate::core::reference::Reference;
use crate::registry::{Client, Listing, Operation};

use super::Fetcher;
use super::error::FetchError;

impl Fetcher {
    /// How many bytes a blob of a repository has, without fetching it.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn size_of(&self, reference: &Reference, digest: &Digest) -> Result<u64, FetchError> {
        let attempts = self.attempts(digest.to_string(), Operation::Pull)?;
        let ask = |client: Client, host| async move { Ok(client.head_blob(host, reference, digest).await?) };
        attempts.until_answered(ask).await
    }

    /// A page of a repository's tags; `query` is the registry's to read.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn tags(&self, reference: &Reference, query: &[(String, String)]) -> Result<Listing, FetchError> {
        let attempts = self.attempts(format!("the tags of {}", reference.name()), Operation::Resolve)?;
        let ask = |client: Client, host| async move { Ok(client.tags(host, reference, query).await?) };
        attempts.until_answered(ask).await
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
        let attempts = self.attempts(format!("what refers to {digest}"), Operation::Referrers)?;
        let ask = |client: Client, host| async move { Ok(client.referrers(host, reference, digest, query).await?) };
        attempts.until_answered(ask).await
    }
}
