//! The way from a tree's root down to the directory at hand, held open.
//!
//! Most entries of an archive lie in the directory of the one before, or next to it, so a
//! step there costs one `openat` or none. Every step is a single name that must be a
//! directory and no symbolic link: however hostile the names, no walk leaves the tree, and
//! no kernel is too old for it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

/// Directories held open from the root down; few images are deeper. Of what is deeper, only
/// the last is held, so that forty layers at once stay below the usual 1024 descriptors.
const HELD: usize = 16;
/// Symbolic links that Linux follows for one path.
const KERNEL_LINKS: usize = 40;

/// To a directory, to work below it: it can neither be read nor be a symbolic link.
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `name` below `dir`.
pub(super) fn step(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, STEP, Mode::empty())
}

/// The root of a tree, and the directory below it that is at hand.
#[derive(Debug)]
pub(super) struct Spine {
    root: OwnedFd,
    levels: Vec<Level>,
    path: Vec<u8>,
}

#[derive(Debug)]
struct Level {
    /// Where its name ends in `path`.
    end: usize,
    /// Closed where it is too deep and not the last.
    fd: Option<OwnedFd>,
}

/// Why the walk ended early; the spine stands at the last directory that it reached.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Where the rest of the path begins: the first name that could not be entered.
    pub(super) rest: usize,
    /// What kept it: `ENOENT` where nothing is there, `ENOTDIR` for anything but a directory.
    pub(super) errno: Errno,
}

impl Spine {
    /// Stands at `root`.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, levels: Vec::new(), path: Vec::new() }
    }

    /// The root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory at hand.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.fd.as_ref()).unwrap_or(&self.root).as_fd()
    }

    /// Its clean path.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Walks to the directory at the clean `path`.
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<(), Stopped> {
        if path == self.path {
            return Ok(());
        }
        let shared = self.shared(path);
        self.retreat(shared).map_err(|errno| Stopped { rest: 0, errno })?;
        let mut at = if self.path.is_empty() { 0 } else { self.path.len() + 1 };
        while at < path.len() {
            let end = name_end(path, at);
            self.descend(&path[at..end]).map_err(|errno| Stopped { rest: at, errno })?;
            at = end + 1;
        }
        Ok(())
    }

    /// One step down, to the directory `name`.
    pub(super) fn descend(&mut self, name: &[u8]) -> Result<(), Errno> {
        let fd = step(self.here(), name)?;
        let is_deep = self.levels.len() > HELD;
        if let Some(last) = self.levels.last_mut().filter(|_| is_deep) {
            last.fd = None;
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.levels.push(Level { end: self.path.len(), fd: Some(fd) });
        Ok(())
    }

    /// Opens the directory at the clean `path` without going there.
    pub(super) fn reach(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let held = self.levels[..self.shared(path)].iter().rfind(|level| level.fd.is_some());
        let (from, mut at) = match held {
            Some(Level { end, fd: Some(fd) }) => (fd, end + 1),
            _ => (&self.root, 0),
        };
        let mut dir = step(from.as_fd(), b".")?;
        while at < path.len() {
            let end = name_end(path, at);
            dir = step(dir.as_fd(), &path[at..end])?;
            at = end + 1;
        }
        Ok(dir)
    }

    /// How many levels `path` has in common with the one at hand.
    fn shared(&self, path: &[u8]) -> usize {
        let mut start = 0;
        let is_shared = |level: &&Level| {
            let is = path.get(start..level.end) == Some(&self.path[start..level.end])
                && matches!(path.get(level.end), None | Some(b'/'));
            start = level.end;
            is
        };
        self.levels.iter().take_while(is_shared).count()
    }

    /// Back to the level so many steps below the root.
    fn retreat(&mut self, levels: usize) -> Result<(), Errno> {
        self.levels.truncate(levels);
        self.path.truncate(self.levels.last().map_or(0, |level| level.end));
        if self.levels.last().is_some_and(|level| level.fd.is_none()) {
            let fd = self.reach(&self.path)?;
            if let Some(last) = self.levels.last_mut() {
                last.fd = Some(fd);
            }
        }
        Ok(())
    }
}

fn name_end(path: &[u8], start: usize) -> usize {
    path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |length| start + length)
}

