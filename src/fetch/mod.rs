//! The engine: descriptors in, verified content in a store out.
//!
//! A blob flows one way: hosts, with the one retry loop (`attempts`), to connections
//! (`transfer`, `connection`), to a staged file, while it is hashed on the CPU pool (`work`),
//! and only as [`Verified`] into the store (`blob`). Whatever interrupts that, the bytes on
//! disk stay and the next attempt goes on behind them.
//!
//! What all downloads share is the [`Engine`]'s: connections (`lanes`), memory (`budget`,
//! `documents`), bandwidth, what is known of hosts (`health`), the downloads themselves
//! (`flight`), and the numbers of it all (`ledger`). Who only looks into a blob has `windows`.
//!
//! This room decides nothing about images: which blobs are wanted is the caller's affair.

mod access;
mod arrival;
mod attempts;
mod bandwidth;
mod blob;
mod budget;
mod compare;
mod connection;
mod documents;
mod engine;
mod error;
mod flight;
mod health;
mod lag;
mod lanes;
mod ledger;
pub mod progress;
mod pushing;
mod questions;
mod reading;
mod split;
mod transfer;
mod windows;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Verified;
use crate::core::manifest::ManifestError;
use crate::core::reference::Reference;
use crate::core::retry::Policy;
use crate::registry::{Client, Host, Operation};

use attempts::Attempts;
use progress::Observer;

pub use arrival::Arrival;
pub use blob::{Job, Landed};
pub use budget::{Budget, Memory, Reservation};
pub use compare::Told;
pub use documents::Room;
pub use engine::Engine;
pub use error::{Cause, FetchError, WrongSize};
pub use ledger::{Account, HostClass};
pub use reading::Reading;
pub use windows::Windows;

/// Fetches from the hosts of one registry: its mirrors and itself.
#[derive(Debug, Clone)]
pub struct Fetcher {
    engine: Engine,
    hosts: Arc<[Host]>,
    observer: Arc<dyn Observer>,
    policy: Policy,
}

/// An index, manifest or config, with what it was announced as.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its type: the descriptor's, else what the registry said.
    pub media_type: Option<MediaType>,
    /// The bytes, under the digest that they have.
    pub content: Verified<Bytes>,
}

impl Document {
    /// A descriptor of this document; a type that nobody named is `fallback`.
    #[must_use]
    pub fn descriptor(&self, fallback: MediaType) -> Descriptor {
        let media_type = self.media_type.clone().unwrap_or(fallback);
        Descriptor::new(media_type, self.content.digest().clone(), self.content.size())
    }
}

/// Where a document stands in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Under `/manifests/`: indexes and manifests.
    Manifests,
    /// Under `/blobs/`: configs.
    Blobs,
}

impl Fetcher {
    /// A fetcher over `hosts`, in the order in which they are to be asked.
    #[must_use]
    pub fn new(engine: Engine, hosts: Vec<Host>, observer: Arc<dyn Observer>) -> Self {
        let policy = *engine.policy();
        Self { engine, hosts: hosts.into(), observer, policy }
    }

