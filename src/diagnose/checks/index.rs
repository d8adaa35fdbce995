//! What an index says, held against itself, against the configs, and against what clients make of
//! it. Of programs nothing is asked here but their architecture; what they need beyond that is for
//! the check of binaries.

mod choice;
mod labels;
mod names;
mod shape;
#[cfg(test)]
mod tests;

use serde_json::json;

pub(in crate::diagnose) use shape::missing;

use super::shown;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select::{self, EntryPath};
use crate::core::text;
use crate::diagnose::contents::Contents;
use crate::diagnose::finding::{Evidence, Finding};
use crate::diagnose::fleet::Image;
use crate::diagnose::runs::Node;

/// Bytes of what a document says in a piece of evidence.
const QUOTED: usize = 320;

/// Platforms, entries and commands' operands that one finding speaks of. Public indexes have
/// thirty platforms at the most.
const MOST: usize = 40;

/// The findings of one reference. Those about a node carry its name.
#[must_use]
pub fn check(reference: &Reference, image: Image<'_>, nodes: &[Node]) -> Vec<Finding> {
    let mut findings = shape::check(reference, image);
    findings.extend(labels::check(reference, image));
    findings.extend(names::check(reference, image));
    // Where nothing is left to choose from, that is said once and not for every node.
    if shape::has_images(image) {
        findings.extend(nodes.iter().flat_map(|node| choice::check(reference, image, node)));
    }
    findings
}

/// `entry 1`, `entry 0.2`.
fn entry(path: &[usize]) -> String {
    format!("entry {}", path.iter().map(usize::to_string).collect::<Vec<_>>().join("."))
}

/// What the index says of an entry.
fn declared(image: Image<'_>, path: &[usize]) -> Evidence {
    let platform = select::at(image.entries, path).and_then(|entry| entry.descriptor.platform.as_ref());
    let what = match platform {
        Some(platform) => format!("{} declares {}", entry(path), json!(platform)),
        None => format!("{} declares no platform", entry(path)),
    };
    let index = path.split_last().and_then(|(_, parent)| select::at(image.entries, parent));
    let digest = index.map_or(image.root, |index| &index.descriptor).digest.clone();
    Evidence { what: text::one_line(&what, QUOTED), digest: Some(digest), verified: true, ..Evidence::default() }
}

/// What a config says of its image.
fn configured(contents: &Contents) -> Evidence {
    let what = format!("the config names {}", json!(contents.config.platform));
    let digest = Some(contents.manifest.config.digest.clone());
    Evidence { what: text::one_line(&what, QUOTED), digest, verified: true, ..Evidence::default() }
}

/// The architecture that the program behind an entry is built for.
fn built_for(image: Image<'_>, path: &[usize]) -> Option<&'static str> {
    image.contents_at(path)?.binary()?.1.architecture()
}

/// Places of all images; the root's own is empty.
fn images(image: Image<'_>) -> Vec<EntryPath> {
    if image.lone().is_some() { vec![EntryPath::new()] } else { select::images(image.entries) }
}

/// The platforms of all images, each once, in the order of the index. An index may list hundreds.
fn platforms(image: Image<'_>) -> Vec<Platform> {
    let mut unique: Vec<Platform> = Vec::new();
    for platform in images(image).iter().filter_map(|path| image.claimed(path)) {
        if unique.len() < MOST && !unique.contains(&platform) {
            unique.push(platform);
        }
    }
    unique
}

/// They in a message.
fn listed(image: Image<'_>) -> String {
    let names: Vec<String> = platforms(image).iter().map(shown).collect();
    match names.as_slice() {
        [] => "entries without platform".into(),
        names => names.join(", "),
    }
}
