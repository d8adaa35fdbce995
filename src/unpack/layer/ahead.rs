//! Members of a gzip inflated before their turn, by threads that have nothing else to do.
//!
//! Many members in a row are one gzip: an eStargz has one or more for every file, a BGZF one for
//! every 64 KiB. Where one ends is only known by who has decoded it; where one may begin is seen
//! from outside, since whoever writes such a row begins each in the same way. So what
//! has arrived is cut where the first bytes of the layer come again, and helpers inflate the
//! segments. What they make of one is taken only if a member ends exactly where it begins:
//! that is what the layer's own decoder would make of it, byte for byte. All else (a gzip within
//! a file looks like a member, too) is thrown away and inflated in turn, so that a layer can
//! waste no more than [`MISSES`] segments.
//!
//! Nothing is waited for here. A segment that no helper has begun with when its turn comes is
//! inflated in turn. A download that is slower than the decoder never has a whole segment at hand,
//! and without memory to spare there are none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use memchr::memmem;
use tokio::sync::oneshot;

use super::inflating::Inflating;
use super::{BUFFER, INPUT, LayerError, Source};
use crate::cpu::{self, Cpu, Priority, WeakCpu};
use crate::fetch::{Budget, Reservation};
use crate::unpack::inflate::{InflateError, Inflater};

/// Bytes of the shortest segment, which takes about a millisecond.
const LEAST: usize = 256 * 1024;
/// Bytes from which on a segment ends wherever it is.
const MOST: usize = 1024 * 1024;
/// Bytes of the window between what was read and what was cut.
const WINDOW: usize = MOST + INPUT;
/// Buffers that a helper fills at the most. With more in a segment, the rest is inflated in turn.
const OUTPUTS: usize = 12;
/// Bytes that a segment may hold: what was cut off, what is in it, and a decoder.
const SEGMENT: usize = WINDOW + OUTPUTS * BUFFER + 64 * 1024;
/// Segments at a time. With more, writing the files would be what takes longest.
const SEGMENTS: usize = 4;
/// Threads that a layer keeps busy anyway: one inflates, one writes files. Helpers that take turns
/// with these make a layer of many members slower (eStargz on two cores: 0.88x).
const STAGES: usize = 2;
/// Segments inflated for nothing until a layer is given up.
const MISSES: usize = 8;

/// Threads and memory that nobody else may want.
#[derive(Debug, Clone)]
pub(super) struct Helpers {
    cpu: WeakCpu,
    budget: Budget,
    /// Segments at a time.
    segments: usize,
}

impl Helpers {
    pub(super) fn new(cpu: &Cpu, budget: &Budget) -> Self {
        // The layer's own decoder takes those that no helper comes to.
        let segments = match cpu.threads().saturating_sub(STAGES) {
            0 => 0,
            spare => (spare + 1).min(SEGMENTS),
        };
        Self { cpu: cpu.downgrade(), budget: budget.clone(), segments }
    }

    fn reserve(&self, bytes: usize) -> Option<Reservation> {
        self.budget.try_reserve(u32::try_from(bytes).ok()?)
    }
}

/// A row of members of which the next ones are inflated ahead.
pub(super) struct Ahead<'a> {
    helpers: &'a Helpers,
    /// How members begin.
    beginning: Vec<u8>,
    /// What was read and not cut yet.
    window: Vec<u8>,
    _memory: Reservation,
    segments: VecDeque<Segment>,
    /// As many clones as offers that no thread has looked at.
    offers: Arc<()>,
    /// Segments that a helper has inflated to good purpose, and to none.
    hits: usize,
    misses: usize,
}

impl<'a> Ahead<'a> {
    /// For a layer that is seen to be such a row, if there are threads and memory for it.
    pub(super) fn begin(helpers: &'a Helpers, inflating: &Inflating) -> Option<Self> {
        let beginning = inflating.inflater().row()?.to_vec();
        if helpers.segments == 0 {
            return None;
        }
        let memory = helpers.reserve(WINDOW)?;
        let window = Vec::with_capacity(WINDOW);
        let (segments, offers) = (VecDeque::new(), Arc::default());
        Some(Self { helpers, beginning, window, _memory: memory, segments, offers, hits: 0, misses: 0 })
    }

    /// Goes on until the layer ends, or too much was in vain. All that was read is inflated then.
    pub(super) async fn run(
        &mut self,
        source: &mut Source,
        input: &mut [u8],
        inflating: &mut Inflating,
    ) -> Result<(), LayerError> {
        while self.misses < MISSES {
            self.look_ahead(source, input)?;
            match self.segments.pop_front() {
                Some(segment) => self.take(segment, inflating).await?,
                None => {
                    inflating.push(&self.window).await?;
                    self.window.clear();
                    let count = source.read(input).await?;
                    if count == 0 {
                        break;
                    }
                    self.window.extend_from_slice(&input[..count]);
                }
            }
            cpu::yield_now().await;
        }
        while let Some(segment) = self.segments.pop_front() {
            self.take(segment, inflating).await?;
        }
        tracing::debug!(hits = self.hits, misses = self.misses, "members of a layer were inflated ahead");
        inflating.push(&self.window).await
    }

