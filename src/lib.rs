//! lighterman: pulls multi-arch container images right and fast.
pub mod cli;
pub mod core;
pub mod host;
pub mod store;
