//! What the tests are run against.

#[cfg(feature = "containerd")]
pub(crate) mod containerd;
#[cfg(feature = "containerd")]
pub(crate) mod cri;