    /// Cuts what is at hand into segments, as many as there are helpers and memory for.
    fn look_ahead(&mut self, source: &mut Source, input: &mut [u8]) -> Result<(), LayerError> {
        while self.segments.len() < self.helpers.segments {
            if let Some(end) = end_of_segment(&self.window, &self.beginning) {
                let Some(memory) = self.helpers.reserve(SEGMENT) else { break };
                let segment = self.cut(end, memory);
                self.segments.push_back(segment);
                continue;
            }
            match source.read(input).now_or_never().transpose()? {
                None | Some(0) => break,
                Some(count) => self.window.extend_from_slice(&input[..count]),
            }
        }
        Ok(())
    }

    /// Takes a segment off the window, for a helper where a member seems to begin with it.
    fn cut(&mut self, end: usize, memory: Reservation) -> Segment {
        let mut rest = Vec::with_capacity(WINDOW);
        rest.extend_from_slice(&self.window[end..]);
        self.window.truncate(end);
        let input = std::mem::replace(&mut self.window, rest);
        // Offers to threads that are busy pile up.
        let is_offered = Arc::strong_count(&self.offers) <= self.helpers.segments;
        let offer = (is_offered && input.starts_with(&self.beginning)).then(|| Arc::clone(&self.offers));
        let (segment, sender) = Segment::new(Work { input, _memory: memory });
        if let Some(offer) = offer {
            let work = Arc::downgrade(&segment.work);
            self.helpers.cpu.run(Priority::SPARE, move || {
                drop(offer);
                if let Some(work) = work.upgrade().and_then(|work| begin(&work)) {
                    // Nobody wants it any more where the layer was given up.
                    let _ = sender.send(work.inflate());
                }
            });
        }
        segment
    }

    /// Sends on what is in a segment.
    async fn take(&mut self, segment: Segment, inflating: &mut Inflating) -> Result<(), LayerError> {
        match segment.turn().await? {
            Turn::Untouched(work) => inflating.push(&work.input).await,
            Turn::Inflated(done) if inflating.inflater().is_between_members() => {
                self.hits += 1;
                inflating.adopt(done.output, done.inflater).await?;
                inflating.push(&done.work.input[done.consumed..]).await
            }
            Turn::Inflated(done) => {
                self.misses += 1;
                inflating.push(&done.work.input).await
            }
        }
    }
}

/// Where the first segment of a window ends: before what looks like a member, as soon as it is
/// long enough, or anywhere once it is too long.
fn end_of_segment(window: &[u8], beginning: &[u8]) -> Option<usize> {
    let from = LEAST.min(window.len());
    let next = memmem::find(&window[from..], beginning).map(|at| from + at);
    next.or((window.len() >= MOST).then_some(window.len()))
}

/// Bytes in a row of members.
struct Segment {
    /// Empty once somebody has begun.
    work: Arc<Mutex<Option<Work>>>,
    inflated: oneshot::Receiver<Inflated>,
}

/// What has become of a segment when its turn comes.
enum Turn {
    Untouched(Work),
    Inflated(Inflated),
}

impl Segment {
    fn new(work: Work) -> (Self, oneshot::Sender<Inflated>) {
        let (sender, inflated) = oneshot::channel();
        (Self { work: Arc::new(Mutex::new(Some(work))), inflated }, sender)
    }

    /// Takes it from the helpers, or waits for the one who has begun, which is a matter of
    /// milliseconds.
    async fn turn(self) -> Result<Turn, LayerError> {
        if let Some(work) = begin(&self.work) {
            return Ok(Turn::Untouched(work));
        }
        // A helper that was asked and has no answer has panicked.
        self.inflated.await.map(Turn::Inflated).map_err(|_| LayerError::CutOff)
    }
}

/// Whoever comes first has it.
fn begin(work: &Mutex<Option<Work>>) -> Option<Work> {
    // Nothing in the critical section can panic half-way.
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Compressed bytes, and the memory for them and for what is in them.
struct Work {
    input: Vec<u8>,
    _memory: Reservation,
}

/// What is in them.
struct Inflated {
    work: Work,
    /// How many of the bytes were decoded.
    consumed: usize,
    output: Vec<Vec<u8>>,
    /// As it is after those, or why there are no more.
    inflater: Result<Inflater, InflateError>,
}

impl Work {
    /// Inflates what begins with a member, up to the end or until there is too much.
    fn inflate(self) -> Inflated {
        let mut inflater = Inflater::at_member();
        let (mut rest, mut output) = (self.input.as_slice(), Vec::new());
        let outcome = loop {
            let mut buffer = vec![0; BUFFER];
            match inflater.fill(&mut rest, &mut buffer) {
                Err(error) => break Err(error),
                Ok(BUFFER) => output.push(buffer),
                Ok(filled) => {
                    buffer.truncate(filled);
                    output.push(buffer);
                    break Ok(inflater);
                }
            }
            if output.len() == OUTPUTS {
                break Ok(inflater);
            }
        };
        let consumed = self.input.len() - rest.len();
        Inflated { consumed, output, inflater: outcome, work: self }
    }
}

#[cfg(test)]
mod tests;
