//! One directory of an overlay: its parts in the layers, and what a name in it stands for.
//!
//! Specification: Linux `Documentation/filesystems/overlayfs.rst`, "Directories", "whiteouts and
//! opaque directories", "redirect_dir", "Metadata only copy up".

use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fgetxattr, fstat, fstatfs, openat,
    readlinkat, utimensat,
};
use rustix::io::Errno;

use super::Stop;
use crate::diagnose::DiagnoseError;

/// To whatever is there: it is not opened, and a link is not followed.
const PIN: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// To a directory whose attributes can be read.
const ENTER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// To a regular file. Should it be a pipe by now, nobody waits for its other end.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// `FUSE_SUPER_MAGIC`.
const FUSE: u32 = 0x6573_5546;

/// The extended attributes that an overlay goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// None: there is one directory, which is what it is.
    None,
    /// `trusted.overlay.*`.
    Trusted,
    /// `user.overlay.*`.
    User,
}

/// A directory, in all layers that have a part of it.
#[derive(Debug)]
pub(super) struct Directory {
    /// Which layer, counted from the top, and its part; the highest first.
    parts: Vec<(usize, OwnedFd)>,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Entry {
    /// A directory.
    Directory(Directory),
    /// Anything else.
    Leaf(Leaf),
}

/// Something that is no directory.
#[derive(Debug)]
pub(super) struct Leaf {
    /// The layer that has it, counted from the top.
    pub(super) part: usize,
    /// A regular file is open for reading, anything else only held.
    pub(super) fd: OwnedFd,
    pub(super) kind: FileType,
    /// Permission bits.
    pub(super) mode: u32,
    /// In bytes.
    pub(super) size: u64,
}

impl Directory {
    /// The root, of these directories.
    pub(super) fn open(directories: &[PathBuf]) -> Result<Self, DiagnoseError> {
        let count = directories.len();
        let open = |(part, path): (usize, &PathBuf)| {
            let opened =
                rustix::fs::open(path, ENTER, Mode::empty()).and_then(|fd| match fstatfs(&fd)?.f_type as u32 {
                    FUSE => Err(Errno::OPNOTSUPP),
                    _ => Ok(fd),
                });
            // Layers are counted from the lowest there.
            opened
                .map(|fd| (part, fd))
                .map_err(|errno| DiagnoseError::Read { layer: count - part, source: errno.into() })
        };
        Ok(Self { parts: directories.iter().enumerate().map(open).collect::<Result<_, _>>()? })
    }

    /// What a name in it stands for, if anything.
    pub(super) fn entry(&self, name: &[u8], names: Names) -> Result<Option<Entry>, Stop> {
        let mut parts = Vec::new();
        for (part, fd) in &self.parts {
            let pinned = match openat(fd, name, PIN, Mode::empty()) {
                Ok(pinned) => pinned,
                Err(Errno::NOENT) => continue,
                // No file has such a name.
                Err(Errno::NAMETOOLONG | Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            let stat = fstat(&pinned)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let inside = openat(&pinned, ".", ENTER, Mode::empty())?;
                let ends = is_opaque(&inside, *part, names)?;
                parts.push((*part, inside));
                if ends {
                    break;
                }
            } else if !parts.is_empty() {
                // A directory above hides it, and what is below it.
                break;
            } else if names != Names::None && is_whiteout(&stat) {
                return Ok(None);
            } else {
                let kind = FileType::from_raw_mode(stat.st_mode);
                let fd = match kind {
                    FileType::RegularFile => open_file(fd, name, &stat)?,
                    _ => pinned,
                };
                if kind == FileType::RegularFile {
                    check_plain(&fd, *part, names)?;
                }
                let (mode, size) = (stat.st_mode & 0o7777, u64::try_from(stat.st_size).unwrap_or_default());
                return Ok(Some(Entry::Leaf(Leaf { part: *part, fd, kind, mode, size })));
            }
        }
        Ok((!parts.is_empty()).then_some(Entry::Directory(Self { parts })))
    }
}

impl Leaf {
    /// What a symbolic link says. Its time of access is the layer's, and stays so.
    pub(super) fn target(&self) -> Result<Vec<u8>, Errno> {
        let before = fstat(&self.fd)?;
        let target = readlinkat(&self.fd, "", Vec::new())?.into_bytes();
        let after = fstat(&self.fd)?;
        if (before.st_atime, before.st_atime_nsec) != (after.st_atime, after.st_atime_nsec) {
            let times = Timestamps {
                last_access: Timespec { tv_sec: before.st_atime as _, tv_nsec: before.st_atime_nsec as _ },
                last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            };
            // Where it cannot be put back, the link is as good as it was.
            let _ = utimensat(&self.fd, "", &times, AtFlags::EMPTY_PATH);
        }
        Ok(target)
    }
}

/// Opens the regular file that `seen` is of. Its time of access is the layer's, and stays so
/// where we may ask for that.
fn open_file(directory: &OwnedFd, name: &[u8], seen: &Stat) -> Result<OwnedFd, Errno> {
    let file = match openat(directory, name, READ.union(OFlags::NOATIME), Mode::empty()) {
        Err(Errno::PERM) => openat(directory, name, READ, Mode::empty()),
        opened => opened,
    }?;
    let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
    if identity(&fstat(&file)?) == identity(seen) { Ok(file) } else { Err(Errno::STALE) }
}

/// The device that hides a name in the layers below.
fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether layers below have no part of a directory.
fn is_opaque(directory: &OwnedFd, part: usize, names: Names) -> Result<bool, Stop> {
    // Whether it is followed depends on how it will be mounted.
    if attribute(directory, names, "redirect")?.is_some() {
        return Err(Stop::Odd { part, reason: "a directory was renamed there (overlay.redirect)" });
    }
    Ok(attribute(directory, names, "opaque")? == Some(b'y'))
}

/// Refuses files that stand for something else than they are.
fn check_plain(file: &OwnedFd, part: usize, names: Names) -> Result<(), Stop> {
    for (name, reason) in [
        ("metacopy", "the content of a file is elsewhere (overlay.metacopy)"),
        ("whiteout", "a file may hide another one (overlay.whiteout), depending on the kernel"),
    ] {
        if attribute(file, names, name)?.is_some() {
            return Err(Stop::Odd { part, reason });
        }
    }
    Ok(())
}

/// The first byte of an attribute of overlayfs; 0 for one that is empty.
fn attribute(of: impl AsFd, names: Names, name: &str) -> Result<Option<u8>, Errno> {
    let prefix = match names {
        Names::None => return Ok(None),
        Names::Trusted => "trusted.overlay.",
        Names::User => "user.overlay.",
    };
    let mut value = [0; 256];
    match fgetxattr(of, format!("{prefix}{name}"), &mut value) {
        Ok(_) => Ok(Some(value[0])),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        // There is one, and it is long.
        Err(Errno::RANGE) => Ok(Some(0)),
        Err(errno) => Err(errno),
    }
}
