//! lighterman: pulls multi-arch container images right and fast.
pub mod cli;
pub mod core;
pub mod demo;
pub mod diagnose;
pub mod host;
pub mod registry;
pub mod service;
pub mod store;
