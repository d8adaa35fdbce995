//! Which hosts do not serve ranges, so that each is not asked for one over and over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::hosts::Host;

/// How long that is remembered: the operator may mend it, and one odd answer of a load
/// balancer should not slow a daemon down for ever.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Hosts that are remembered; forgetting one costs a request.
const MOST: usize = 1024;

/// The hosts that lately refused ranges, ignored them or lied about them.
#[derive(Debug, Default)]
pub(super) struct Unranged(Mutex<HashMap<String, Instant>>);

impl Unranged {
    /// Whether nothing is held against the host.
    pub(super) fn trusts(&self, host: &Host) -> bool {
        self.lock().get(&host.to_string()).is_none_or(|noted| noted.elapsed() > REMEMBERED)
    }

    pub(super) fn note(&self, host: &Host) {
        let mut hosts = self.lock();
        if hosts.len() >= MOST {
            hosts.clear();
        }
        hosts.insert(host.to_string(), Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        // Whole after any panic: every change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
