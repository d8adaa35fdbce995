//! What a pull is going to bring, and what it brought: plain values, the same whether they were
//! found in this process or came from a daemon.

use std::time::Duration;

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::plan;
use crate::core::platform::Platform;
use crate::fetch::Landed;
use crate::store::Tally;
use crate::unpack::Outcome;

use super::{Part, Plan};

/// What a pull is going to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The normalised reference.
    pub reference: String,
    /// What the reference stands for.
    pub root: Descriptor,
    /// The chosen manifests and what each is for, normalised.
    pub images: Vec<(Digest, Platform)>,
    /// How many different blobs they have.
    pub blobs: usize,
    /// What those weigh together.
    pub bytes: u64,
    /// What the user should know before anything is fetched.
    pub warnings: Vec<String>,
}

/// What a pull brought.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What was fetched and what was there, in bytes and blobs; documents count as bytes.
    pub traffic: Traffic,
    /// What the name stands for now.
    pub target: Digest,
    /// The chain IDs of the unpacked images, in the order of the plan's parts.
    pub unpacked: Vec<Digest>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// How the fetched blobs came into the store.
    pub content: Tally,
    /// How layers became snapshots.
    pub layers: Layers,
    /// How long it took.
    pub elapsed: Duration,
}

/// Counts of layers, by who unpacked them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layers {
    /// We did.
    pub grafted: usize,
    /// containerd did, because of its snapshotter, its configuration or the layer.
    pub applied: usize,
    /// Nobody: the snapshot was there.
    pub present: usize,
}

/// Counts of blobs and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came over the network.
    pub bytes_fetched: u64,
    /// Bytes of blobs that were in the store already.
    pub bytes_present: u64,
    /// Blobs that were fetched.
    pub blobs_fetched: usize,
    /// Blobs that were in the store already.
    pub blobs_present: usize,
}

impl Planned {
    pub(super) fn of(plan: &Plan) -> Self {
        let blobs = plan::blobs(plan.parts.iter().map(|part| &part.manifest));
        let image = |part: &Part| (part.choice.descriptor.digest.clone(), part.choice.platform.clone());
        Self {
            reference: plan.image.reference.to_string(),
            root: plan.image.root.clone(),
            images: plan.parts.iter().map(image).collect(),
            blobs: blobs.len(),
            bytes: blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.descriptor.size)),
            warnings: plan.warnings.clone(),
        }
    }
}

impl Pulled {
    /// Of a plan that has brought nothing so far.
    pub(super) fn nothing_of(plan: &Plan) -> Self {
        Self {
            traffic: Traffic::default(),
            target: plan.image.root.digest.clone(),
            unpacked: Vec::new(),
            warnings: Vec::new(),
            content: Tally::default(),
            layers: Layers::default(),
            elapsed: Duration::ZERO,
        }
    }
}

impl Layers {
    pub(super) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Grafted => self.grafted += 1,
            Outcome::Applied => self.applied += 1,
            Outcome::Present => self.present += 1,
        }
    }
}

impl Traffic {
    pub(super) fn with(mut self, landed: Landed, size: u64) -> Self {
        match landed {
            Landed::Present => {
                self.blobs_present += 1;
                self.bytes_present = self.bytes_present.saturating_add(size);
            }
            Landed::Fetched(bytes) => {
                self.blobs_fetched += 1;
                self.bytes_fetched = self.bytes_fetched.saturating_add(bytes);
            }
        }
        self
    }
}
