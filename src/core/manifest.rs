//! Indexes, manifests and configs: bounded parsing of untrusted documents.
//!
//! The bytes stay what they are (their digest is their name); these types are a view
//! of them and are never written back.
//!
//! Specification: OCI image-spec (image-index.md, manifest.md, config.md); Docker image
//! manifest version 2, schema 2.

mod keys;

use serde::Deserialize;

use super::descriptor::{Annotations, Descriptor, MediaType};
use super::digest::Digest;
use super::error::{Blame, Classify, Kind};
use super::limits::Limits;
use super::platform::{Platform, null_is_default};
use super::text::one_line;
use keys::{Fault, Shape};

/// A root document of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A list of manifests for several platforms.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// OCI image index or Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The entries, in the publisher's order, which is significant.
    pub manifests: Vec<Descriptor>,
    /// Free metadata.
    pub annotations: Annotations,
}

/// OCI image manifest or Docker schema 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image's config, which names its platform.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free metadata.
    pub annotations: Annotations,
}

/// The part of an image config that lighterman reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ImageConfig {
    /// What the image says it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// Digests of the uncompressed layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// What to run. Docker writes `null` where there is nothing to say, as for an image of a tar.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// When it was built, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// How it was built, step by step; builders may leave it out, and may write anything.
    #[serde(default)]
    pub history: Option<Vec<History>>,
}

/// One step of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct History {
    /// The command.
    #[serde(default)]
    pub created_by: Option<String>,
    /// The step brought no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

/// `rootfs` of a config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// Digest of each layer's tar, lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// `config` of a config: how the image starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Further arguments, or the program where there is no entrypoint.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Where the program starts.
    #[serde(default)]
    pub working_dir: Option<String>,
}

/// A document that cannot be used, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than a document may have.
    #[error("document of {size} bytes is over the limit of {limit} bytes ({} MiB)", limit >> 20)]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// [`Limits::document_bytes`].
        limit: u64,
    },
    /// Not JSON, or JSON of another shape.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// `index`, `manifest`, `config`.
        what: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// `manifests` beside `layers` or `config`: two readers would see two images.
    #[error("ambiguous document: it has both \"manifests\" and {0:?}, so two clients would see two different images")]
    Ambiguous(&'static str),
    /// A key that some readers take for a field and others for nothing.
    #[error(
        "ambiguous document: {key:?} is {known:?} to some clients and nothing to others, so they would see different images"
    )]
    OddKey {
        /// As it is written, with escapes for what is not ASCII.
        key: String,
        /// The field.
        known: &'static str,
    },
    /// A field that is there twice: some readers take the first one, others the last.
    #[error("ambiguous document: it has {0:?} more than once, so two clients would see two different images")]
    Repeated(&'static str),
    /// The `mediaType` field contradicts the type it was announced with.
    #[error("document was announced as {announced} but says that it is {declared}")]
    WrongMediaType {
        /// Content-Type header or descriptor.
        announced: MediaType,
        /// The document's own field.
        declared: MediaType,
    },
    /// Docker schema 1.
    #[error("Docker image manifest schema 1 is not supported (deprecated since 2015, refused by containerd since 2.1)")]
    Schema1,
    /// Not even JSON, from somebody who announced something else altogether.
    #[error("what came is {0}, neither an image index nor an image manifest")]
    Foreign(MediaType),
    /// Neither an index nor a manifest.
    #[error("{0} is neither an image index nor an image manifest")]
    UnknownType(String),
    /// More entries than [`Limits`] allows.
    #[error("it has {count} {what}, over the limit of {limit}")]
    TooMany {
        /// `manifests` or `layers`.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// What a manifest may have too many of.
const LAYERS: &str = "layers";

/// Bytes of what a parser says of a document.
const LONGEST_REASON: usize = 300;

impl ManifestError {
    /// Whether other clients would make something else of the document.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Ambiguous(_) | Self::OddKey { .. } | Self::Repeated(_))
    }
}

impl Classify for ManifestError {
    fn kind(&self) -> Kind {
        match self {
            Self::Schema1 | Self::UnknownType(_) => Kind::Unsupported,
            _ => Kind::InvalidContent,
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Foreign(_) => Blame::Network,
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign(_) => Some(
                "something between this node and the registry seems to answer in its place: a proxy, or the login page of a network"
                    .into(),
            ),
            Self::Schema1 => {
                Some("push the image again with a current tool, for instance: skopeo copy --format v2s2".into())
            }
            Self::UnknownType(_) => Some("the reference names an artifact that is no container image".into()),
            Self::TooMany { what: LAYERS, .. } => Some(
                "no overlayfs stacks so many, so that it runs nowhere: the publisher has to build it in fewer steps, or \
                 to squash them"
                    .into(),
            ),
            _ => Some("the publisher has to rebuild and push this image; no retry will help".into()),
        }
    }
}

/// Every field that tells one kind of document from the other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

impl Document {
    /// Reads an index or a manifest. `announced` is the type that the registry or the
    /// descriptor gave, if any.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing of a doubtful document is used.
    pub fn parse(bytes: &[u8], announced: Option<&MediaType>, limits: &Limits) -> Result<Self, ManifestError> {
        check_size(bytes.len() as u64, limits)?;
        if announced == Some(&MediaType::DockerSchema1) {
            return Err(ManifestError::Schema1);
        }
        let what = if announced.is_some_and(MediaType::is_index) { "index" } else { "manifest" };
        let raw: Raw = parse_json(bytes, (what, Shape::Document)).map_err(|error| match announced {
            Some(MediaType::Other(other)) if !other.is_empty() && !other.contains("json") && !error.is_ambiguous() => {
                ManifestError::Foreign(MediaType::Other(other.clone()))
            }
            _ => error,
        })?;
        let announced = announced.filter(|kind| kind.is_index() || kind.is_manifest());
        match (announced, &raw.media_type) {
            (_, Some(MediaType::DockerSchema1)) => return Err(ManifestError::Schema1),
            (Some(announced), Some(declared)) if announced != declared => {
                return Err(ManifestError::WrongMediaType { announced: announced.clone(), declared: declared.clone() });
            }
            _ => {}
        }
        if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
            return Err(ManifestError::Schema1);
        }
        let kind = announced.or(raw.media_type.as_ref());
        match (raw.manifests, raw.config, raw.layers) {
            (Some(_), _, Some(_)) => Err(ManifestError::Ambiguous("layers")),
            (Some(_), Some(_), _) => Err(ManifestError::Ambiguous("config")),
            (Some(manifests), None, None) if kind.is_none_or(MediaType::is_index) => {
                check_count("manifests", manifests.len(), limits.index_entries)?;
                Ok(Self::Index(Index { manifests, annotations: raw.annotations.unwrap_or_default() }))
            }
            (None, Some(config), layers) if kind.is_none_or(MediaType::is_manifest) => {
                let layers = layers.unwrap_or_default();
                // It is read into memory later; better refused before anything is fetched.
                check_size(config.size, limits)?;
                check_count(LAYERS, layers.len(), limits.layers)?;
                Ok(Self::Manifest(Manifest { config, layers, annotations: raw.annotations.unwrap_or_default() }))
            }
            (None, None, _) => match kind {
                Some(kind) if kind.is_index() => Err(missing("index", "manifests")),
                Some(kind) if kind.is_manifest() => Err(missing("manifest", "config")),
                Some(kind) => Err(ManifestError::UnknownType(kind.to_string())),
                None => Err(ManifestError::UnknownType("the document".into())),
            },
            (Some(_), None, None) => Err(missing("manifest", "config")),
            (None, Some(_), _) => Err(missing("index", "manifests")),
        }
    }
}

