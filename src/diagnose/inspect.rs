//! An image that was pulled, looked at again: every blob verified, and what it claims held
//! against the program that it starts.

use std::sync::Arc;

use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Mismatch, Verifier};
use crate::core::error::{Blame, Classify, Kind};
use crate::core::limits::Limits;
use crate::core::manifest::{Document, ImageConfig, Manifest, ManifestError};
use crate::core::platform::Platform;
use crate::store::{Store, StoreError};

use super::DiagnoseError;
use super::contents::{Step, What};
use super::entrypoint;
use super::rootfs::blobs::Stored;
use super::rootfs::layers::{Effort, Layers};
use super::start;

/// Bytes read at a time while verifying.
const BUFFER: usize = 256 * 1024;

/// Everything about one name of a store.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The name.
    pub reference: String,
    /// What it stands for.
    pub target: Descriptor,
    /// The images behind it that are here; several for an index that was pulled whole.
    pub images: Vec<ImageFacts>,
}

/// One manifest, with what is behind it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// The manifest.
    pub digest: Digest,
    /// The platform that the index declares.
    pub declared: Option<Platform>,
    /// The image ID: the config's digest.
    pub id: Digest,
    /// The platform that the config names.
    pub config: Platform,
    /// When it was built, as the config says.
    pub created: Option<String>,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What the program is.
    pub program: ProgramFacts,
    /// Blobs whose size and digest were checked: manifest, config and layers.
    pub blobs_verified: usize,
    /// Their bytes.
    pub bytes_verified: u64,
    /// Where claims and contents contradict each other.
    pub findings: Vec<String>,
}

/// The program that an image starts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ProgramFacts {
    /// A binary.
    Elf {
        /// Where it is.
        path: String,
        /// What it is, in words.
        description: String,
        /// The platform that it runs on, as far as its header says.
        platform: Option<Platform>,
    },
    /// A script.
    Script {
        /// Where it is.
        path: String,
        /// What its first line asks for.
        interpreter: String,
    },
    /// A file that Linux does not execute.
    NotExecutable {
        /// Where it is.
        path: String,
    },
    /// The image starts something that is not in it.
    Missing {
        /// What was looked for.
        path: String,
    },
    /// The image starts nothing by itself.
    None,
}

