//! Generates code from `proto/`, for builds that speak gRPC.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "containerd")]
    {
        own_api()?;
        cri()?;
    }
    Ok(())
}

#[cfg(feature = "containerd")]
fn own_api() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        // Served by reflection.
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&["proto/lighterman/v1/lighterman.proto"], &["proto"])?;
    Ok(())
}

/// The messages of CRI that are looked into, and its image service with every message as bytes.
#[cfg(feature = "containerd")]
fn cri() -> Result<(), Box<dyn std::error::Error>> {
    use tonic_build::manual::{Builder, Method, Service};
    // Credentials are not to be printed.
    tonic_prost_build::configure()
        .skip_debug(["runtime.v1.AuthConfig", "runtime.v1.PullImageRequest"])
        .bytes(".runtime.v1")
        .compile_protos(&["proto/runtime/v1/image.proto"], &["proto"])?;
    let method = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type("::bytes::Bytes")
            .output_type("::bytes::Bytes")
            .codec_path("crate::service::cri::Raw")
    };
    let service = Service::builder()
        .name("ImageService")
        .package("runtime.v1")
        .method(method("list_images", "ListImages").build())
        .method(method("stream_images", "StreamImages").server_streaming().build())
        .method(method("image_status", "ImageStatus").build())
        .method(method("pull_image", "PullImage").build())
        .method(method("remove_image", "RemoveImage").build())
        .method(method("image_fs_info", "ImageFsInfo").build())
        .build();
    Builder::new().compile(&[service]);
    Ok(())
}
