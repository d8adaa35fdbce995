//! How many connections there may be: to each host, to all of them, and for each blob.
//!
//! A blob always may have one connection, in turn, as long as the caps allow. More are given
//! as far as the host's [`Ramp`] says that they pay, and shared evenly among the blobs that
//! can use more than one. Where all connections are taken and somebody has none, those that had
//! their turn are to give way, at the end of a range where they bring something, and at once where
//! they bring next to nothing: hosts that drip do not keep everybody from all others. Nothing here
//! opens a connection; a [`Lane`] is the right to one, and the memory for its buffers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::core::limits::Limits;
use crate::core::ramp::{Ramp, Window};
use crate::registry::Host;

use super::budget::{Budget, Reservation};

/// The shortest time over which a rate is measured.
const WINDOW: Duration = Duration::from_millis(150);
/// The longest: what came by then decides.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// Bytes per connection below which a short window says nothing.
const TELLING: u64 = 128 * 1024;
/// How long a connection is kept from one range to the next while somebody has none.
const TURN: Duration = Duration::from_secs(30);
/// Hosts that are remembered. Forgetting one costs finding out again what pays.
const MOST_HOSTS: usize = 256;

/// The connections of the process.
#[derive(Debug)]
pub(super) struct Lanes {
    total: Arc<Semaphore>,
    /// Blobs that wait for their first connection, whichever their host.
    waiting: AtomicUsize,
    /// Those of them that their host has room for, and the process has not.
    crowded_out: AtomicUsize,
    hosts: Mutex<HashMap<String, Arc<HostLanes>>>,
    budget: Budget,
    most: usize,
    per_host: usize,
    connection_bytes: u32,
    /// Counts what may let somebody go on.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct HostLanes {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ramp: Ramp,
    meter: Meter,
    /// Connections that are open, and those that bring bytes: what it takes to open one says
    /// nothing about how fast it is.
    active: usize,
    delivering: usize,
    /// Blobs by what they can use.
    single: usize,
    splitting: usize,
    /// Bytes that came from it so far.
    brought: u64,
    /// The host asked to be left alone until then.
    rest_until: Option<Instant>,
}

/// What a host brings.
#[derive(Debug)]
struct Meter {
    since: Instant,
    last: Instant,
    bytes: u64,
    /// Connections times time.
    busy: Duration,
}

/// How many connections a blob can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appetite {
    /// One: it is small.
    One,
    /// As many as it may have.
    Many,
}

/// A blob's place at a host.
#[derive(Debug)]
pub(super) struct Seat {
    lanes: Arc<Lanes>,
    host: Arc<HostLanes>,
    appetite: Appetite,
}

/// The right to one connection.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    host: Arc<HostLanes>,
    since: Instant,
    delivers: AtomicBool,
    _slot: Option<OwnedSemaphorePermit>,
    _share: Option<OwnedSemaphorePermit>,
    _buffers: Reservation,
}

impl Lanes {
    pub(super) fn new(limits: &Limits, budget: Budget) -> Self {
        Self {
            total: Arc::new(Semaphore::new(limits.connections.max(1))),
            waiting: AtomicUsize::new(0),
            crowded_out: AtomicUsize::new(0),
            hosts: Mutex::default(),
            budget,
            most: limits.connections.max(1),
            per_host: limits.connections_per_host.max(1),
            connection_bytes: limits.connection_bytes,
            changed: watch::Sender::new(0),
        }
    }

    /// Ticks whenever somebody may have got the right to another connection.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Makes everybody look again.
    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Connections that are open, to all hosts together.
    pub(super) fn open(&self) -> usize {
        self.most.saturating_sub(self.total.available_permits())
    }

    /// A place for a blob at a host.
    pub(super) fn seat(self: &Arc<Self>, host: &Host, appetite: Appetite) -> Seat {
        let host = self.host(host);
        *host.state().blobs(appetite) += 1;
        Seat { lanes: Arc::clone(self), host, appetite }
    }

