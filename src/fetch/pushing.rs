//! Giving things to the registry itself, with the patience that asking has.
//!
//! Everything here may be done twice: content is named by its digest, and what a tag is to stand
//! for is compared by the caller before and after. So a failure that time may heal is tried again.

use std::time::Duration;

use bytes::Bytes;

use crate::core::descriptor::MediaType;
use crate::core::digest::{Digest, Verified};
use crate::core::error::{Classify as _, Kind};
use crate::core::reference::Reference;
use crate::core::retry::Policy;
use crate::registry::{Client, Content, Host, Operation};

use super::Fetcher;
use super::attempts::Attempts;
use super::error::FetchError;

/// How long a registry may be silent that has got all bytes: it hashes them, and moves them to
/// where they are kept.
const PATIENCE: Duration = Duration::from_secs(120);

impl Fetcher {
    /// The same for the one host that takes pushes, also for what is asked: a mirror may be
    /// behind. Like containerd's, that is the first one that may be pushed to.
    ///
    /// # Errors
    /// [`FetchError::NoHost`] where the hosts.toml of the registry lets nobody be pushed to.
    pub fn at_the_registry(&self, reference: &Reference) -> Result<Self, FetchError> {
        let host = self.hosts.iter().find(|host| host.can(Operation::Push));
        let host = host.ok_or_else(|| FetchError::NoHost { what: format!("a push to {}", reference.name()) })?;
        Ok(Self { hosts: [host.clone()].into(), ..self.clone() })
    }

    /// Puts a document under its digest.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn push_document(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        document: &Verified<Bytes>,
    ) -> Result<(), FetchError> {
        let name = document.digest().to_string();
        let attempts = self.pushing(name.clone(), self.policy)?;
        self.put(attempts, reference, &name, (media_type, document)).await
    }

    /// Puts a document under a tag, and tries only once: whoever wants to try again has to look
    /// first what the tag stands for meanwhile.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn push_tag(
        &self,
        reference: &Reference,
        tag: &str,
        (media_type, document): (&MediaType, &Verified<Bytes>),
    ) -> Result<(), FetchError> {
        let attempts = self.pushing(reference.familiar(), Policy { rounds: 1, ..self.policy })?;
        self.put(attempts, reference, tag, (media_type, document)).await
    }

    async fn put(
        &self,
        attempts: Attempts<'_>,
        reference: &Reference,
        name: &str,
        (media_type, document): (&MediaType, &Verified<Bytes>),
    ) -> Result<(), FetchError> {
        let ask = |client: Client, host| async move {
            let client = client.patient(PATIENCE);
            Ok(client.put_manifest(host, reference, name, (media_type, document.content())).await?)
        };
        attempts.until_answered(ask).await
    }

    /// Has the registry take a blob over from another of its repositories; whether it did.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn mount(&self, reference: &Reference, digest: &Digest, from: &Reference) -> Result<bool, FetchError> {
        let ask = |client: Client, host| async move { Ok(client.mount(host, reference, digest, from).await?) };
        self.pushing(digest.to_string(), self.policy)?.until_answered(ask).await
    }

    /// Uploads a blob.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn upload(&self, reference: &Reference, digest: &Digest, content: &Content) -> Result<(), FetchError> {
        let ask = |client: Client, host| async move {
            Ok(client.patient(PATIENCE).upload(host, reference, digest, content.clone()).await?)
        };
        self.pushing(digest.to_string(), self.policy)?.until_answered(ask).await
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn has_blob(&self, reference: &Reference, digest: &Digest) -> Result<bool, FetchError> {
        present(self.size_of(reference, digest).await).map(|size| size.is_some())
    }

    /// The digest of what a reference stands for, or `None` where there is no such thing.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>, FetchError> {
        match present(self.resolve(reference).await)? {
            None => Ok(None),
            Some(Some(found)) => Ok(Some(found.digest)),
            // It cannot be told without the document.
            Some(None) => Ok(present(self.root(reference).await)?.map(|root| root.content.digest().clone())),
        }
    }

    fn pushing(&self, what: String, policy: Policy) -> Result<Attempts<'_>, FetchError> {
        let able: Vec<&Host> = self.hosts.iter().filter(|host| host.can(Operation::Push)).take(1).collect();
        Ok(Attempts::new(what, able, &self.engine, &*self.observer)?.with_policy(policy))
    }
}

/// What was found, or `None` where the registry says that there is no such thing.
fn present<T>(answer: Result<T, FetchError>) -> Result<Option<T>, FetchError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
