//! Owner, attributes, permissions and times: what makes a bare file the one in the archive.
//!
//! containerd sets all of them, always, in this order. Here a call is left out only where it
//! could not change a thing: most files of most images belong to root, as all that root
//! makes, and have permissions that the umask leaves alone.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, fstat, fstatvfs, futimens, lsetxattr, mkdirat, openat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{Shown, TreeError};
use crate::unpack::archive::{Entry, Time};

/// An id that tells `lchown` to leave the owner alone.
const KEEP: u32 = u32::MAX;
/// The last moment that counts, 2^63 - 1 nanoseconds after the epoch: what Go can express.
const LAST: Time = Time { seconds: 9_223_372_036, nanos: 854_775_807 };
const EPOCH: Time = Time { seconds: 0, nanos: 0 };
/// Given to a directory, it changes how what is made in it turns out.
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// What an entry says about its file, apart from what it is.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) times: Timestamps,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// Takes `entry` apart.
    pub(super) fn new(entry: Entry) -> (Self, crate::unpack::archive::Kind) {
        let times = times(entry.modified, entry.accessed);
        let Entry { path, kind, mode, uid, gid, xattrs, .. } = entry;
        (Self { path, mode: mode & 0o7777, uid, gid, times, xattrs }, kind)
    }

    /// Whether what is made in this directory inherits from it.
    pub(super) fn is_inherited(&self) -> bool {
        self.mode & 0o2000 != 0 || self.xattrs.iter().any(|(name, _)| name == DEFAULT_ACL)
    }

    fn fail(&self, action: &'static str, errno: Errno) -> TreeError {
        TreeError::io(action, &self.path, errno)
    }
}

/// When a file was read and changed, as containerd sets it: read no earlier than changed, and
/// the epoch for what lies outside of what it can express.
fn times(modified: Time, accessed: Option<Time>) -> Timestamps {
    let bound = |time: Time| if (EPOCH..=LAST).contains(&time) { time } else { EPOCH };
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps {
        last_access: spec(bound(accessed.map_or(modified, |accessed| accessed.max(modified)))),
        last_modification: spec(bound(modified)),
    }
}

/// What a new file gets by itself in this tree, found out by making one.
#[derive(Debug)]
pub(super) struct Fresh {
    uid: u32,
    gid: u32,
    umask: u32,
    /// Cleared where directories pass on something of theirs to what is made in them.
    is_certain: bool,
}

impl Fresh {
    /// Makes a file in a folder of a foreign group in `root`, and removes both.
    pub(super) fn probe(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        const DIR: &str = ".probe";
        const FILE: &str = ".probe/file";
        let own = rustix::process::getegid().as_raw();
        mkdirat(root, DIR, Mode::RWXU)?;
        let is_foreign = chownat(root, DIR, None, Some(Gid::from_raw(own ^ 1)), AtFlags::empty()).is_ok();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let stat = openat(root, FILE, flags, Mode::from_raw_mode(0o777)).and_then(fstat);
        unlinkat(root, FILE, AtFlags::empty())?;
        unlinkat(root, DIR, AtFlags::REMOVEDIR)?;
        let stat = stat?;
        let is_certain = is_foreign && stat.st_gid == own;
        Ok(Self { uid: stat.st_uid, gid: stat.st_gid, umask: 0o777 & !stat.st_mode, is_certain })
    }

    /// From now on nothing is taken for granted.
    pub(super) fn doubt(&mut self) {
        self.is_certain = false;
    }

    /// Whether a new file belongs to this user and group by itself.
    pub(super) fn owns(&self, uid: u32, gid: u32) -> bool {
        self.is_certain && [self.uid, KEEP].contains(&uid) && [self.gid, KEEP].contains(&gid)
    }

    /// Whether what was made with the bits of `mode` that are in `taken` has this mode by itself.
    pub(super) fn permits(&self, mode: u32, taken: u32) -> bool {
        self.is_certain && mode & (self.umask | !taken) == 0
    }
}

/// Where a file is: open, or by name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// A regular file.
    Open(BorrowedFd<'a>),
    /// Anything, in this directory. Never followed where it is a symbolic link.
    Name(BorrowedFd<'a>, &'a [u8]),
}

impl Place<'_> {
    pub(super) fn chown(self, uid: u32, gid: u32) -> Result<(), Errno> {
        let uid = (uid != KEEP).then(|| Uid::from_raw(uid));
        let gid = (gid != KEEP).then(|| Gid::from_raw(gid));
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Name(dir, name) => chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Not for symbolic links, which have no mode of their own and would be followed.
    pub(super) fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Name(dir, name) => chmodat(dir, name, mode, AtFlags::empty()),
        }
    }

    pub(super) fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => futimens(fd, times),
            Self::Name(dir, name) => utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Whether the file system has any room left.
    fn has_room(self) -> bool {
        let (Self::Open(fd) | Self::Name(fd, _)) = self;
        fstatvfs(fd).is_ok_and(|found| found.f_bavail > 0)
    }

    pub(super) fn set_xattr(self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fsetxattr(fd, name, value, flags),
            Self::Name(dir, file) => {
                // There is no such call relative to a directory before Linux 6.13.
                let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
                path.extend_from_slice(file);
                lsetxattr(path, name, value, flags)
            }
        }
    }
}

