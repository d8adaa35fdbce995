//! ELF-007 of what is started: a program for another architecture than the one that starts it.

use super::claims;
use crate::core::elf::Binary;
use crate::diagnose::contents::{Contents, Next};
use crate::diagnose::evidence::{header, name};
use crate::diagnose::finding::{Finding, Id, Remedy, Severity};
use crate::diagnose::rootfs::File;

/// The first of them: what it starts in turn is of its own kind.
pub(super) fn check(contents: &Contents) -> Vec<Finding> {
    let Some(start) = &contents.start else { return Vec::new() };
    let Some((first, its)) = start.first.binary() else { return Vec::new() };
    let mut foreign = start.next.iter().filter_map(|next| Some((next, next.chain.binary()?)));
    let found = foreign.find(|(_, (_, binary))| binary.architecture() != its.architecture());
    found.map(|(next, (file, binary))| finding((first, its), next, (file, binary))).into_iter().collect()
}

fn finding((first, its): (&File, &Binary), next: &Next, (file, binary): (&File, &Binary)) -> Finding {
    // Nearly every kernel for amd64 runs both.
    let is_guest = (its.architecture(), binary.architecture()) == (Some("amd64"), Some("386"));
    let (severity, ends) = match (is_guest, next.certain) {
        (true, _) => (Severity::Note, "a kernel for amd64 runs both"),
        (false, true) => (Severity::Error, "starting it ends in \"exec format error\" where there is no emulator"),
        (false, false) => (Severity::Warning, "where it is started, that ends in \"exec format error\""),
    };
    let message = format!("{} is {binary}, and what starts it ({}) is {its}: {ends}", name(file), next.way);
    let mut finding = Finding::new(Id::OtherBinaryArch, severity, message);
    finding.evidence = header(file, binary);
    finding.evidence.extend(header(first, its));
    if is_guest {
        return finding;
    }
    finding.mended_by(Remedy::new(
        "program and base image are for different architectures: fetch or build the program for the image's own platform (ARG TARGETARCH in the Dockerfile), or start FROM the base for that of the program",
    ))
}

/// The programs are for different architectures, and what index or config say is right for one of
/// them: then that is not what is wrong.
pub(super) fn is_half_right(contents: &Contents) -> bool {
    let Some((_, first)) = contents.binaries().next() else { return false };
    let is_mixed = contents.binaries().any(|(_, binary)| binary.architecture() != first.architecture());
    is_mixed && contents.binaries().any(|(_, binary)| !claims::contradicts(&contents.claimed(), binary))
}
