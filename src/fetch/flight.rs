//! One download per blob and staging directory, whoever asks and however often.
//!
//! A [`Flight`] is work that the engine owns. Who wants the blob holds a [`Waiter`]; late
//! callers hear where it stands and then the same as everybody else. A waiter that goes does
//! not disturb the others. When the last one goes the work is cancelled, and what is staged
//! stays for the next time. Each waiter adopts the result by itself, under its own lease.
//!
//! Between processes the lock on the staged file decides, see [`crate::store::staging`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verified};
use crate::store::StoreError;
use crate::store::staging::{Follower, Staged};

use super::error::FetchError;
use super::lanes::{Lane, Seat};
use super::progress::{Event, Observer};

/// What may be shared: the same blob in the same place, from the same registry with the same
/// rights. Whoever comes by another way is not to fail because this one does: he waits for the
/// staged file, takes what is whole, and goes on by his own way with what is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) staging: PathBuf,
    pub(super) digest: Digest,
    /// As the manifest has it, which may be wrong.
    pub(super) size: u64,
    pub(super) registry: String,
    /// Whose credentials are used, told apart by a digest of them.
    pub(super) asker: Option<Digest>,
}

/// Everything under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Flights(Arc<Mutex<HashMap<Key, Arc<Flight>>>>);

/// How far a download has got.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Waiting for its turn.
    Preparing,
    /// It is ours to bring, and nothing of it is staged. Perhaps another process has just
    /// brought it: somebody has to look whether the store has it, and [`Flight::confirm`].
    Begun,
    /// Bytes are on their way, and can be read as they arrive.
    Arriving(Follower),
    /// It is whole.
    Whole(Arc<Verified<Staged>>),
    /// Another process has had it meanwhile: the store may have it.
    Elsewhere,
    /// It did not work out.
    Failed(FetchError),
}

/// One download.
#[derive(Debug)]
pub(super) struct Flight {
    blob: Descriptor,
    state: watch::Sender<State>,
    audience: Mutex<Audience>,
    received: AtomicU64,
    confirmed: Notify,
}

#[derive(Debug, Default)]
struct Audience {
    next: u64,
    listeners: Vec<(u64, Arc<dyn Observer>)>,
    /// Bytes that are staged, as far as the listeners were told; `None` before the start.
    told: Option<u64>,
    /// A host is asked for the blob.
    asks: bool,
    work: Option<AbortHandle>,
}

/// A caller's part in a flight.
#[derive(Debug)]
pub(super) struct Waiter {
    flights: Flights,
    key: Key,
    flight: Arc<Flight>,
    id: u64,
    state: watch::Receiver<State>,
    received_before: u64,
}

impl Flights {
    /// Joins the download of a blob, or starts it with `start`.
    pub(super) fn join(
        &self,
        key: Key,
        (blob, observer): (&Descriptor, Arc<dyn Observer>),
        start: impl FnOnce(Arc<Flight>) -> AbortHandle,
    ) -> Waiter {
        let mut flights = self.lock();
        let flight = flights.entry(key.clone()).or_insert_with(|| {
            let flight = Arc::new(Flight::new(blob.clone()));
            flight.audience().work = Some(start(Arc::clone(&flight)));
            flight
        });
        let flight = Arc::clone(flight);
        let id = flight.audience().add(observer, &flight.blob);
        let (state, received_before) = (flight.state.subscribe(), flight.received());
        drop(flights);
        Waiter { flights: self.clone(), key, flight, id, state, received_before }
    }

