//! Generates code from `proto/`, for builds that speak gRPC.

#[cfg(feature = "containerd")]
use tonic_prost_build::manual;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "containerd")]
    {
        own_api()?;
        cri()?;
        manual::Builder::new().build_client(false).compile(&[diff()]);
    }
    Ok(())
}

#[cfg(feature = "containerd")]
fn own_api() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // Passwords are not to be printed, nor what holds them.
    let secret = ["Login", "Credentials", "ResolveRequest", "PullRequest", "DiagnoseRequest"];
    tonic_prost_build::configure()
        .skip_debug(secret.map(|message| format!("lighterman.v1.{message}")))
        // Served by reflection.
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&["proto/lighterman/v1/lighterman.proto"], &["proto"])?;
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

/// The messages of CRI that are looked into, and its image service with every message as bytes.
#[cfg(feature = "containerd")]
fn cri() -> Result<(), Box<dyn std::error::Error>> {
    // Credentials are not to be printed.
    tonic_prost_build::configure()
        .skip_debug(["runtime.v1.AuthConfig", "runtime.v1.PullImageRequest"])
        .bytes(".runtime.v1")
        .compile_protos(&["proto/runtime/v1/image.proto"], &["proto"])?;
    let method = |name: &str, route: &str| {
        manual::Method::builder()
            .name(name)
            .route_name(route)
            .input_type("::bytes::Bytes")
            .output_type("::bytes::Bytes")
            .codec_path("crate::service::cri::Raw")
    };
    let service = manual::Service::builder()
        .name("ImageService")
        .package("runtime.v1")
        .method(method("list_images", "ListImages").build())
        .method(method("stream_images", "StreamImages").server_streaming().build())
        .method(method("image_status", "ImageStatus").build())
        .method(method("pull_image", "PullImage").build())
        .method(method("remove_image", "RemoveImage").build())
        .method(method("image_fs_info", "ImageFsInfo").build())
        .build();
    manual::Builder::new().compile(&[service]);
    Ok(())
}
