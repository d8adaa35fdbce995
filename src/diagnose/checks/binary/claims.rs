//! What index and config say about the platform, against the program.

use super::super::super::contents::Contents;
use super::super::super::evidence::header;
use super::super::super::finding::{Evidence, Finding, Id, Severity};
use super::super::super::needs::{Certainty, Needs};
use super::super::super::rootfs::File;
use super::remedies;
use crate::core::elf::Binary;
use crate::core::platform::Platform;
use crate::host::{Fit, fit};

type Found<'a> = (&'a File, &'a Binary);

pub(super) fn check(contents: &Contents, program: Found<'_>, needs: Option<&Needs>) -> Vec<Finding> {
    let label = label(contents);
    let config = Some(&contents.config.platform).filter(|platform| !platform.architecture.is_empty());
    let wrong = |claim: Option<&Platform>| claim.is_some_and(|claim| contradicts(claim, program.1));
    let agree = label
        .zip(config)
        .is_some_and(|(label, config)| label.normalized().architecture == config.normalized().architecture);
    match (wrong(label), wrong(config)) {
        (true, true) if agree => vec![config_is_wrong(contents, program, needs, Severity::Error)],
        // Clients go by the index, so that is what keeps the image from running.
        (true, true) => {
            vec![label_is_wrong(contents, program, needs), config_is_wrong(contents, program, needs, Severity::Warning)]
        }
        (true, false) => vec![label_is_wrong(contents, program, needs)],
        (false, true) if label.is_some() => vec![config_is_wrong(contents, program, needs, Severity::Warning)],
        (false, true) => vec![config_is_wrong(contents, program, needs, Severity::Error)],
        (false, false) => needs.and_then(|needs| variant(contents, program, needs)).into_iter().collect(),
    }
}

/// The index's word, where there is one.
fn label(contents: &Contents) -> Option<&Platform> {
    let label = contents.descriptor.platform.as_ref();
    label.filter(|label| !label.architecture.is_empty() && !label.is_unknown())
}

/// The kernels of this platform do not take this binary as their own.
fn contradicts(claim: &Platform, binary: &Binary) -> bool {
    let claim = claim.normalized();
    let other_system = binary.platform().is_some_and(|built_for| built_for.os != "linux" && built_for.os != claim.os);
    binary.architecture() != Some(&claim.architecture) || other_system
}

/// A 64-bit kernel of x86 runs 32-bit programs nearly everywhere. Those of arm do on half of the machines.
fn severity(claim: &Platform, binary: &Binary, worst: Severity) -> Severity {
    let pair = (claim.normalized().architecture, binary.architecture());
    if pair.0 == "amd64" && pair.1 == Some("386") { Severity::Warning } else { worst }
}

/// `declared arm64, ELF machine 40 (ARM, EABI5)`, and which file that is.
fn contradiction(claim: &Platform, (file, binary): Found<'_>) -> String {
    let built_for =
        binary.platform().map_or_else(|| "no platform that is known".into(), |platform| platform.to_string());
    format!(
        "declared {}, ELF machine {} ({}): {} is built for {built_for}",
        claim.normalized().arch(),
        binary.machine,
        binary.machine_text(),
        file.path
    )
}

fn label_is_wrong(contents: &Contents, program: Found<'_>, needs: Option<&Needs>) -> Finding {
    let claim = contents.claimed();
    let config = &contents.config.platform;
    let besides = match contradicts(config, program.1) {
        _ if config.architecture.is_empty() => ", and only the index says something else".into(),
        false => format!(", and the config says so too ({config}): only the index is wrong"),
        true => format!(", which neither the index nor the config says ({config})"),
    };
    let message = contradiction(&claim, program) + &besides;
    let mut finding = Finding::new(Id::LabelVsElf, severity(&claim, program.1, Severity::Error), message);
    finding.evidence.push(by_index(contents));
    finding.evidence.push(by_config(contents));
    finding.evidence.extend(header(program.0, program.1));
    finding.remedies = remedies::relabel(contents, program.1, needs);
    finding
}

fn config_is_wrong(contents: &Contents, program: Found<'_>, needs: Option<&Needs>, worst: Severity) -> Finding {
    let config = &contents.config.platform;
    let label = label(contents);
    let besides = match label {
        Some(label) if contradicts(label, program.1) && worst == Severity::Error => {
            ". The config says it, and the index repeats it: most likely a program that was compiled for another platform and copied into an image without one (FROM scratch), which then took that of the machine it was built on"
        }
        Some(_) => ". The config says it; clients that know the index go by the index",
        None => {
            ". The config says it: most likely a program that was compiled for another platform and copied into an image without one (FROM scratch), which then took that of the machine it was built on"
        }
    };
    let message = contradiction(config, program) + besides;
    let mut finding = Finding::new(Id::ConfigVsElf, severity(config, program.1, worst), message);
    finding.evidence.push(by_config(contents));
    if label.is_some() {
        finding.evidence.push(by_index(contents));
    }
    finding.evidence.extend(header(program.0, program.1));
    finding.remedies = remedies::rebuild(contents, program.1, needs);
    finding
}

/// Only 32-bit ARM has variants that every client counts down from.
fn variant(contents: &Contents, (file, binary): Found<'_>, needs: &Needs) -> Option<Finding> {
    let label = label(contents);
    let claim = label.unwrap_or(&contents.config.platform);
    let declared = claim.normalized();
    let least = needs.platform.variant.as_str();
    let certainty = needs.certainty()?;
    if declared.architecture != "arm" {
        return None;
    }
    let evidence = || needs.of_level(least).map(|need| need.evidence.clone());
    let shown: Vec<Evidence> = [if label.is_some() { by_index(contents) } else { by_config(contents) }]
        .into_iter()
        .chain(evidence())
        .collect();
    let because = evidence().next().map(|evidence| evidence.what).unwrap_or_default();
    let mut finding = if fit("arm", Some(&declared.variant), least) == Fit::Above {
        let message = format!(
            "declared {}, and {} needs arm/{least} ({because}): a node with less takes it and cannot run it",
            declared.arch(),
            file.path
        );
        let severity = if certainty == Certainty::Proven { Severity::Error } else { Severity::Warning };
        Finding::new(if label.is_some() { Id::LabelVsElf } else { Id::ConfigVsElf }, severity, message)
    } else if claim.variant.is_empty() && matches!(least, "v5" | "v6") {
        let message = format!(
            "declared {} without a variant, which clients take for arm/v7, and {} runs from arm/{least} on ({because}): older nodes find nothing for them",
            claim.arch(),
            file.path
        );
        Finding::new(Id::VariantMissing, Severity::Warning, message)
    } else {
        return None;
    };
    finding.evidence = shown;
    finding.remedies = if label.is_some() {
        remedies::relabel(contents, binary, Some(needs))
    } else {
        remedies::rebuild(contents, binary, Some(needs))
    };
    Some(finding)
}

fn by_index(contents: &Contents) -> Evidence {
    let claim = contents.descriptor.platform.as_ref().map(Platform::to_string).unwrap_or_default();
    let digest = contents.descriptor.digest.clone();
    Evidence {
        what: format!("platform in the index: {claim}"),
        digest: Some(digest),
        verified: true,
        ..Evidence::default()
    }
}

fn by_config(contents: &Contents) -> Evidence {
    let digest = contents.manifest.config.digest.clone();
    let what = format!("platform in the config: {}", contents.config.platform);
    Evidence { what, digest: Some(digest), verified: true, ..Evidence::default() }
}