    /// Bytes that came from a host so far, for whichever blob.
    pub(super) fn brought(&self, host: &Host) -> u64 {
        self.host(host).state().brought
    }

    fn host(&self, host: &Host) -> Arc<HostLanes> {
        // Whole after any panic: every change is one insertion.
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MOST_HOSTS {
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        Arc::clone(hosts.entry(host.to_string()).or_insert_with(|| Arc::new(HostLanes::new(self.per_host))))
    }
}

impl Seat {
    /// Waits for the first connection: for the host where it asked for a rest, then in turn,
    /// where `in_turn` is told that others have all that there may be.
    pub(super) async fn first(&self, in_turn: impl FnOnce()) -> Lane {
        let rest = self.host.state().rest_until.map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            tokio::time::sleep(rest).await;
        }
        if let Some(lane) = self.take() {
            return lane;
        }
        in_turn();
        // Others with several connections give one up at the end of a range.
        let _waiting = Waiting::new(&self.lanes.waiting);
        // Always in this order, so that two never wait for each other.
        let slot = Arc::clone(&self.host.slots).acquire_owned().await.ok();
        let share = {
            let _crowded_out = Waiting::new(&self.lanes.crowded_out);
            Arc::clone(&self.lanes.total).acquire_owned().await.ok()
        };
        let buffers = self.lanes.budget.reserve_for_connection(self.lanes.connection_bytes).await;
        self.lane(slot, share, buffers)
    }

    /// One more connection for a blob that has some, if it may.
    pub(super) fn more(&self, have: usize) -> Option<Lane> {
        // What is left of a small blob is small as well.
        if matches!(self.appetite, Appetite::One) {
            return None;
        }
        if self.lanes.waiting.load(Ordering::Relaxed) > 0 || !self.host.state().allows_more(have) {
            return None;
        }
        self.take()
    }

    /// A connection, if nobody has to wait for it.
    fn take(&self) -> Option<Lane> {
        let slot = Arc::clone(&self.host.slots).try_acquire_owned().ok()?;
        let share = Arc::clone(&self.lanes.total).try_acquire_owned().ok()?;
        let buffers = self.lanes.budget.try_for_connection(self.lanes.connection_bytes)?;
        Some(self.lane(Some(slot), Some(share), buffers))
    }

    /// Whether a blob with so many connections has to give this one up.
    pub(super) fn must_yield(&self, have: usize, lane: &Lane) -> bool {
        if self.is_crowded() && lane.since.elapsed() >= TURN {
            return true;
        }
        let state = self.host.state();
        have > 1
            && (self.lanes.waiting.load(Ordering::Relaxed) > 0
                || state.active > state.ramp.allowance()
                || have > state.share())
    }

    /// Whether somebody waits for any connection to end, whichever its host.
    pub(super) fn is_crowded(&self) -> bool {
        self.lanes.crowded_out.load(Ordering::Relaxed) > 0
    }

    /// How many connections the blob may expect to have.
    pub(super) fn share(&self) -> usize {
        match self.appetite {
            Appetite::One => 1,
            Appetite::Many => self.host.state().share(),
        }
    }

    /// The host refused a connection or let one starve; it may have asked for a rest.
    pub(super) fn trouble(&self, rest: Option<Duration>) {
        let mut state = self.host.state();
        state.ramp.trouble();
        if let Some(rest) = rest {
            state.rest_until = state.rest_until.max(Some(Instant::now() + rest));
        }
    }

    fn lane(
        &self,
        slot: Option<OwnedSemaphorePermit>,
        share: Option<OwnedSemaphorePermit>,
        buffers: Reservation,
    ) -> Lane {
        self.host.state().active += 1;
        let (lanes, host) = (Arc::clone(&self.lanes), Arc::clone(&self.host));
        let (since, delivers) = (Instant::now(), false.into());
        Lane { lanes, host, since, delivers, _slot: slot, _share: share, _buffers: buffers }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.host.state().blobs(self.appetite) -= 1;
        self.lanes.wake();
    }
}

