//! Turns at registries: so many at a time for each, in the order in which they were asked for.
//!
//! There is no bound over all registries, so that those who wait for a slow or silent one hold
//! up nobody else. What all of them take together, connections and memory, the engine bounds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Registries that are remembered while nobody is at them.
const MOST_IDLE: usize = 64;

/// The turns at every registry.
#[derive(Debug)]
pub(super) struct Turns {
    at_once: usize,
    lines: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A turn; the next one begins when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, lines: Mutex::default() }
    }

    /// Waits for a turn at a registry.
    pub(super) async fn at(&self, registry: &str) -> Turn {
        // It fails only for a line that was closed, and nobody closes these.
        Turn { _permit: self.line(registry).acquire_owned().await.ok() }
    }

    fn line(&self, registry: &str) -> Arc<Semaphore> {
        // Whole after any panic: every change is one insertion or removal.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MOST_IDLE {
            // Whoever waits or has a turn holds a share.
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        let line = lines.entry(registry.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
        Arc::clone(line)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn so_many_at_a_time_for_each_registry() {
        let turns = Turns::new(2);
        let take = |registry: &str| turns.at(registry).now_or_never();
        let held = [take("a").expect("one"), take("a").expect("two")];
        assert!(take("a").is_none(), "three at once");
        assert!(take("b").is_some(), "another registry has to wait");
        drop(held);
        assert!(take("a").is_some());
    }

    #[test]
    fn registries_that_nobody_is_at_are_forgotten_and_others_are_not() {
        let turns = Turns::new(1);
        let held = turns.at("held").now_or_never().expect("the first");
        for number in 0..10 * MOST_IDLE {
            turns.at(&number.to_string()).now_or_never().expect("the first there");
        }
        assert!(turns.lines.lock().expect("no panic").len() <= MOST_IDLE);
        assert!(turns.at("held").now_or_never().is_none(), "it is forgotten who has a turn");
        drop(held);
    }
}
