//! Logging: what lighterman tells the operator beside its results, always on stderr.

use tracing::level_filters::LevelFilter;

/// Starts logging at a level; `quiet` libraries stay at warnings whatever it is, since their
/// debug output can hold headers of requests.
pub fn start(level: LevelFilter) {
    use tracing_subscriber::EnvFilter;
    let others = level.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},lighterman={level}"));
    // A second start in the same process (tests) keeps the first one's settings.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().try_init();
}
