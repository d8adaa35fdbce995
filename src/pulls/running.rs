//! The list of pulls that are under way, each with how far it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::listener::Listener;
use super::places::Place;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::reference::Reference;
use crate::fetch::progress::{Event, Observer};
use crate::pull::Planned;

/// The door that a caller came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// Our own gRPC API.
    Api,
    /// CRI's image service.
    Cri,
}

impl Door {
    /// Stable name, used in lists, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cri => "cri",
        }
    }
}

/// What a pull is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is being found out what the reference stands for.
    Resolving,
    /// It waits for its turn, or for another pull of the same image.
    Queued,
    /// Blobs are fetched, unpacked and named.
    Landing,
}

/// A pull in the list.
#[derive(Debug, Clone)]
pub struct RunningPull {
    /// Counts from 1 in one daemon's life.
    pub id: u64,
    /// The image.
    pub reference: Reference,
    /// Where it goes.
    pub place: Place,
    /// Who asked.
    pub door: Door,
    /// When.
    pub started: SystemTime,
    /// What it is at.
    pub phase: Phase,
    /// Bytes of its blobs that are here.
    pub bytes_done: u64,
    /// Bytes of all its blobs; 0 until they are known.
    pub bytes_total: u64,
    /// Layers that are unpacked.
    pub layers_done: usize,
    /// Layers of the image; 0 until the first is unpacked.
    pub layers_total: usize,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    next: AtomicU64,
    pulls: Mutex<BTreeMap<u64, Arc<Progress>>>,
}

/// One pull, in the list for as long as this lives.
#[derive(Debug)]
pub(super) struct Entry {
    table: Running,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Progress {
    id: u64,
    reference: Reference,
    place: Place,
    door: Door,
    started: SystemTime,
    cancel: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    bytes_total: u64,
    blobs: HashMap<Digest, u64>,
    layers: (usize, usize),
    last_event: Instant,
}

/// Keeps the account of a pull, and passes on what is told of it.
#[derive(Debug)]
struct Watched {
    progress: Arc<Progress>,
    listener: Arc<dyn Listener>,
    metered: Arc<dyn Observer>,
}

impl Running {
    pub(super) fn enter(&self, reference: &Reference, place: &Place, door: Door, cancel: CancellationToken) -> Entry {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let state = State {
            phase: Phase::Resolving,
            bytes_total: 0,
            blobs: HashMap::new(),
            layers: (0, 0),
            last_event: Instant::now(),
        };
        let progress = Arc::new(Progress {
            id,
            reference: reference.clone(),
            place: place.clone(),
            door,
            started: SystemTime::now(),
            cancel,
            state: Mutex::new(state),
        });
        self.lock().insert(id, Arc::clone(&progress));
        Entry { table: self.clone(), progress }
    }

    pub(super) fn list(&self) -> Vec<RunningPull> {
        self.lock().values().map(|progress| progress.told()).collect()
    }

    pub(super) fn cancel(&self, id: u64) -> bool {
        let found = self.lock().get(&id).map(|progress| progress.cancel.clone());
        found.inspect(CancellationToken::cancel).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Progress>>> {
        // Whole after any panic: every change is one insertion or removal.
        self.0.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.lock().remove(&self.progress.id);
    }
}

impl Entry {
    pub(super) fn id(&self) -> u64 {
        self.progress.id
    }

    pub(super) fn token(&self) -> CancellationToken {
        self.progress.cancel.clone()
    }

    pub(super) fn planned(&self, planned: &Planned) {
        let mut state = self.progress.lock();
        state.bytes_total = planned.bytes;
        state.phase = Phase::Queued;
    }

    pub(super) fn landing(&self) {
        let mut state = self.progress.lock();
        state.phase = Phase::Landing;
        state.last_event = Instant::now();
    }

    /// An observer that keeps this entry's account and tells `listener` and `metered`.
    pub(super) fn observe(&self, listener: Arc<dyn Listener>, metered: Arc<dyn Observer>) -> Arc<dyn Observer> {
        Arc::new(Watched { progress: Arc::clone(&self.progress), listener, metered })
    }

    /// Comes back once nothing has happened for `timeout` while there was something to wait for
    /// from a registry. Whoever waits for his turn, or for the disk, is not stuck.
    pub(super) async fn stuck(&self, timeout: Duration) {
        loop {
            let since = self.progress.lock().waiting_since();
            match since.map(|since| since + timeout) {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => tokio::time::sleep(timeout).await,
            }
        }
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole after any panic: counts only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> RunningPull {
        let state = self.lock();
        RunningPull {
            id: self.id,
            reference: self.reference.clone(),
            place: self.place.clone(),
            door: self.door,
            started: self.started,
            phase: state.phase,
            bytes_done: state.bytes_done(),
            bytes_total: state.bytes_total,
            layers_done: state.layers.0,
            layers_total: state.layers.1,
        }
    }
}

impl State {
    fn bytes_done(&self) -> u64 {
        self.blobs.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
    }

    fn waiting_since(&self) -> Option<Instant> {
        let waits = match self.phase {
            Phase::Resolving => true,
            Phase::Queued => false,
            Phase::Landing => self.bytes_done() < self.bytes_total,
        };
        waits.then_some(self.last_event)
    }

    fn whole(&mut self, blob: &Descriptor) -> bool {
        self.blobs.insert(blob.digest.clone(), blob.size) == Some(blob.size)
    }

    /// Takes an event into the account; false for one that tells nothing new.
    fn take(&mut self, event: &Event<'_>) -> bool {
        // Only what brings the pull further: attempts may fail for ever.
        if !matches!(event, Event::NextHost { .. } | Event::Waiting { .. } | Event::Blamed { .. }) {
            self.last_event = Instant::now();
        }
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
}

impl Observer for Watched {
    fn notify(&self, event: Event<'_>) {
        let news = self.progress.lock().take(&event);
        if news {
            self.metered.notify(event);
            self.listener.notify(event);
        }
    }
}
