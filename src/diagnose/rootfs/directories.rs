//! The files of an image that was unpacked: the directories of its layers, merged by hand.
//!
//! Nothing is mounted, so that looking costs a few system calls and needs nothing of the kernel.
//! What overlayfs would show is worked out name by name (`merged`): the highest layer that has
//! one counts, directories merge until one is opaque, whiteouts hide. What could be read
//! in two ways is not read at all.
//!
//! The trees were made by strangers. Every step is a single name below a directory that is held open,
//! never a symbolic link that the kernel follows: links are followed here, and none leaves the
//! image. Only regular files are opened, and only their deciding parts are read.

mod merged;

use rustix::fd::OwnedFd;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{A_DIRECTORY, Cost, File, Look, NotRead, RootFs};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::elf::further;
use crate::core::extract::Extract;
use crate::diagnose::DiagnoseError;
use crate::unpack::{Attributes, Stack};

use merged::{Directory, Entry, Leaf, Names};

/// Symbolic links followed for one path; Linux gives up there as well.
const LINKS: usize = 40;
/// Names walked for one path with all its links. A path has at most 2048, and real ones have few.
const STEPS: usize = 4096;
/// Bytes of a path that Linux takes (`PATH_MAX`), without the zero.
const LONGEST_PATH: usize = 4095;
/// Bytes kept of the start of a file.
const PREFIX: u64 = 4096;

/// The root of an image as its layers' directories make it up.
#[derive(Debug)]
pub struct Directories {
    root: Directory,
    names: Names,
    /// What each part of the root is the content of, the top one first.
    layers: Vec<Digest>,
    cost: Cost,
}

impl Directories {
    /// Opens the directories of an image with these layers, lowest first. Where all of them are in
    /// one directory, `manifest` stands for the layer that a file is from.
    ///
    /// # Errors
    /// [`DiagnoseError::Read`] where one of them cannot be opened, or belongs to a file system that
    /// is a program and need not answer.
    pub fn open(stack: &Stack, layers: &[Descriptor], manifest: &Digest) -> Result<Self, DiagnoseError> {
        let count = stack.directories.len();
        let digests = match count == layers.len() {
            true => layers.iter().rev().map(|layer| layer.digest.clone()).collect(),
            false => vec![manifest.clone(); count],
        };
        let names = match (count, stack.attributes) {
            (1, _) => Names::None,
            (_, Attributes::Trusted) => Names::Trusted,
            (_, Attributes::User) => Names::User,
        };
        let total = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        let root = Directory::open(&stack.directories)?;
        let cost = Cost { total, layers: count, ..Cost::default() };
        Ok(Self { root, names, layers: digests, cost })
    }

    /// Follows a path to its end.
    fn resolve(&self, path: &str) -> Result<End, Stop> {
        if path.len() > LONGEST_PATH {
            return Ok(End::Nothing);
        }
        let mut walk = Walk { from: self, at: None, way: Vec::new(), links: 0, steps: 0 };
        let mut pending = split(path.as_bytes());
        while let Some(name) = pending.pop() {
            if name == b".." {
                walk.up()?;
                continue;
            }
            match walk.step(&name)? {
                Some(Entry::Directory(directory)) => {
                    walk.at = Some(directory);
                    walk.way.push(name);
                }
                Some(Entry::Leaf(leaf)) if leaf.kind == FileType::Symlink => {
                    let target = walk.follow(&leaf)?;
                    pending.extend(split(&target));
                }
                // Something that is no directory has nothing below it.
                Some(Entry::Leaf(leaf)) if pending.is_empty() => {
                    walk.way.push(name);
                    let path = walk.way.join(&b'/');
                    return Ok(End::Leaf(leaf, format!("/{}", String::from_utf8_lossy(&path))));
                }
                Some(Entry::Leaf(_)) | None => return Ok(End::Nothing),
            }
        }
        Ok(End::Directory)
    }

