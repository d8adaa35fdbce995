//! Content, leases and image records of a containerd.
