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
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use crate::registry::{BlobSource, Host};
use crate::store::StoreError;
use crate::store::staging::Partial;

use super::connection::{Common, Connection, Ended, Request};
use super::engine::Engine;
use super::error::Cause;
use super::flight::Flight;
use super::lanes::{Appetite, Lane, Seat};
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
    claims: HashMap<u64, (Arc<Claim>, Instant)>,
    next_claim: u64,
    /// Bytes per second of one connection, lately.
    rate: Option<u64>,
    /// Why a connection failed since the last one that went well.
    failure: Option<Cause>,
    syncing: Option<JoinHandle<Result<(), StoreError>>>,
}

/// What became of the connections.
enum News {
    Ended(Box<Ended>),
    Synced(Result<(), StoreError>),
    Changed,
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
            };
            match news {
                News::Ended(ended) => self.ended(*ended)?,
                News::Synced(synced) => synced?,
                News::Changed => {}
                News::Idle => match self.failure.take() {
                    _ if self.common.partial.missing().is_empty() => break,
                    Some(failure) => return Err(failure),
                    None => {
                        let lane = self.seat.first().await;
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
        self.unclaimed().0.is_some() || self.slowest().is_some()
    }

    /// The connection that would end last, if somebody should help it.
    fn slowest(&self) -> Option<&(Arc<Claim>, Instant)> {
        let lagging = self.claims.values().filter_map(|at| Some((at.0.lags(at.1.elapsed())?, at)));
        lagging.max_by_key(|(time, _)| *time).map(|(_, at)| at)
    }

    fn unclaimed(&self) -> (Option<Range<u64>>, u64) {
        let missing = self.common.partial.missing();
        split::unclaimed(&missing, self.claims.values().map(|(claim, _)| claim.range()))
    }

    /// Puts a connection to work; false where there is none.
    fn start(&mut self, lane: Lane) -> bool {
        let Some((range, request)) = self.next() else { return false };
        let (claim, number) = (Arc::new(Claim::new(range)), self.next_claim);
        self.next_claim += 1;
        self.claims.insert(number, (Arc::clone(&claim), Instant::now()));
        let connection = Connection { common: Arc::clone(&self.common), lane, claim, number, request };
        // Its own task, so that TLS of several connections runs on several cores; it ends with us.
        self.running.spawn(connection.run());
        true
    }

    /// What to ask for next.
    fn next(&self) -> Option<(Range<u64>, Request)> {
        if self.common.whole.load(Ordering::Acquire) {
            return None;
        }
        let size = self.common.partial.descriptor().size;
        let limits = self.common.engine.limits();
        let (free, sum) = self.unclaimed();
        let Some(free) = free else {
            // What comes whole has no end that could be moved.
            let (claim, since) = self.slowest().filter(|_| self.common.source.does_ranges())?;
            return claim.divide(since.elapsed()).map(|range| (range, Request::Part));
        };
        // Some registries refuse any Range header, so what can be asked for without one is.
        if !self.common.source.does_ranges() || (size < limits.split_from && free == (0..size)) {
            return Some((0..size, Request::Whole));
        }
        let length = split::length(limits, self.rate, sum, self.seat.share());
        let end = free.end.min(free.start.saturating_add(length));
        Some((free.start..end, Request::Part))
    }

    /// Takes note of how a connection ended, and lets it go on if it may.
    fn ended(&mut self, ended: Ended) -> Result<(), Cause> {
        self.claims.remove(&ended.claim);
        match ended.outcome {
            Ok(()) => {
                self.failure = None;
                self.common.engine.health().note_success(self.host);
                if ended.bytes > 0 {
                    self.note_rate(ended.bytes, ended.took);
                    self.sync();
                }
                if !self.seat.must_yield(self.running.len() + 1) {
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

/// Waits for a thread, if there is one to wait for.
async fn settled(syncing: &mut Option<JoinHandle<Result<(), StoreError>>>) -> Option<Result<(), StoreError>> {
    let synced = syncing.as_mut()?.await;
    *syncing = None;
    Some(synced.unwrap_or_else(|error| Err(StoreError::thread(&error))))
}
