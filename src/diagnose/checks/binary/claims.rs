//! What index and config say about the platform, against the program.

use super::Subject;
use crate::core::digest::Digest;
use crate::core::elf::Binary;
use crate::core::platform::Platform;
use crate::diagnose::contents::Contents;
use crate::diagnose::evidence::{header, name};
use crate::diagnose::finding::{Evidence, Finding, Id, Severity};
use crate::diagnose::needs::{Certainty, Needs};
use crate::host::{Fit, fit};

use super::super::shown;

/// How a config comes by a platform that nobody meant.
const CROSS_BUILD: &str = "most likely a program that was compiled for another platform and copied into an image without one (FROM scratch), which then took that of the machine it was built on";

pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let label = label(subject.contents);
    let config = Some(&subject.contents.config.platform).filter(|platform| !platform.architecture.is_empty());
    let wrong = |claim: Option<&Platform>| claim.is_some_and(|claim| contradicts(claim, subject.binary));
    let both = label.zip(config);
    let agree = both.is_some_and(|(one, other)| one.normalized().architecture == other.normalized().architecture);
    match (wrong(label), wrong(config)) {
        (true, true) if agree => vec![config_is_wrong(subject, Severity::Error, repeated())],
        // Clients go by the index, so that is what keeps the image from running.
        (true, true) => vec![label_is_wrong(subject), config_is_wrong(subject, Severity::Warning, overruled())],
        (true, false) => vec![label_is_wrong(subject)],
        (false, true) if label.is_some() => vec![config_is_wrong(subject, Severity::Warning, overruled())],
        (false, true) => vec![config_is_wrong(subject, Severity::Error, alone())],
        (false, false) => subject.needs.as_ref().and_then(|needs| variant(subject, needs)).into_iter().collect(),
    }
}

/// The index's word, where there is one.
fn label(contents: &Contents) -> Option<&Platform> {
    let label = contents.descriptor.platform.as_ref();
    label.filter(|label| !label.architecture.is_empty() && !label.is_unknown())
}

/// The kernels of this platform do not take this binary as their own.
pub(super) fn contradicts(claim: &Platform, binary: &Binary) -> bool {
    let claim = claim.normalized();
    let other_system = binary.platform().is_some_and(|built_for| built_for.os != "linux" && built_for.os != claim.os);
    binary.architecture() != Some(&claim.architecture) || other_system
}

/// Nearly every 64-bit kernel of x86 runs 32-bit programs. Of the 64-bit ARM machines many cannot.
fn severity(claim: &Platform, binary: &Binary, worst: Severity) -> Severity {
    let is_compat = claim.normalized().architecture == "amd64" && binary.architecture() == Some("386");
    if is_compat { Severity::Warning } else { worst }
}

/// `declared arm64, ELF machine 40 (ARM, EABI5)`, and which file that is.
fn contradiction(claim: &Platform, subject: &Subject<'_>) -> String {
    let binary = subject.binary;
    let built_for =
        binary.platform().map_or_else(|| "no platform that is known".into(), |platform| platform.to_string());
    format!(
        "declared {}, ELF machine {} ({}): {} is built for {built_for}",
        arch(claim),
        binary.machine,
        binary.machine_text(),
        name(subject.file)
    )
}

/// `arm64`, `arm/v6`, as clients understand it.
fn arch(claim: &Platform) -> String {
    let claim = claim.normalized();
    let text = shown(&claim);
    text.strip_prefix("linux/").map_or_else(|| text.clone(), str::to_owned)
}

