//! Whether whoever asks may have an image: the word of its registry, not that of a mirror which
//! gives to anybody.
//!
//! A mirror that asked for credentials and accepted those of the caller has decided by itself who
//! may have what. An open one has not, so the registry is asked beside it. Its word does not count
//! where it gives none: where it cannot be reached, does not answer in [`PATIENCE`], or answers
//! that it is overloaded or broken, and where the mirrors stand in its place altogether (the
//! `server` of hosts.toml is another one). Then the mirror's answer is what there is, as it is for
//! containerd in all cases: to be there when the registry is not is what mirrors are for, and who
//! may be asked for tags is the administrator's decision.

use std::time::Duration;

use crate::core::error::{Classify, Kind};
use crate::core::reference::Reference;
use crate::core::retry::Policy;
use crate::registry::Host;

use super::attempts::Attempts;
use super::error::FetchError;
use super::{Fetcher, ask_for, operation_of};

/// How long the registry may take to say who may have what. Where a firewall swallows every
/// packet, a pull waits so long, and the next ones not, until the cool-down of the host is over.
const PATIENCE: Duration = Duration::from_secs(5);
/// Once more where the first try may have been bad luck.
const ROUNDS: u32 = 2;

impl Fetcher {
    /// Asks the registry whether the caller may have what he got from others. To be called after
    /// the reference was resolved.
    ///
    /// # Errors
    /// [`FetchError`] where the registry says that he may not, or that there is no such image.
    pub async fn check_access(&self, reference: &Reference) -> Result<(), FetchError> {
        let Some(registry) = self.unasked(reference) else { return Ok(()) };
        if self.engine.health().is_down(registry) {
            tracing::info!(%reference, "the registry was out of reach lately: its mirror's word counts");
            return Ok(());
        }
        let policy = Policy { rounds: ROUNDS, ..self.policy };
        let asked = Attempts::new(reference.familiar(), vec![registry], &self.engine, &*self.observer)?;
        let answer = tokio::time::timeout(PATIENCE, ask_for(asked.with_policy(policy), reference)).await;
        let reason = match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if is_refusal(error.kind()) => return Err(error),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.engine.health().note_failure(registry);
                format!("it said nothing for {} s", PATIENCE.as_secs())
            }
        };
        tracing::warn!(%reference, "the registry does not say who may have this, so its mirror's word counts: {reason}");
        Ok(())
    }

    /// The registry, if others may have answered for it who would answer anybody.
    fn unasked(&self, reference: &Reference) -> Option<&Host> {
        let operation = operation_of(reference);
        let able = self.hosts.iter().filter(|host| host.can(operation));
        let (registry, mirrors): (Vec<&Host>, Vec<&Host>) = able.partition(|host| host.is_upstream());
        let client = self.engine.client();
        let vouched = mirrors.is_empty() || mirrors.iter().any(|mirror| client.was_admitted(mirror, reference));
        registry.first().copied().filter(|_| !vouched)
    }
}

/// Whether a registry has said no, and not merely failed to say yes.
fn is_refusal(kind: Kind) -> bool {
    matches!(kind, Kind::Unauthenticated | Kind::PermissionDenied | Kind::NotFound)
}
