//! Layers for every feature and oddity of the format, and what containerd makes of them.

mod formats;
mod kinds;
mod packings;
mod places;
mod random;
mod real;
mod whiteouts;

pub(super) use formats::{ends, headers, sparse};
pub(super) use kinds::{attributes, flooded, links, nodes};
pub(super) use packings::packings;
pub(super) use places::{implied, paths, replaced};
pub(super) use random::{damaged, random};
pub(super) use real::packages;
pub(super) use whiteouts::{bottom, hidden, opaque};

/// What containerd does with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Unpacks,
    Refuses,
    /// One of the two; nobody looked.
    Either,
}

/// The layers of one image, lowest first, as plain archives.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) layers: Vec<Vec<u8>>,
    /// The media type and bytes of the only layer, where it is not just gzipped.
    pub(super) packed: Option<(&'static str, Vec<u8>)>,
    pub(super) verdict: Verdict,
}

fn unpacks<const N: usize>(name: &str, layers: [Vec<u8>; N]) -> Case {
    Case { name: name.into(), layers: layers.into(), packed: None, verdict: Verdict::Unpacks }
}

fn refuses<const N: usize>(name: &str, layers: [Vec<u8>; N]) -> Case {
    Case { name: name.into(), layers: layers.into(), packed: None, verdict: Verdict::Refuses }
}
