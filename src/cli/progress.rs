//! Progress: bars on a terminal, plain lines elsewhere, events with `--json`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::mismatch::Action;
use crate::fetch::progress::{Event, Observer};

use super::report;

/// Redraws per second; more only costs CPU on slow terminals and serial consoles.
const REDRAWS: u8 = 10;

/// How progress is shown.
#[derive(Debug)]
pub(super) enum Progress {
    Bars(Bars),
    Lines(Lines),
    Events,
}

impl Progress {
    /// Bars where stderr is a terminal.
    pub(super) fn new(json: bool) -> Self {
        match (json, Term::stderr().is_term()) {
            (true, _) => Self::Events,
            (false, true) => Self::Bars(Bars::new()),
            (false, false) => Self::Lines(Lines),
        }
    }

    /// The blobs that a pull is about, for the total.
    pub(super) fn expect(&self, bytes: u64) {
        if let Self::Bars(bars) = self {
            bars.total.set_length(bytes);
        }
    }

    /// Says something between the bars.
    pub(super) fn warn(&self, text: &str) {
        match self {
            Self::Bars(bars) => bars.all.suspend(|| report::warning(text)),
            Self::Lines(_) => report::warning(text),
            Self::Events => emit(&json!({"event": "warning", "message": text})),
        }
    }

    /// Removes the bars.
    pub(super) fn finish(&self) {
        if let Self::Bars(bars) = self {
            bars.all.clear().unwrap_or_default();
            // Threads that are still winding down must not draw over what is said next.
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl Observer for Progress {
    fn notify(&self, event: Event<'_>) {
        match self {
            Self::Bars(bars) => bars.notify(&event),
            Self::Lines(lines) => lines.notify(&event),
            Self::Events => {
                if let Some(event) = as_json(&event) {
                    emit(&event);
                }
            }
        }
    }
}

/// One event, one line, on stdout.
pub(super) fn emit(event: &Value) {
    report::result(&event.to_string());
}

/// One bar per blob that is under way, and one for all.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    blobs: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
        let total = all.add(ProgressBar::new(0));
        total.set_style(bar_style("total        {wide_bar} {decimal_bytes:>10} / {decimal_total_bytes:<10} {decimal_bytes_per_sec:>12} {eta:>4}"));
        total.enable_steady_tick(Duration::from_millis(200));
        Self { all, total, blobs: Mutex::default() }
    }

    fn notify(&self, event: &Event<'_>) {
        match event {
            Event::Present(blob) => self.total.inc(blob.size),
            Event::Started { blob, offset } => self.start(blob, *offset),
            Event::Advanced { digest, bytes } => {
                self.total.inc(*bytes);
                if let Some(bar) = self.blobs().get(digest) {
                    bar.inc(*bytes);
                }
            }
            Event::Finished(blob) => {
                if let Some(bar) = self.blobs().remove(&blob.digest) {
                    self.all.remove(&bar);
                }
            }
            Event::Unpacked { done, total } => {
                self.total.set_style(bar_style("unpacking    {wide_bar} {pos} of {len} layers"));
                self.total.set_length(*total as u64);
                self.total.set_position(*done as u64);
            }
            Event::Began(_) | Event::Ended { .. } | Event::Asking { .. } | Event::Held { .. } => {}
            // The warnings of the pull say it, or its error.
            Event::Mismatch(_) => {}
            Event::Shared(_) | Event::NextHost { .. } | Event::Waiting { .. } | Event::Blamed { .. } => {
                if let Some(line) = as_line(event) {
                    self.all.suspend(|| report::warning(&line));
                }
            }
        }
    }

    fn start(&self, blob: &Descriptor, offset: u64) {
        self.total.inc(offset);
        let bar = self.all.insert_before(&self.total, ProgressBar::new(blob.size));
        bar.set_style(bar_style("{prefix:12} {wide_bar} {decimal_bytes:>10} / {decimal_total_bytes:<10}"));
        bar.set_prefix(blob.digest.short().to_owned());
        bar.set_position(offset);
        if let Some(before) = self.blobs().insert(blob.digest.clone(), bar) {
            self.total.dec(before.position());
            self.all.remove(&before);
        }
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bar_style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a mistake in one shows as the plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// One line for each thing that happened.
#[derive(Debug)]
pub(super) struct Lines;

impl Lines {
    #[expect(clippy::print_stderr, reason = "progress goes to stderr")]
    fn notify(&self, event: &Event<'_>) {
        if let Some(line) = as_line(event) {
            eprintln!("{line}");
        }
    }
}

fn as_line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Present(blob) => Some(format!("{}: already present", blob.digest.short())),
        Event::Started { blob, offset: 1.. } => {
            Some(format!("{}: going on behind what an earlier pull left", blob.digest.short()))
        }
        Event::Started { .. } | Event::Advanced { .. } | Event::Began(_) | Event::Ended { .. } => None,
        Event::Asking { .. } | Event::Held { .. } => None,
        Event::Finished(blob) => Some(format!("{}: fetched, {}", blob.digest.short(), report::bytes(blob.size))),
        Event::Shared(blob) => Some(format!("{}: another pull is fetching it, waiting", blob.digest.short())),
        Event::NextHost { left, cause, .. } => Some(format!("{left} failed, asking the next host: {cause}")),
        Event::Waiting { wait, cause, .. } => Some(format!("trying again in {:.1} s: {cause}", wait.as_secs_f64())),
        Event::Blamed { digest, host } => {
            Some(format!("{}: {host} sent wrong bytes; it is asked last from now on", digest.short()))
        }
        Event::Unpacked { done, total } => Some(format!("unpacked layer {done} of {total}")),
        // The warnings of the pull say it, or its error.
        Event::Mismatch(_) => None,
    }
}

fn as_json(event: &Event<'_>) -> Option<Value> {
    let blob = |name: &str, blob: &Descriptor| json!({"event": name, "digest": blob.digest, "size": blob.size});
    Some(match event {
        Event::Present(descriptor) => blob("blob-present", descriptor),
        Event::Started { blob, offset } => {
            json!({"event": "blob-started", "digest": blob.digest, "size": blob.size, "offset": offset})
        }
        // One event per chunk would be thousands; sizes are in the events around them.
        Event::Advanced { .. } | Event::Began(_) | Event::Ended { .. } => return None,
        Event::Asking { .. } | Event::Held { .. } => return None,
        Event::Finished(descriptor) => blob("blob-fetched", descriptor),
        Event::Shared(descriptor) => blob("blob-shared", descriptor),
        Event::NextHost { what, left, cause } => {
            json!({"event": "next-host", "what": what, "left": left, "kind": cause.kind().name(), "message": cause.to_string()})
        }
        Event::Waiting { what, wait, cause } => {
            json!({"event": "waiting", "what": what, "seconds": wait.as_secs_f64(), "kind": cause.kind().name(), "message": cause.to_string()})
        }
        Event::Blamed { digest, host } => json!({"event": "host-blamed", "digest": digest, "host": host}),
        Event::Unpacked { done, total } => json!({"event": "layer-unpacked", "done": done, "total": total}),
        Event::Mismatch(mismatch) if mismatch.action == Action::Allow => return None,
        Event::Mismatch(mismatch) => json!({
            "event": "arch-mismatch",
            "id": mismatch.id,
            "action": mismatch.action.name(),
            "image": mismatch.image,
            "platform": mismatch.platform.to_string(),
            "node": mismatch.node,
            "message": mismatch.message,
        }),
    })
}
