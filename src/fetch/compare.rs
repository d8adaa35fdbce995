//! What every host of a registry says of a reference, side by side. A pull is content with the
//! first answer; a diagnosis wants to know whether a mirror tells another story.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Document, Endpoint, FetchError, Fetcher};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Verified;
use crate::core::error::Classify as _;
use crate::core::reference::Reference;
use crate::core::retry::Policy;
use crate::registry::Host;

/// Hosts that are compared. Nobody configures more mirrors of one registry.
const MAX_HOSTS: usize = 8;
/// Who has not answered by then is left out: nobody waits for a dead mirror.
const PATIENCE: Duration = Duration::from_secs(10);

/// One host's answer.
#[derive(Debug, Clone)]
pub struct Told {
    /// The host, as it is configured.
    pub host: String,
    /// It is the registry itself, and no mirror.
    pub is_upstream: bool,
    /// What it says that the reference stands for.
    pub document: Document,
    /// Asks this host and no other.
    alone: Fetcher,
}

impl Told {
    /// A small blob behind its answer, as this host has it; `None` where it does not give it.
    pub async fn blob(&self, reference: &Reference, blob: &Descriptor) -> Option<Verified<Bytes>> {
        in_time(&self.host, self.alone.document(reference, blob, Endpoint::Blobs)).await
    }
}

impl Fetcher {
    /// Asks every host once, all at the same time. Those that do not answer are left out, and so
    /// is everybody where there is only one.
    pub async fn compare(&self, reference: &Reference) -> Vec<Told> {
        if self.hosts.len() < 2 {
            return Vec::new();
        }
        let answers = self.hosts.iter().take(MAX_HOSTS).map(|host| self.told_by(host, reference));
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn told_by(&self, host: &Host, reference: &Reference) -> Option<Told> {
        let policy = Policy { rounds: 1, ..self.policy };
        let alone = Self { hosts: [host.clone()].into(), ..self.clone() }.with_policy(policy);
        let (host, is_upstream) = (host.to_string(), host.is_upstream());
        let document = in_time(&host, alone.root(reference)).await?;
        Some(Told { host, is_upstream, document, alone })
    }
}

/// An answer, if it comes in time.
async fn in_time<T>(host: &str, answer: impl Future<Output = Result<T, FetchError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::info!(host, kind = ?error.kind(), "the host is left out of the comparison: {error}");
            None
        }
        Err(_) => {
            tracing::info!(host, "the host is left out of the comparison: it does not answer");
            None
        }
    }
}
