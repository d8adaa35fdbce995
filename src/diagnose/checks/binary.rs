//! The program against what the image says about it, and against the nodes that would run it.
//!
//! One wrong thing gives one error: where index and config agree and only the program differs,
//! the config is the cause (an index is made from configs), and that is what is reported.

mod claims;
mod mixed;
mod node;
mod remedies;

use remedies::Remedies;

use crate::core::elf::Binary;
use crate::core::reference::Reference;
use crate::diagnose::contents::Contents;
use crate::diagnose::evidence::{header, name};
use crate::diagnose::finding::{Finding, Id, Remedy, Severity};
use crate::diagnose::needs::Needs;
use crate::diagnose::rootfs::File;
use crate::diagnose::runs::Node;

/// What is checked.
struct Subject<'a> {
    reference: &'a Reference,
    contents: &'a Contents,
    file: &'a File,
    binary: &'a Binary,
    needs: Option<Needs>,
}

impl Subject<'_> {
    fn remedies(&self) -> Remedies<'_> {
        Remedies::new(self)
    }
}

/// Checks the binary that the image starts. `nodes` are those that would take this image: the
/// other images of an index have nodes of their own.
///
/// PLAT-003, PLAT-004, PLAT-006, PLAT-008, ISA-001 to ISA-004, PAGE-001, ELF-006, and ELF-007 of what
/// is started. Nothing is said about an image whose program was not found.
#[must_use]
pub fn check(reference: &Reference, contents: &Contents, nodes: &[&Node]) -> Vec<Finding> {
    let most = Needs::most(contents).map(|(file, binary, needs)| (file, binary, Some(needs)));
    let measure = || contents.binary().map(|(file, binary)| (file, binary, None));
    let Some((file, binary, needs)) = most.or_else(measure) else { return Vec::new() };
    let subject = Subject { reference, contents, file, binary, needs };
    let no_program = |(file, binary)| Some(wrong_type(file, binary, Binary::no_program(binary)?));
    let findings = match contents.binaries().find_map(no_program) {
        Some(finding) => vec![finding],
        None => {
            let mut findings = mixed::check(contents);
            if !mixed::is_half_right(contents) {
                findings.extend(claims::check(&subject));
            }
            findings.extend(nodes.iter().flat_map(|node| node::check(&subject, node)));
            findings
        }
    };
    findings.into_iter().map(|finding| finding.at(&contents.path)).collect()
}

/// ELF-006.
fn wrong_type(file: &File, binary: &Binary, what: &str) -> Finding {
    let message = format!("the image starts {}, which is {what}", name(file));
    let mut finding = Finding::new(Id::WrongObjectType, Severity::Error, message);
    finding.evidence = header(file, binary);
    finding.mended_by(Remedy::new(
        "let ENTRYPOINT or CMD name the program itself; an object file or a library has to be linked into one first",
    ))
}

#[cfg(test)]
mod tests;
