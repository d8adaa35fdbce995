//! What a diagnosis came to: plain values, the same in memory, as JSON and over the daemon's API.

mod start;

use serde::{Deserialize, Serialize};

pub use start::{OpenedFile, Start, Started};

use super::contents::Contents;
use super::finding::{Finding, Severity};
use super::fleet::Fleet;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::select::{EntryPath, path_text};

/// Everything about one reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The normalised reference.
    pub reference: String,
    /// What it stands for; `None` where that could not even be read as an image.
    pub root: Option<Root>,
    /// The images that it has, in the order of the index.
    pub images: Vec<Image>,
    /// What is worth knowing, worst first.
    pub findings: Vec<Finding>,
    /// The nodes that the image was held against, and what every client does there.
    #[serde(flatten)]
    pub fleet: Fleet,
    /// What was read to find it out.
    pub bytes: Bytes,
}

/// A root document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its entries, attestations included; `None` for a lone manifest.
    pub entries: Option<usize>,
}

/// One image behind a reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its place in the index, positions from 0 joined by dots; `None` for a lone manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Its manifest.
    pub digest: Digest,
    /// The platform that the index declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
    /// The platform that its config names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Number of layers.
    pub layers: usize,
    /// Bytes of its layers, compressed.
    pub size: u64,
    /// What it starts; `None` where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Why its manifest or config could not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What becomes of the image on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeVerdict {
    /// The node.
    pub name: String,
    /// What it matches images with.
    pub platform: String,
    /// The entry that is chosen for it; `None` for none, and for a lone manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// How it goes.
    pub outcome: Outcome,
    /// Why, where it does not simply run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How it goes with an image on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs on the CPU.
    Runs,
    /// An emulator runs it.
    RunsEmulated,
    /// It runs in the CPU's 32-bit mode.
    #[serde(rename = "runs-32-bit")]
    Runs32Bit,
    /// It is pulled, and does not run.
    Fails,
    /// There is nothing for this node in it.
    Refused,
    /// It cannot be told from what is known.
    Unknown,
}

impl Outcome {
    /// Stable name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::RunsEmulated => "runs-emulated",
            Self::Runs32Bit => "runs-32-bit",
            Self::Fails => "fails",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Nothing speaks against it.
    #[must_use]
    pub fn may_run(self) -> bool {
        !matches!(self, Self::Fails | Self::Refused)
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    /// Of indexes, manifests and configs, over the network.
    pub documents: u64,
    /// Of layers, over the network.
    pub layers_fetched: u64,
    /// Of layers, from this machine.
    pub layers_read: u64,
    /// Of all layers of the images that were looked into.
    pub layers_total: u64,
    /// How much of one layer may be fetched.
    pub budget_per_layer: u64,
    /// How much of the layers of one image may be fetched.
    pub budget_per_image: u64,
}

impl Report {
    /// It runs on every node that was asked about, for all that is known.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.fleet.nodes.iter().all(|node| node.outcome.may_run())
    }

    /// The worst finding.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Positions from 0 joined by dots; `None` for the root.
#[must_use]
pub fn entry_text(path: &[usize]) -> Option<String> {
    (!path.is_empty()).then(|| path_text(path))
}

impl Image {
    /// One that could not be used, and why.
    pub(super) fn spoilt(path: &EntryPath, descriptor: &Descriptor, problem: String) -> Self {
        Self {
            entry: entry_text(path),
            digest: descriptor.digest.clone(),
            declared: descriptor.platform.as_ref().map(ToString::to_string),
            config: None,
            layers: 0,
            size: 0,
            start: None,
            problem: Some(problem),
        }
    }
}

impl From<&Contents> for Image {
    fn from(contents: &Contents) -> Self {
        let config = &contents.config.platform;
        Self {
            entry: entry_text(&contents.path),
            digest: contents.descriptor.digest.clone(),
            declared: contents.descriptor.platform.as_ref().map(ToString::to_string),
            config: (!config.architecture.is_empty()).then(|| config.to_string()),
            layers: contents.manifest.layers.len(),
            size: contents.manifest.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)),
            start: contents.start.as_ref().map(Start::from),
            problem: None,
        }
    }
}
