//! One blob from one host: over one connection, or in ranges over as many as pay.
//!
//! Below a threshold a blob is asked for whole. Above it, every connection gets a bounded
//! range, from the lowest missing byte on, so that whoever follows the blob from its start
//! never waits for long. Progress is kept by the byte: where a range breaks off, the rest of
//! it is simply missing again.
//!
//! A connection that fails just goes; the host has failed when none is left and something is
//! missing, and then once, however many connections saw it. What to do about it is decided
//! in `attempts`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::registry::{BlobSource, Host};
use crate::store::StoreError;
use crate::store::staging::Partial;

use super::connection::{Common, Connection, Ended, Request};
use super::engine::Engine;
use super::error::Cause;
use super::flight::Flight;
use super::lag::{self, LOOK, Progress, Runner, Turn, Usual};
use super::lanes::{Appetite, Lane, Seat};
use super::ledger::HostClass;
use super::split::{self, Claim};

/// Where a blob is asked for.
pub(super) struct Place<'a> {
    pub(super) host: &'a Host,
    pub(super) source: Arc<BlobSource>,
    /// How long a connection may be silent.
    pub(super) patience: Duration,
}

/// Bytes of a blob from a host.
pub(super) struct Transfer<'a> {
    host: &'a Host,
    common: Arc<Common>,
    seat: Seat,
    running: JoinSet<Ended>,
    claims: HashMap<u64, Running>,
    next_claim: u64,
    usual: Usual,
    /// Bytes that connections which have ended since brought after the last look.
    unseen: u64,
    /// Bytes per second of one connection, lately.
    rate: Option<u64>,
    /// Why a connection failed since the last one that went well.
    failure: Option<Cause>,
    syncing: Option<JoinHandle<Result<(), StoreError>>>,
}

/// A connection at work.
struct Running {
    claim: Arc<Claim>,
    progress: Progress,
    /// What it had brought at the last look.
    seen: u64,
    is_heir: bool,
    is_given_up: bool,
    turn: Turn,
    /// It ended for others, and its blob waits behind them.
    gives_way: bool,
}

/// What a connection is to ask for.
struct Task {
    range: Range<u64>,
    request: Request,
    /// In the place of a connection that fell silent.
    is_heir: bool,
}