    fn read(&mut self, asked: &str, leaf: &Leaf, path: String) -> Result<File, Errno> {
        let mut content = Extract::new(leaf.size, self.read_part(&leaf.fd, 0, PREFIX.min(leaf.size))?);
        for part in further(content.prefix(), leaf.size) {
            let bytes = self.read_part(&leaf.fd, part.start, part.end.saturating_sub(part.start))?;
            content.add(part.start, bytes);
        }
        Ok(File {
            asked: asked.to_owned(),
            path,
            layer: self.layers[leaf.part].clone(),
            mode: leaf.mode,
            content,
            verified: true,
            certain: true,
        })
    }

    /// Some bytes of a file, fewer where it ends before.
    fn read_part(&mut self, file: &OwnedFd, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let mut have = 0;
        while have < bytes.len() {
            match rustix::io::pread(file, &mut bytes[have..], offset + have as u64) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        bytes.truncate(have);
        self.cost.read += have as u64;
        Ok(bytes)
    }

    fn look_at(&mut self, asked: &str) -> Result<Option<Look>, Stop> {
        let kind = match self.resolve(asked)? {
            End::Nothing => return Ok(None),
            End::Directory => A_DIRECTORY,
            End::Leaf(leaf, path) => match leaf.kind {
                FileType::RegularFile => return Ok(Some(Look::File(self.read(asked, &leaf, path)?))),
                FileType::CharacterDevice | FileType::BlockDevice => "a device",
                FileType::Fifo => "a named pipe",
                FileType::Socket => "a socket",
                _ => "a file of unknown kind",
            },
        };
        Ok(Some(Look::Other { asked: asked.to_owned(), kind }))
    }
}

impl RootFs for Directories {
    fn look(&mut self, paths: &[String]) -> Result<Look, DiagnoseError> {
        for path in paths {
            match self.look_at(path) {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(found),
                Err(Stop::Loop) => return Ok(Look::Loop { asked: path.clone() }),
                Err(Stop::Odd { part, reason }) => {
                    let digest = self.layers[part].clone();
                    return Ok(Look::NotRead(NotRead::Layer { digest, reason: reason.to_owned() }));
                }
                Err(Stop::Failed(errno)) => return Err(DiagnoseError::Read { layer: 1, source: errno.into() }),
            }
        }
        Ok(Look::Absent)
    }

    fn cost(&self) -> Cost {
        self.cost
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// What a path leads to.
enum End {
    Nothing,
    Directory,
    /// Something else, with its path without links.
    Leaf(Leaf, String),
}

/// Why it cannot be said.
enum Stop {
    /// Symbolic links without an end.
    Loop,
    /// What overlayfs would make of it depends on the kernel and its settings.
    Odd { part: usize, reason: &'static str },
    /// The file system failed.
    Failed(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// A path that is being followed.
struct Walk<'a> {
    from: &'a Directories,
    /// The directory at hand; `None` is the root.
    at: Option<Directory>,
    /// The names of the directories from the root to here; none is a link.
    way: Vec<Vec<u8>>,
    links: usize,
    steps: usize,
}

impl Walk<'_> {
    fn step(&mut self, name: &[u8]) -> Result<Option<Entry>, Stop> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(Stop::Loop);
        }
        self.at.as_ref().unwrap_or(&self.from.root).entry(name, self.from.names)
    }

    /// To the directory above, from the root: holding all on the way open would take too many
    /// descriptors.
    fn up(&mut self) -> Result<(), Stop> {
        self.way.pop();
        self.at = None;
        for name in std::mem::take(&mut self.way) {
            match self.step(&name)? {
                Some(Entry::Directory(directory)) => self.at = Some(directory),
                // It was one a moment ago.
                _ => return Err(Errno::STALE.into()),
            }
            self.way.push(name);
        }
        Ok(())
    }

    /// The target of a link, after going to where it starts.
    fn follow(&mut self, link: &Leaf) -> Result<Vec<u8>, Stop> {
        self.links += 1;
        if self.links > LINKS {
            return Err(Stop::Loop);
        }
        let target = link.target()?;
        if target.starts_with(b"/") {
            self.way.clear();
            self.at = None;
        }
        Ok(target)
    }
}

/// The names of a path, the last one first.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.rev().map(Into::into).collect()
}
