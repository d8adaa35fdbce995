//! Which hosts turned out to speak plain HTTP alone.
//!
//! Remembered so that not every request begins with a TLS greeting that nobody understands, and
//! for a while only: a host that has learnt TLS meanwhile is to be spoken to in TLS.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long it counts. One greeting in an hour costs nothing.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Hosts that are remembered; only hosts on this machine, and those that a file describes, may
/// speak plain HTTP at all.
const MOST: usize = 256;

/// The hosts, by `host[:port]`, and since when.
#[derive(Debug, Default)]
pub(super) struct PlainHosts(Mutex<HashMap<String, Instant>>);

impl PlainHosts {
    /// A host has answered a TLS greeting in plain text.
    pub(super) fn note(&self, authority: &str) {
        self.note_at(authority, Instant::now());
    }

    /// Whether a host has done so lately.
    pub(super) fn knows(&self, authority: &str) -> bool {
        self.knew_at(authority, Instant::now())
    }

    fn note_at(&self, authority: &str, now: Instant) {
        let mut hosts = self.lock();
        if hosts.len() >= MOST {
            hosts.retain(|_, since| now.duration_since(*since) < KEPT);
        }
        if hosts.len() >= MOST {
            hosts.clear();
        }
        hosts.insert(authority.to_owned(), now);
    }

    fn knew_at(&self, authority: &str, now: Instant) -> bool {
        self.lock().get(authority).is_some_and(|since| now.duration_since(*since) < KEPT)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Whole after any panic: every change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_for_a_while() {
        let (hosts, now) = (PlainHosts::default(), Instant::now());
        hosts.note_at("a.example:5000", now);
        assert!(hosts.knows("a.example:5000") && !hosts.knows("a.example:5001"));
        assert!(hosts.knew_at("a.example:5000", now + KEPT - Duration::from_secs(1)));
        assert!(!hosts.knew_at("a.example:5000", now + KEPT));
        hosts.note_at("a.example:5000", now + KEPT);
        assert!(hosts.knew_at("a.example:5000", now + KEPT), "it has been found out again");
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let (hosts, now) = (PlainHosts::default(), Instant::now());
        for number in 0..3 * MOST {
            hosts.note_at(&format!("host{number}:5000"), now);
            assert!(hosts.knew_at(&format!("host{number}:5000"), now));
            assert!(hosts.lock().len() <= MOST);
        }
        // The old ones go first.
        hosts.note_at("late:5000", now + KEPT);
        for number in 0..MOST {
            hosts.note_at(&format!("other{number}:5000"), now + KEPT);
        }
        assert!(hosts.lock().values().all(|since| *since == now + KEPT));
    }
}
