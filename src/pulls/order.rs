//! What callers ask for, and what they get.

use crate::core::digest::Digest;
use crate::core::mismatch::Asked;
use crate::core::reference::Reference;
use crate::core::trace::TraceContext;
use crate::pull::{Brought, Planned, Pulled};
use crate::registry::Credentials;
use crate::resolve::choice::Level;

use super::places::Place;
use super::running::Door;

/// One caller's wish.
#[derive(Debug, Clone)]
pub struct Order {
    /// The image.
    pub reference: Reference,
    /// For which platforms, as they were written; this node's where there is none.
    pub platforms: Vec<String>,
    /// Every manifest of the image, whatever `platforms` says.
    pub all_platforms: bool,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What he says of an image that does not run here.
    pub on_mismatch: Asked,
    /// Where to in containerd; the daemon's defaults where nothing is said.
    pub place: Place,
    /// Whether to make it ready to run.
    pub unpack: bool,
    /// The caller's own; those of the node where he brings none.
    pub credentials: Option<Credentials>,
    /// The door that he came through.
    pub door: Door,
    /// What his wish is part of, if he said so.
    pub trace: Option<TraceContext>,
}

/// A question about a reference, without a pull.
#[derive(Debug, Clone)]
pub struct Question {
    /// The image.
    pub reference: Reference,
    /// As it was written; this node's where there is none.
    pub platform: Option<String>,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What he says of an image that does not run here.
    pub on_mismatch: Asked,
    /// Explain the answer.
    pub explain: bool,
    /// The caller's own; those of the node where he brings none.
    pub credentials: Option<Credentials>,
}

/// A pull that is done.
#[derive(Debug)]
pub struct Done {
    /// What was planned.
    pub planned: Planned,
    /// What came of it.
    pub pulled: Pulled,
    /// Digest of the first image's config: the image ID of CRI.
    pub image_id: Option<Digest>,
    /// Where it is, for a person.
    pub destination: String,
}

impl Brought for Done {
    fn brought(&self) -> (&Planned, &Pulled) {
        (&self.planned, &self.pulled)
    }
}
