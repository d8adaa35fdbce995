//! What build.rs generates. Its documentation is that of the .proto files.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/ and build.rs"
)]

/// Our own API: `proto/lighterman/v1`.
pub mod lighterman {
    tonic::include_proto!("lighterman.v1");
}

/// The messages of CRI that are looked into: `proto/runtime/v1`.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// CRI's image service, whose messages are bytes.
pub mod cri_images {
    tonic::include_proto!("runtime.v1.ImageService");
}

/// containerd's Diff service; its messages are `containerd_client`'s.
pub mod diff {
    tonic::include_proto!("containerd.services.diff.v1.Diff");
}
