//! The merged names of all layers: what a container would see, without unpacking a byte.
//!
//! Layers are applied from the lowest up, as a runtime applies them: later entries replace
//! earlier ones, whiteouts remove what lower layers brought, and a parent directory that
//! is a symbolic link is followed inside the image. Only files and links are kept;
//! directories exist through what is in them.
//!
//! Pure, apart from the readers that [`Tree::read`] is given.
//!
//! Specification: OCI image-spec, layer.md, "Whiteouts".

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::DiagnoseError;
use super::layer::Entries;
use crate::core::limits::Limits;
use crate::unpack::archive::{Entry, Kind};

/// Symbolic links followed for one path; Linux gives up there as well.
const LINKS: usize = 40;
/// What one name costs beside its bytes, rounded up.
const NODE: u64 = 128;

/// The file names of an image.
#[derive(Debug, Default)]
pub struct Tree {
    /// By canonical path: no leading slash, no `.` and `..`, parents resolved.
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Bytes that the nodes took when they came.
    held: u64,
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

impl Tree {
    /// Reads the names of `layers` layers; `open` yields the reader of one, 0 is the lowest.
    ///
    /// # Errors
    /// [`DiagnoseError`] of the first layer that cannot be read to its end.
    pub fn read<R: Read>(
        layers: usize,
        mut open: impl FnMut(usize) -> io::Result<R>,
        limits: &Limits,
    ) -> Result<Self, DiagnoseError> {
        let mut tree = Self::default();
        for index in 0..layers {
            let layer = index + 1;
            let reader = open(index).map_err(|source| DiagnoseError::Read { layer, source })?;
            let mut entries = Entries::open(reader, layer, limits)?;
            let mut position = 0;
            while let Some(entry) = entries.advance()? {
                tree.apply(entry, index, position);
                if tree.held > limits.tree_bytes {
                    return Err(DiagnoseError::TooLarge { layer, what: "file names", limit: limits.tree_bytes });
                }
                position += 1;
            }
        }
        Ok(tree)
    }

    /// The regular file that a path leads to, through symbolic links.
    #[must_use]
    pub fn file(&self, path: &[u8]) -> Option<FileAt> {
        match self.nodes.get(&self.canonical(path)?)?.target {
            Target::File(file) => Some(file),
            Target::Symlink(_) => None,
        }
    }

    fn apply(&mut self, entry: Entry, layer: usize, position: usize) {
        let Some((parent, name)) = self.locate(&entry.path) else { return };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            match hidden {
                b".wh..opq" => self.remove_below(&parent, layer),
                // Other names of this form are bookkeeping of aufs.
                hidden if hidden.starts_with(b".wh.") => {}
                hidden => self.remove(&join(&parent, hidden), layer),
            }
            return;
        }
        let path = join(&parent, &name);
        let target = match entry.kind {
            Kind::File { size } => Target::File(FileAt { layer, entry: position, mode: entry.mode, size }),
            Kind::Symlink(target) => Target::Symlink(target),
            Kind::HardLink(target) => {
                match self.locate(&target).and_then(|(parent, name)| self.nodes.get(&join(&parent, &name))) {
                    Some(node) => node.target.clone(),
                    None => return,
                }
            }
            // A directory takes the place of a file or link, and merges with a directory.
            Kind::Directory => return drop(self.nodes.remove(&path)),
            // Programs are none of these, but they take the place of one.
            _ => return self.remove(&path, usize::MAX),
        };
        self.remove(&path, usize::MAX);
        self.held += path.len() as u64 + NODE + if let Target::Symlink(text) = &target { text.len() as u64 } else { 0 };
        self.nodes.insert(path, Node { layer, target });
    }

    /// Removes a name and everything below it that came from a layer under `layer`.
    fn remove(&mut self, path: &[u8], layer: usize) {
        if self.nodes.get(path).is_some_and(|node| node.layer < layer) {
            self.nodes.remove(path);
        }
        self.remove_below(path, layer);
    }

    fn remove_below(&mut self, path: &[u8], layer: usize) {
        let below = |last: u8| if path.is_empty() { Vec::new() } else { [path, &[last]].concat() };
        // '0' follows '/': the range holds exactly the paths that continue with a slash.
        let (from, to) = (below(b'/'), below(b'/' + 1));
        let range = self.nodes.range(from..);
        let doomed: Vec<_> = range
            .take_while(|(name, _)| path.is_empty() || **name < to)
            .filter(|(_, node)| node.layer < layer)
            .map(|(name, _)| name.clone())
            .collect();
        for name in doomed {
            self.nodes.remove(&name);
        }
    }

    /// The canonical parent of a path, and its last component; `None` for the root itself.
    fn locate(&self, path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut components: Vec<&[u8]> = Vec::new();
        for component in split(path) {
            match component {
                b".." => drop(components.pop()),
                component => components.push(component),
            }
        }
        let name = components.pop()?.to_vec();
        Some((self.canonical(&components.join(&b'/'))?, name))
    }

    /// Follows every symbolic link of a path, never out of the image; `None` in a loop.
    fn canonical(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut pending: Vec<Vec<u8>> = split(path).rev().map(Into::into).collect();
        let mut at: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&at, &component);
            match self.nodes.get(&next).map(|node| &node.target) {
                Some(Target::Symlink(target)) => {
                    links += 1;
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

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.into() } else { [parent, b"/", name].concat() }
}

#[cfg(test)]
mod tests;
