//! Removing what stands in the way, or a whole tree that is not needed any more.
//!
//! Nothing is followed: a symbolic link goes as the link that it is. However deep the tree,
//! few directories are open at a time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fremovexattr, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::TreeError;
use super::whiteout::OPAQUE_ATTRIBUTE;

/// Directories within directories that are open at a time. What is deeper is moved up first.
const DEPTH: usize = 32;
/// Rounds over one directory that bring nothing before we give up: somebody else fills it.
const ROUNDS: usize = 3;

const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the tree at `root` with all that is in it; one that is not there is no error.
///
/// # Errors
/// [`TreeError::Io`].
pub fn remove(root: &Path) -> Result<(), TreeError> {
    match remove_at(CWD, root.as_os_str().as_encoded_bytes()) {
        Ok(()) => Ok(()),
        Err(errno) => Err(TreeError::io("remove", root.as_os_str().as_encoded_bytes(), errno)),
    }
}

/// Makes the directory at `root` as empty as it was before a tree grew in it: what whiteouts
/// told of the directory itself goes as well.
///
/// # Errors
/// [`TreeError::Io`]; some of it is left then.
pub fn clear(root: &Path) -> Result<(), TreeError> {
    let name = root.as_os_str().as_encoded_bytes();
    let cleared = || {
        let dir = openat(CWD, name, READ, Mode::empty())?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                remove_at(dir.as_fd(), entry.file_name().to_bytes())?;
            }
        }
        match fremovexattr(&dir, OPAQUE_ATTRIBUTE) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            removed => removed,
        }
    };
    cleared().map_err(|errno| TreeError::io("empty", name, errno))
}

/// Removes `name` in `dir`, whatever it is, with all that is in it.
pub(super) fn remove_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let top = openat(dir, name, READ, Mode::empty())?;
    let mut removal = Removal { top: top.as_fd(), moved: 0 };
    let mut idle = 0;
    loop {
        let before = removal.moved;
        removal.empty(&top, 0)?;
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) if idle < ROUNDS => idle = if removal.moved > before { 0 } else { idle + 1 },
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

struct Removal<'a> {
    /// Where directories go that lie too deep.
    top: BorrowedFd<'a>,
    moved: u64,
}

impl Removal<'_> {
    fn empty(&mut self, dir: &OwnedFd, depth: usize) -> Result<(), Errno> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            match unlinkat(dir, name, AtFlags::empty()) {
                Err(Errno::ISDIR) if depth < DEPTH => {
                    let below = openat(dir, name, READ, Mode::empty())?;
                    self.empty(&below, depth + 1)?;
                    ignore_absence(unlinkat(dir, name, AtFlags::REMOVEDIR))?;
                }
                Err(Errno::ISDIR) => self.lift(dir, name)?,
                result => ignore_absence(result)?,
            }
        }
        Ok(())
    }

    /// Moves a directory to the top, where the next round finds it.
    fn lift(&mut self, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            match renameat(dir, name, self.top, format!(".deep-{}", self.moved)) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                result => return result,
            }
        }
    }
}

fn ignore_absence(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        // What is not empty yet was filled by a lift, or by somebody else: the next round tells.
        Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn removes_deep_and_wide_trees_and_follows_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("tree");
        let mut deep = root.clone();
        for _ in 0..400 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).expect("makes");
        std::fs::write(deep.join("file"), "x").expect("writes");
        std::fs::write(root.join(".deep-1"), "in the way").expect("writes");
        std::fs::create_dir_all(root.join(".deep-2/full")).expect("makes");
        for n in 0..3000 {
            std::fs::write(root.join(format!("d/{n}")), "").expect("writes");
        }
        std::fs::create_dir(dir.path().join("kept")).expect("makes");
        std::fs::write(dir.path().join("kept/file"), "x").expect("writes");
        symlink("../kept", root.join("link")).expect("links");
        symlink(dir.path().join("kept"), root.join("d/link")).expect("links");
        remove(&root).expect("removes");
        assert!(!root.exists());
        assert!(dir.path().join("kept/file").exists());
        remove(&root).expect("there is nothing left to remove");
        std::fs::create_dir_all(root.join("a/b")).expect("makes");
        std::fs::write(root.join("file"), "x").expect("writes");
        clear(&root).expect("clears");
        assert_eq!(std::fs::read_dir(&root).expect("is there still").count(), 0);
        std::fs::remove_dir(&root).expect("is empty");
        symlink("kept", &root).expect("links");
        remove(&root).expect("removes the link");
        assert!(dir.path().join("kept/file").exists() && !root.is_symlink());
    }
}
