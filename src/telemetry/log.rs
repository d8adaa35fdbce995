//! What lighterman tells the operator beside its results: on stderr, or in the journal.

use std::io;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// What precedes the names of our fields in the journal.
const JOURNAL_PREFIX: &str = "LIGHTERMAN";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Fields in the journal where stderr leads there, text elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Fields in systemd's journal.
    Journald,
}

/// Logging that was started; its level can be changed. Dropping it changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Logging(Option<reload::Handle<EnvFilter, Registry>>);

/// Starts logging, on stderr or in the journal.
pub fn start(level: LevelFilter, format: Format) -> Logging {
    let (filter, handle) = reload::Layer::new(filter(level));
    let started = tracing_subscriber::registry().with(filter).with(layer(format)).try_init();
    // A second start in the same process (tests) keeps the first one's settings.
    Logging(started.is_ok().then_some(handle))
}

impl Logging {
    /// Logs at this level from now on.
    pub fn set_level(&self, level: LevelFilter) {
        if let Some(handle) = &self.0
            && let Err(error) = handle.reload(filter(level))
        {
            tracing::warn!(%error, "the log level cannot be changed");
        }
    }
}

/// Other libraries stay at warnings whatever the level is, since their debug output can hold
/// headers of requests.
fn filter(level: LevelFilter) -> EnvFilter {
    let others = level.min(LevelFilter::WARN);
    EnvFilter::new(format!("{others},lighterman={level}"))
}

fn layer<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    // As with everything else on stderr: where it leads, and what --color and NO_COLOR say.
    let ansi = console::colors_enabled_stderr();
    let text = || fmt::layer().with_writer(io::stderr).with_ansi(ansi).without_time().boxed();
    match format {
        Format::Json => fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(io::stderr).boxed(),
        Format::Auto if !stderr_is_the_journal() => text(),
        // Inside a sandbox the journal's socket may be out of reach where stderr is not.
        Format::Auto | Format::Journald => journal().map_or_else(|_| text(), Layer::boxed),
        Format::Text => text(),
    }
}

fn journal() -> io::Result<tracing_journald::Layer> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer()?.with_field_prefix(Some(JOURNAL_PREFIX.into()));
    Ok(layer.with_priority_mappings(priorities))
}

/// Whether what goes to stderr ends in the journal, by systemd.exec(5): a variable alone says
/// little, since programs that a service starts inherit it.
fn stderr_is_the_journal() -> bool {
    let Some(variable) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let stderr = rustix::fs::fstat(io::stderr());
    stderr.is_ok_and(|found| names(&variable.to_string_lossy(), found.st_dev, found.st_ino))
}

/// Whether `JOURNAL_STREAM` names this device and inode.
fn names(variable: &str, device: u64, inode: u64) -> bool {
    let named = variable.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    named == Some((Ok(device), Ok(inode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_used_only_where_stderr_leads_to_it() {
        assert!(names("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", "8:1234:5", "a:b", "8:-1234"] {
            assert!(!names(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn other_libraries_stay_quiet() {
        let cases = [
            (LevelFilter::TRACE, "lighterman=trace,warn"),
            (LevelFilter::WARN, "lighterman=warn,warn"),
            (LevelFilter::ERROR, "lighterman=error,error"),
        ];
        for (level, expected) in cases {
            assert_eq!(filter(level).to_string(), expected);
        }
    }
}
