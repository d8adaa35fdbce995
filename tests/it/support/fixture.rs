//! Images, built in memory and always with the same bytes.
//!
//! [`busybox`] is the real thing: Debian's busybox-static for three architectures in
//! layers of the kinds that occur (links, a big one that all platforms share, a
//! whiteout).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine as _;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::{MACHINES, Machine, debian};

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Whose media types an image is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// OCI index and manifest.
    Oci,
    /// Docker manifest list and schema 2.
    Docker,
}

impl Flavour {
    pub(crate) fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// Some content and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) bytes: bytes::Bytes,
}

impl Blob {
    pub(crate) fn new(media_type: &str, bytes: impl Into<bytes::Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type: media_type.into(), digest: digest(&bytes), bytes }
    }

    pub(crate) fn json(media_type: &str, document: &Value) -> Self {
        Self::new(media_type, serde_json::to_vec_pretty(document).expect("a JSON document"))
    }

    /// The descriptor that truthfully points here.
    pub(crate) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }

    /// The digits after `sha256:`.
    pub(crate) fn hex(&self) -> &str {
        self.digest.split_once(':').expect("algorithm:hex").1
    }
}

/// One layer as it is transferred.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    blob: bytes::Bytes,
    diff_id: String,
    /// What the manifest calls it; gzip in the manifest's own flavour if nothing else is said.
    media_type: Option<String>,
}

impl Layer {
    /// An archive, gzipped.
    pub(crate) fn gzip(tar: &[u8]) -> Self {
        use std::io::Write as _;
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
        gzip.write_all(tar).expect("memory");
        Self { blob: gzip.finish().expect("memory").into(), diff_id: digest(tar), media_type: None }
    }

    /// An archive, packed into `blob` as a test wants it.
    #[cfg(feature = "containerd")]
    pub(crate) fn packed(media_type: &str, blob: Vec<u8>, tar: &[u8]) -> Self {
        Self { blob: blob.into(), diff_id: digest(tar), media_type: Some(media_type.into()) }
    }
}

/// Writes a layer entry by entry, all owned by root at time 0.
pub(crate) struct Tree(tar::Builder<Vec<u8>>);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, (mode, link): (u32, &str), content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        if !link.is_empty() {
            header.set_link_name(link).expect("a short link name");
        }
        self.0.append_data(&mut header, path, content).expect("memory");
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(tar::EntryType::Directory, path, (0o755, ""), &[])
    }

    pub(crate) fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, path, (mode, ""), content)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, (0o777, target), &[])
    }

    pub(crate) fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, path, (0o755, target), &[])
    }

    pub(crate) fn layer(self) -> Layer {
        Layer::gzip(&self.tar())
    }

    /// The archive alone.
    pub(crate) fn tar(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A manifest with all that it names.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) blob: Blob,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    pub(crate) platform: Value,
}

/// The `platform` object of an index entry.
pub(crate) fn platform(arch: &str, variant: &str) -> Value {
    let mut platform = json!({ "os": "linux", "architecture": arch });
    if !variant.is_empty() {
        platform["variant"] = variant.into();
    }
    platform
}

impl Manifest {
    /// An image of these layers for this platform, which runs `entrypoint` with these arguments.
    pub(crate) fn new(
        flavour: Flavour,
        platform: &Value,
        layers: &[Layer],
        (entrypoint, cmd): (&str, &[&str]),
    ) -> Self {
        let run = json!({ "Entrypoint": [entrypoint], "Cmd": cmd, "Env": ["PATH=/bin"], "WorkingDir": "/" });
        Self::running(flavour, platform, layers, &run)
    }

    /// An image of these layers for this platform, with this `config` in its config.
    pub(crate) fn running(flavour: Flavour, platform: &Value, layers: &[Layer], run: &Value) -> Self {
        let mut config = platform.clone();
        config["created"] = "1970-01-01T00:00:00Z".into();
        config["config"] = run.clone();
        config["rootfs"] =
            json!({ "type": "layers", "diff_ids": layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() });
        let config = Blob::json(flavour.config(), &config);
        let media_type = |layer: &Layer| layer.media_type.clone().unwrap_or_else(|| flavour.layer().into());
        let layers: Vec<Blob> = layers.iter().map(|l| Blob::new(&media_type(l), l.blob.clone())).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": flavour.manifest(),
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        Self { blob: Blob::json(flavour.manifest(), &manifest), config, layers, platform: platform.clone() }
    }

    /// Config and layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The index entry that truthfully points here.
    pub(crate) fn entry(&self) -> Value {
        let mut entry = self.blob.descriptor();
        entry["platform"] = self.platform.clone();
        entry
    }
}

/// An image as a name points to it: a root document and everything below.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) root: Blob,
    /// Nested documents, children before parents; without the root.
    pub(crate) documents: Vec<Blob>,
    pub(crate) manifests: Vec<Manifest>,
}

impl Image {
    /// An index over manifests, with these entries in this order.
    pub(crate) fn index(flavour: Flavour, manifests: &[Manifest], entries: &[Value]) -> Self {
        let index = json!({ "schemaVersion": 2, "mediaType": flavour.index(), "manifests": entries });
        Self {
            root: Blob::json(flavour.index(), &index),
            documents: manifests.iter().map(|m| m.blob.clone()).collect(),
            manifests: manifests.to_vec(),
        }
    }

