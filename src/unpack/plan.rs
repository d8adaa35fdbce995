//! Which layer is applied when, on what, and named how. Pure.

use super::UnpackError;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::manifest::{ImageConfig, Manifest, chain_ids};

/// One layer's turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    pub(super) layer: &'a Descriptor,
    pub(super) diff_id: &'a Digest,
    /// The name of its snapshot.
    pub(super) chain_id: Digest,
    /// The snapshot below; none for the lowest layer.
    pub(super) parent: Option<Digest>,
    /// Whether it is a tar, plain or compressed in a way that everybody knows. Anything else
    /// only containerd can unpack, if it has a processor for the type: encrypted layers, say.
    pub(super) is_tar: bool,
}

/// The layers in the order in which they are applied, or why they cannot be.
pub(super) fn plan<'a>(manifest: &'a Manifest, config: &'a ImageConfig) -> Result<Vec<Step<'a>>, UnpackError> {
    let (layers, diff_ids) = (&manifest.layers, &config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        let others = layers.iter().filter(|layer| !layer.media_type.is_layer()).count();
        return Err(if others > 0 && layers.len() - others == diff_ids.len() {
            UnpackError::OddLayers { others }
        } else {
            UnpackError::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() }
        });
    }
    let mut parent = None;
    let steps = layers.iter().zip(diff_ids).zip(chain_ids(diff_ids));
    Ok(steps
        .map(|((layer, diff_id), chain_id)| {
            let parent = parent.replace(chain_id.clone());
            Step { layer, diff_id, chain_id, parent, is_tar: is_tar(&layer.media_type) }
        })
        .collect())
}

/// A tar, plain or compressed in a way that containerd knows; encrypted ones are none.
pub(super) fn is_tar(media_type: &MediaType) -> bool {
    let text = media_type.as_str();
    let oci = text
        .strip_prefix("application/vnd.oci.image.layer.")
        .map(|rest| (rest.strip_prefix("nondistributable.").unwrap_or(rest), "v1.tar", '+'));
    let docker = text
        .strip_prefix("application/vnd.docker.image.rootfs.")
        .map(|rest| (rest.strip_prefix("foreign.").unwrap_or(rest), "diff.tar", '.'));
    let Some((rest, tar, separator)) = oci.or(docker) else { return false };
    rest.strip_prefix(tar).is_some_and(|compression| {
        compression.is_empty() || matches!(compression.strip_prefix(separator), Some("gzip" | "zstd"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::Annotations;
    use crate::core::error::{Classify, Kind};
    use crate::core::manifest::RootFs;

    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn image(layers: &[&str], diffs: usize) -> (Manifest, ImageConfig) {
        let descriptor = |kind: &str| Descriptor::new(MediaType::parse(kind), Digest::of(kind.as_bytes()), 1);
        let manifest = Manifest {
            config: descriptor("application/vnd.oci.image.config.v1+json"),
            layers: layers.iter().map(|kind| descriptor(kind)).collect(),
            annotations: Annotations::new(),
        };
        let diff_ids = (0..diffs).map(|index| Digest::of(&index.to_le_bytes())).collect();
        (manifest, ImageConfig { rootfs: RootFs { diff_ids }, ..ImageConfig::default() })
    }

    #[test]
    fn each_layer_stands_on_the_one_below() {
        let (manifest, config) = image(&[GZIP, GZIP, GZIP], 3);
        let steps = plan(&manifest, &config).expect("a plan");
        assert_eq!(steps[0].parent, None);
        assert_eq!(&steps[0].chain_id, steps[0].diff_id);
        for pair in steps.windows(2) {
            assert_eq!(pair[1].parent.as_ref(), Some(&pair[0].chain_id));
            let both = format!("{} {}", pair[0].chain_id, pair[1].diff_id);
            assert_eq!(pair[1].chain_id, Digest::of(both.as_bytes()));
        }
    }

    #[test]
    fn contradictions_are_the_images_fault() {
        let (manifest, config) = image(&[GZIP, GZIP], 1);
        let error = plan(&manifest, &config).expect_err("two are not one");
        assert!(matches!(error, UnpackError::LayerCount { layers: 2, diff_ids: 1 }));
        assert_eq!(error.kind(), Kind::InvalidContent);
    }

    #[test]
    fn what_is_no_layer_may_be_left_out_by_others() {
        const ODD: &str = "application/vnd.example.sbom";
        let kind = |layers: &[&str], diffs| {
            let (manifest, config) = image(layers, diffs);
            plan(&manifest, &config).map(drop).map_err(|error| error.kind())
        };
        assert_eq!(kind(&[GZIP, ODD], 1), Err(Kind::Unsupported));
        assert_eq!(kind(&[GZIP, ODD], 2), Ok(()), "containerd may have a processor for it");
        for diffs in [0, 3] {
            assert_eq!(kind(&[GZIP, ODD], diffs), Err(Kind::InvalidContent), "{diffs}");
        }
    }

    #[test]
    fn what_is_no_tar_is_left_to_containerd() {
        let (manifest, config) = image(&[GZIP, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"], 2);
        let steps = plan(&manifest, &config).expect("a plan");
        assert_eq!(steps.iter().map(|step| step.is_tar).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn an_image_without_layers_needs_nothing() {
        let (manifest, config) = image(&[], 0);
        assert_eq!(plan(&manifest, &config).expect("a plan"), []);
    }

    #[test]
    fn tars_are_told_from_everything_else() {
        let tars = [
            GZIP,
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ];
        for kind in tars {
            assert!(is_tar(&MediaType::parse(kind)), "{kind}");
        }
        let others = [
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.oci.image.layer.v1.tar+bzip2",
            "application/vnd.oci.image.layer.v1.tar.gzip",
            "application/vnd.oci.image.layer.v1.squashfs",
            "application/vnd.docker.image.rootfs.diff.tar+gzip",
            "application/vnd.oci.image.config.v1+json",
            "",
        ];
        for kind in others {
            assert!(!is_tar(&MediaType::parse(kind)), "{kind}");
        }
    }
}
