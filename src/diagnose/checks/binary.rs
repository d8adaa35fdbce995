//! The program against what the image says about it, and against the nodes that would run it.
//!
//! One wrong thing gives one error: where index and config agree and only the program differs,
//! the config is the cause (it was copied into the index), and that is what is reported.

mod claims;
mod node;
mod remedies;

use super::super::contents::Contents;
use super::super::evidence::header;
use super::super::finding::{Finding, Id, Remedy, Severity};
use super::super::needs::Needs;
use super::super::runs::Node;

/// Checks the binary that the image starts. `nodes` are those that would take this image; the
/// other ones of an index have their own.
///
/// PLAT-003, PLAT-004, PLAT-006, PLAT-008, ISA-001 to ISA-004, PAGE-001 and ELF-006. Nothing is
/// said about an image whose program was not found.
#[must_use]
pub fn check(contents: &Contents, nodes: &[Node]) -> Vec<Finding> {
    let Some((file, binary)) = contents.binary() else { return Vec::new() };
    let mut findings = match binary.no_program() {
        Some(what) => {
            let mut finding = Finding::new(
                Id::WrongObjectType,
                Severity::Error,
                format!("the image starts {}, which is {what}", file.path),
            );
            finding.evidence = header(file, binary);
            vec![finding.mended_by(Remedy::new(
                "let ENTRYPOINT or CMD name the program itself, and link it first where it is an object file",
            ))]
        }
        None => {
            let needs = Needs::of(contents);
            let mut findings = claims::check(contents, (file, binary), needs.as_ref());
            findings.extend(nodes.iter().flat_map(|node| node::check(contents, binary, node)));
            findings
        }
    };
    for finding in &mut findings {
        *finding = finding.clone().at(&contents.path);
    }
    findings
}

#[cfg(test)]
mod tests;