/// What became of the connections.
enum News {
    Ended(Box<Ended>),
    Synced(Result<(), StoreError>),
    Changed,
    Look,
    /// No connection is left.
    Idle,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        engine: &Engine,
        flight: &Arc<Flight>,
        partial: &Arc<Partial>,
        Place { host, source, patience }: Place<'a>,
    ) -> Self {
        let splits = partial.descriptor().size >= engine.limits().split_from;
        let appetite = if splits { Appetite::Many } else { Appetite::One };
        let common = Common {
            engine: engine.clone(),
            source,
            patience,
            partial: Arc::clone(partial),
            flight: Arc::clone(flight),
            host: host.to_string(),
            class: HostClass::of(host),
            answered: AtomicBool::new(false),
            whole: AtomicBool::new(false),
        };
        Self {
            host,
            common: Arc::new(common),
            seat: engine.lanes().seat(host, appetite),
            running: JoinSet::new(),
            claims: HashMap::new(),
            next_claim: 0,
            usual: Usual::default(),
            unseen: 0,
            rate: None,
            failure: None,
            syncing: None,
        }
    }

    /// Brings what is missing.
    ///
    /// # Errors
    /// The failure of a connection, where it leaves none that goes on.
    pub(super) async fn run(mut self) -> Result<(), Cause> {
        let mut changes = self.common.engine.lanes().changes();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            changes.mark_unchanged();
            self.widen();
            let news = tokio::select! {
                Some(synced) = settled(&mut self.syncing) => News::Synced(synced),
                ended = self.running.join_next() => match ended {
                    Some(ended) => News::Ended(Box::new(ended.map_err(|error| StoreError::thread(&error))?)),
                    None => News::Idle,
                },
                _ = changes.changed() => News::Changed,
                _ = looks.tick() => News::Look,
            };
            match news {
                News::Ended(ended) => self.ended(*ended)?,
                News::Synced(synced) => synced?,
                News::Changed => {}
                News::Look => {
                    // Those first for which something came just now.
                    tokio::task::yield_now().await;
                    self.look();
                }
                News::Idle => match self.failure.take() {
                    _ if self.common.partial.missing().is_empty() => break,
                    Some(failure) => return Err(failure),
                    None => {
                        let lane = self.common.flight.first_lane(&self.seat).await;
                        self.start(lane);
                    }
                },
            }
        }
        match self.syncing.take() {
            Some(syncing) => Ok(syncing.await.map_err(|error| StoreError::thread(&error))??),
            None => Ok(()),
        }
    }

    /// Opens as many connections more as there may be and is work for.
    fn widen(&mut self) {
        // The first one finds out where the blob is, and whether ranges work; where it brings
        // all of it, nobody can help.
        let alone = !self.common.answered.load(Ordering::Acquire) || self.common.whole.load(Ordering::Acquire);
        let may = self.failure.is_none() && !alone;
        while may && !self.running.is_empty() && self.common.source.does_ranges() && self.has_work() {
            let Some(lane) = self.seat.more(self.running.len()) else { return };
            if !self.start(lane) {
                return;
            }
        }
    }

    fn has_work(&self) -> bool {
        self.unclaimed().0.is_some() || self.laggard().is_some()
    }

    /// Takes down what every connection has brought.
    fn look(&mut self) {
        let ended = std::mem::take(&mut self.unseen);
        let bytes = self.claims.values_mut().map(Running::look).fold(ended, u64::saturating_add);
        self.usual.look(bytes, self.claims.len());
        if self.seat.is_crowded() {
            self.give_way();
        }
    }

    /// Ends connections that bring next to nothing, because others wait for one. What is missing is
    /// asked for again when it is this blob's turn.
    fn give_way(&mut self) {
        let does_ranges = self.common.source.does_ranges();
        for running in self.claims.values_mut() {
            if running.turn.is_over(does_ranges) && running.claim.divide(0).is_some() {
                tracing::debug!(host = %self.common.host, "a connection that brings little gives way to others");
                (running.is_given_up, running.gives_way) = (true, true);
            }
        }
    }

    /// The connection that somebody should help, by number, and how many bytes it keeps.
    fn laggard(&self) -> Option<(u64, u64)> {
        // What comes whole has no end that could be moved.
        if !self.common.source.does_ranges() {
            return None;
        }
        let (numbers, runners): (Vec<u64>, Vec<Runner>) =
            self.claims.iter().map(|(number, running)| (*number, running.runner())).unzip();
        let (index, keeps) = lag::laggard(&runners, self.usual.in_window())?;
        Some((numbers[index], keeps))
    }

    /// What somebody should bring in the place of a connection that lags behind.
    fn take_over(&mut self) -> Option<Task> {
        let (number, keeps) = self.laggard()?;
        let running = self.claims.get_mut(&number)?;
        let range = running.claim.divide(keeps)?;
        running.is_given_up = keeps == 0;
        tracing::debug!(host = %self.common.host, ?range, keeps, "a connection lags behind");
        Some(Task { range, request: Request::Part, is_heir: keeps == 0 })
    }

    fn unclaimed(&self) -> (Option<Range<u64>>, u64) {
        let missing = self.common.partial.missing();
        split::unclaimed(&missing, self.claims.values().map(|running| running.claim.range()))
    }

    /// Puts a connection to work; false where there is none.
    fn start(&mut self, lane: Lane) -> bool {
        let Some(Task { range, request, is_heir }) = self.next() else { return false };
        let (claim, number) = (Arc::new(Claim::new(range)), self.next_claim);
        self.next_claim += 1;
        let turn = Turn::new(self.common.engine.limits());
        self.claims.insert(number, Running::new(Arc::clone(&claim), is_heir, turn));
        let connection = Connection { common: Arc::clone(&self.common), lane, claim, number, request };
        // Its own task, so that TLS of several connections runs on several cores; it ends with us.
        self.running.spawn(connection.run());
        true
    }

    /// What to ask for next.
    fn next(&mut self) -> Option<Task> {
        if self.common.whole.load(Ordering::Acquire) {
            return None;
        }
        let size = self.common.partial.descriptor().size;
        let (free, sum) = self.unclaimed();
        let Some(free) = free else { return self.take_over() };
        let limits = self.common.engine.limits();
        // Some registries refuse any Range header, so what can be asked for without one is.
        if !self.common.source.does_ranges() || (size < limits.split_from && free == (0..size)) {
            return Some(Task { range: 0..size, request: Request::Whole, is_heir: false });
        }
        let length = split::length(limits, self.rate, sum, self.seat.share());
        let end = free.end.min(free.start.saturating_add(length));
        Some(Task { range: free.start..end, request: Request::Part, is_heir: false })
    }

    /// Takes note of how a connection ended, and lets it go on if it may.
    fn ended(&mut self, ended: Ended) -> Result<(), Cause> {
        let running = self.claims.remove(&ended.claim);
        self.unseen += running.as_ref().map_or(0, |running| running.claim.brought().saturating_sub(running.seen));
        let gives_way = running.as_ref().is_some_and(|running| running.gives_way);
        match ended.outcome {
            Ok(()) => {
                // One that was given up says nothing of the host.
                if running.is_none_or(|running| !running.is_given_up) {
                    self.failure = None;
                    self.common.engine.health().note_success(self.host);
                    if ended.bytes > 0 {
                        self.note_rate(ended.bytes, ended.took);
                        self.sync();
                    }
                }
                if !gives_way && !self.seat.must_yield(self.running.len() + 1, &ended.lane) {
                    self.start(ended.lane);
                }
                Ok(())
            }
            Err(cause) if cause.is_local() => Err(cause),
            Err(cause) => {
                if cause.is_overload() {
                    let longest = self.common.engine.policy().longest_retry_after;
                    self.seat.trouble(cause.retry_after().filter(|wait| *wait <= longest));
                }
                self.failure.get_or_insert(cause);
                Ok(())
            }
        }
    }

    fn note_rate(&mut self, bytes: u64, took: Duration) {
        let micros = took.as_micros().max(1);
        let now = u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX);
        self.rate = Some(self.rate.map_or(now, |before| before / 2 + now / 2));
    }

    /// Makes what came outlive a power failure, one time after the other.
    fn sync(&mut self) {
        let partial = &self.common.partial;
        if self.syncing.is_none() && partial.descriptor().size >= self.common.engine.limits().split_from {
            let partial = Arc::clone(partial);
            self.syncing = Some(tokio::task::spawn_blocking(move || partial.sync()));
        }
    }
}

impl Running {
    fn new(claim: Arc<Claim>, is_heir: bool, turn: Turn) -> Self {
        let progress = Progress::default();
        Self { claim, progress, seen: 0, is_heir, is_given_up: false, turn, gives_way: false }
    }

    /// Takes down what it has brought; how much of that since the last look.
    fn look(&mut self) -> u64 {
        let brought = self.claim.brought();
        let since = brought.saturating_sub(self.seen);
        self.seen = brought;
        if self.claim.awaits() {
            self.progress.look(brought);
            self.turn.look(brought);
        }
        since
    }

    fn runner(&self) -> Runner {
        Runner { lately: self.progress.lately(), left: self.claim.left(), is_heir: self.is_heir }
    }
}

/// Waits for a thread, if there is one to wait for.
async fn settled(syncing: &mut Option<JoinHandle<Result<(), StoreError>>>) -> Option<Result<(), StoreError>> {
    let synced = syncing.as_mut()?.await;
    *syncing = None;
    Some(synced.unwrap_or_else(|error| Err(StoreError::thread(&error))))
}
