//! What the name of an image says of its architecture.

use super::{built_for, configured, declared, images, listed};
use crate::core::image_name::ArchName;
use crate::core::reference::Reference;
use crate::diagnose::checks::shown;
use crate::diagnose::finding::{Finding, Id, Remedy, Severity};
use crate::diagnose::fleet::Image;

/// PLAT-021. Names tell architectures apart; of variants they are too loose (`armhf` is v6 to some
/// and v7 to others).
pub(super) fn check(reference: &Reference, image: Image<'_>) -> Option<Finding> {
    let name = ArchName::find(reference)?;
    let paths = images(image);
    let named = name.platform.architecture.as_str();
    let mut of: Vec<String> =
        paths.iter().filter_map(|path| image.claimed(path)).map(|platform| platform.architecture).collect();
    of.extend(paths.iter().filter_map(|path| built_for(image, path)).map(str::to_owned));
    if of.is_empty() || of.iter().any(|architecture| architecture == named) {
        return None;
    }
    let message = format!(
        "the name {} speaks of {}, and the image is for {}",
        reference.familiar(),
        shown(&name.platform),
        listed(image)
    );
    let evidence = image.lone().map_or_else(|| declared(image, &paths[0]), configured);
    Some(Finding::new(Id::ArchSuffixName, Severity::Note, message).shown_by(evidence).mended_by(multi_arch(&name)))
}

/// The name without an architecture in it, under which the image for every platform usually is.
pub(super) fn multi_arch(name: &ArchName) -> Remedy {
    let multi_arch = name.multi_arch.familiar();
    Remedy::new(format!("use the name for all architectures, which is usually {multi_arch}"))
        .command(format!("lighterman diagnose {multi_arch}"))
}