/// What was there before an entry's owner, attributes, mode and times are set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Was {
    /// Made just now, with those bits of its mode that are set here.
    Made(u32),
    /// A symbolic link, made just now.
    Symlink,
    /// A directory that stays.
    Found(Stat),
    /// Another name of this file.
    Linked(Stat),
}

impl Was {
    fn is_symlink(&self) -> bool {
        match self {
            Self::Symlink => true,
            Self::Linked(stat) => stat.st_mode & 0o170_000 == 0o120_000,
            _ => false,
        }
    }
}

/// Gives what is at `place` everything that `meta` says but its times.
pub(super) fn dress(place: Place<'_>, meta: &Meta, was: Was, fresh: &Fresh) -> Result<(), TreeError> {
    let is_owned = match was {
        Was::Made(_) | Was::Symlink => fresh.owns(meta.uid, meta.gid),
        Was::Found(stat) => [stat.st_uid, KEEP].contains(&meta.uid) && [stat.st_gid, KEEP].contains(&meta.gid),
        // Even one that changes nothing takes the capabilities from a file.
        Was::Linked(_) => false,
    };
    if !is_owned {
        place.chown(meta.uid, meta.gid).map_err(|errno| meta.fail("change the owner of", errno))?;
    }
    for (name, value) in &meta.xattrs {
        set_attribute(place, meta, (name, value))?;
    }
    let is_permitted = match was {
        Was::Made(taken) => fresh.permits(meta.mode, taken),
        Was::Found(stat) => stat.st_mode & 0o7777 == meta.mode,
        Was::Symlink | Was::Linked(_) => false,
    };
    // An access control list among the attributes changes the mode. A symbolic link has none.
    let is_done = was.is_symlink() || is_permitted && meta.xattrs.is_empty();
    if !is_done {
        place.chmod(meta.mode).map_err(|errno| meta.fail("change the mode of", errno))?;
    }
    Ok(())
}

/// Attributes that containerd never sets, or that this kind of file or file system cannot
/// have, are left out as containerd leaves them out.
fn set_attribute(place: Place<'_>, meta: &Meta, (name, value): (&[u8], &[u8])) -> Result<(), TreeError> {
    if name.starts_with(b"trusted.") {
        return Ok(());
    }
    match place.set_xattr(name, value, XattrFlags::empty()) {
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::PERM) if name.starts_with(b"user.") && !holds_user_attributes(place) => Ok(()),
        Err(errno) => {
            let (path, name) = (Shown::new(&meta.path), Shown::new(name));
            // Some file systems say so of a file that has enough of them, too.
            if errno == Errno::NOSPC && place.has_room() {
                return Err(TreeError::Attributes { path, name });
            }
            Err(TreeError::Attribute { path, name, source: errno.into() })
        }
    }
}

/// Only regular files and directories have attributes that users may set.
fn holds_user_attributes(place: Place<'_>) -> bool {
    match place {
        Place::Open(_) => true,
        Place::Name(dir, name) => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| matches!(stat.st_mode & 0o170_000, 0o100_000 | 0o040_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u32) -> Time {
        Time { seconds, nanos }
    }

    #[test]
    fn times_are_bounded_and_read_is_no_earlier_than_changed() {
        let cases = [
            (at(5, 7), None, at(5, 7), at(5, 7)),
            (at(5, 7), Some(at(3, 0)), at(5, 7), at(5, 7)),
            (at(5, 7), Some(at(5, 8)), at(5, 8), at(5, 7)),
            (at(-1, 999_999_999), None, EPOCH, EPOCH),
            (at(-5, 0), Some(at(9, 0)), at(9, 0), EPOCH),
            (LAST, None, LAST, LAST),
            (at(LAST.seconds, LAST.nanos + 1), None, EPOCH, EPOCH),
            (at(5, 0), Some(at(i64::MAX, 0)), EPOCH, at(5, 0)),
            (at(i64::MIN, 0), None, EPOCH, EPOCH),
        ];
        for (modified, accessed, read, changed) in cases {
            let times = times(modified, accessed);
            let tuple = |spec: Timespec| (spec.tv_sec, spec.tv_nsec);
            assert_eq!(tuple(times.last_access), (read.seconds, read.nanos.into()), "{modified:?} {accessed:?}");
            assert_eq!(tuple(times.last_modification), (changed.seconds, changed.nanos.into()), "{modified:?}");
        }
    }

    #[test]
    fn calls_are_left_out_only_where_nothing_could_change() {
        let mut fresh = Fresh { uid: 0, gid: 0, umask: 0o022, is_certain: true };
        for (uid, gid, owns) in [(0, 0, true), (KEEP, 0, true), (0, KEEP, true), (0, 5, false), (1000, 0, false)] {
            assert_eq!(fresh.owns(uid, gid), owns, "{uid}:{gid}");
        }
        for (mode, taken, permits) in [
            (0o644, 0o777, true),
            (0o755, 0o777, true),
            (0o000, 0o777, true),
            (0o664, 0o777, false),
            (0o4755, 0o777, false),
            (0o1755, 0o777, false),
            (0o1755, 0o1777, true),
            (0o1777, 0o1777, false),
            (0o2755, 0o1777, false),
        ] {
            assert_eq!(fresh.permits(mode, taken), permits, "{mode:o}");
        }
        fresh.doubt();
        assert!(!fresh.owns(0, 0) && !fresh.permits(0o644, 0o777));
    }
}
