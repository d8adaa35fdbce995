//! lighterman: pulls multi-arch container images right and fast.
pub mod cli;
pub mod config;
pub mod core;
pub mod demo;
pub mod diagnose;
pub mod fetch;
pub mod host;
pub mod pull;
pub mod registry;
pub mod resolve;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod unpack;
