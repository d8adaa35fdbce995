//! The demo's two images, as an OCI image layout.
//!
//! `hello` is right: amd64, arm64 and arm/v7, each with a program that was built for it.
//! `mislabelled` is the classic mistake: the entry and the config of its second image say
//! arm64, and the program in the layer is a 32-bit ARM one, which is what a build from
//! `scratch` with a cross compiler leaves behind when nobody corrects the platform.
//!
//! Every run makes the same bytes, and so the same digests: no clocks, no users.
//!
//! Specification: OCI image-spec, image-layout.md, image-index.md, manifest.md, config.md.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::DemoError;
use super::programs::{self, Program};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::platform::Platform;

/// Name and tag of the image that is right.
pub const HELLO: &str = "hello:latest";
/// Name and tag of the image whose arm64 entry holds a 32-bit ARM program.
pub const MISLABELLED: &str = "mislabelled:latest";
/// Where the program lies in both images.
pub const PROGRAM: &str = "/app";

/// Name of a layout's entry.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Bytes of the cargo layer: enough for a progress bar to move, little enough for any disk.
const CARGO_BYTES: usize = 4 * 1024 * 1024;
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What was built: the root of each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The index behind [`HELLO`].
    pub hello: Descriptor,
    /// The index behind [`MISLABELLED`].
    pub mislabelled: Descriptor,
}

/// Writes both images into an OCI image layout at `directory`, which is created.
///
/// # Errors
/// [`DemoError`] where a file cannot be written.
pub fn build(directory: &Path) -> Result<Images, DemoError> {
    let layout = Layout::create(directory)?;
    let cargo = layout.layer("cargo/crate.bin", 0o644, &pseudo_random(CARGO_BYTES))?;
    let (amd64, arm64, arm) = (programs::amd64(), programs::arm64(), programs::arm_v7());
    let for_amd64 = layout.image(&amd64, &amd64.platform, &cargo)?;
    let for_arm64 = layout.image(&arm64, &arm64.platform, &cargo)?;
    let for_arm = layout.image(&arm, &arm.platform, &cargo)?;
    let attestation = layout.attestation(&for_amd64)?;
    let hello = layout.index(&[for_amd64.clone(), for_arm64, for_arm, attestation])?;

    let lie = layout.image(&arm, &arm64.platform, &cargo)?;
    let mislabelled = layout.index(&[for_amd64, lie])?;

    let name = |root: &Descriptor, name: &str| {
        let mut entry = root.clone();
        entry.annotations.insert(REF_NAME.into(), name.into());
        entry
    };
    layout.name(&[name(&hello, HELLO), name(&mislabelled, MISLABELLED)])?;
    Ok(Images { hello, mislabelled })
}

/// A layer and the digest of its uncompressed tar.
struct Layer {
    descriptor: Descriptor,
    diff_id: Digest,
}

struct Layout {
    directory: PathBuf,
}

impl Layout {
    fn create(directory: &Path) -> Result<Self, DemoError> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| DemoError::File { action: "create", path: blobs, source })?;
        let layout = Self { directory: directory.into() };
        layout.write("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
        Ok(layout)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DemoError> {
        let path = self.directory.join(name);
        fs::write(&path, bytes).map_err(|source| DemoError::File { action: "write", path, source })
    }

    fn blob(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor, DemoError> {
        let digest = Digest::of(bytes);
        self.write(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    fn document(&self, media_type: MediaType, document: &Value) -> Result<Descriptor, DemoError> {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// A layer with one file.
    fn layer(&self, path: &str, mode: u32, content: &[u8]) -> Result<Layer, DemoError> {
        let tar = pack(path, mode, content).map_err(DemoError::Pack)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = encoder.write_all(&tar).and_then(|()| encoder.finish()).map_err(DemoError::Pack)?;
        Ok(Layer { descriptor: self.blob(MediaType::parse(LAYER), &packed)?, diff_id: Digest::of(&tar) })
    }

    /// An image with `program`, said to be for `declared`; the descriptor carries the platform.
    fn image(&self, program: &Program, declared: &Platform, cargo: &Layer) -> Result<Descriptor, DemoError> {
        let app = self.layer(PROGRAM.trim_start_matches('/'), 0o755, &program.bytes)?;
        let mut config = json!({
            "created": EPOCH,
            "os": declared.os,
            "architecture": declared.architecture,
            "config": {"Entrypoint": [PROGRAM]},
            "rootfs": {"type": "layers", "diff_ids": [cargo.diff_id, app.diff_id]},
            "history": [
                {"created": EPOCH, "created_by": "COPY cargo/ /cargo/"},
                {"created": EPOCH, "created_by": "COPY app /app"},
            ],
        });
        if !declared.variant.is_empty() {
            config["variant"] = json!(declared.variant);
        }
        let config = self.document(MediaType::OciConfig, &config)?;
        let mut descriptor = self.manifest(&config, &[&cargo.descriptor, &app.descriptor])?;
        descriptor.platform = Some(declared.clone());
        Ok(descriptor)
    }

    fn manifest(&self, config: &Descriptor, layers: &[&Descriptor]) -> Result<Descriptor, DemoError> {
        let media_type = MediaType::OciManifest;
        let document = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        self.document(media_type, &document)
    }

    /// What BuildKit puts beside an image: provenance, as a manifest for no platform.
    fn attestation(&self, subject: &Descriptor) -> Result<Descriptor, DemoError> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"name": HELLO, "digest": {"sha256": subject.digest.hex()}}],
            "predicate": {"builder": {"id": "lighterman demo"}, "buildType": "https://lighterman.invalid/demo"},
        });
        let text = statement.to_string();
        let layer = self.blob(MediaType::parse("application/vnd.in-toto+json"), text.as_bytes())?;
        let diff_ids = [&layer.digest];
        let unknown = Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() };
        let mut config = json!(unknown);
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let config = self.document(MediaType::OciConfig, &config)?;
        let mut descriptor = self.manifest(&config, &[&layer])?;
        descriptor.platform = Some(unknown);
        descriptor.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
        descriptor.annotations.insert("vnd.docker.reference.digest".into(), subject.digest.to_string());
        Ok(descriptor)
    }

    fn index(&self, entries: &[Descriptor]) -> Result<Descriptor, DemoError> {
        self.document(MediaType::OciIndex, &index_document(entries))
    }

    /// Names come last: `index.json` is what makes the images visible.
    fn name(&self, entries: &[Descriptor]) -> Result<(), DemoError> {
        self.write("index.json", index_document(entries).to_string().as_bytes())
    }
}

fn index_document(entries: &[Descriptor]) -> Value {
    json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": entries})
}

/// A tar of one file that belongs to root and was last changed in 1970.
fn pack(path: &str, mode: u32, content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, path, content)?;
    archive.into_inner()
}

/// The same incompressible bytes every time (xorshift64*).
fn pseudo_random(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

#[cfg(test)]
mod tests;