    /// Lets later callers start anew.
    pub(super) fn forget(&self, key: &Key, flight: &Arc<Flight>) {
        let mut flights = self.lock();
        if flights.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            flights.remove(key);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight>>> {
        // Whole after any panic: every change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn new(blob: Descriptor) -> Self {
        let state = watch::Sender::new(State::Preparing);
        let (audience, received, confirmed) = (Mutex::default(), AtomicU64::new(0), Notify::new());
        Self { blob, state, audience, received, confirmed }
    }

    /// Waits until somebody has found that the store does not have the blob.
    pub(super) async fn ask_the_store(&self) {
        self.state.send_replace(State::Begun);
        self.confirmed.notified().await;
    }

    /// The store does not have it: go on.
    pub(super) fn confirm(&self) {
        self.confirmed.notify_one();
    }

    /// Bytes are on their way; `staged` are there.
    pub(super) fn arriving(&self, follower: Follower, staged: u64) {
        let mut audience = self.audience();
        audience.told = Some(staged);
        audience.tell(&Event::Started { blob: &self.blob, offset: staged });
        drop(audience);
        self.state.send_replace(State::Arriving(follower));
    }

    /// Whether hosts are asked for the blob from here on.
    pub(super) fn asks(&self, asks: bool) {
        let mut audience = self.audience();
        if std::mem::replace(&mut audience.asks, asks) != asks {
            let what = self.blob.digest.to_string();
            audience.tell(&if asks { Event::Asking { what: &what } } else { Event::Held { what: &what } });
        }
    }

    /// The first connection for the blob at a host. To wait in turn for it is nobody's silence.
    pub(super) async fn first_lane(&self, seat: &Seat) -> Lane {
        self.asks(true);
        let lane = seat.first(|| self.asks(false)).await;
        self.asks(true);
        lane
    }

    /// So many bytes are staged by now.
    pub(super) fn advanced(&self, staged: u64) {
        let mut audience = self.audience();
        let bytes = staged.saturating_sub(audience.told.unwrap_or(staged));
        if bytes > 0 {
            audience.told = Some(staged);
            audience.tell(&Event::Advanced { digest: &self.blob.digest, bytes });
        }
    }

    /// So many more bytes came over the network, wanted or not.
    pub(super) fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How it ended.
    pub(super) fn finish(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Ends it as failed unless it has ended; whether it had not.
    pub(super) fn abandon(&self) -> bool {
        self.state.send_if_modified(|state| {
            let open = matches!(state, State::Preparing | State::Begun | State::Arriving(_));
            if open {
                let error = StoreError::Thread("a download ended without a result".into());
                *state = State::Failed(FetchError::refused(self.blob.digest.to_string(), error.into()));
            }
            open
        })
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        // Whole after any panic: listeners are told, not asked.
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Flight {
    fn notify(&self, event: Event<'_>) {
        self.audience().tell(&event);
    }
}

impl Audience {
    fn add(&mut self, observer: Arc<dyn Observer>, blob: &Descriptor) -> u64 {
        if let Some(offset) = self.told {
            observer.notify(Event::Started { blob, offset });
        }
        if self.asks {
            observer.notify(Event::Asking { what: &blob.digest.to_string() });
        }
        let id = self.next;
        self.next += 1;
        self.listeners.push((id, observer));
        id
    }

    fn tell(&self, event: &Event<'_>) {
        self.listeners.iter().for_each(|(_, observer)| observer.notify(*event));
    }
}

impl Waiter {
    /// How it stands; from then on [`Waiter::changed`] waits for news.
    pub(super) fn state(&mut self) -> State {
        self.state.borrow_and_update().clone()
    }

    /// Waits for news.
    pub(super) async fn changed(&mut self) {
        // The sender lives as long as the flight, of which this holds a share.
        let _ = self.state.changed().await;
    }

    /// Which blob.
    pub(super) fn digest(&self) -> &Digest {
        &self.key.digest
    }

    /// The store does not have the blob.
    pub(super) fn confirm(&self) {
        self.flight.confirm();
    }

    /// Bytes that came over the network since this caller joined.
    pub(super) fn received(&self) -> u64 {
        self.flight.received().saturating_sub(self.received_before)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // The map's lock first, as in `join`, so that nobody joins what is being cancelled.
        let mut flights = self.flights.lock();
        let mut audience = self.flight.audience();
        audience.listeners.retain(|(id, _)| *id != self.id);
        if !audience.listeners.is_empty() {
            return;
        }
        if let Some(work) = &audience.work {
            work.abort();
        }
        if flights.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.flight)) {
            flights.remove(&self.key);
        }
        drop((audience, flights));
        // What was staged goes now, and not when the task that fetched it has wound up.
        self.flight.state.send_replace(State::Elsewhere);
    }
}
