//! Images for the benchmark: built once, kept as a registry's storage under
//! `target/bench-images`, and built again when the files that they are made of change.

mod layer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::content::{self, Found};
use super::registry::{Pace, Registry};
use super::sandbox::run;
use layer::{Layer, Writer};

/// Counted up when the same files make other layers than before.
const VERSION: u32 = 1;

/// How an image is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipe {
    /// So many files of so many bytes in all, cut into layers.
    Cut { layers: usize, files: usize, bytes: u64 },
    /// Layers, each filled with files of limited size until it has so many bytes in gzip.
    Filled { layers: usize, compressed: u64, largest: u64 },
    /// One layer of so many bytes that do not compress.
    Noise { bytes: u64 },
}

/// An image that a registry can serve.
pub(crate) struct Image {
    /// The registry's storage.
    pub(crate) storage: PathBuf,
    /// What came of the recipe.
    pub(crate) made: Made,
}

/// What an image holds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) layers: usize,
    /// Files and symbolic links.
    pub(crate) files: usize,
    /// Of the layers before compression.
    pub(crate) bytes: u64,
    /// Of the layers as they travel.
    pub(crate) compressed: u64,
}

impl Recipe {
    /// The same in small, for trying the benchmark out.
    pub(crate) fn quick(self) -> Self {
        const PART: u64 = 50;
        match self {
            Self::Cut { layers, files, bytes } => Self::Cut { layers, files: files / 50, bytes: bytes / PART },
            Self::Filled { layers, compressed, largest } => {
                Self::Filled { layers, compressed: compressed / PART, largest: largest.min(compressed / PART) }
            }
            Self::Noise { bytes } => Self::Noise { bytes: bytes / PART },
        }
    }

    fn layers(self, files: &[Found], folder: &Path) -> Vec<Layer> {
        match self {
            Self::Cut { layers, files: count, bytes } => {
                let parts = content::cut(files, layers, count, bytes);
                in_parallel(&parts, |part| Writer::new(folder).with_files(part, u64::MAX).finish())
            }
            Self::Filled { layers, compressed, largest } => {
                let parts = content::deal(files, layers, largest);
                in_parallel(&parts, |part| Writer::new(folder).with_files(part, compressed).finish())
            }
            Self::Noise { bytes } => vec![Writer::fast(folder).with_noise(bytes).finish()],
        }
    }

    /// The image by this recipe, from the cache or new.
    pub(crate) fn image(self, scratch: &Path) -> Image {
        let files = match self {
            Self::Noise { .. } => Vec::new(),
            _ => content::survey(),
        };
        let all = format!("{VERSION} {self:?} {}", content::fingerprint(&files));
        let key = content::hex(&<sha2::Sha256 as sha2::Digest>::digest(all));
        let name = format!("{self:?}").replace(|character: char| !character.is_ascii_alphanumeric(), "");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-images").join(name);
        let folder = cache.join(&key[..16]);
        let (storage, note) = (folder.join("storage"), folder.join("made.json"));
        if let Some(made) = std::fs::read(&note).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return Image { storage, made };
        }
        // Of other files, or half made.
        let _ = std::fs::remove_dir_all(&cache);
        let layout = folder.join("layout");
        std::fs::create_dir_all(layout.join("blobs/sha256")).expect("a writable target folder");
        let layers = self.layers(&files, &layout.join("blobs/sha256"));
        write_documents(&layout, &layers);
        push(&layout, &storage, scratch);
        std::fs::remove_dir_all(&layout).expect("our own folder");
        let made = Made {
            layers: layers.len(),
            files: layers.iter().map(|layer| layer.files).sum(),
            bytes: layers.iter().map(|layer| layer.bytes).sum(),
            compressed: layers.iter().map(|layer| layer.compressed).sum(),
        };
        std::fs::write(&note, json!(made).to_string()).expect("a writable target folder");
        Image { storage, made }
    }
}

impl Image {
    /// Its repository.
    pub(crate) const NAME: &str = "bench/image";

    /// Its full reference at a registry.
    pub(crate) fn reference(registry: &Registry) -> String {
        format!("{}/{}:1", registry.address(), Self::NAME)
    }

    /// Reads everything once, so that the registry never waits for its disk.
    pub(crate) fn warm(&self) {
        let mut pending = vec![self.storage.clone()];
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(folder).expect("the storage").flatten() {
                if entry.path().is_dir() {
                    pending.push(entry.path());
                } else {
                    let mut file = std::fs::File::open(entry.path()).expect("the storage");
                    std::io::copy(&mut file, &mut std::io::sink()).expect("a readable disk");
                }
            }
        }
    }
}

/// The architecture of this machine, as Go calls it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Builds layers on all cores; they come back in order.
fn in_parallel(parts: &[Vec<Found>], build: impl Fn(&[Found]) -> Layer + Sync) -> Vec<Layer> {
    let next = AtomicUsize::new(0);
    let work = || {
        let indexes = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < parts.len()));
        indexes.map(|index| (index, build(&parts[index]))).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut layers: Vec<(usize, Layer)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a layer")).collect()
    });
    layers.sort_by_key(|(index, _)| *index);
    layers.into_iter().map(|(_, layer)| layer).collect()
}

/// Config, manifest and an index over it, named `bench`.
fn write_documents(layout: &Path, layers: &[Layer]) {
    let platform = json!({"os": "linux", "architecture": architecture()});
    let mut config = platform.clone();
    config["config"] = json!({"Cmd": ["/bin/true"]});
    config["rootfs"] = json!({"type": "layers", "diff_ids": layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>()});
    let put = |kind: &str, document: &Value| {
        let bytes = document.to_string();
        let hash = content::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        std::fs::write(layout.join("blobs/sha256").join(&hash), &bytes).expect("a writable target folder");
        let media_type = format!("application/vnd.oci.image.{kind}.v1+json");
        json!({"mediaType": media_type, "digest": format!("sha256:{hash}"), "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put("config", &config),
        "layers": layers.iter().map(Layer::descriptor).collect::<Vec<_>>(),
    });
    let mut entry = put("manifest", &manifest);
    entry["platform"] = platform;
    let index = |entry| {
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry],
        })
    };
    let mut root = put("index", &index(entry));
    root["annotations"] = json!({"org.opencontainers.image.ref.name": "bench"});
    std::fs::write(layout.join("index.json"), index(root).to_string()).expect("a writable target folder");
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a writable target folder");
}

fn push(layout: &Path, storage: &Path, scratch: &Path) {
    let registry = Registry::start(storage, scratch, Pace::Free);
    let (from, to) = (format!("oci:{}:bench", layout.display()), format!("docker://{}", Image::reference(&registry)));
    let copy = ["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", &from, &to];
    run(Command::new("skopeo").args(copy).env("TMPDIR", scratch));
}
