//! Whiteouts: entries that hide or remove something instead of bringing it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, XattrFlags, mknodat, openat, statat};
use rustix::io::Errno;

use super::dress::Place;
use super::path::join;
use super::remove::remove_at;
use super::{Shown, Tree, TreeError, Whiteouts};
use crate::unpack::archive::Entry;

const PREFIX: &[u8] = b".wh.";
/// Hides everything that the layers below have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
pub(super) const OPAQUE_ATTRIBUTE: &[u8] = b"trusted.overlay.opaque";
const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Which directories an opaque whiteout of a bottom layer keeps: those whose path an entry had,
/// whatever it was then. Anything else than a directory is there because an entry made it, so
/// it only counts once it is gone and a directory may take its place. Paths are known by
/// their hash, which takes a tenth of the memory.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    hasher: RandomState,
    paths: HashSet<u64>,
}

impl Unpacked {
    /// Adds a path; `false` if it is known.
    fn insert(&mut self, parent: &[u8], base: &[u8]) -> bool {
        self.paths.insert(self.hasher.hash_one((parent, base)))
    }

    fn contains(&self, parent: &[u8], base: &[u8]) -> bool {
        self.paths.contains(&self.hasher.hash_one((parent, base)))
    }
}

/// Something in a directory that is walked.
struct Child<'a> {
    parent: &'a [u8],
    dir: BorrowedFd<'a>,
    name: &'a [u8],
    is_directory: bool,
}

impl Tree {
    /// Does what an entry asks for if it is a whiteout, whatever its type, in the directory at
    /// hand; `false` if it is none.
    pub(super) fn whiteout(&mut self, base: &[u8], entry: &Entry) -> Result<bool, TreeError> {
        let Some(hidden) = base.strip_prefix(PREFIX) else { return Ok(false) };
        if base == OPAQUE {
            match self.style {
                Whiteouts::Overlay => self.make_opaque(entry)?,
                Whiteouts::Plain => self.keep_unpacked(entry)?,
            }
            return Ok(true);
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(TreeError::WhiteoutName { path: Shown::new(&entry.path) });
        }
        match self.style {
            Whiteouts::Overlay => self.hide(hidden, entry)?,
            Whiteouts::Plain => self.clear(hidden, &entry.path)?,
        }
        Ok(true)
    }

    fn make_opaque(&self, entry: &Entry) -> Result<(), TreeError> {
        let dir = Place::Name(self.spine.here(), b".");
        dir.set_xattr(OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())
            .map_err(|errno| TreeError::io("mark as opaque the directory of", &entry.path, errno))
    }

    /// The device that overlayfs takes for a whiteout. Only its owner comes from the entry.
    fn hide(&self, hidden: &[u8], entry: &Entry) -> Result<(), TreeError> {
        match mknodat(self.spine.here(), hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(TreeError::WhiteoutOfOwn { path: Shown::new(&entry.path) }),
            Err(errno) => return Err(TreeError::io("create", &entry.path, errno)),
        }
        if self.fresh.owns(entry.uid, entry.gid) {
            return Ok(());
        }
        Place::Name(self.spine.here(), hidden)
            .chown(entry.uid, entry.gid)
            .map_err(|errno| TreeError::io("change the owner of", &entry.path, errno))
    }

    /// Removes what no entry made from the directory at hand and from those below it that stay.
    fn keep_unpacked(&mut self, entry: &Entry) -> Result<(), TreeError> {
        self.walk(self.spine.path().to_vec(), &entry.path, &mut |tree, child| {
            if !child.is_directory || tree.unpacked.contains(child.parent, child.name) {
                return Ok(child.is_directory);
            }
            tree.note_below(join(child.parent, child.name), &entry.path)?;
            remove_at(child.dir, child.name).map_err(|errno| TreeError::io("apply", &entry.path, errno))?;
            Ok(false)
        })?;
        self.is_rebuilt = true;
        self.alias = None;
        Ok(())
    }

    /// Remembers that an entry had the path of `base` in the directory at hand, in a layer whose
    /// opaque whiteouts ask for that.
    pub(super) fn remember_unpacked(&mut self, base: &[u8]) -> Result<(), TreeError> {
        if self.style == Whiteouts::Plain && self.unpacked.insert(self.spine.path(), base) {
            self.budget.hash()?;
        }
        Ok(())
    }

    /// Remembers so of `base` and all below it, which are about to be removed.
    pub(super) fn note(&mut self, base: &[u8], entry: &[u8]) -> Result<(), TreeError> {
        match statat(self.spine.here(), base, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.note_below(join(self.spine.path(), base), entry)
            }
            Ok(_) => self.remember_unpacked(base),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(TreeError::io("replace", entry, errno)),
        }
    }

    fn note_below(&mut self, path: Vec<u8>, entry: &[u8]) -> Result<(), TreeError> {
        self.walk(path, entry, &mut |tree, child| {
            if !child.is_directory && tree.unpacked.insert(child.parent, child.name) {
                tree.budget.hash()?;
            }
            Ok(child.is_directory)
        })
    }

    /// Looks at everything in the directory `top`, and below where `visit` says so.
    fn walk(
        &mut self,
        top: Vec<u8>,
        entry: &[u8],
        visit: &mut dyn FnMut(&mut Self, &Child<'_>) -> Result<bool, TreeError>,
    ) -> Result<(), TreeError> {
        let fail = |errno| TreeError::io("apply", entry, errno);
        self.budget.remember(&top)?;
        let mut pending = vec![top];
        while let Some(parent) = pending.pop() {
            self.budget.forget(&parent);
            let dir = self.spine.reach(&parent).and_then(|dir| openat(dir, ".", READ, Mode::empty())).map_err(fail)?;
            for child in Dir::read_from(&dir).map_err(fail)? {
                let child = child.map_err(fail)?;
                let name = child.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let is_directory = is_directory(&dir, &child).map_err(fail)?;
                if visit(self, &Child { parent: &parent, dir: dir.as_fd(), name, is_directory })? {
                    let below = join(&parent, name);
                    self.budget.remember(&below)?;
                    pending.push(below);
                }
            }
        }
        Ok(())
    }
}

fn is_directory(dir: &OwnedFd, child: &DirEntry) -> Result<bool, Errno> {
    match child.file_type() {
        FileType::Unknown => {
            let stat = statat(dir, child.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        }
        kind => Ok(kind == FileType::Directory),
    }
}
