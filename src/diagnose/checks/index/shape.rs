//! How an index is put together: what is listed twice, without platform, or inside another index.

use super::{MOST, QUOTED, declared, entry};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select::{self, Entry, EntryPath, Inner};
use crate::core::text;
use crate::diagnose::checks::{remedies, shown};
use crate::diagnose::finding::{Evidence, Finding, Id, Remedy, Severity};
use crate::diagnose::fleet::Image;
use crate::diagnose::report;

pub(super) fn check(reference: &Reference, image: Image<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = nothing(reference, image).into_iter().collect();
    findings.extend(duplicates(reference, image, image.entries, &[]));
    let own = select::flatten(image.entries).into_iter().filter(|(_, entry)| !entry.descriptor.is_attestation());
    for (path, listed) in own {
        if listed.descriptor.media_type.is_index() {
            findings.push(nested(reference, image, &path));
        } else if listed.descriptor.media_type.is_manifest() && listed.descriptor.platform.is_none() {
            findings.push(without_platform(reference, image, &path, listed));
        }
    }
    findings
}

/// There is something that could be run.
pub(super) fn has_images(image: Image<'_>) -> bool {
    image.lone().is_some() || !select::images(image.entries).is_empty()
}

/// PLAT-016 and PLAT-023: deleting the images of an index leaves its attestations behind, or nothing.
fn nothing(reference: &Reference, image: Image<'_>) -> Option<Finding> {
    if has_images(image) {
        return None;
    }
    let all = select::flatten(image.entries);
    // What is in an index that could not be read is not known: that is an error of its own.
    let is_lost = |entry: &Entry| matches!(entry.inner, Inner::Unusable(_)) && entry.descriptor.media_type.is_index();
    if all.iter().any(|(_, entry)| is_lost(entry)) {
        return None;
    }
    let (attestations, rest): (Vec<_>, Vec<_>) = all.iter().partition(|(_, entry)| entry.descriptor.is_attestation());
    let (id, message) = if !attestations.is_empty() && rest.is_empty() {
        let count = attestations.len();
        let message =
            format!("the index lists {count} attestations (provenance, SBOM) and no image that they are about");
        (Id::AttestationOnly, message)
    } else if all.is_empty() {
        (Id::EmptyIndex, "the index is empty: there is no image in it for anybody".to_owned())
    } else {
        (Id::EmptyIndex, format!("of the {} entries of the index none is an image", all.len()))
    };
    let evidence = match all.first() {
        Some((path, _)) => declared(image, path),
        None => Evidence {
            what: "manifests of the index: []".into(),
            digest: Some(image.root.digest.clone()),
            verified: true,
            ..Evidence::default()
        },
    };
    let name = reference.familiar();
    let again = Remedy::new("build and push the image again; --provenance=false leaves attestations out")
        .command(format!("docker buildx build --provenance=false -t {name} --push ."));
    let anew = Remedy::new("or make the index anew of images that are in the registry")
        .command(format!("lighterman manifest create {name} {name}-amd64 {name}-arm64 --push"));
    Some(Finding::new(id, Severity::Error, message).shown_by(evidence).mended_by(again).mended_by(anew))
}

/// PLAT-024: images that the index lists and that cannot be had, all in one: what removed one of them
/// has removed the others. `spoilt` are those whose manifest or config could not be read.
pub(in crate::diagnose) fn missing(
    reference: &Reference,
    image: Image<'_>,
    spoilt: &[report::Image],
) -> Option<Finding> {
    let lost = lost(image, spoilt);
    let (first, problem) = lost.first()?;
    let named: Vec<String> = lost.iter().take(MOST).map(|(path, _)| labelled(image, path)).collect();
    let are = if lost.len() == 1 { "is listed and cannot be had" } else { "are listed and cannot be had" };
    let problem = text::one_line(problem, QUOTED);
    let mut finding = Finding::new(Id::ImageMissing, Severity::Error, format!("{} {are}: {problem}", named.join(", ")));
    if lost.len() == 1 {
        finding = finding.at(first);
    }
    finding.evidence = lost.iter().take(MOST).map(|(path, _)| declared(image, path)).collect();
    let is_lost = |path: &EntryPath| lost.iter().any(|(lost, _)| lost == path);
    let kept = select::images(image.entries);
    let kept = kept.iter().filter(|path| !is_lost(path)).filter_map(|path| select::at(image.entries, path));
    let kept: Vec<_> = kept.map(|entry| &entry.descriptor.digest).collect();
    finding = finding.mended_by(Remedy::new(
        "push it again, by digest or as a part of the index; a clean-up of the registry must keep what only an index names",
    ));
    if kept.is_empty() {
        return Some(finding);
    }
    Some(finding.mended_by(remedies::create(reference, "or make the index anew of the images that are there", &kept)))
}

/// Where they stand, and why they cannot be had.
fn lost(image: Image<'_>, spoilt: &[report::Image]) -> Vec<(EntryPath, String)> {
    let all = select::flatten(image.entries).into_iter();
    let why = |(path, listed): (EntryPath, &Entry)| {
        let text = report::entry_text(&path);
        let read = spoilt.iter().find(|one| one.entry == text).and_then(|one| one.problem.clone());
        let nested = match &listed.inner {
            Inner::Unusable(reason) if listed.descriptor.media_type.is_index() => Some(reason.clone()),
            _ => None,
        };
        Some((path, read.or(nested)?))
    };
    all.filter_map(why).collect()
}

