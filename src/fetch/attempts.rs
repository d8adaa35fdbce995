//! The one retry loop of the program: hosts times policy.
//!
//! What to do after a failure is decided by [`Policy::decide`](crate::core::retry::Policy);
//! here is only the bookkeeping, the waiting, and the record of every attempt.

use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use crate::core::error::{Attempt, Classify, Kind};
use crate::core::retry::{Decision, Failure, is_transient};
use crate::registry::Host;

use super::Fetcher;
use super::error::{Cause, FetchError};
use super::progress::Event;

/// Attempts that an error shows at the most.
const MAX_ATTEMPTS_KEPT: usize = 50;

/// The attempts to get one thing.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    what: String,
    hosts: Vec<&'a Host>,
    current: usize,
    round: u32,
    /// Hosts of this round that failed in a way that time may heal.
    may_heal: Vec<&'a Host>,
    /// The furthest byte that any attempt got to.
    reached: u64,
    progressed: bool,
    started: Instant,
    offset: u64,
    past: Vec<Attempt>,
    fetcher: &'a Fetcher,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(what: String, hosts: Vec<&'a Host>, fetcher: &'a Fetcher) -> Result<Self, FetchError> {
        if hosts.is_empty() {
            return Err(FetchError::NoHost { what });
        }
        Ok(Self {
            what,
            hosts,
            current: 0,
            round: 1,
            may_heal: Vec::new(),
            reached: 0,
            progressed: false,
            started: Instant::now(),
            offset: 0,
            past: Vec::new(),
            fetcher,
        })
    }

    /// The host to ask now.
    pub(super) fn host(&self) -> &'a Host {
        self.hosts[self.current]
    }

    /// Notes where in the blob the next attempt starts.
    pub(super) fn start_at(&mut self, offset: u64) {
        self.offset = offset;
        self.reached = self.reached.max(offset);
        self.started = Instant::now();
    }

    /// Notes how far an attempt got. Only new ground counts as progress, so that a host which
    /// breaks off at the same place again and again does not get for ever.
    pub(super) fn ended_at(&mut self, offset: u64) {
        self.progressed = offset > self.reached;
        self.reached = self.reached.max(offset);
        if self.progressed {
            self.round = 1;
        }
    }

    /// Takes note of a failure, and waits or moves on to the next host.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt where nothing more can help.
    pub(super) async fn failed(&mut self, cause: Cause) -> Result<(), FetchError> {
        let decision = self.decide(&cause);
        let host = self.host().to_string();
        let observer = &self.fetcher.observer;
        match decision {
            Decision::GiveUp => {
                return Err(FetchError::Failed {
                    what: std::mem::take(&mut self.what),
                    host: Some(host),
                    attempts: std::mem::take(&mut self.past),
                    cause: Box::new(cause),
                });
            }
            Decision::NextHost => {
                observer.notify(Event::NextHost { what: &self.what, left: &host, cause: &cause });
                self.current += 1;
            }
            Decision::Retry(wait) => {
                observer.notify(Event::Waiting { what: &self.what, wait, cause: &cause });
                tokio::time::sleep(wait).await;
            }
            Decision::NextRound(wait) => {
                observer.notify(Event::Waiting { what: &self.what, wait, cause: &cause });
                tokio::time::sleep(wait).await;
                self.hosts = std::mem::take(&mut self.may_heal);
                self.current = 0;
                self.round += 1;
            }
        }
        self.progressed = false;
        self.started = Instant::now();
        Ok(())
    }

    /// Records the attempt and asks the policy.
    fn decide(&mut self, cause: &Cause) -> Decision {
        let (kind, host) = (cause.kind(), self.host());
        self.past.push(Attempt {
            host: host.to_string(),
            kind,
            message: cause.to_string(),
            elapsed: self.started.elapsed(),
            offset: self.offset,
        });
        // Thousands of breaks on a bad link are one story; its end is what is told.
        if self.past.len() > MAX_ATTEMPTS_KEPT {
            self.past.remove(0);
        }
        if matches!(kind, Kind::RegistryUnavailable | Kind::DeadlineExceeded | Kind::TlsUntrusted) {
            self.fetcher.health.note_failure(&host.to_string());
        }
        let failure = Failure {
            kind,
            retry_after: cause.retry_after(),
            progressed: self.progressed,
            hosts_left: self.hosts.len() - self.current - 1,
            worth_another_round: self.may_heal.len() + usize::from(is_transient(kind)),
            round: self.round,
        };
        let decision = self.fetcher.policy.decide(&failure, jitter());
        if is_transient(kind) && !matches!(decision, Decision::Retry(_)) {
            self.may_heal.push(host);
        }
        decision
    }
}

/// A number in 0..1. The standard library seeds every hasher afresh, which is random enough
/// to spread the retries of a fleet.
fn jitter() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn jitter_is_spread() {
        let numbers: Vec<f64> = (0..50).map(|_| super::jitter()).collect();
        assert!(numbers.iter().all(|n| (0.0..=1.0).contains(n)));
        assert!(numbers.iter().any(|n| *n < 0.5) && numbers.iter().any(|n| *n > 0.5), "{numbers:?}");
    }
}
