//! What a tree takes from the layers below, once they are there: nothing but the looks of
//! the directories that it implies.
//!
//! containerd copies owner, mode, times and attributes when it makes such a directory, and
//! then goes on. So an entry that came later still counts, the time of change stays where
//! children came later, and a group that a directory passes on comes from what was copied.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, Dir, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags, fgetxattr, flistxattr, fstat, openat,
};
use rustix::io::Errno;

use super::dress::Place;
use super::path::{ResolveError, resolve, split};
use super::spine::{Spine, link_at};
use super::{Grown, Implied, Shown, TreeError};

/// A directory that can be read and given attributes.
const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Bytes of one attribute's value, and of the list of all names: Linux allows no more.
const ATTRIBUTE: usize = 64 * 1024;
const MODE: u32 = 0o7777;
const SETGID: u32 = 0o2000;

/// What the snapshotter gave the directory that a tree takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootMeta {
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Gives the directories that a tree implies what they have in `lowers`, the directories of
/// the layers below, nearest first, and the root what `base` says. Everyone may enter the
/// tree from then on who may enter the folder around it.
///
/// # Errors
/// [`TreeError`]; [`TreeError::Lower`] where one of the directories lies below a file there,
/// which containerd takes for an error as well.
pub fn settle(root: &Path, grown: &Grown, lowers: &[PathBuf], base: RootMeta) -> Result<(), TreeError> {
    let mut settling = Settling { spine: Spine::new(open(root)?), lowers, groups: HashMap::new() };
    for implied in &grown.implied {
        settling.adopt(implied)?;
    }
    let fail = |errno| TreeError::io("settle", root.as_os_str().as_bytes(), errno);
    let place = Place::Name(settling.spine.root(), b".");
    place.chown(base.uid, base.gid).map_err(fail)?;
    place.chmod(base.mode).map_err(fail)
}

fn open(path: &Path) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = path.as_os_str().as_bytes();
    openat(CWD, name, flags, Mode::empty()).map_err(|errno| TreeError::io("open", name, errno))
}

struct Settling<'a> {
    spine: Spine,
    lowers: &'a [PathBuf],
    /// Groups that implied directories passed on to what was made in them, by path.
    groups: HashMap<&'a [u8], u32>,
}

/// What a layer has at a path.
enum Found {
    Directory(OwnedFd),
    Other,
    Nothing,
}

impl<'a> Settling<'a> {
    /// Gives one directory its looks.
    fn adopt(&mut self, implied: &'a Implied) -> Result<(), TreeError> {
        let path = implied.path.as_os_str().as_bytes();
        let fail = |errno| TreeError::io("settle", path, errno);
        let (parent, base) = split(path);
        self.spine.enter(parent).map_err(|stopped| fail(stopped.errno))?;
        let dir = openat(self.spine.here(), base, READ, Mode::empty()).map_err(fail)?;
        if let Some(lower) = self.nearest(path)? {
            let lower = openat(&lower, ".", READ, Mode::empty()).map_err(fail)?;
            let stat = fstat(&lower).map_err(fail)?;
            if stat.st_mode & SETGID != 0 {
                self.groups.insert(path, stat.st_gid);
            }
            if !implied.is_explicit {
                resemble(&dir, &stat).map_err(fail)?;
            }
            return copy_attributes(&lower, &dir, implied).map_err(fail);
        }
        match self.groups.get(parent) {
            Some(gid) if !implied.is_explicit => Place::Open(dir.as_fd()).chown(u32::MAX, *gid).map_err(fail),
            _ => Ok(()),
        }
    }

    /// The directory of this path in the nearest layer that has the path; none where it is
    /// something else there.
    fn nearest(&self, path: &[u8]) -> Result<Option<OwnedFd>, TreeError> {
        for lower in self.lowers {
            let fail = |errno: Errno| TreeError::Lower { path: Shown::new(path), source: errno.into() };
            match find(open(lower)?, path).map_err(fail)? {
                Found::Directory(dir) => return Ok(Some(dir)),
                Found::Other => return Ok(None),
                Found::Nothing => {}
            }
        }
        Ok(None)
    }
}

/// What is at `path` below `lower`. Symbolic links, even the last, are followed as in the
/// tree itself.
fn find(lower: OwnedFd, path: &[u8]) -> Result<Found, Errno> {
    let lower = Spine::new(lower);
    match lower.reach(path) {
        Ok(dir) => return Ok(Found::Directory(dir)),
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(Errno::NOTDIR) => {}
        Err(errno) => return Err(errno),
    }
    let path = resolve(path, |at| link_at(lower.root(), at)).map_err(|error| match error {
        ResolveError::TooManyLinks => Errno::LOOP,
        ResolveError::Look(errno) => errno,
    })?;
    match lower.reach(&path) {
        Ok(dir) => Ok(Found::Directory(dir)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        // Its parents are directories, or its links could not have been looked up.
        Err(Errno::NOTDIR) => Ok(Found::Other),
        Err(errno) => Err(errno),
    }
}

/// Owner, mode and times. A directory that got children was changed when it got them.
fn resemble(dir: &OwnedFd, like: &rustix::fs::Stat) -> Result<(), Errno> {
    let is_empty = is_empty(dir)?;
    let place = Place::Open(dir.as_fd());
    place.chown(like.st_uid, like.st_gid)?;
    place.chmod(like.st_mode & MODE)?;
    let spec = |tv_sec, nsec: u64| Timespec { tv_sec, tv_nsec: nsec.cast_signed() };
    let modified =
        if is_empty { spec(like.st_mtime, like.st_mtime_nsec) } else { Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT } };
    place.set_times(&Timestamps { last_access: spec(like.st_atime, like.st_atime_nsec), last_modification: modified })
}

fn is_empty(dir: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Attributes that are not there already, but none that only administrators may set.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd, implied: &Implied) -> Result<(), Errno> {
    let mut names = vec![0; ATTRIBUTE];
    let length = match flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let mode = fstat(to)?.st_mode & MODE;
    let mut is_changed = false;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !name.starts_with(b"trusted.") {
            is_changed |= copy_attribute(from.as_fd(), to.as_fd(), name)?;
        }
    }
    // An access control list changes the mode, which an entry has set since.
    if is_changed && implied.is_explicit { Place::Open(to.as_fd()).chmod(mode) } else { Ok(()) }
}

fn copy_attribute(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let mut value = vec![0; ATTRIBUTE];
    let length = match fgetxattr(from, name, &mut value[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    match Place::Open(to).set_xattr(name, &value[..length], XattrFlags::CREATE) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NODATA | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}
