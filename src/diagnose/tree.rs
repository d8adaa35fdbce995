//! The merged names of all layers: what a container would see, without unpacking a byte.
//!
//! Layers are applied from the lowest up, as a runtime applies them: later entries replace
//! earlier ones, whiteouts remove what lower layers brought, and a parent directory that
//! is a symbolic link is followed inside the image.
//!
//! Pure. Who has read only a part of the names makes a tree of that part: what it finds is
//! there, unless names that were not read hide it.
//!
//! Specification: OCI image-spec, layer.md, "Whiteouts".

use std::collections::BTreeMap;

use super::rootfs::A_DIRECTORY;
use crate::unpack::archive::{Entry, Kind};

/// Symbolic links followed for one path; Linux gives up there as well.
const LINKS: usize = 40;
/// Components of one path, those of links included.
const STEPS: usize = 4096;
/// Bytes of a path (`PATH_MAX`).
const LONGEST: usize = 4096;
/// What one name costs beside its bytes, rounded up.
const NODE: u64 = 128;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry of a layer does to the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As it is spelled in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
}

impl From<Entry> for Name {
    fn from(entry: Entry) -> Self {
        Self { path: entry.path, kind: entry.kind, mode: entry.mode }
    }
}

impl Name {
    /// Bytes in memory that it takes; a [`Tree`] has its own.
    #[must_use]
    pub fn cost(&self) -> u64 {
        let link = if let Kind::Symlink(target) | Kind::HardLink(target) = &self.kind { target.len() } else { 0 };
        NODE + (self.path.len() + link) as u64
    }

    /// The last component, without the prefix of whiteouts.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        let last = split(&self.path).next_back().unwrap_or_default();
        last.strip_prefix(WHITEOUT).unwrap_or(last)
    }

    /// Somebody may want to know what is in it: a program, a script, the distribution's name.
    #[must_use]
    pub fn may_be_asked_for(&self) -> bool {
        self.mode & 0o111 != 0 || self.last() == b"os-release"
    }

    /// It only hides what lower layers brought.
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        split(&self.path).next_back().is_some_and(|last| last.starts_with(WHITEOUT))
    }
}

/// The file names of an image.
#[derive(Debug, Default)]
pub struct Tree {
    /// By canonical path: no leading slash, no `.` and `..`, parents resolved. Directories
    /// need not be here to exist: something below them is enough.
    nodes: BTreeMap<Vec<u8>, Node>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Node {
    /// The layer that brought this name.
    layer: usize,
    target: Target,
}

#[derive(Debug, Clone)]
enum Target {
    File(FileAt),
    Symlink(Vec<u8>),
    Directory,
    Other(&'static str),
}

/// Where the content of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileAt {
    /// Index of the layer, 0 is the lowest.
    pub layer: usize,
    /// Position of its entry in that layer.
    pub entry: usize,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
}

/// Where a path leads to, through symbolic links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The path without symbolic links, as far as they are known; no leading slash.
    pub path: Vec<u8>,
    /// The lowest layer that had a say in it.
    pub lowest: usize,
    /// What is there.
    pub end: End,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A regular file.
    File(FileAt),
    /// Something else, and what it is.
    Other(&'static str),
    /// Nothing.
    Nothing,
    /// Symbolic links that do not end.
    Loop,
}

impl Tree {
    /// Where a path leads to.
    #[must_use]
    pub fn look(&self, path: &[u8]) -> Way {
        let mut lowest = usize::MAX;
        let Some(path) = self.canonical(path, &mut lowest) else {
            return Way { path: Vec::new(), lowest, end: End::Loop };
        };
        let (layer, end) = match self.nodes.get(&path) {
            Some(Node { layer, target: Target::File(file) }) => (*layer, End::File(*file)),
            Some(Node { layer, target: Target::Other(kind) }) => (*layer, End::Other(kind)),
            Some(Node { layer, target: Target::Directory }) => (*layer, End::Other(A_DIRECTORY)),
            Some(Node { layer, target: Target::Symlink(_) }) => (*layer, End::Loop),
            None => match self.below(&path).next() {
                Some((_, node)) => (node.layer, End::Other(A_DIRECTORY)),
                None => (usize::MAX, End::Nothing),
            },
        };
        Way { path, lowest: lowest.min(layer), end }
    }

    /// Every regular file with its path, in order of the paths.
    pub fn files(&self) -> impl Iterator<Item = (&[u8], FileAt)> {
        self.nodes.iter().filter_map(|(path, node)| match node.target {
            Target::File(file) => Some((path.as_slice(), file)),
            _ => None,
        })
    }

