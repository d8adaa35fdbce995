//! How far a pull is, and for how long it has stood still: the account that events add up to.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::running::Phase;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::fetch::progress::Event;

/// The account of one pull.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) phase: Phase,
    pub(super) bytes_total: u64,
    /// Layers that are unpacked, and all of them.
    pub(super) layers: (usize, usize),
    blobs: HashMap<Digest, u64>,
    /// What hosts are asked for.
    asking: HashSet<String>,
    standstill: Stopwatch,
}

/// How long hosts have been asked since the pull last came further.
#[derive(Debug, Default)]
struct Stopwatch {
    counted: Duration,
    since: Option<Instant>,
}

impl Account {
    /// Of a pull of which nothing is known, and for which nobody is asked yet.
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Resolving,
            bytes_total: 0,
            layers: (0, 0),
            blobs: HashMap::new(),
            asking: HashSet::new(),
            standstill: Stopwatch::default(),
        }
    }

    /// Begins a phase, in which hosts are asked for this from the start.
    pub(super) fn begin(&mut self, phase: Phase, asking: impl IntoIterator<Item = String>) {
        (self.phase, self.asking) = (phase, asking.into_iter().collect());
        self.standstill.reset();
        self.watch();
    }

    pub(super) fn bytes_done(&self) -> u64 {
        self.blobs.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
    }

    /// For how long hosts have been asked, and the pull has come no further.
    pub(super) fn standstill(&self) -> Duration {
        self.standstill.elapsed()
    }

    /// Takes an event into the account; false for one that tells nothing new.
    pub(super) fn take(&mut self, event: &Event<'_>) -> bool {
        self.time(event);
        match event {
            // Said again by our own turn, after another pull had brought it.
            Event::Present(blob) => !self.whole(blob),
            Event::Finished(blob) => {
                self.whole(blob);
                true
            }
            Event::Started { blob, offset } => {
                self.blobs.insert(blob.digest.clone(), *offset);
                true
            }
            Event::Advanced { digest, bytes } => {
                let held = self.blobs.entry((*digest).clone()).or_default();
                *held = held.saturating_add(*bytes);
                true
            }
            Event::Unpacked { done, total } => {
                self.layers = (*done, *total);
                true
            }
            _ => true,
        }
    }

    fn time(&mut self, event: &Event<'_>) {
        match event {
            // Attempts may fail for ever.
            Event::NextHost { .. } | Event::Waiting { .. } | Event::Blamed { .. } => {}
            Event::Asking { what } => {
                self.asking.insert((*what).to_owned());
            }
            Event::Held { what } => {
                self.asking.remove(*what);
            }
            _ => self.standstill.reset(),
        }
        self.watch();
    }

    /// Lets time count or not. What those hear who wait in line is about somebody else.
    fn watch(&mut self) {
        self.standstill.run(self.phase != Phase::Queued && !self.asking.is_empty());
    }

    fn whole(&mut self, blob: &Descriptor) -> bool {
        self.blobs.insert(blob.digest.clone(), blob.size) == Some(blob.size)
    }
}

impl Stopwatch {
    fn reset(&mut self) {
        self.counted = Duration::ZERO;
        self.since = self.since.map(|_| Instant::now());
    }

    fn run(&mut self, runs: bool) {
        match (runs, self.since) {
            (true, None) => self.since = Some(Instant::now()),
            (false, Some(_)) => *self = Self { counted: self.elapsed(), since: None },
            _ => {}
        }
    }

    fn elapsed(&self) -> Duration {
        self.counted + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}
