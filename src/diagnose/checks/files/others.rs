//! ELF-007: binaries beside the program that are for another architecture.
//!
//! Packages often bring files for many platforms and load the right one (npm prebuilds, Python
//! wheels), so that alone says nothing. What lies along PATH, or where the loader looks for
//! libraries, is taken by its bare name: that is in the way.

use super::{NAMES, beginning};
use crate::core::text::one_line;
use crate::diagnose::contents::{Contents, Other, Start};
use crate::diagnose::finding::{Finding, Id, Remedy, Severity};

/// Files that one finding names.
const NAMED: usize = 5;

/// One finding for those that are in the way, and one for the others, since each has one cause.
pub(super) fn check(start: &Start, contents: &Contents) -> Vec<Finding> {
    let (in_the_way, aside): (Vec<&Other>, Vec<&Other>) = start.others.iter().partition(|other| other.in_the_way);
    let groups = [(in_the_way, Severity::Warning), (aside, Severity::Note)];
    groups.into_iter().filter_map(|(others, severity)| finding(&others, severity, contents)).collect()
}

fn finding(others: &[&Other], severity: Severity, contents: &Contents) -> Option<Finding> {
    let (first, binary) = contents.binary()?;
    let named = &others[..others.len().min(NAMED)];
    let names: Vec<&str> = named.iter().map(|other| other.file.path.as_str()).collect();
    let names = one_line(&names.join(", "), NAMES);
    let more = match others.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let are = if others.len() == 1 { "is" } else { "are" };
    let so = match severity {
        Severity::Note => "which is usual of packages that bring files for several platforms",
        _ => "what starts or loads such a file fails",
    };
    let message = format!("{names}{more} {are} not for the architecture of {}, which is {binary}: {so}", first.asked);
    let finding = named.iter().fold(Finding::new(Id::OtherBinaryArch, severity, message), |finding, other| {
        let what = format!("{} is {}, and begins with", one_line(&other.file.path, NAMES), other.binary);
        finding.shown_by(beginning(&other.file, what))
    });
    let remedy = Remedy::new("fetch or build these for the image's own platform (ARG TARGETARCH in the Dockerfile)");
    let finding = if severity == Severity::Note { finding } else { finding.mended_by(remedy) };
    (!named.is_empty()).then_some(finding)
}
