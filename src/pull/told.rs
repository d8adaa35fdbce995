//! What the log says of a pull: one line when it ends, in a span that all others stand in.

use std::time::Instant;

use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info_span};

use super::{Planned, Pulled, Puller};
use crate::core::error::{Classify, Kind};
use crate::core::reference::Reference;
use crate::core::trace::TraceContext;
use crate::fetch::progress::{Event, Phase};

/// Who asked for a pull, as far as the log tells.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// For which image.
    pub reference: &'a Reference,
    /// By which way.
    pub door: &'static str,
    /// As part of what, if he said so.
    pub trace: Option<&'a TraceContext>,
}

/// What a pull that went well has to show for it.
pub trait Brought {
    /// What it was going to bring, and what it brought.
    fn brought(&self) -> (&Planned, &Pulled);
}

impl Brought for (Planned, Pulled) {
    fn brought(&self) -> (&Planned, &Pulled) {
        (&self.0, &self.1)
    }
}

/// Does the work of a pull in a span of its own, and tells the log how it ended. A pull that is
/// dropped on the way was cancelled.
///
/// # Errors
/// Those of the work.
pub fn tell<T: Brought, E: Classify>(
    caller: &Caller<'_>,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // On the heap at once: it is large, and would be copied into every future around it.
    let (line, work) = (Line::begin(caller), Box::pin(work));
    async move {
        let outcome = work.instrument(line.span.clone()).await;
        line.end(&outcome);
        outcome
    }
}

impl Puller<'_> {
    /// Does a part of a pull, in a span of its own, and tells when it begins and ends.
    pub(super) fn phase<T>(&self, phase: Phase, work: impl Future<Output = T>) -> impl Future<Output = T> {
        let work = Box::pin(work);
        let span = match phase {
            Phase::Resolve => info_span!("resolve"),
            Phase::Fetch => info_span!("fetch"),
            Phase::Unpack => info_span!("unpack"),
            Phase::Name => info_span!("name"),
        };
        async move {
            let started = Instant::now();
            self.observer.notify(Event::Began(phase));
            let done = work.instrument(span.clone()).await;
            let elapsed = started.elapsed();
            self.observer.notify(Event::Ended { phase, elapsed });
            span.in_scope(|| tracing::debug!(seconds = elapsed.as_secs_f64(), "phase ended"));
            done
        }
    }
}

/// The line that a pull gets.
struct Line {
    span: Span,
    started: Instant,
    ended: bool,
}

impl Line {
    fn begin(caller: &Caller<'_>) -> Self {
        let (reference, door) = (caller.reference.familiar(), caller.door);
        let span = info_span!("pull", %reference, door, trace_id = Empty, parent_id = Empty);
        if let Some(trace) = caller.trace {
            span.record("trace_id", display(trace.trace_id()));
            span.record("parent_id", display(trace.parent_id()));
        }
        Self { span, started: Instant::now(), ended: false }
    }

    fn end<T: Brought, E: Classify>(mut self, outcome: &Result<T, E>) {
        self.ended = true;
        let seconds = self.started.elapsed().as_secs_f64();
        self.span.in_scope(|| match outcome.as_ref().map(Brought::brought) {
            Ok((planned, pulled)) => {
                let platforms: Vec<String> = planned.images.iter().map(|(_, platform)| platform.to_string()).collect();
                let (platform, digest, bytes) = (platforms.join(","), &pulled.target, pulled.traffic.bytes_fetched);
                tracing::info!(outcome = "done", platform, %digest, bytes, seconds, "pull ended");
            }
            Err(error) => {
                let (outcome, blame) = (error.kind().name(), error.blame());
                tracing::info!(outcome, %blame, %error, seconds, "pull ended");
            }
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.ended {
            let seconds = self.started.elapsed().as_secs_f64();
            self.span.in_scope(|| tracing::info!(outcome = Kind::Cancelled.name(), seconds, "pull ended"));
        }
    }
}
