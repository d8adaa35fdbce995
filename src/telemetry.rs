//! What the operator sees of the program beside its results: logs and metrics.
//!
//! Secrets are in neither. The rooms below log what they do through `tracing` and tell
//! observers how far they are; where that goes is decided here.

mod log;
#[cfg(feature = "containerd")]
pub mod metrics;

pub use log::{Format, Logging, start};
