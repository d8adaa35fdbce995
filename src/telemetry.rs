//! What the operator sees of the program beside its results: logs.
//!
//! Secrets are in none. The rooms below log what they do through `tracing`; where that goes is
//! decided here.

mod log;

pub use log::{Format, Logging, start};
