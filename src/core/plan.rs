//! From manifests to the blobs that a pull needs.

use std::collections::BTreeSet;

use super::descriptor::Descriptor;
use super::manifest::Manifest;

/// A blob of a pull, with what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Which blob.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: BlobKind,
}

/// What a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    /// An image config.
    Config,
    /// A layer.
    Layer,
}

/// Every blob of these manifests, each digest once, in the order in which they are best
/// fetched: configs first, since they are small and unpacking waits for them, then layers
/// from the largest down, so that the longest download does not start last.
#[must_use]
pub fn blobs<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Vec<Blob> {
    let mut seen = BTreeSet::new();
    let mut blobs = Vec::new();
    for manifest in manifests {
        let config = Blob { descriptor: manifest.config.clone(), kind: BlobKind::Config };
        let layers = manifest.layers.iter().map(|layer| Blob { descriptor: layer.clone(), kind: BlobKind::Layer });
        blobs.extend(std::iter::once(config).chain(layers).filter(|blob| seen.insert(blob.descriptor.digest.clone())));
    }
    blobs.sort_by_key(|blob| (blob.kind == BlobKind::Layer, std::cmp::Reverse(blob.descriptor.size)));
    blobs
}

#[cfg(test)]
mod tests {
    use super::super::descriptor::{Annotations, MediaType};
    use super::super::digest::Digest;
    use super::*;

    fn descriptor(name: &str, size: u64) -> Descriptor {
        Descriptor::new(MediaType::Other("x".into()), Digest::of(name.as_bytes()), size)
    }

    #[test]
    fn configs_first_then_the_largest_and_each_digest_once() {
        let manifest = |config: &str, layers: &[(&str, u64)]| Manifest {
            config: descriptor(config, 2),
            layers: layers.iter().map(|(name, size)| descriptor(name, *size)).collect(),
            annotations: Annotations::new(),
        };
        let blobs = blobs(&[manifest("c1", &[("a", 1), ("b", 9), ("a", 1)]), manifest("c2", &[("b", 9), ("d", 5)])]);
        let order: Vec<_> = blobs.iter().map(|blob| blob.descriptor.digest.clone()).collect();
        assert_eq!(order, ["c1", "c2", "b", "d", "a"].map(|name| Digest::of(name.as_bytes())));
    }
}
