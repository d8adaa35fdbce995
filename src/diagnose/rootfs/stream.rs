//! The compressed bytes of one layer: what came is kept, what comes is counted.
//!
//! Windows over the network grow, so that what lies at the start of a layer costs little, and
//! what lies deep inside not too many requests. No more comes than the budgets allow. Who reads
//! from the start again reads from memory, and once every byte has come the digest is checked.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Mismatch, Verifier};

use super::Cost;
use super::blobs::Blob;

/// Windows in bytes; the last one stays. The first holds the names and the start of a program in
/// a layer that has little else.
const WINDOWS: [u64; 5] = [7 * 1024, 32 * 1024, 128 * 1024, 512 * 1024, 1024 * 1024];
/// Compressed bytes kept in memory of all layers of an image, so that they are not fetched twice.
const KEPT: u64 = 16 * 1024 * 1024;

/// A budget that is meant to be none.
const UNLIMITED: u64 = u64::MAX / 2;

/// Why reading ended: there is more, and it would cost more than it may.
#[derive(Debug, thiserror::Error)]
#[error("as many bytes as may be read of this image were read")]
pub(super) struct OverBudget;

/// Whether reading ended because of the budget.
pub(super) fn is_over_budget(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<OverBudget>())
}

/// What all layers of an image share.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes that may still come over the network.
    left: AtomicU64,
    /// Bytes that may still be kept in memory.
    room: AtomicU64,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes), room: AtomicU64::new(KEPT) }
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn spend(&self, bytes: u64) {
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
    }

    fn take_room(&self, bytes: u64) -> bool {
        let taken = |room: u64| room.checked_sub(bytes);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// The blob of a layer; clones share it.
#[derive(Clone)]
pub(super) struct Stream(Arc<Mutex<Shared>>);

struct Shared {
    blob: Box<dyn Blob>,
    size: u64,
    /// From the first byte on.
    kept: Vec<u8>,
    /// Until all bytes have come once, in order.
    verifier: Option<Verifier>,
    verdict: Option<Result<(), Mismatch>>,
    /// Bytes that came over the network once more, and were not hashed again.
    repeated: u64,
    /// Bytes that may come over the network for this layer.
    allowance: u64,
    read: u64,
    budget: Arc<Budget>,
}

impl Stream {
    pub(super) fn new(layer: &Descriptor, blob: Box<dyn Blob>, budget: Arc<Budget>) -> Self {
        let mut shared = Shared {
            blob,
            size: layer.size,
            kept: Vec::new(),
            verifier: Some(Verifier::new(layer.digest.clone(), layer.size)),
            verdict: None,
            repeated: 0,
            allowance: 0,
            read: 0,
            budget,
        };
        // A blob without a byte is whole.
        shared.learn(0, &[]);
        Self(Arc::new(Mutex::new(shared)))
    }

    /// Allows so many bytes over the network in all.
    pub(super) fn allow(&self, bytes: u64) {
        self.lock().allowance = bytes;
    }

    /// Bytes that may still come.
    pub(super) fn left(&self) -> u64 {
        self.lock().may()
    }

    /// Reads on from here.
    pub(super) fn from(&self, at: u64) -> Reader {
        Reader { stream: self.clone(), start: at, at, rest: Bytes::new() }
    }

    /// Exactly these bytes, which are wanted all at once.
    pub(super) fn exactly(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut shared = self.lock();
        if !shared.blob.is_local() && range.end - range.start > shared.may() {
            return Err(io::Error::other(OverBudget));
        }
        let mut bytes = Vec::new();
        while range.start + (bytes.len() as u64) < range.end {
            let more = shared.fetch(range.start + bytes.len() as u64..range.end)?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// Whether the digest held; `None` until every byte has come.
    pub(super) fn verdict(&self) -> Option<Result<(), Mismatch>> {
        self.lock().verdict.clone()
    }

    /// Bytes that came more than once, and the second time may have been others.
    pub(super) fn repeated(&self) -> u64 {
        self.lock().repeated
    }

    /// Whether anybody waits for what is in it.
    pub(super) fn check_interest(&self) -> io::Result<()> {
        self.lock().blob.check_interest()
    }

    /// However much is read of it, nobody minds.
    pub(super) fn is_free(&self) -> bool {
        let shared = self.lock();
        shared.blob.is_local() || shared.may() >= UNLIMITED
    }

    /// Reading to the end costs nothing over the network.
    pub(super) fn is_here(&self) -> bool {
        let shared = self.lock();
        shared.kept.len() as u64 == shared.size
    }

    pub(super) fn is_local(&self) -> bool {
        self.lock().blob.is_local()
    }

    pub(super) fn does_ranges(&self) -> bool {
        self.lock().blob.does_ranges()
    }

    /// What this layer has cost.
    pub(super) fn cost(&self) -> Cost {
        let shared = self.lock();
        let (fetched, requests) = (shared.blob.received(), shared.blob.requests());
        Cost { fetched, read: shared.read, requests, ..Cost::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic while bytes are taken in leaves a digest that does not hold, and nothing worse.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn may(&self) -> u64 {
        self.allowance.saturating_sub(self.blob.received()).min(self.budget.left())
    }

    /// Some bytes of the range, at least one unless the blob ends.
    fn fetch(&mut self, range: Range<u64>) -> io::Result<Bytes> {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes = if self.blob.is_local() {
            let bytes = self.blob.read(range.clone(), u64::MAX)?;
            self.read += bytes.len() as u64;
            bytes
        } else {
            self.fetch_remote(range.clone())?
        };
        self.learn(range.start, &bytes);
        Ok(bytes)
    }

    fn fetch_remote(&mut self, range: Range<u64>) -> io::Result<Bytes> {
        let may = self.may();
        if may == 0 {
            return Err(io::Error::other(OverBudget));
        }
        let before = self.blob.received();
        let result = self.blob.read(range.start..range.end.min(range.start.saturating_add(may)), may);
        self.budget.spend(self.blob.received() - before);
        let bytes = result?;
        if bytes.is_empty() { Err(io::Error::other(OverBudget)) } else { Ok(bytes) }
    }

    /// Keeps and hashes what comes in order.
    fn learn(&mut self, at: u64, bytes: &[u8]) {
        if !self.blob.is_local() && at == self.kept.len() as u64 && self.budget.take_room(bytes.len() as u64) {
            self.kept.extend_from_slice(bytes);
        }
        let hashed = self.verifier.as_ref().map_or(self.size, Verifier::seen);
        if !self.blob.is_local() {
            self.repeated += hashed.saturating_sub(at).min(bytes.len() as u64);
        }
        let Some(verifier) = &mut self.verifier else { return };
        let Some(known) = hashed.checked_sub(at).and_then(|known| usize::try_from(known).ok()) else { return };
        let Some(new) = bytes.get(known..) else { return };
        let outcome = verifier.update(new);
        if outcome.is_err() || verifier.seen() == verifier.size() {
            let finished = self.verifier.take().map_or(Ok(()), |verifier| verifier.finish(()).map(drop));
            self.verdict = Some(outcome.and(finished));
        }
    }
}

/// The bytes of a layer from some place on.
pub(super) struct Reader {
    stream: Stream,
    start: u64,
    at: u64,
    /// What came and was not read yet.
    rest: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let mut shared = self.stream.lock();
            shared.blob.check_interest()?;
            let kept = usize::try_from(self.at).ok().and_then(|at| shared.kept.get(at..));
            if let Some(mut kept) = kept.filter(|kept| !kept.is_empty()) {
                let count = kept.read(buffer)?;
                self.at += count as u64;
                return Ok(count);
            }
            self.rest = shared.fetch(self.at..self.at.saturating_add(window(self.at - self.start)))?;
        }
        let count = (&self.rest[..]).read(buffer)?;
        self.rest.advance(count);
        self.at += count as u64;
        Ok(count)
    }
}

/// The next window of a reader that has come so far.
fn window(distance: u64) -> u64 {
    let mut end = 0;
    let next = WINDOWS.into_iter().find(|window| {
        end += window;
        distance < end
    });
    next.unwrap_or(WINDOWS[WINDOWS.len() - 1])
}
