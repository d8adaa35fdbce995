//! Thin adapters between a protocol and the house: decode, call, encode.
//!
//! [`api`] is our own gRPC API; [`cri`] is the image service that kubelet asks; [`mirror`] is a
//! registry that gets what it serves from upstream. Services never see each other; [`status`] is
//! the one table they all map errors with.

#[cfg(feature = "containerd")]
pub mod api;
#[cfg(feature = "containerd")]
pub mod cri;
pub mod mirror;
pub mod status;
