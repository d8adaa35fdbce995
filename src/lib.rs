//! lighterman: pulls multi-arch container images right and fast.
pub mod core;
pub mod fetch;
pub mod host;
pub mod pull;
pub mod registry;
pub mod resolve;
pub mod store;
pub mod unpack;
