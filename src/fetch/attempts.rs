//! The one retry loop of the program: hosts times policy.
//!
//! What to do after a failure is decided by [`Policy::decide`](crate::core::retry::Policy);
//! here is only the bookkeeping, the waiting, and the record of every attempt.

use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use crate::core::error::{Attempt, Classify, Kind};
use crate::core::retry::{Decision, Failure};
use crate::registry::Host;

use super::Fetcher;
use super::error::{Cause, FetchError};
use super::progress::Event;

/// The attempts to get one thing.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    what: String,
    hosts: Vec<&'a Host>,
    current: usize,
    fruitless: u32,
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
            fruitless: 0,
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
        self.started = Instant::now();
    }

    /// Notes that the attempt brought bytes, so that patience starts afresh.
    pub(super) fn progressed(&mut self) {
        self.fruitless = 0;
    }

    /// Takes note of a failure, and waits or moves on to the next host.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt where nothing more can help.
    pub(super) async fn failed(&mut self, cause: Cause) -> Result<(), FetchError> {
        self.fruitless += 1;
        let kind = cause.kind();
        let host = self.host();
        self.past.push(Attempt {
            host: host.to_string(),
            kind,
            message: cause.to_string(),
            elapsed: self.started.elapsed(),
            offset: self.offset,
        });
        if matches!(kind, Kind::RegistryUnavailable | Kind::DeadlineExceeded | Kind::TlsUntrusted) {
            self.fetcher.health.note_failure(&host.to_string());
        }
        let hosts_left = self.hosts.len() - self.current - 1;
        let failure = Failure { kind, retry_after: cause.retry_after(), fruitless: self.fruitless, hosts_left };
        match self.fetcher.policy.decide(&failure, jitter()) {
            Decision::GiveUp => {
                return Err(FetchError::Failed {
                    what: std::mem::take(&mut self.what),
                    host: Some(host.to_string()),
                    attempts: std::mem::take(&mut self.past),
                    cause: Box::new(cause),
                });
            }
            Decision::NextHost => {
                self.fetcher.observer.notify(Event::NextHost {
                    what: &self.what,
                    left: &host.to_string(),
                    cause: &cause,
                });
                self.current += 1;
                self.fruitless = 0;
            }
            Decision::Retry(wait) => {
                self.fetcher.observer.notify(Event::Waiting { what: &self.what, wait, cause: &cause });
                tokio::time::sleep(wait).await;
            }
        }
        self.started = Instant::now();
        Ok(())
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