fn label_is_wrong(subject: &Subject<'_>) -> Finding {
    let claim = subject.contents.claimed();
    let config = &subject.contents.config.platform;
    let besides = if config.architecture.is_empty() {
        ", and the config names no platform".to_owned()
    } else if contradicts(config, subject.binary) {
        format!(", and the config says something else again ({})", shown(config))
    } else {
        format!(", and the config says so too ({}): only the index is wrong", shown(config))
    };
    let message = contradiction(&claim, subject) + &besides;
    let mut finding = Finding::new(Id::LabelVsElf, severity(&claim, subject.binary, Severity::Error), message);
    finding.evidence = [by_index(subject.contents), by_config(subject.contents)].into();
    finding.evidence.extend(header(subject.file, subject.binary));
    finding.remedies = subject.remedies().relabel();
    finding
}

/// Index and config agree.
fn repeated() -> String {
    format!(". The config says it, and the index repeats it: {CROSS_BUILD}")
}

/// The index says something else.
fn overruled() -> String {
    ". The config says it; clients that know the index go by the index, and some warn".to_owned()
}

/// There is no index, or it says nothing.
fn alone() -> String {
    format!(". The config says it: {CROSS_BUILD}")
}

fn config_is_wrong(subject: &Subject<'_>, worst: Severity, besides: String) -> Finding {
    let config = &subject.contents.config.platform;
    let message = contradiction(config, subject) + &besides;
    let mut finding = Finding::new(Id::ConfigVsElf, severity(config, subject.binary, worst), message);
    finding.evidence.push(by_config(subject.contents));
    finding.evidence.extend(label(subject.contents).map(|_| by_index(subject.contents)));
    finding.evidence.extend(header(subject.file, subject.binary));
    finding.remedies = subject.remedies().reconfigure();
    finding
}

/// Only 32-bit ARM has variants by which every client chooses.
fn variant(subject: &Subject<'_>, needs: &Needs) -> Option<Finding> {
    let label = label(subject.contents);
    let claim = label.unwrap_or(&subject.contents.config.platform);
    let declared = claim.normalized();
    let least = needs.platform.variant.as_str();
    let certainty = needs.certainty().filter(|_| declared.architecture == "arm")?;
    let shown_by: Vec<Evidence> = needs.of_level(least).map(|need| need.evidence.clone()).collect();
    let because = shown_by.first().map(|evidence| evidence.what.as_str()).unwrap_or_default();
    let path = name(subject.file);
    let mut finding = if fit("arm", Some(&declared.variant), least) == Fit::Above {
        let id = if label.is_some() { Id::LabelVsElf } else { Id::ConfigVsElf };
        let severity = if certainty == Certainty::Proven { Severity::Error } else { Severity::Warning };
        let message = format!(
            "declared {}, and {path} needs arm/{least} ({because}): a node with less takes it and cannot run it",
            arch(claim)
        );
        Finding::new(id, severity, message)
    } else if claim.variant.is_empty() && matches!(least, "v5" | "v6") {
        let message = format!(
            "declared arm without a variant, which clients take for v7, and {path} runs from {least} on ({because}): older nodes are not offered it"
        );
        Finding::new(Id::VariantMissing, Severity::Warning, message)
    } else {
        return None;
    };
    finding.evidence = vec![if label.is_some() { by_index(subject.contents) } else { by_config(subject.contents) }];
    finding.evidence.extend(shown_by);
    finding.remedies = match label {
        Some(_) if finding.id == Id::VariantMissing => subject.remedies().specify(),
        Some(_) => subject.remedies().relabel(),
        None => subject.remedies().reconfigure(),
    };
    Some(finding)
}

fn by_index(contents: &Contents) -> Evidence {
    let claim = contents.descriptor.platform.as_ref().map(shown).unwrap_or_default();
    document(format!("platform in the index: {claim}"), &contents.descriptor.digest)
}

fn by_config(contents: &Contents) -> Evidence {
    document(format!("platform in the config: {}", shown(&contents.config.platform)), &contents.manifest.config.digest)
}

/// Documents are only read whole, and their digests held.
fn document(what: String, digest: &Digest) -> Evidence {
    Evidence { what, digest: Some(digest.clone()), verified: true, ..Evidence::default() }
}
