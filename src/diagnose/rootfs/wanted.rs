//! Which names of a layer may change what a path leads to.

use std::collections::HashSet;

use crate::diagnose::tree::{Name, normal};
use crate::unpack::archive::Kind;

/// Names that matter, and the directories above them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    names: HashSet<Vec<u8>>,
    above: HashSet<Vec<u8>>,
}

impl Wanted {
    pub(super) fn add(&mut self, path: Vec<u8>) {
        if path.is_empty() {
            return;
        }
        let parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        self.above.extend(parents.map(|(at, _)| path[..at].to_vec()));
        self.names.insert(path);
    }

    /// Whether a name that came may lead further. One that only hides something does not.
    pub(super) fn concerns(&self, name: &Name) -> bool {
        let path = normal(&name.path);
        let may_lead = !matches!(name.kind, Kind::Directory);
        !name.is_whiteout() && (self.names.contains(&path) || (may_lead && self.above.contains(&path)))
    }
}

/// Whether a layer has a name that may turn out to be the same file, once it is known which
/// directories are symbolic links.
pub(super) fn may_be_the_same(names: &[Name], path: &[u8]) -> bool {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    names.iter().any(|name| name.last() == last && normal(&name.path) != path)
}
