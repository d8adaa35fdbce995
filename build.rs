//! Generates code from `proto/`, for builds that speak gRPC.

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
    Ok(())
}