    /// The same, with another patience for questions and documents. Blobs have the engine's.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The same, telling somebody else of its progress.
    #[must_use]
    pub fn with_observer(&self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self.clone() }
    }

    /// What this fetcher shares with all others.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Asks what a reference stands for, without fetching it; `None` where no host can say so
    /// without sending the document.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn resolve(&self, reference: &Reference) -> Result<Option<Descriptor>, FetchError> {
        ask_for(self.attempts(reference.familiar(), operation_of(reference))?, reference).await
    }

    /// Fetches the root document of a reference, whatever it is.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn root(&self, reference: &Reference) -> Result<Document, FetchError> {
        self.root_within(reference, None).await
    }

    /// Fetches the root document of a reference, into this room where it is to have one.
    async fn root_within(&self, reference: &Reference, mut room: Option<&mut Room>) -> Result<Document, FetchError> {
        let target = reference.target();
        let mut attempts = self.attempts(reference.familiar(), operation_of(reference))?;
        loop {
            let most = room.as_ref().map_or(u64::MAX, |room| room.bytes());
            let client = attempts.client().at_most(most);
            match root_from(&client, attempts.host(), reference, &target).await {
                Ok(document) => {
                    attempts.succeeded();
                    self.engine.ledger().received(HostClass::of(attempts.host()), document.content.size());
                    return Ok(document);
                }
                Err(cause) => match &mut room {
                    // How large it is was not known before; the same host sends it again.
                    Some(room) if cause.is_too_large() && room.is_ordinary() => {
                        self.make_room_for(u64::MAX, reference, room).await;
                    }
                    _ => attempts.failed(cause).await?,
                },
            }
        }
    }

    /// Fetches a document that a descriptor names.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt; a document over the limit is refused unread.
    pub async fn document(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        endpoint: Endpoint,
    ) -> Result<Verified<Bytes>, FetchError> {
        let limit = self.engine.limits().document_bytes;
        if descriptor.size > limit {
            let cause = Cause::Document(ManifestError::TooLarge { size: descriptor.size, limit });
            return Err(FetchError::refused(descriptor.digest.to_string(), cause));
        }
        let attempts = self.attempts(descriptor.digest.to_string(), Operation::Pull)?;
        let ask = |client, host| async move {
            let document = document_from(&client, host, reference, descriptor, endpoint).await?;
            self.engine.ledger().received(HostClass::of(host), document.size());
            Ok(document)
        };
        Box::pin(attempts.until_answered(ask)).await
    }

    /// The hosts that may be asked for `what`, those that failed lately last.
    fn attempts(&self, what: String, operation: Operation) -> Result<Attempts<'_>, FetchError> {
        let able: Vec<&Host> = self.hosts.iter().filter(|host| host.can(operation)).collect();
        Ok(Attempts::new(what, able, &self.engine, &*self.observer)?.with_policy(self.policy))
    }
}

/// Asks what a reference stands for, by HEAD.
async fn ask_for(attempts: Attempts<'_>, reference: &Reference) -> Result<Option<Descriptor>, FetchError> {
    let target = &reference.target();
    let ask = |client: Client, host| async move { Ok(client.head_manifest(host, reference, target).await?) };
    attempts.until_answered(ask).await
}

async fn root_from(client: &Client, host: &Host, reference: &Reference, target: &str) -> Result<Document, Cause> {
    let reply = client.manifest(host, reference, target).await?;
    // For a tag, the registry's own word is what there is to check against.
    let content = match reference.digest().or(reply.digest.as_ref()) {
        Some(digest) => {
            let size = reply.bytes.len() as u64;
            Verified::check(reply.bytes, digest, size)?
        }
        None => Verified::seal(reply.bytes),
    };
    Ok(Document { media_type: reply.media_type, content })
}

async fn document_from(
    client: &Client,
    host: &Host,
    reference: &Reference,
    descriptor: &Descriptor,
    endpoint: Endpoint,
) -> Result<Verified<Bytes>, Cause> {
    let bytes = match endpoint {
        Endpoint::Manifests => client.manifest(host, reference, &descriptor.digest.to_string()).await?.bytes,
        Endpoint::Blobs => {
            let mut stream = client.blob(host, reference, descriptor).await?;
            let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or_default());
            while let Some(chunk) = stream.next().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 > descriptor.size {
                    break; // The check below names it.
                }
            }
            bytes.into()
        }
    };
    Ok(Verified::check(bytes, &descriptor.digest, descriptor.size)?)
}

/// Tags are only asked of hosts that may resolve; digests of any that may pull.
fn operation_of(reference: &Reference) -> Operation {
    if reference.digest().is_some() { Operation::Pull } else { Operation::Resolve }
}