/// Why an image could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No such name.
    #[error("{reference} is not in {store}; it has {}", if .names.is_empty() { "no images".to_owned() } else { .names.join(", ") })]
    NotHere {
        /// What was looked for.
        reference: String,
        /// Where.
        store: String,
        /// The names that are there.
        names: Vec<String>,
    },
    /// No names at all.
    #[error("{store} has no named images")]
    Empty {
        /// Where.
        store: String,
    },
    /// A blob that the image needs is missing.
    #[error("{digest} of {reference} is missing from {store}")]
    Missing {
        /// The blob.
        digest: Digest,
        /// The image.
        reference: String,
        /// Where it should be.
        store: String,
    },
    /// A blob is not what its name says.
    #[error("{reference} is damaged: {source}")]
    Damaged {
        /// The image.
        reference: String,
        /// How.
        source: Mismatch,
    },
    /// A document cannot be used.
    #[error("cannot use {digest}: {source}")]
    Document {
        /// Which.
        digest: Digest,
        /// Why.
        source: ManifestError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer cannot be read.
    #[error(transparent)]
    Layer(#[from] DiagnoseError),
    /// A blob cannot be read.
    #[error("cannot read {digest}: {source}")]
    Read {
        /// Which.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
}

impl Classify for InspectError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotHere { .. } | Self::Empty { .. } => Kind::NotFound,
            Self::Missing { .. } | Self::Read { .. } => Kind::StoreFailed,
            Self::Damaged { .. } => Kind::DigestMismatch,
            Self::Document { source, .. } => source.kind(),
            Self::Store(StoreError::Damaged(_)) => Kind::DigestMismatch,
            Self::Store(error) => error.kind(),
            Self::Layer(error) => error.kind(),
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::NotHere { .. } | Self::Empty { .. } => Blame::Caller,
            Self::Damaged { .. } => Blame::Node,
            Self::Store(error) => error.blame(),
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("pull the image again; only what is missing is fetched".into()),
            Self::Damaged { .. } => Some("remove the damaged blob and pull the image again".into()),
            Self::Store(error) => error.hint(),
            Self::Document { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Looks at the image that a name stands for.
///
/// # Errors
/// [`InspectError`]; a blob that is missing or damaged is one.
pub async fn inspect(store: &Arc<dyn Store>, name: &str, limits: &Limits) -> Result<Inspection, InspectError> {
    let inspector = Inspector { store, name, limits };
    let Some(known) = store.lookup(name).await? else {
        let (store, names) = (store.describe(), store.names().await?);
        return Err(InspectError::NotHere { reference: name.into(), store, names });
    };
    let images = match inspector.read(&known.target).await?.ok_or_else(|| inspector.missing(&known.target))? {
        Document::Manifest(manifest) => vec![inspector.image(&known.target, &manifest).await?],
        Document::Index(index) => inspector.images(&index.manifests).await?,
    };
    Ok(Inspection { reference: name.into(), target: known.target, images })
}

struct Inspector<'a> {
    store: &'a Arc<dyn Store>,
    name: &'a str,
    limits: &'a Limits,
}

impl Inspector<'_> {
    /// The images of an index that are here, those of nested indexes included.
    async fn images(&self, entries: &[Descriptor]) -> Result<Vec<ImageFacts>, InspectError> {
        let mut images = Vec::new();
        let mut first_missing = None;
        let mut left: Vec<(Descriptor, usize)> = entries.iter().rev().map(|entry| (entry.clone(), 1)).collect();
        while let Some((entry, depth)) = left.pop() {
            if entry.is_attestation() || depth > self.limits.index_depth {
                continue;
            }
            match self.read(&entry).await? {
                Some(Document::Manifest(manifest)) => match self.image(&entry, &manifest).await {
                    Ok(image) => images.push(image),
                    // Clients keep documents of platforms whose layers they never fetched.
                    Err(error @ InspectError::Missing { .. }) => first_missing = first_missing.or(Some(error)),
                    Err(error) => return Err(error),
                },
                Some(Document::Index(index)) => {
                    left.extend(index.manifests.into_iter().rev().map(|inner| (inner, depth + 1)));
                }
                None => {}
            }
        }
        match first_missing {
            _ if !images.is_empty() => Ok(images),
            Some(error) => Err(error),
            None => Err(entries.first().map_or_else(|| self.nothing(), |entry| self.missing(entry))),
        }
    }

    async fn read(&self, descriptor: &Descriptor) -> Result<Option<Document>, InspectError> {
        if !descriptor.media_type.is_index() && !descriptor.media_type.is_manifest() {
            return Ok(None);
        }
        let Some(document) = self.store.document(descriptor).await? else { return Ok(None) };
        Document::parse(document.content(), Some(&descriptor.media_type), self.limits)
            .map(Some)
            .map_err(|source| InspectError::Document { digest: descriptor.digest.clone(), source })
    }

    async fn image(&self, descriptor: &Descriptor, manifest: &Manifest) -> Result<ImageFacts, InspectError> {
        let document = self.store.document(&manifest.config).await?.ok_or_else(|| self.missing(&manifest.config))?;
        let config = ImageConfig::parse(document.content(), self.limits)
            .map_err(|source| InspectError::Document { digest: manifest.config.digest.clone(), source })?;
        for layer in &manifest.layers {
            self.verify(layer).await?;
        }
        let program = self.program(manifest, &config).await?;
        Ok(ImageFacts {
            digest: descriptor.digest.clone(),
            id: manifest.config.digest.clone(),
            declared: descriptor.platform.clone(),
            created: config.created.clone(),
            layers: manifest.layers.clone(),
            argv: config.argv(),
            blobs_verified: manifest.layers.len() + 2,
            bytes_verified: descriptor.size
                + manifest.config.size
                + manifest.layers.iter().map(|layer| layer.size).sum::<u64>(),
            findings: findings(descriptor.platform.as_ref(), &config.platform, &program),
            config: config.platform,
            program,
        })
    }

    async fn verify(&self, blob: &Descriptor) -> Result<(), InspectError> {
        let mut reader = self.store.open(blob).await?.ok_or_else(|| self.missing(blob))?;
        let damaged = |source| InspectError::Damaged { reference: self.name.to_owned(), source };
        let mut verifier = Verifier::new(blob.digest.clone(), blob.size);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = reader
                .read(&mut buffer)
                .await
                .map_err(|source| InspectError::Read { digest: blob.digest.clone(), source })?;
            if count == 0 {
                return verifier.finish(()).map(drop).map_err(damaged);
            }
            verifier.update(&buffer[..count]).map_err(damaged)?;
        }
    }

    async fn program(&self, manifest: &Manifest, config: &ImageConfig) -> Result<ProgramFacts, InspectError> {
        let candidates = entrypoint::candidates(config);
        let Some(first) = candidates.first().cloned() else { return Ok(ProgramFacts::None) };
        let (layers, commands) = (manifest.layers.clone(), config.layer_commands());
        let (config, effort) = (config.clone(), Effort::everything(self.limits));
        let mut blobs = Stored::new(Arc::clone(self.store), Handle::current());
        // Inflating and walking archives blocks; it must not stop other work.
        let search = tokio::task::spawn_blocking(move || {
            let mut files = Layers::new(&layers, commands, &mut blobs, effort)?;
            start::follow(&mut files, candidates, &config)
        });
        let (steps, _) = search.await.map_err(|error| StoreError::thread(&error))??;
        Ok(steps.into_iter().next().map_or(ProgramFacts::Missing { path: first }, program_facts))
    }

    fn missing(&self, blob: &Descriptor) -> InspectError {
        let (reference, store) = (self.name.to_owned(), self.store.describe());
        InspectError::Missing { digest: blob.digest.clone(), reference, store }
    }

    fn nothing(&self) -> InspectError {
        InspectError::NotHere { reference: self.name.to_owned(), store: self.store.describe(), names: Vec::new() }
    }
}