impl Lane {
    /// Takes note of bytes that came.
    pub(super) fn received(&self, bytes: usize) {
        let mut state = self.host.state();
        let before = state.ramp.allowance();
        if !self.delivers.swap(true, Ordering::Relaxed) {
            state.measure(0);
            state.delivering += 1;
        }
        state.measure(bytes as u64);
        state.brought = state.brought.wrapping_add(bytes as u64);
        let grown = state.ramp.allowance() > before;
        drop(state);
        if grown {
            self.lanes.wake();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.host.state();
        state.measure(0);
        state.active -= 1;
        state.delivering -= usize::from(*self.delivers.get_mut());
        drop(state);
        self.lanes.wake();
    }
}

impl HostLanes {
    fn new(cap: usize) -> Self {
        let now = Instant::now();
        let meter = Meter { since: now, last: now, bytes: 0, busy: Duration::ZERO };
        let state = State {
            ramp: Ramp::new(cap),
            meter,
            active: 0,
            delivering: 0,
            single: 0,
            splitting: 0,
            brought: 0,
            rest_until: None,
        };
        Self { slots: Arc::new(Semaphore::new(cap)), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters that a panic cannot leave half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn blobs(&mut self, appetite: Appetite) -> &mut usize {
        match appetite {
            Appetite::One => &mut self.single,
            Appetite::Many => &mut self.splitting,
        }
    }

    /// Connections for each blob that can use more than one.
    fn share(&self) -> usize {
        let left = self.ramp.allowance().saturating_sub(self.single);
        left.div_ceil(self.splitting.max(1)).max(1)
    }

    fn allows_more(&self, have: usize) -> bool {
        let resting = self.rest_until.is_some_and(|until| Instant::now() < until);
        !resting && self.active < self.ramp.allowance() && have < self.share()
    }

    /// Takes note of bytes, and ends the window where it says enough.
    fn measure(&mut self, bytes: u64) {
        let now = Instant::now();
        let meter = &mut self.meter;
        if self.delivering == 0 {
            *meter = Meter { since: now, last: now, bytes: 0, busy: Duration::ZERO };
            return;
        }
        let delivering = u32::try_from(self.delivering).unwrap_or(u32::MAX);
        meter.busy += now.duration_since(meter.last).saturating_mul(delivering);
        meter.last = now;
        meter.bytes += bytes;
        let elapsed = now.duration_since(meter.since);
        let telling = elapsed >= WINDOW && meter.bytes >= TELLING * u64::from(delivering);
        if bytes == 0 || !(telling || elapsed >= LONGEST_WINDOW) {
            return;
        }
        let average = meter.busy.as_nanos().saturating_add(elapsed.as_nanos() / 2) / elapsed.as_nanos().max(1);
        let connections = usize::try_from(average).unwrap_or(usize::MAX);
        self.ramp.observe(&Window { connections, bytes: meter.bytes, duration: elapsed });
        tracing::trace!(connections, bytes = meter.bytes, ?elapsed, allowed = self.ramp.allowance(), "measured a host");
        *meter = Meter { since: now, last: now, bytes: 0, busy: Duration::ZERO };
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::registry::{HostOptions, hosts_for};

    fn lanes(per_host: usize, all: usize) -> Arc<Lanes> {
        let limits = Limits { connections_per_host: per_host, connections: all, ..Limits::default() };
        Arc::new(Lanes::new(&limits, Budget::new(limits.buffer_bytes)))
    }

    fn host(name: &str) -> Host {
        let reference = format!("{name}/x").parse().expect("a reference");
        hosts_for(&reference, &HostOptions::default()).expect("hosts").remove(0)
    }

    fn take(seat: &Seat) -> Option<Lane> {
        seat.first(|| {}).now_or_never()
    }

    #[tokio::test]
    async fn every_blob_has_one_and_the_caps_hold() {
        let lanes = lanes(3, 4);
        let (a, b) = (host("a.example"), host("b.example"));
        let seats: Vec<Seat> = (0..4).map(|_| lanes.seat(&a, Appetite::One)).collect();
        let mut held: Vec<Lane> = seats[..3].iter().filter_map(take).collect();
        assert_eq!(held.len(), 3);
        let told = Cell::new(false);
        let mut fourth = Box::pin(seats[3].first(|| told.set(true)));
        assert!((&mut fourth).now_or_never().is_none() && told.get(), "three per host");
        let other = lanes.seat(&b, Appetite::One);
        let elsewhere = take(&other).expect("another host");
        assert!(take(&lanes.seat(&b, Appetite::One)).is_none(), "four in all");
        drop(held.pop());
        assert!((&mut fourth).now_or_never().is_some());
        drop(elsewhere);
    }

    #[tokio::test]
    async fn more_are_shared_evenly_and_given_up_for_who_has_none() {
        let lanes = lanes(16, 32);
        let a = host("a.example");
        let large = lanes.seat(&a, Appetite::Many);
        let mut held = vec![take(&large).expect("the first")];
        held.extend(large.more(1));
        assert_eq!((held.len(), large.more(2).is_none()), (2, true), "two until it is known that more pay");
        let second = lanes.seat(&a, Appetite::Many);
        assert_eq!((large.share(), second.share()), (1, 1));
        assert!(large.must_yield(2, &held[0]));
        let other = take(&second).expect("one it always may have");
        assert!(second.more(1).is_none());
        drop(held.pop());
        assert!(!large.must_yield(1, &held[0]), "never the last one");
        drop((other, second));
        assert!(large.more(1).is_some());
        large.trouble(None);
        assert!(large.more(1).is_none());
    }

    #[tokio::test]
    async fn who_had_his_turn_gives_way_to_who_has_none() {
        let lanes = lanes(16, 1);
        let seat = lanes.seat(&host("a.example"), Appetite::One);
        let mut held = take(&seat).expect("one");
        held.since = Instant::now().checked_sub(TURN).expect("the machine runs longer");
        assert!(!seat.is_crowded() && !seat.must_yield(1, &held), "nobody waits");
        let other = lanes.seat(&host("b.example"), Appetite::One);
        let mut waiting = Box::pin(other.first(|| {}));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(seat.is_crowded() && seat.must_yield(1, &held));
        held.since = Instant::now();
        assert!(!seat.must_yield(1, &held), "not in the middle of its turn");
        drop(held);
        assert!((&mut waiting).now_or_never().is_some());
        assert!(!seat.is_crowded());
    }

    #[tokio::test]
    async fn a_host_that_asks_for_a_rest_gets_it() {
        let lanes = lanes(16, 32);
        let seat = lanes.seat(&host("a.example"), Appetite::Many);
        let rest = Duration::from_millis(20);
        let asked = Instant::now();
        seat.trouble(Some(rest));
        let _lane = seat.first(|| panic!("nobody else has any")).await;
        assert!(asked.elapsed() >= rest);
        let another = lanes.seat(&host("a.example"), Appetite::One);
        another.trouble(Some(Duration::from_secs(3600)));
        assert!(take(&seat).is_none() && take(&another).is_none() && seat.more(1).is_none());
        assert!(take(&lanes.seat(&host("b.example"), Appetite::One)).is_some());
    }

    #[tokio::test]
    async fn rates_are_measured_per_host_and_somebody_is_told_when_more_pay() {
        let lanes = lanes(16, 32);
        let seat = lanes.seat(&host("a.example"), Appetite::Many);
        let held = [take(&seat).expect("one"), seat.more(1).expect("two")];
        let changes = lanes.changes();
        while seat.share() == 2 {
            held.iter().for_each(|lane| lane.received(1 << 20));
            // Time has to pass for a rate; what ends the loop is the allowance.
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(seat.share(), 4);
        assert!(changes.has_changed().expect("lives"));
    }
}
