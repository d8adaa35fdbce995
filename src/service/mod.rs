//! Thin adapters between a protocol and the house: decode, call, encode.
//!
//! `api` is our own gRPC API; `cri` is the image service that kubelet asks; `diff` is a differ of
//! containerd's; [`mirror`] is a registry that gets what it serves from upstream. Services never
//! see each other; [`status`] is the one table they all map errors with, and `generated` is what
//! build.rs makes of their protocols.

#[cfg(feature = "containerd")]
pub mod api;
#[cfg(feature = "containerd")]
pub mod cri;
#[cfg(feature = "containerd")]
pub mod diff;
#[cfg(feature = "containerd")]
mod generated;
pub mod mirror;
pub mod status;