/// `entry 1 (linux/arm64)`
fn labelled(image: Image<'_>, path: &EntryPath) -> String {
    let platform = select::at(image.entries, path).and_then(|listed| listed.descriptor.platform.as_ref());
    let platform = platform.map(|platform| format!(" ({})", shown(platform))).unwrap_or_default();
    format!("{}{platform}", entry(path))
}

/// Entries side by side that clients cannot tell apart.
fn duplicates(reference: &Reference, image: Image<'_>, siblings: &[Entry], parent: &[usize]) -> Vec<Finding> {
    let mut groups: Vec<(Platform, Vec<EntryPath>)> = Vec::new();
    let mut findings = Vec::new();
    for (position, listed) in siblings.iter().enumerate() {
        let path: EntryPath = [parent, &[position]].concat();
        if let Inner::Nested(inner) = &listed.inner {
            findings.extend(duplicates(reference, image, inner, &path));
        }
        let is_image = listed.descriptor.media_type.is_manifest() && !listed.descriptor.is_attestation();
        let Some(platform) = listed.descriptor.platform.as_ref().filter(|_| is_image).map(Platform::normalized) else {
            continue;
        };
        match groups.iter_mut().find(|(known, _)| *known == platform) {
            Some((_, paths)) => paths.push(path),
            None => groups.push((platform, vec![path])),
        }
    }
    let several = groups.into_iter().filter(|(_, paths)| paths.len() > 1);
    findings.extend(several.map(|(platform, paths)| duplicate(reference, image, &platform, &paths)));
    findings
}

fn duplicate(reference: &Reference, image: Image<'_>, platform: &Platform, paths: &[EntryPath]) -> Finding {
    let digest = |path: &EntryPath| select::at(image.entries, path).map(|entry| &entry.descriptor.digest);
    let names: Vec<String> = paths.iter().take(MOST).map(|path| entry(path)).collect();
    let platform = shown(platform);
    let same = paths.iter().all(|path| digest(path) == digest(&paths[0]));
    let (severity, rest) = if same {
        (Severity::Note, "the same manifest each time, so that nothing hangs on which is taken")
    } else if are_compressions(image, paths) {
        (Severity::Note, "compressed in different ways: podman takes zstd, other clients the first")
    } else {
        (Severity::Warning, "most clients take the first, and CRI from containerd 2.1 fetches them all")
    };
    let message = format!("{} are all for {platform}: {rest}", names.join(", "));
    let mut finding = Finding::new(Id::DuplicatePlatform, severity, message).at(&paths[1]);
    finding.evidence = paths.iter().take(MOST).map(|path| declared(image, path)).collect();
    if severity == Severity::Note {
        return finding;
    }
    let kept = select::images(image.entries);
    let kept: Vec<_> = kept.iter().filter(|path| !paths[1..].contains(path)).filter_map(digest).collect();
    let text = "keep the first of them, and leave the others out of the index";
    finding.mended_by(remedies::create(reference, text, &kept))
}

/// The layers of these images are packed differently, as `podman push --add-compression` does.
fn are_compressions(image: Image<'_>, paths: &[EntryPath]) -> bool {
    let zstd = |path: &EntryPath| {
        let layers = &image.contents_at(path)?.manifest.layers;
        Some(layers.iter().any(|layer| layer.media_type.as_str().ends_with("+zstd")))
    };
    let packed: Vec<Option<bool>> = paths.iter().map(zstd).collect();
    packed.contains(&Some(true)) && packed.contains(&Some(false))
}

fn without_platform(reference: &Reference, image: Image<'_>, path: &EntryPath, listed: &Entry) -> Finding {
    let config = match (&listed.inner, image.contents_at(path)) {
        (_, Some(contents)) => Some(contents.config.platform.clone()),
        (Inner::Config(platform), None) => Some(platform.clone()),
        _ => None,
    };
    let says = config.as_ref().map_or_else(String::new, |platform| format!(" (its config names {})", shown(platform)));
    let message = format!(
        "{} has no platform{says}: containerd tries one such entry and no second, podman takes the first unchecked or none, others pass it over",
        entry(path)
    );
    let finding = Finding::new(Id::NoPlatform, Severity::Warning, message).at(path).shown_by(declared(image, path));
    match config.filter(|config| !config.architecture.is_empty()) {
        Some(config) => finding.mended_by(remedies::annotate(reference, &listed.descriptor.digest, &config)),
        None => finding,
    }
}

fn nested(reference: &Reference, image: Image<'_>, path: &EntryPath) -> Finding {
    let message = format!(
        "{} is an index itself: podman, CRI-O and skopeo refuse such an image where it matches nothing else, and others look into it last",
        entry(path)
    );
    let images = select::images(image.entries);
    let digests = images.iter().filter_map(|path| select::at(image.entries, path));
    let digests: Vec<_> = digests.map(|entry| &entry.descriptor.digest).collect();
    Finding::new(Id::NestedIndex, Severity::Warning, message)
        .at(path)
        .shown_by(declared(image, path))
        .mended_by(remedies::create(reference, "list its images in the outer index", &digests))
}
