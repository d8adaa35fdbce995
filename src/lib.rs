//! lighterman: pulls multi-arch container images right and fast.
pub mod core;
pub mod demo;
pub mod diagnose;
pub mod service;
pub mod store;