impl Document {
    /// The type that the document gives itself in `bytes`, which it was read from, else the OCI
    /// type that it has the shape of.
    #[must_use]
    pub fn media_type(&self, bytes: &[u8]) -> MediaType {
        declared_media_type(bytes).unwrap_or(match self {
            Self::Index(_) => MediaType::OciIndex,
            Self::Manifest(_) => MediaType::OciManifest,
        })
    }
}

/// The type that a document gives itself, if it does.
#[must_use]
pub fn declared_media_type(bytes: &[u8]) -> Option<MediaType> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Declared {
        media_type: Option<MediaType>,
    }
    serde_json::from_slice::<Declared>(bytes).ok()?.media_type
}

fn missing(what: &'static str, field: &str) -> ManifestError {
    ManifestError::Malformed { what, reason: format!("it has no {field:?}") }
}

fn check_size(size: u64, limits: &Limits) -> Result<(), ManifestError> {
    let limit = limits.document_bytes;
    if size > limit { Err(ManifestError::TooLarge { size, limit }) } else { Ok(()) }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::TooMany { what, count, limit }) } else { Ok(()) }
}

/// Reads a document after its keys were looked at, since all of it has one meaning or none.
fn parse_json<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    (what, shape): (&'static str, Shape),
) -> Result<T, ManifestError> {
    // serde reads a struct from a JSON array too; no other client would.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ManifestError::Malformed { what, reason: "it is not a JSON object".into() });
    }
    // The parser quotes what it meets, which may be megabytes.
    let malformed = |error: serde_json::Error| ManifestError::Malformed {
        what,
        reason: one_line(&error.to_string(), LONGEST_REASON),
    };
    keys::check(bytes, shape).map_err(|fault| match fault {
        Fault::Odd { key, known } => ManifestError::OddKey { key: key.escape_default().to_string(), known },
        Fault::Repeated(known) => ManifestError::Repeated(known),
        Fault::Json(error) => malformed(error),
    })?;
    serde_json::from_slice(bytes).map_err(malformed)
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// [`ManifestError`] where it is too large or malformed.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ManifestError> {
        check_size(bytes.len() as u64, limits)?;
        parse_json(bytes, ("config", Shape::Config))
    }

    /// The program that starts: entrypoint and command, in one list.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let run = &self.config;
        run.entrypoint.iter().chain(&run.cmd).flatten().cloned().collect()
    }

    /// The command that brought each layer, lowest first; empty where the history does not tell.
    #[must_use]
    pub fn layer_commands(&self) -> Vec<String> {
        let steps = self.history.iter().flatten().filter(|step| !step.empty_layer);
        let commands: Vec<String> = steps.map(|step| step.created_by.clone().unwrap_or_default()).collect();
        if commands.len() == self.rootfs.diff_ids.len() { commands } else { Vec::new() }
    }
}

/// Chain IDs of a stack of layers, lowest first: the names under which snapshotters keep them.
///
/// Specification: OCI image-spec, config.md, "Layer ChainID".
#[must_use]
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

#[cfg(test)]
mod tests;
