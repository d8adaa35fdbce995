//! Thin adapters between a protocol and the house: decode, call, encode.
//!
//! [`api`] is our own gRPC API, [`mirror`] serves an OCI image layout to any registry client.
//! Services never see each other; [`status`] is the one table they all map errors with.

#[cfg(feature = "containerd")]
pub mod api;
pub mod mirror;
pub mod status;
