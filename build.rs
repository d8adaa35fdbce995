//! Generates code from `proto/`, for builds that speak gRPC.

#[cfg(feature = "containerd")]
use tonic_prost_build::manual;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "containerd")]
    protocols()?;
    Ok(())
}

#[cfg(feature = "containerd")]
fn protocols() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        // Served by reflection.
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&["proto/lighterman/v1/lighterman.proto"], &["proto"])?;
    manual::Builder::new().build_client(false).compile(&[diff()]);
    Ok(())
}

/// containerd's Diff service, to be served: its messages are containerd-client's, which has no servers.
#[cfg(feature = "containerd")]
fn diff() -> manual::Service {
    let method = |name: &str, route: &str| {
        let message = |kind: &str| format!("containerd_client::services::v1::{route}{kind}");
        manual::Method::builder()
            .name(name)
            .route_name(route)
            .input_type(message("Request"))
            .output_type(message("Response"))
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    manual::Service::builder()
        .package("containerd.services.diff.v1")
        .name("Diff")
        .method(method("apply", "Apply"))
        .method(method("diff", "Diff"))
        .build()
}
