//! From facts to findings. Every check is a function of plain values: no I/O, no clock.
//!
//! One cause makes one finding that says so; what cannot be known is not guessed, and no check
//! speaks where only a part of what it needs was read.

use super::finding::{Finding, Id};
use super::fleet::Image;
use super::runs::Node;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text;

pub mod binary;
pub mod files;
pub mod index;
pub mod node;
pub mod places;
mod remedies;

/// Every finding about an image on some nodes that its documents and files tell.
#[must_use]
pub fn all(reference: &Reference, image: Image<'_>, nodes: &[Node]) -> Vec<Finding> {
    let mut findings = index::check(reference, image, nodes);
    findings.extend(node::check(image, nodes));
    for contents in image.contents {
        let takes = |node: &&Node| image.taken(node).as_ref() == Some(&contents.path);
        let takers: Vec<&Node> = nodes.iter().filter(takes).collect();
        findings.extend(binary::check(reference, contents, &takers));
        findings.extend(files::check(contents));
    }
    without_echoes(findings)
}

/// Drops what another finding says better: where the program itself was looked at, what index and
/// config say of each other is a part of that.
fn without_echoes(findings: Vec<Finding>) -> Vec<Finding> {
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

/// Bytes of a platform in a message; what documents name is not bounded otherwise.
const PLATFORM: usize = 80;

/// A platform in a message, on one line.
fn shown(platform: &Platform) -> String {
    text::one_line(&platform.to_string(), PLATFORM)
}
