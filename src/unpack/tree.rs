//! One layer's entries become a tree of files, in a private directory that no snapshot names.
//!
//! The tree is what containerd's own applier would have put into the directory of an overlay
//! snapshot, in every path, type, byte, owner, mode, time, link count and attribute; where
//! containerd refuses a layer, so does this. What depends on the layers below is left for
//! [`settle`], once they are there. Nothing here reads archives or knows snapshots.
//!
//! What containerd does, and others would not expect:
//!
//! - What an entry says about the root itself is ignored.
//! - Parents that have no entry of their own are made as `0755` of root, and then resemble
//!   the same directory in the layers below. They keep the time at which they were made,
//!   like everything that they were given a child at.
//! - Symbolic links among the parents are followed within the layer (`path`), even to where
//!   nothing is yet. A hard link finds its target in the same layer or not at all; to a
//!   symbolic link, it is one more name of the link.
//! - An entry replaces what has its path, with all below it; only a directory joins one.
//! - A whiteout is made as it comes. Later entries replace it; after what it hides, it is an
//!   error. Any other name with its prefix, AUFS' own among them, is a whiteout as well.
//! - In the bottom layer nothing lies below: whiteouts remove what the layer itself brought.
//! - The times of a directory are set when all is there, on what its path leads to then.
//!
//! Nothing is synced, and no system call is made that cannot change anything.
//!
//! Specification: OCI image-spec, layer.md; Linux, `Documentation/filesystems/overlayfs.rst`.

mod budget;
mod dates;
mod dress;
mod error;
mod make;
mod path;
mod remove;
mod room;
mod settle;
mod spine;
mod whiteout;

pub use budget::{Account, Share};
pub use error::{Shown, TreeError};
pub use remove::{clear, remove};
pub use room::require_room;
pub use settle::{RootMeta, settle};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, Timestamps, mkdirat, utimensat};
use rustix::io::Errno;

use crate::core::limits::Limits;
use crate::fetch::Memory;
use budget::Budget;
use dates::Dates;
use dress::{Fresh, Place};
use path::{ResolveError, is_within, resolve, split};
use room::Room;
use spine::{Spine, Stopped, link_at};

/// Permissions of a directory that a layer implies.
const IMPLIED_MODE: u32 = 0o755;

/// How a layer hides what lies below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// As overlayfs reads it: a character device 0:0, and an attribute of opaque directories.
    Overlay,
    /// There is nothing below: what the layer itself brought before is removed.
    Plain,
}

/// A directory that a layer has no entry for, or not at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implied {
    /// Relative to the root, without symbolic links.
    pub path: PathBuf,
    /// What came of it.
    pub fate: Fate,
    /// Whether its parent was implied as well when it was made, and may have passed on its group.
    pub is_nested: bool,
}

/// What came of an implied directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No entry came for it.
    Kept,
    /// An entry came for it, whose owner, mode and times count.
    Explicit,
    /// Something else took its place. Nothing is left to do, but containerd looked it up in
    /// the layers below before that, and refused the layer where it could not.
    Replaced,
}

/// A tree that has all of its entries.
#[derive(Debug)]
pub struct Grown {
    /// Directories that depend on the layers below, parents first. Empty for a bottom layer.
    pub implied: Vec<Implied>,
    /// The memory that those take.
    pub memory: Memory,
    /// Entries that were taken, whiteouts among them.
    pub entries: u64,
    /// Bytes of the regular files, holes included.
    pub bytes: u64,
    /// What it has of the image's account.
    pub share: Share,
}

/// A tree that grows with every entry of an archive. Every call blocks as long as the file
/// system does. A tree that is dropped stays on disk; [`remove`] takes it away.
#[derive(Debug)]
pub struct Tree {
    spine: Spine,
    style: Whiteouts,
    fresh: Fresh,
    budget: Budget,
    room: Room,
    /// Of the entry at hand: its clean path.
    name: Vec<u8>,
    /// The last parent that led through symbolic links, as it is spelled and where it leads.
    alias: Option<(Vec<u8>, Vec<u8>)>,
    /// A regular file whose content comes next.
    open: Option<make::OpenFile>,
    dates: Dates,
    /// By clean path: what came of it, and whether it is nested.
    implied: BTreeMap<Vec<u8>, (Fate, bool)>,
    /// What became of the entries, where whiteouts are plain and must know.
    unpacked: whiteout::Unpacked,
    /// Whether something was removed, so that paths may lead elsewhere than before.
    is_rebuilt: bool,
}

impl Tree {
    /// A tree in `root`, an empty directory that nobody else can enter. What it takes of the disk
    /// counts in `share`; what it has to remember is taken from `memory`.
    ///
    /// # Errors
    /// [`TreeError::Io`].
    pub fn create(
        root: &Path,
        style: Whiteouts,
        limits: &Limits,
        (share, memory): (Share, Memory),
    ) -> Result<Self, TreeError> {
        let name = root.as_os_str().as_encoded_bytes();
        let fail = |errno| TreeError::io("use", name, errno);
        let fd: OwnedFd = spine::step(CWD, name).map_err(fail)?;
        let spine = Spine::new(fd);
        let fresh = Fresh::probe(spine.root()).map_err(fail)?;
        Ok(Self {
            spine,
            style,
            fresh,
            budget: Budget::new(limits, (share, memory)),
            room: Room::new(root, limits),
            name: Vec::new(),
            alias: None,
            open: None,
            dates: Dates::new(root),
            implied: BTreeMap::new(),
            unpacked: whiteout::Unpacked::default(),
            is_rebuilt: false,
        })
    }

