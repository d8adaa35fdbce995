//! From facts to findings. Every check is a function of plain values: no I/O, no clock.
//!
//! One cause makes one finding that says so; what cannot be known is not guessed, and no check
//! speaks where only a part of what it needs was read.

use super::finding::Finding;
use super::fleet::Image;
use super::runs::Node;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text;

pub mod binary;
mod echoes;
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
        let mut own = binary::check(reference, contents, &takers);
        own.extend(files::check(contents));
        findings.extend(echoes::folded(contents, own));
    }
    echoes::dropped(findings)
}

/// Bytes of a platform in a message; what documents name is not bounded otherwise.
const PLATFORM: usize = 80;

/// A platform in a message, on one line.
fn shown(platform: &Platform) -> String {
    text::one_line(&platform.to_string(), PLATFORM)
}