    /// An index whose entries tell the truth.
    pub(crate) fn multi(flavour: Flavour, manifests: &[Manifest]) -> Self {
        Self::index(flavour, manifests, &manifests.iter().map(Manifest::entry).collect::<Vec<_>>())
    }

    /// A name that points straight to a manifest.
    pub(crate) fn single(manifest: Manifest) -> Self {
        Self { root: manifest.blob.clone(), documents: Vec::new(), manifests: vec![manifest] }
    }

    /// The manifest for a machine.
    pub(crate) fn of(&self, machine: Machine) -> &Manifest {
        let found = self.manifests.iter().find(|m| m.platform["architecture"] == machine.arch);
        found.unwrap_or_else(|| panic!("the fixture has no {machine:?}"))
    }

    /// Every blob once: configs and layers, without documents.
    pub(crate) fn blobs(&self) -> Vec<&Blob> {
        let mut blobs: Vec<&Blob> = self.manifests.iter().flat_map(Manifest::blobs).collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        blobs.dedup_by(|a, b| a.digest == b.digest);
        blobs
    }

    /// Writes an OCI image layout in which `name` is this image.
    pub(crate) fn write_layout(&self, dir: &Path, name: &str) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a writable temporary folder");
        let write = |file: PathBuf, bytes: &[u8]| std::fs::write(file, bytes).expect("a writable temporary folder");
        for blob in self.blobs().into_iter().chain(&self.documents).chain([&self.root]) {
            write(blobs.join(blob.hex()), &blob.bytes);
        }
        let mut entry = self.root.descriptor();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "mediaType": Flavour::Oci.index(), "manifests": [entry] });
        write(dir.join("index.json"), index.to_string().as_bytes());
        write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    }
}

/// What the busybox image prints when it runs on, or is emulated as, this machine.
#[cfg(feature = "containerd")]
pub(crate) fn greeting(machine: Machine) -> String {
    format!("{} on {}\n", machine.arch, machine.uname)
}

/// Size of the layer that keeps downloads busy, before compression (it does not compress).
pub(crate) const CARGO_BYTES: usize = 6 << 20;

/// Debian's busybox for amd64, arm64 and arm/v7: an OCI index.
pub(crate) fn busybox() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| build_busybox(Flavour::Oci))
}

/// The same programs as a Docker manifest list of schema 2 manifests.
pub(crate) fn busybox_docker() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| build_busybox(Flavour::Docker))
}

fn build_busybox(flavour: Flavour) -> Image {
    let cargo = Tree::new().dir("hold").file("hold/cargo.bin", 0o644, &noise(7, CARGO_BYTES)).layer();
    let tidy = Tree::new().file("etc/.wh.ballast", 0o644, b"").layer();
    let manifests: Vec<Manifest> = MACHINES
        .iter()
        .map(|machine| {
            let layers = [programs(*machine), settings(*machine), cargo.clone(), tidy.clone()];
            let greet: [&str; 2] = ["-c", "echo $(cat /etc/arch) on $(uname -m)"];
            Manifest::new(flavour, &platform(machine.arch, machine.variant), &layers, ("/bin/sh", &greet))
        })
        .collect();
    Image::multi(flavour, &manifests)
}

fn programs(machine: Machine) -> Layer {
    let tree = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(machine));
    let tree = ["sh", "cat", "echo", "uname"].iter().fold(tree, |t, name| t.symlink(&format!("bin/{name}"), "busybox"));
    tree.hardlink("bin/ls", "bin/busybox").layer()
}

fn settings(machine: Machine) -> Layer {
    Tree::new()
        .dir("etc")
        .file("etc/arch", 0o644, machine.arch.as_bytes())
        .file("etc/ballast", 0o644, b"thrown overboard by the last layer")
        .layer()
}

/// Debian's static busybox for a machine.
pub(crate) fn busybox_program(machine: Machine) -> Vec<u8> {
    let port = debian::PORTS.iter().find(|port| port.name == machine.debian);
    port.unwrap_or_else(|| panic!("Debian has no {machine:?}")).busybox()
}

/// A small image for any platform, of one layer with one text file; nothing in it runs.
pub(crate) fn tiny(arch: &str, variant: &str) -> Manifest {
    let text = format!("a crate for {arch}{variant}\n");
    let layer = Tree::new().file("crate.txt", 0o644, text.as_bytes()).layer();
    Manifest::new(Flavour::Oci, &platform(arch, variant), &[layer], ("/crate", &[]))
}

/// An image that runs on no machine with these tests, whatever emulators it has.
#[cfg(feature = "containerd")]
pub(crate) fn elsewhere() -> Manifest {
    let layer = Tree::new().file("crate.txt", 0o644, b"a crate for another system").layer();
    let platform = json!({ "os": "freebsd", "architecture": "amd64" });
    Manifest::new(Flavour::Oci, &platform, &[layer], ("/crate", &[]))
}

/// Base64 with padding, as HTTP and Docker's config.json want it.
pub(crate) fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