    /// Sets the times of directories, which are what they should be only now.
    ///
    /// # Errors
    /// [`TreeError`]; [`TreeError::Removed`] where the layer took a directory away again and
    /// left nothing at its path.
    pub fn finish(mut self) -> Result<Grown, TreeError> {
        let (mut dates, mut name) = (self.dates.read().map_err(TreeError::dates)?, Vec::new());
        while let Some(times) = dates.next(&mut name).map_err(TreeError::dates)? {
            self.stamp(&name, &times)?;
        }
        let implied =
            |(path, (fate, is_nested))| Implied { path: PathBuf::from(OsString::from_vec(path)), fate, is_nested };
        let implied: Vec<Implied> = self.implied.into_iter().map(implied).collect();
        let (entries, bytes) = (self.budget.entries(), self.budget.bytes());
        let (share, mut memory) = self.budget.into_parts();
        if implied.is_empty() {
            memory.clear();
        }
        Ok(Grown { implied, memory, entries, bytes, share })
    }

    fn stamp(&mut self, name: &[u8], times: &Timestamps) -> Result<(), TreeError> {
        let fail = |errno| match errno {
            Errno::NOENT => TreeError::Removed { path: Shown::new(name) },
            errno => TreeError::io("set the times of", name, errno),
        };
        let (parent, base) = split(name);
        if !self.is_rebuilt && self.spine.enter(parent).is_ok() {
            return Place::Name(self.spine.here(), base).set_times(times).map_err(fail);
        }
        // Even a link that took the place of the directory is followed.
        let path = self.resolve(name, name)?;
        let (parent, base) = split(&path);
        self.spine.enter(parent).map_err(|stopped| fail(stopped.errno))?;
        let base = if base.is_empty() { b"." } else { base };
        utimensat(self.spine.here(), base, times, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
    }

    /// Goes to the directory that the clean path `parent` leads to, and makes it if it is not
    /// there. `entry` is what the archive says, for errors.
    fn go_to(&mut self, parent: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        if parent == self.spine.path() {
            return Ok(());
        }
        if self.alias.as_ref().is_none_or(|(spelled, _)| spelled != parent) {
            if self.enter(parent, entry)? {
                return Ok(());
            }
            self.alias = Some((parent.to_vec(), self.resolve(parent, entry)?));
        }
        let path = self.alias.as_ref().map(|(_, path)| path.clone()).unwrap_or_default();
        if self.enter(&path, entry)? { Ok(()) } else { Err(TreeError::NotADirectory { path: Shown::new(entry) }) }
    }

    /// Goes to a clean path without following links, and makes what is missing. `false` where
    /// something else than a directory is in the way.
    fn enter(&mut self, path: &[u8], entry: &[u8]) -> Result<bool, TreeError> {
        match self.spine.enter(path) {
            Ok(()) => Ok(true),
            Err(Stopped { errno: Errno::NOTDIR, .. }) => Ok(false),
            Err(Stopped { rest, errno: Errno::NOENT }) => self.imply(&path[rest..], entry).map(|()| true),
            Err(Stopped { errno, .. }) => Err(TreeError::io("open the parent of", entry, errno)),
        }
    }

    /// Makes `missing` directories below the one at hand, and goes there.
    fn imply(&mut self, missing: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        for name in missing.split(|byte| *byte == b'/') {
            self.budget.make()?;
            self.room.make(self.spine.root())?;
            let fail = |errno| TreeError::io("create the parent of", entry, errno);
            mkdirat(self.spine.here(), name, Mode::from_raw_mode(IMPLIED_MODE)).map_err(fail)?;
            if !self.fresh.permits(IMPLIED_MODE, IMPLIED_MODE) {
                Place::Name(self.spine.here(), name).chmod(IMPLIED_MODE).map_err(fail)?;
            }
            let is_nested = self.implied.get(self.spine.path()).is_some_and(|(fate, _)| *fate == Fate::Kept);
            self.spine.descend(name).map_err(fail)?;
            if self.style == Whiteouts::Overlay {
                self.budget.remember(self.spine.path())?;
                self.implied.insert(self.spine.path().to_vec(), (Fate::Kept, is_nested));
            }
        }
        Ok(())
    }

    /// The clean path that `path` leads to.
    fn resolve(&self, path: &[u8], entry: &[u8]) -> Result<Vec<u8>, TreeError> {
        resolve(path, |at| link_at(self.spine.root(), at)).map_err(|error| match error {
            ResolveError::TooManyLinks => TreeError::TooManyLinks { path: Shown::new(entry) },
            ResolveError::Look(errno) => TreeError::io("open the parent of", entry, errno),
        })
    }

    /// Removes what has the name `base` in the directory at hand.
    fn clear(&mut self, base: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        if self.style == Whiteouts::Plain {
            self.note(base, entry)?;
        }
        remove::remove_at(self.spine.here(), base).map_err(|errno| TreeError::io("replace", entry, errno))?;
        self.is_rebuilt = true;
        self.alias = None;
        let path = path::join(self.spine.path(), base);
        let after = self.implied.range_mut(path.clone()..).take_while(|(at, _)| at.starts_with(&path));
        for (_, (fate, _)) in after.filter(|(at, _)| is_within(at, &path)) {
            *fate = Fate::Replaced;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
