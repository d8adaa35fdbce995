//! Descriptors and media types.
//!
//! Specification: OCI image-spec, descriptor.md and media-types.md; Docker image
//! manifest version 2, schema 2.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Digest;
use super::platform::Platform;
use super::text::{LONGEST_WORD, cut};

/// What a blob is, as far as we have to tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerManifestList,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// Docker image manifest version 2, schema 1, signed or not.
    DockerSchema1,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// Everything else, layers among them; see [`MediaType::is_layer`].
    Other(String),
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

impl MediaType {
    /// The `Accept` header of a manifest request: every root document that we can read.
    /// A registry flattens an index to one manifest when the index types are missing here.
    pub const ACCEPT_MANIFESTS: &'static str = "application/vnd.oci.image.index.v1+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, \
        application/vnd.oci.image.manifest.v1+json, \
        application/vnd.docker.distribution.manifest.v2+json, */*";

    /// Reads a media type; parameters after `;` are dropped. What is none, by its length or its
    /// letters, is kept as something that can be shown and that no media type is equal to.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split(';').next().unwrap_or_default().trim() {
            OCI_INDEX => Self::OciIndex,
            DOCKER_LIST => Self::DockerManifestList,
            OCI_MANIFEST => Self::OciManifest,
            DOCKER_MANIFEST => Self::DockerManifest,
            DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED => Self::DockerSchema1,
            OCI_CONFIG => Self::OciConfig,
            DOCKER_CONFIG => Self::DockerConfig,
            other if is_media_type(other) => Self::Other(other.into()),
            other => Self::Other(cut(other, LONGEST_WORD).escape_default().to_string()),
        }
    }

    /// The type as it is written in documents.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::OciIndex => OCI_INDEX,
            Self::DockerManifestList => DOCKER_LIST,
            Self::OciManifest => OCI_MANIFEST,
            Self::DockerManifest => DOCKER_MANIFEST,
            Self::DockerSchema1 => DOCKER_SCHEMA1_SIGNED,
            Self::OciConfig => OCI_CONFIG,
            Self::DockerConfig => DOCKER_CONFIG,
            Self::Other(text) => text,
        }
    }

    /// An index or manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    /// A manifest of one image.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// An image config.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(self, Self::OciConfig | Self::DockerConfig)
    }

    /// A file system layer: a tar, plain or compressed, OCI or Docker, distributable or not.
    #[must_use]
    pub fn is_layer(&self) -> bool {
        let Self::Other(text) = self else { return false };
        text.starts_with("application/vnd.oci.image.layer.") || text.starts_with("application/vnd.docker.image.rootfs.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_media_type(&text) {
            return Ok(Self::parse(&text));
        }
        Err(serde::de::Error::custom(format_args!(
            "a media type of more than {LONGEST_WORD} bytes, or of letters that none has"
        )))
    }
}

/// Whether a text could be a media type, or nothing.
fn is_media_type(text: &str) -> bool {
    text.len() <= LONGEST_WORD && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// BuildKit's name for what a manifest is to the image beside it.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Annotations and labels, in a stable order.
pub type Annotations = BTreeMap<String, String>;

/// A pointer to content: what it is, its digest, its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// The digest of the content.
    pub digest: Digest,
    /// Its size in bytes, at most `i64::MAX`, which is all that other clients can read.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// For entries of an index: where the content runs, as the publisher declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Annotations::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: Annotations,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    i64::try_from(size).map(|_| size).map_err(|_| serde::de::Error::custom("a size of more than 2^63 - 1 bytes"))
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Annotations, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    #[must_use]
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self { media_type, digest, size, platform: None, annotations: Annotations::new() }
    }

    /// The same without annotations that nobody reads of an index's entries. They may weigh many
    /// times as much as the document that they are in.
    #[must_use]
    pub fn pruned(mut self) -> Self {
        self.annotations.retain(|name, _| name == REFERENCE_TYPE);
        self
    }

    /// BuildKit marks provenance and SBOM manifests so; they are not images.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == "attestation-manifest")
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }
}
