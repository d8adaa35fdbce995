//! The way into this containerd: tried once, remembered for as long as it holds.
//!
//! What was tried is true of one life of containerd: another one may be configured otherwise,
//! or have its content elsewhere. So a verdict holds for one connection, and a trial that
//! came to none, because a call failed, only until the next pull begins.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Containerd;
use crate::core::digest::Digest;
use crate::store::staging::Staging;

/// What was found out about the way into this containerd.
#[derive(Debug, Clone)]
pub(super) struct Landing {
    pub(super) staging: Staging,
    /// Where content with a sha256 digest lies, by containerd's word: whether it is there for us
    /// to see is another question.
    pub(super) blobs: Option<PathBuf>,
    /// Why blobs are sent; `None` where they may be linked there.
    pub(super) obstacle: Option<String>,
}

impl Landing {
    /// Where a blob would be linked to, if it may.
    pub(super) fn target(&self, digest: &Digest) -> Option<PathBuf> {
        self.blobs.as_ref().filter(|_| self.obstacle.is_none()).map(|blobs| blobs.join(digest.hex()))
    }
}

/// What came of trying.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) landing: Landing,
    /// It says how containerd is, and not only that a call failed.
    pub(super) is_verdict: bool,
}

/// The last trial, and how often containerd was connected to.
#[derive(Debug, Default)]
pub(super) struct Trial {
    connections: AtomicU64,
    /// Held by who tries.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    landing: Arc<Landing>,
    is_verdict: bool,
    /// Of the connections, the one that it was found out on.
    connection: u64,
}

impl Trial {
    /// Takes note of another connection.
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The staging directory that was settled on last.
    pub(super) fn staging(&self) -> Option<Staging> {
        self.last().as_ref().map(|last| last.landing.staging.clone())
    }

    /// Forgets a trial that came to no verdict.
    pub(super) fn forget_failure(&self) {
        let mut last = self.last();
        if let Some(last) = last.as_mut().filter(|last| !last.is_verdict) {
            // No connection has this number; what it says of staging still serves.
            last.connection = u64::MAX;
        }
    }

    fn connection(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn known(&self) -> Option<Arc<Landing>> {
        let connection = self.connection();
        self.last().as_ref().filter(|last| last.connection == connection).map(|last| Arc::clone(&last.landing))
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        // Whole after any panic: every change is one assignment.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Containerd {
    /// Whether blobs get into this containerd by a link, as a trial shows.
    ///
    /// # Errors
    /// In words, why not.
    pub async fn links(&self) -> Result<(), String> {
        self.landing().await.obstacle.clone().map_or(Ok(()), Err)
    }

    /// The way into this containerd, if it was tried.
    pub(super) fn known_landing(&self) -> Option<Arc<Landing>> {
        self.trial.known()
    }

    /// The way into this containerd, tried by the first who asks.
    pub(super) async fn landing(&self) -> Arc<Landing> {
        if let Some(landing) = self.trial.known() {
            return landing;
        }
        let _turn = self.trial.turn.lock().await;
        if let Some(landing) = self.trial.known() {
            return landing;
        }
        // What a connection that comes in the middle makes of it is nobody's guess.
        let connection = self.trial.connection();
        let Finding { landing, is_verdict } = self.find_landing().await;
        let landing = Arc::new(landing);
        *self.trial.last() = Some(Last { landing: Arc::clone(&landing), is_verdict, connection });
        landing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remember(trial: &Trial, is_verdict: bool) {
        let landing = Landing { staging: Staging::new("/staging".into()), blobs: None, obstacle: None };
        let connection = trial.connection();
        *trial.last() = Some(Last { landing: Arc::new(landing), is_verdict, connection });
    }

    #[test]
    fn a_verdict_holds_for_a_connection_and_a_failure_until_the_next_pull() {
        let trial = Trial::default();
        assert!(trial.known().is_none() && trial.staging().is_none());
        remember(&trial, true);
        trial.forget_failure();
        assert!(trial.known().is_some());
        trial.connected();
        assert!(trial.known().is_none(), "it may be another containerd");
        remember(&trial, false);
        assert!(trial.known().is_some(), "not tried anew for every blob");
        trial.forget_failure();
        assert!(trial.known().is_none() && trial.staging().is_some());
    }
}
