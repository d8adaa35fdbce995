//! Which hosts failed lately, so that a dead mirror is not paid for at every blob.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::registry::Host;

/// How long a host that could not be reached is asked last.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// Hosts that could not be reached, with the time of their last failure.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: Mutex<HashMap<String, Instant>>,
}

impl Health {
    pub(super) fn note_failure(&self, host: &str) {
        self.lock().insert(host.to_owned(), Instant::now());
    }

    /// The hosts in their order, with those that failed lately behind the others. None is left
    /// out: the last resort of a pull may be a host that is back by now.
    pub(super) fn order<'a>(&self, mut hosts: Vec<&'a Host>) -> Vec<&'a Host> {
        let failed = self.lock();
        hosts.sort_by_key(|host| failed.get(&host.to_string()).is_some_and(|at| at.elapsed() < COOL_DOWN));
        hosts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
