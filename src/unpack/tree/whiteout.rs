//! Whiteouts: entries that hide or remove something instead of bringing it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, XattrFlags, mknodat, openat};
use rustix::io::Errno;

use super::dress::Place;
use super::path::join;
use super::remove::remove_at;
use super::{Shown, Tree, TreeError, Whiteouts};
use crate::unpack::archive::Entry;

const PREFIX: &[u8] = b".wh.";
/// Hides everything that the layers below have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &[u8] = b"trusted.overlay.opaque";

/// The paths that entries made, as far as an opaque whiteout has to know: by their hash,
/// which takes a tenth of the memory. What is there and not among them was implied.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    hasher: RandomState,
    paths: HashSet<u64>,
}

impl Unpacked {
    pub(super) fn insert(&mut self, parent: &[u8], base: &[u8]) {
        self.paths.insert(self.hasher.hash_one((parent, base)));
    }

    fn contains(&self, parent: &[u8], base: &[u8]) -> bool {
        self.paths.contains(&self.hasher.hash_one((parent, base)))
    }
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
        let mut pending = vec![self.spine.path().to_vec()];
        while let Some(path) = pending.pop() {
            let kept = self.keep_unpacked_in(&path).map_err(|errno| TreeError::io("apply", &entry.path, errno))?;
            pending.extend(kept);
        }
        self.is_rebuilt = true;
        self.alias = None;
        Ok(())
    }

    /// Does so in one directory, and tells those below it that stay.
    fn keep_unpacked_in(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(self.spine.reach(path)?, ".", flags, Mode::empty())?;
        let mut kept = Vec::new();
        for child in Dir::read_from(&dir)? {
            let child = child?;
            let name = child.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if !self.unpacked.contains(path, name) {
                remove_at(rustix::fd::AsFd::as_fd(&dir), name)?;
            } else if is_directory(&dir, &child)? {
                kept.push(join(path, name));
            }
        }
        Ok(kept)
    }
}

fn is_directory(dir: &rustix::fd::OwnedFd, child: &rustix::fs::DirEntry) -> Result<bool, Errno> {
    match child.file_type() {
        FileType::Unknown => {
            let stat = rustix::fs::statat(dir, child.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        }
        kind => Ok(kind == FileType::Directory),
    }
}
