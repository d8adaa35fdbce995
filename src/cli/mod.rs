//! The commands, as text and JSON.
pub mod host;