    /// Takes the next name of a layer; those of lower layers come before.
    pub fn apply(&mut self, entry: &Name, layer: usize, position: usize) {
        let Some((parent, name)) = self.locate(&entry.path) else { return };
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            match hidden {
                _ if name == OPAQUE => self.remove_below(&parent, layer),
                // Other names of this form are bookkeeping of aufs.
                hidden if hidden.starts_with(WHITEOUT) => {}
                hidden => self.remove(&join(&parent, hidden), layer),
            }
            return;
        }
        let path = join(&parent, &name);
        let target = match &entry.kind {
            Kind::File { size } => Target::File(FileAt { layer, entry: position, mode: entry.mode, size: *size }),
            Kind::Symlink(target) => Target::Symlink(target.clone()),
            Kind::HardLink(target) => {
                match self.locate(target).and_then(|(parent, name)| self.nodes.get(&join(&parent, &name))) {
                    Some(node) => node.target.clone(),
                    None => return,
                }
            }
            // It takes the place of a file or link, and merges with a directory.
            Kind::Directory => return self.insert(path, Node { layer, target: Target::Directory }),
            Kind::Char { .. } | Kind::Block { .. } => Target::Other("a device"),
            Kind::Fifo => Target::Other("a named pipe"),
            // They stand for nothing, and take the place of what is there.
            Kind::Global | Kind::Unsupported { .. } => return self.remove(&path, usize::MAX),
        };
        self.remove(&path, usize::MAX);
        self.insert(path, Node { layer, target });
    }

    /// Bytes in memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn insert(&mut self, path: Vec<u8>, node: Node) {
        self.take(&path);
        self.bytes += cost(&path, &node);
        self.nodes.insert(path, node);
    }

    fn take(&mut self, path: &[u8]) {
        if let Some(node) = self.nodes.remove(path) {
            self.bytes -= cost(path, &node);
        }
    }

    /// Removes a name and everything below it that came from a layer under `layer`.
    fn remove(&mut self, path: &[u8], layer: usize) {
        if self.nodes.get(path).is_some_and(|node| node.layer < layer) {
            self.take(path);
        }
        self.remove_below(path, layer);
    }

    fn remove_below(&mut self, path: &[u8], layer: usize) {
        let of_lower = self.below(path).filter(|(_, node)| node.layer < layer);
        let doomed: Vec<_> = of_lower.map(|(name, _)| name.clone()).collect();
        for name in doomed {
            self.take(&name);
        }
    }

    fn below<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Node)> {
        let below = |last: u8| if path.is_empty() { Vec::new() } else { [path, &[last]].concat() };
        // '0' follows '/': the range holds exactly the paths that continue with a slash.
        let (from, to) = (below(b'/'), below(b'/' + 1));
        self.nodes.range(from..).take_while(move |(name, _)| path.is_empty() || **name < to)
    }

    /// The canonical parent of a path, and its last component; `None` for the root itself.
    fn locate(&self, path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut components = plain(path);
        let name = components.pop()?.to_vec();
        Some((self.canonical(&components.join(&b'/'), &mut 0)?, name))
    }

    /// Follows every symbolic link of a path, never out of the image; `None` in a loop. Takes
    /// note of the lowest layer that one of them is from.
    fn canonical(&self, path: &[u8], lowest: &mut usize) -> Option<Vec<u8>> {
        let mut pending: Vec<Vec<u8>> = split(path).rev().map(Into::into).collect();
        let mut at: Vec<u8> = Vec::new();
        let (mut links, mut steps) = (0, 0);
        while let Some(component) = pending.pop() {
            steps += 1;
            // Linux opens no longer path either, and links multiply what is short in the archive.
            if steps > STEPS || at.len() > LONGEST {
                return None;
            }
            if component == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&at, &component);
            match self.nodes.get(&next) {
                Some(Node { layer, target: Target::Symlink(target) }) => {
                    links += 1;
                    *lowest = (*lowest).min(*layer);
                    if links > LINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    pending.extend(split(target).rev().map(Into::into));
                }
                _ => at = next,
            }
        }
        Some(at)
    }
}

fn cost(path: &[u8], node: &Node) -> u64 {
    let target = if let Target::Symlink(target) = &node.target { target.len() } else { 0 };
    NODE + (path.len() + target) as u64
}

/// A path as it is spelled, without `.`, `..` and slashes that say nothing.
#[must_use]
pub fn normal(path: &[u8]) -> Vec<u8> {
    plain(path).join(&b'/')
}

fn plain(path: &[u8]) -> Vec<&[u8]> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in split(path) {
        match component {
            b".." => drop(components.pop()),
            component => components.push(component),
        }
    }
    components
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.into() } else { [parent, b"/", name].concat() }
}

#[cfg(test)]
mod tests;
