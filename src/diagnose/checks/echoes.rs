//! One cause, one finding: what several checks say of the same thing is said once, by the one that
//! says it best, with what the others saw.

use crate::core::platform::Platform;
use crate::diagnose::contents::{Chain, Contents, LoaderFound};
use crate::diagnose::finding::{Finding, Id};

use super::shown;

/// Drops what another finding says better: where the program itself was looked at, what index and
/// config say of each other is a part of that.
pub(super) fn dropped(findings: Vec<Finding>) -> Vec<Finding> {
    let better = |id| match id {
        Id::LabelVsConfig => [Id::LabelVsElf, Id::ConfigVsElf].as_slice(),
        Id::AnnotateOnly => &[Id::ConfigVsElf],
        Id::VariantMissing => &[Id::VariantMissing, Id::LabelVsElf],
        _ => &[],
    };
    let is_echo = |one: &Finding| {
        let others = findings.iter().filter(|other| !std::ptr::eq(*other, one) && other.entry == one.entry);
        let mut better = others.filter(|other| better(one.id).contains(&other.id));
        better.any(|other| other.severity > one.severity || other.id != one.id)
    };
    let echoes: Vec<bool> = findings.iter().map(is_echo).collect();
    findings.into_iter().zip(echoes).filter(|(_, is_echo)| !is_echo).map(|(finding, _)| finding).collect()
}

/// A program of another architecture than the image around it lacks its loader, and contradicts what
/// index and config rightly say. Of one image.
pub(super) fn folded(contents: &Contents, mut findings: Vec<Finding>) -> Vec<Finding> {
    let Some(start) = &contents.start else { return findings };
    for chain in [&start.first].into_iter().chain(start.next.iter().map(|next| &next.chain)) {
        let Some((path, base)) = stranger(chain) else { continue };
        let of_loader =
            |finding: &Finding| matches!(finding.id, Id::LoaderMissing | Id::LoaderArch) && is_about(finding, path);
        let Some(at) = findings.iter().position(of_loader) else { continue };
        let loader = findings.remove(at);
        let is_mixed = |finding: &Finding| finding.id == Id::OtherBinaryArch && is_about(finding, path);
        match findings.iter_mut().find(|finding| is_mixed(finding)) {
            Some(mixed) => mixed.evidence.extend(loader.evidence),
            None => findings = with_claims(contents, base, (loader, at), findings),
        }
    }
    findings
}

/// The path of a program in an image that has loaders for another architecture, and that architecture.
fn stranger(chain: &Chain) -> Option<(&str, &'static str)> {
    let (file, binary) = chain.binary()?;
    let base = match &chain.loader.as_ref()?.found {
        LoaderFound::Elf(_, its) => its.architecture(),
        LoaderFound::Absent { others } if others.iter().any(|other| other.architecture == binary.architecture()) => {
            None
        }
        LoaderFound::Absent { others } => others.iter().find_map(|other| other.architecture),
        LoaderFound::Foreign(_) | LoaderFound::NotRead(_) => None,
    };
    let base = base.filter(|base| Some(*base) != binary.architecture())?;
    Some((&file.path, base))
}

fn is_about(finding: &Finding, path: &str) -> bool {
    finding.evidence.first().is_some_and(|evidence| evidence.path.as_deref() == Some(path))
}

/// The finding on the loader, with those on index and config in it that say what the base is.
fn with_claims(
    contents: &Contents,
    base: &str,
    (mut loader, at): (Finding, usize),
    mut findings: Vec<Finding>,
) -> Vec<Finding> {
    let (label, config) = (contents.descriptor.platform.as_ref(), &contents.config.platform);
    let is_of_base = |claim: &Platform| claim.normalized().architecture == base;
    for (id, claim, who) in [(Id::LabelVsElf, label, "the index"), (Id::ConfigVsElf, Some(config), "the config")] {
        let Some(claim) = claim.filter(|claim| is_of_base(claim)) else { continue };
        let Some(echo) = findings.iter().position(|finding| finding.id == id) else { continue };
        let echo = findings.remove(echo);
        let new = echo.evidence.into_iter().filter(|evidence| !loader.evidence.contains(evidence));
        loader.evidence.extend(new.collect::<Vec<_>>());
        loader.message.push_str(&format!("; {who} says {}, as what is around the program", shown(claim)));
    }
    findings.insert(at.min(findings.len()), loader);
    findings
}

#[cfg(test)]
mod tests;
