//! Tests on real parts, in one binary.

#[cfg(feature = "containerd")]
mod containerd_store;
mod support;