/// Where the symbolic link at the clean `path` below `root` points, or `None` where there is
/// no link. Links on the way are followed as the kernel follows them, but never out of the
/// root: what a path out of it leads to is taken for nothing.
pub(super) fn link_at(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut dir: Option<OwnedFd> = None;
    let mut depth = 0_usize;
    let mut links = 0;
    let mut pending: VecDeque<Vec<u8>> = names(path).collect();
    while let Some(name) = pending.pop_front() {
        let here = dir.as_ref().map_or(root, AsFd::as_fd);
        if pending.is_empty() {
            return match readlinkat(here, &name, Vec::new()) {
                Ok(target) => Ok(Some(target.into_bytes())),
                Err(Errno::INVAL | Errno::NOENT) => Ok(None),
                Err(errno) => Err(errno),
            };
        }
        if name == b".." {
            let Some(above) = depth.checked_sub(1) else { return Ok(None) };
            depth = above;
            dir = Some(openat(here, "..", STEP, Mode::empty())?);
            continue;
        }
        match step(here, &name) {
            Ok(below) => {
                dir = Some(below);
                depth += 1;
            }
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR) => {
                let target = readlinkat(here, &name, Vec::new()).map_err(|_| Errno::NOTDIR)?.into_bytes();
                links += 1;
                if links > KERNEL_LINKS {
                    return Err(Errno::LOOP);
                }
                if target.starts_with(b"/") {
                    return Ok(None);
                }
                for name in names(&target).rev() {
                    pending.push_front(name);
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// The names in a path; `..` counts, `.` does not.
fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn root(dir: &Path) -> OwnedFd {
        std::fs::File::open(dir).expect("opens").into()
    }

    fn inode(fd: BorrowedFd<'_>) -> u64 {
        rustix::fs::fstat(fd).expect("stats").st_ino
    }

    fn inode_of(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::symlink_metadata(path).expect("stats").ino()
    }

    #[test]
    fn stands_where_it_was_told_to_go_and_holds_few_directories() {
        let dir = tempfile::tempdir().expect("a folder");
        let deep = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join("/");
        for path in [deep.as_str(), "0/1/x", "0/10", "y"] {
            std::fs::create_dir_all(dir.path().join(path)).expect("makes");
        }
        let mut spine = Spine::new(root(dir.path()));
        let steps: Vec<&str> = deep.match_indices('/').map(|(at, _)| &deep[..at]).collect();
        let back = steps.iter().rev().copied();
        let all = [deep.as_str(), "", "0/1/x", "0/10", "0/1", "y", "0/10", deep.as_str(), steps[30], steps[17], "y"];
        for path in all.into_iter().chain(steps.iter().copied()).chain(back) {
            spine.enter(path.as_bytes()).expect("enters");
            assert_eq!(inode(spine.here()), inode_of(&dir.path().join(path)), "{path}");
            assert_eq!(spine.path(), path.as_bytes());
            assert!(spine.levels.iter().filter(|level| level.fd.is_some()).count() <= HELD + 1);
            for other in ["", "0", "0/1/x", deep.as_str(), steps[20]] {
                let there = spine.reach(other.as_bytes()).expect("reaches");
                assert_eq!(inode(there.as_fd()), inode_of(&dir.path().join(other)), "{other} from {path}");
            }
        }
    }

    #[test]
    fn stops_before_what_is_no_directory() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("makes");
        std::fs::write(dir.path().join("a/file"), "x").expect("writes");
        symlink("b", dir.path().join("a/link")).expect("links");
        let mut spine = Spine::new(root(dir.path()));
        for (path, rest, errno) in
            [("a/new/x", 2, Errno::NOENT), ("a/file/x", 2, Errno::NOTDIR), ("a/link", 2, Errno::NOTDIR)]
        {
            let stopped = spine.enter(path.as_bytes()).expect_err("stops");
            assert_eq!((stopped.rest, stopped.errno), (rest, errno), "{path}");
            assert_eq!(spine.path(), b"a", "{path}");
            assert_eq!(spine.reach(path.as_bytes()).err(), Some(errno), "{path}");
        }
    }

    #[test]
    fn links_are_looked_up_inside_the_root_only() {
        let outside = tempfile::tempdir().expect("a folder");
        let dir = outside.path().join("root");
        std::fs::create_dir_all(dir.join("a/b")).expect("makes");
        std::fs::write(dir.join("file"), "x").expect("writes");
        for (target, at) in [
            ("secret", "../link"),
            ("b", "a/link"),
            ("../a", "a/b/up"),
            ("..", "out"),
            ("/", "abs"),
            ("circle", "circle"),
            ("a", "in"),
            ("file", "tofile"),
        ] {
            symlink(target, dir.join(at)).expect("links");
        }
        let root = root(&dir);
        let cases = [
            ("a/link", Ok(Some("b"))),
            ("a/b", Ok(None)),
            ("none", Ok(None)),
            ("none/x", Ok(None)),
            ("file", Ok(None)),
            ("file/x", Err(Errno::NOTDIR)),
            ("tofile/x", Err(Errno::NOTDIR)),
            ("in/link", Ok(Some("b"))),
            ("in/link/up", Ok(Some("../a"))),
            ("a/b/up/b/up", Ok(None)),
            ("out/link", Ok(None)),
            ("abs/link", Ok(None)),
            ("circle/x", Err(Errno::LOOP)),
            ("out", Ok(Some(".."))),
        ];
        for (path, expected) in cases {
            let found = link_at(root.as_fd(), path.as_bytes());
            assert_eq!(found, expected.map(|target| target.map(|text| text.as_bytes().to_vec())), "{path}");
        }
    }
}
