//! One pull, counted while it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{Inner, Metrics, WHOLE};
use crate::core::error::Kind;
use crate::core::mismatch::Mismatch;
use crate::diagnose::finding::Id;
use crate::fetch::progress::{Event, Observer};
use crate::pulls::{Door, Metered};

/// A pull that is under way. One that waits while another lands the same image hears of that
/// one's phases, and they count for both: both callers waited so long.
#[derive(Debug)]
pub(super) struct Pulling {
    metrics: Metrics,
    door: Door,
    started: Instant,
    ended: AtomicBool,
}

impl Pulling {
    pub(super) fn new(metrics: Metrics, door: Door) -> Self {
        metrics.0.in_flight.get_or_create(&[("door", door.name())]).inc();
        Self { metrics, door, started: Instant::now(), ended: AtomicBool::new(false) }
    }
}

impl Observer for Pulling {
    fn notify(&self, event: Event<'_>) {
        let inner = &self.metrics.0;
        match event {
            Event::Present(blob) => inner.watched.local(blob.size),
            Event::Ended { phase, elapsed } => {
                inner.phases.get_or_create(&[("phase", phase.name())]).observe(elapsed.as_secs_f64());
            }
            Event::Mismatch(mismatch) => inner.mismatched(mismatch),
            _ => {}
        }
    }
}

impl Inner {
    fn mismatched(&self, mismatch: &Mismatch) {
        // The catalogue is what makes this a closed set.
        let known = Id::ALL.iter().find(|id| id.code() == mismatch.id);
        if let Some(id) = known {
            self.arch_mismatches.get_or_create(&[("id", id.code()), ("action", mismatch.action.name())]).inc();
        }
    }
}

impl Metered for Pulling {
    fn end(&self, failure: Option<Kind>) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let inner = &self.metrics.0;
        let (door, outcome) = (self.door.name(), failure.map_or("done", Kind::name));
        inner.pulls.get_or_create(&[("door", door), ("outcome", outcome)]).inc();
        inner.in_flight.get_or_create(&[("door", door)]).dec();
        inner.phases.get_or_create(&[("phase", WHOLE)]).observe(self.started.elapsed().as_secs_f64());
        if matches!(failure, Some(Kind::PlatformMismatch | Kind::NoMatchingPlatform)) {
            inner.watched.platform_mismatch();
        }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.end(Some(Kind::Cancelled));
    }
}
