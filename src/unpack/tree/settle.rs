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

use super::dress::{DEFAULT_ACL, Place};
use super::path::{ResolveError, resolve, split};
use super::spine::{Spine, link_at};
use super::{Fate, Grown, Implied, Shown, TreeError};

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
/// which containerd takes for an error as well; [`TreeError::Inherited`] where the layer has
/// to be unpacked by containerd itself.
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
        let lower = self.nearest(path)?;
        if implied.fate == Fate::Replaced {
            return Ok(());
        }
        let fail = |errno| TreeError::io("settle", path, errno);
        let (parent, base) = split(path);
        self.spine.enter(parent).map_err(|stopped| fail(stopped.errno))?;
        let dir = openat(self.spine.here(), base, READ, Mode::empty()).map_err(fail)?;
        let Some(lower) = lower else {
            let group = self.groups.get(parent).filter(|_| implied.is_nested && implied.fate == Fate::Kept);
            return group.map_or(Ok(()), |gid| Place::Open(dir.as_fd()).chown(u32::MAX, *gid).map_err(fail));
        };
        let lower = openat(&lower, ".", READ, Mode::empty()).map_err(fail)?;
        let stat = fstat(&lower).map_err(fail)?;
        if stat.st_mode & SETGID != 0 {
            self.groups.insert(path, stat.st_gid);
        }
        if implied.fate == Fate::Kept {
            resemble(&dir, &stat).map_err(fail)?;
        }
        if fgetxattr(&lower, DEFAULT_ACL, &mut [0; 0]).is_ok() && !is_empty(&dir).map_err(fail)? {
            return Err(TreeError::Inherited { path: Shown::new(path) });
        }
        copy_attributes(&lower, &dir, implied).map_err(fail)
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
    if is_changed && implied.fate == Fate::Explicit { Place::Open(to.as_fd()).chmod(mode) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::core::error::{Blame, Classify};
    use crate::unpack::tree::tests::support::{Made, Whole, dir, entry, file, grown, must_be_root, symlink as link};
    use crate::unpack::tree::{Whiteouts, remove};

    const BASE: RootMeta = RootMeta { mode: 0o755, uid: 0, gid: 0 };

    /// Settles `upper` on `lowers`, nearest first.
    fn settled(upper: &[Made], lowers: &[&Whole]) -> Result<Whole, TreeError> {
        let tree = grown(upper);
        let lowers: Vec<PathBuf> = lowers.iter().map(|lower| lower.root().to_path_buf()).collect();
        settle(tree.root(), &tree.grown, &lowers, BASE).map(|()| tree)
    }

    fn looks(tree: &Whole, name: &str) -> (u32, u32, u32) {
        let stat = std::fs::symlink_metadata(tree.path(name)).expect("is there");
        (stat.mode() & MODE, stat.uid(), stat.gid())
    }

    fn changed(tree: &Whole, name: &str) -> i64 {
        std::fs::symlink_metadata(tree.path(name)).expect("is there").mtime()
    }

    #[test]
    fn implied_directories_resemble_those_of_the_nearest_layer() {
        must_be_root();
        let bottom = grown(&[
            dir("a").mode(0o700).owner(1, 2).times(5, 6),
            dir("a/b").mode(0o1711).owner(3, 4).times(7, 8).xattr("user.note", "kept").xattr("user.two", "2"),
            dir("o").mode(0o750).owner(5, 6).times(9, 10),
            dir("x").mode(0o500).owner(9, 9).xattr("user.note", "lower").xattr("user.two", "lower"),
        ]);
        let middle = grown(&[dir("a").mode(0o711).owner(8, 8).times(5, 6), file("n", "a file")]);
        let opaque = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(bottom.path("o"), "trusted.overlay.opaque", b"y", opaque).expect("marks");
        let upper = [
            file("a/b/f", ""),
            file("o/.wh..wh..opq", ""),
            file("x/f", ""),
            dir("x").mode(0o2770).owner(1, 1).times(3, 3).xattr("user.note", "upper"),
            file("new/f", ""),
            file("n/f", ""),
        ];
        let tree = settled(&upper, &[&middle, &bottom]).expect("settles");
        assert_eq!(looks(&tree, "a"), (0o711, 8, 8), "the nearest counts");
        assert_eq!(looks(&tree, "a/b"), (0o1711, 3, 4), "even if it is not the same for all");
        assert_eq!(tree.xattr("a/b", "user.note"), Some(b"kept".to_vec()));
        assert!(changed(&tree, "a/b") > 1_000_000, "it was changed when it got a child");
        assert_eq!((looks(&tree, "o"), changed(&tree, "o")), ((0o750, 5, 6), 9), "nothing was made in it");
        assert_eq!(tree.xattr("o", "trusted.overlay.opaque"), Some(b"y".to_vec()), "its own");
        assert_eq!((looks(&tree, "x"), changed(&tree, "x")), ((0o2770, 1, 1), 3), "what has an entry keeps its looks");
        assert_eq!(tree.xattr("x", "user.note"), Some(b"upper".to_vec()));
        assert_eq!(tree.xattr("x", "user.two"), Some(b"lower".to_vec()), "attributes came before the entry did");
        assert_eq!(looks(&tree, "new"), (0o755, 0, 0));
        assert_eq!(looks(&tree, "n"), (0o755, 0, 0), "a file is nothing to take from, nor is what lies below it");
        let without = settled(&[file("o/f", "")], &[&bottom]).expect("settles");
        assert_eq!(without.xattr("o", "trusted.overlay.opaque"), None, "only administrators may set it");
    }

    #[test]
    fn links_in_the_layers_below_are_followed_inside_them() {
        must_be_root();
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o777)).expect("changes");
        let lower = grown(&[
            dir("usr/lib").mode(0o711).owner(1, 1),
            link("lib", "usr/lib"),
            link("up", "../../../../usr/lib"),
            link("circle", "circle"),
        ]);
        symlink(outside.path(), lower.path("out")).expect("links");
        let tree = settled(&[file("lib/f", ""), file("up/f", ""), file("out/f", "")], &[&lower]).expect("settles");
        assert_eq!(looks(&tree, "lib"), (0o711, 1, 1));
        assert_eq!(looks(&tree, "up"), (0o711, 1, 1));
        assert_eq!(looks(&tree, "out"), (0o755, 0, 0), "there is no such directory inside");
        let error = settled(&[file("circle/f", "")], &[&lower]).err().expect("cannot be looked up");
        assert!(matches!(error, TreeError::Lower { .. }), "{error}");
    }

    #[test]
    fn what_lies_below_a_file_there_is_refused() {
        must_be_root();
        let lower = grown(&[file("a", "a file"), file(".wh.gone", "")]);
        for upper in
            [vec![file("a/b/c", "")], vec![file("gone/b/c", "")], vec![file("a/b/c", ""), file("a", "replaced since")]]
        {
            let error = settled(&upper, &[&lower]).err().expect("containerd refuses it");
            assert!(matches!(error, TreeError::Lower { .. }), "{error}");
            assert_eq!(error.blame(), Blame::Image);
        }
        settled(&[file("gone/b", ""), file("a/b", "")], &[&lower]).expect("one step less is fine");
    }

    #[test]
    fn groups_that_were_copied_are_passed_on() {
        must_be_root();
        let lower = grown(&[dir("g").mode(0o2755).owner(0, 50)]);
        let upper = [file("g/in/f", ""), dir("g").mode(0o755), file("g/after/f", ""), file("g/f", "")];
        let tree = settled(&upper, &[&lower]).expect("settles");
        assert_eq!(looks(&tree, "g"), (0o755, 0, 0));
        assert_eq!(looks(&tree, "g/in"), (0o755, 0, 50), "made while the directory was as it is below");
        assert_eq!(looks(&tree, "g/after"), (0o755, 0, 0), "made after its entry came");
        assert_eq!(looks(&tree, "g/f"), (0o644, 0, 0), "entries have groups of their own");
    }

    #[test]
    fn lists_that_should_have_been_passed_on_are_noticed() {
        must_be_root();
        let lower = grown(&[dir("acl"), dir("x")]);
        // What setfacl -d -m o::- writes.
        let acl = [
            [2, 0, 0, 0].as_slice(),
            &[1, 0, 7, 0, 255, 255, 255, 255],
            &[4, 0, 5, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(lower.path("acl"), DEFAULT_ACL, &acl, flags).expect("the file system has lists");
        let error = settled(&[file("acl/f", "")], &[&lower]).err().expect("the file has no such list");
        assert!(matches!(error, TreeError::Inherited { .. }), "{error}");
        let tree =
            settled(&[file("acl/.wh..wh..opq", ""), file("x/f", "")], &[&lower]).expect("nothing was made in it");
        assert_eq!(tree.xattr("acl", "system.posix_acl_default"), Some(acl));
    }

    #[test]
    fn the_root_is_as_the_snapshotter_made_it() {
        must_be_root();
        let tree = grown(&[dir("./").mode(0o111).owner(7, 7), entry("p", crate::unpack::archive::Kind::Fifo)]);
        let base = RootMeta { mode: 0o1750, uid: 3, gid: 4 };
        settle(tree.root(), &tree.grown, &[], base).expect("settles");
        assert_eq!(looks(&tree, ""), (0o1750, 3, 4));
        let lowers = [tree.path("missing")];
        let plain = crate::unpack::tree::tests::support::attempt(Whiteouts::Plain, &[file("a/b", "")]).expect("grows");
        settle(plain.root(), &plain.grown, &lowers, BASE).expect("a bottom layer looks at nothing");
        remove(&plain.path("a")).expect("removes");
    }
}