fn program_facts(step: Step) -> ProgramFacts {
    let path = step.file.asked.clone();
    match step.what {
        _ if !step.file.is_executable() => ProgramFacts::NotExecutable { path },
        What::Elf(binary) => ProgramFacts::Elf { path, description: binary.to_string(), platform: binary.platform() },
        What::Script { interpreter, argument, .. } => {
            let line = argument.map_or(interpreter.clone(), |argument| format!("{interpreter} {argument}"));
            ProgramFacts::Script { path, interpreter: line }
        }
        What::Damaged(_) | What::Empty | What::Foreign { .. } => ProgramFacts::NotExecutable { path },
    }
}

/// The contradictions that end in `exec format error`.
fn findings(declared: Option<&Platform>, config: &Platform, program: &ProgramFacts) -> Vec<String> {
    let mut findings = Vec::new();
    let architecture = |platform: &Platform| platform.normalized().architecture;
    if let Some(declared) = declared
        && architecture(declared) != architecture(config)
    {
        findings.push(format!("the index declares {declared}, and the config says {config}"));
    }
    match program {
        ProgramFacts::Elf { path, description, platform: Some(platform) } => {
            let claim = declared.unwrap_or(config);
            if architecture(platform) != architecture(claim) {
                findings.push(format!("the image is declared {}, and {path} is {description}", claim.normalized()));
            }
        }
        ProgramFacts::Missing { path } => findings.push(format!("the image starts {path}, and no layer has it")),
        ProgramFacts::NotExecutable { path } => {
            findings.push(format!("the image starts {path}, which Linux does not execute"));
        }
        _ => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contradictions() {
        let elf = |architecture: &str| ProgramFacts::Elf {
            path: "/app".into(),
            description: "an ELF".into(),
            platform: Some(Platform::linux(architecture, "")),
        };
        let arm64 = Platform::linux("arm64", "v8");
        assert!(findings(Some(&arm64), &Platform::linux("aarch64", ""), &elf("arm64")).is_empty());
        assert_eq!(
            findings(Some(&arm64), &arm64, &elf("arm")),
            ["the image is declared linux/arm64, and /app is an ELF"]
        );
        assert_eq!(findings(Some(&arm64), &Platform::linux("amd64", ""), &elf("arm64")).len(), 1);
        assert_eq!(findings(None, &Platform::linux("arm", "v7"), &elf("arm")).len(), 0);
        assert_eq!(findings(None, &arm64, &ProgramFacts::Missing { path: "/x".into() }).len(), 1);
    }
}
