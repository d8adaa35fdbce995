//! lighterman: pulls multi-arch container images right and fast.
pub mod core;
pub mod store;
pub mod unpack;
