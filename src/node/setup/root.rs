//! Files of the node, or of an image of one that is mounted somewhere.
//!
//! Every path is looked up inside the root, symbolic links included: an image's link to
//! `/opt` leads to the image's `/opt`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, fsync, mkdirat, openat, openat2,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::node::NodeError;

/// Configuration files are kilobytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// A folder with more entries holds no configuration.
const MAX_ENTRIES: usize = 1000;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Absent,
    /// A file.
    Text(String),
    /// A symbolic link to a file: somebody else manages it.
    Linked(String),
    /// Something that cannot be read as text, and why not.
    Unreadable(String),
}

impl Content {
    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Linked(text) => Some(text),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    /// Whether the text names something, say an address.
    #[must_use]
    pub fn names(&self, what: &str) -> bool {
        self.text().is_some_and(|text| text.contains(what))
    }
}

/// The root of a file system tree.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
}

impl Root {
    /// Opens the folder that paths start from: `/`, or that of an image.
    ///
    /// # Errors
    /// [`NodeError::File`] where it is no folder.
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| NodeError::file("open", &path.display().to_string(), errno))?;
        Ok(Self { path: path.into(), dir })
    }

    /// Whether this is the machine itself, so that its processes can be asked as well.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.path == Path::new("/")
    }

    /// What is at an absolute path.
    #[must_use]
    pub fn read(&self, path: &str) -> Content {
        let read = || -> Result<Content, String> {
            let (folder, name) = self.parent(path).map_err(|errno| errno.to_string())?;
            let linked = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink());
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match (self.resolve(path, flags), linked) {
                (Ok(file), _) => File::from(file),
                (Err(Errno::NOENT), Err(Errno::NOENT)) => return Ok(Content::Absent),
                (Err(errno), _) => return Err(errno.to_string()),
            };
            if !file.metadata().map_err(|error| error.to_string())?.is_file() {
                return Err("not a file".into());
            }
            let mut text = String::new();
            file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
            if text.len() as u64 > MAX_FILE {
                return Err(format!("larger than {MAX_FILE} bytes"));
            }
            Ok(if linked == Ok(true) { Content::Linked(text) } else { Content::Text(text) })
        };
        match (self.parent(path), read()) {
            (Err(Errno::NOENT | Errno::NOTDIR), _) => Content::Absent,
            (_, Ok(content)) => content,
            (_, Err(reason)) => Content::Unreadable(reason),
        }
    }

    /// Whether there is anything.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.resolve(path, OFlags::PATH | OFlags::CLOEXEC).is_ok()
    }

    /// Names in a folder, sorted; none where there is no folder.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(entries) = self.resolve(path, flags).and_then(Dir::new) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| name != "." && name != "..").take(MAX_ENTRIES).collect();
        names.sort();
        names
    }

    /// Folders above a path that are not there, outermost first.
    #[must_use]
    pub fn missing_folders(&self, path: &str) -> Vec<String> {
        let above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        let mut missing: Vec<String> =
            above.filter(|folder| *folder != "/" && !self.exists(folder)).map(str::to_owned).collect();
        missing.reverse();
        missing
    }

    /// Gives a file its content in one step, with the owner and mode of what was there, else
    /// root's and `mode`. Folders above it are made.
    ///
    /// # Errors
    /// [`NodeError::File`] with what the kernel said.
    pub fn write(&self, path: &str, text: &str, mode: u32) -> Result<(), NodeError> {
        let failed = |errno| NodeError::file("write", path, errno);
        for folder in self.missing_folders(path) {
            let (parent, name) = self.parent(&folder).map_err(failed)?;
            mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
        }
        let (folder, name) = self.parent(path).map_err(failed)?;
        let before = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let temporary = format!(".{name}.lighterman");
        // What a killed run may have left.
        let _ = unlinkat(&folder, &temporary, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(openat(&folder, &temporary, flags, Mode::from_raw_mode(0o600)).map_err(failed)?);
        let put = || -> Result<(), Errno> {
            file.write_all(text.as_bytes()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if let Some(stat) = before {
                fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            }
            fchmod(&file, Mode::from_raw_mode(before.map_or(mode, |stat| stat.st_mode & 0o7777)))?;
            fsync(&file)?;
            renameat(&folder, &temporary, &folder, name)
        };
        let outcome = { put }();
        if outcome.is_err() {
            let _ = unlinkat(&folder, &temporary, AtFlags::empty());
        }
        outcome.map_err(failed)
    }

    /// Removes a file, and those of `folders` that are empty then.
    ///
    /// # Errors
    /// [`NodeError::File`] with what the kernel said.
    pub fn remove(&self, path: &str, folders: &[String]) -> Result<(), NodeError> {
        let failed = |errno| NodeError::file("remove", path, errno);
        let (folder, name) = self.parent(path).map_err(failed)?;
        unlinkat(&folder, name, AtFlags::empty()).map_err(failed)?;
        for made in folders.iter().rev() {
            if let Ok((parent, name)) = self.parent(made) {
                // Somebody else's files may have come.
                let _ = unlinkat(&parent, name, AtFlags::REMOVEDIR);
            }
        }
        Ok(())
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// The folder that a path lies in, and its name there.
    fn parent<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
        let (folder, name) = path.rsplit_once('/').ok_or(Errno::INVAL)?;
        let folder = if folder.is_empty() { "/" } else { folder };
        // Not O_PATH: it is written through and synced.
        Ok((self.resolve(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?, name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().expect("folder");
        let root = Root::open(folder.path()).expect("opens");
        (folder, root)
    }

    #[test]
    fn links_of_an_image_stay_inside_it() {
        let (folder, root) = tree();
        std::fs::create_dir_all(folder.path().join("opt/docker")).expect("creates");
        std::fs::create_dir(folder.path().join("etc")).expect("creates");
        std::fs::write(folder.path().join("opt/docker/daemon.json"), "{}").expect("writes");
        symlink("/opt/docker", folder.path().join("etc/docker")).expect("links");
        symlink("../../../../opt/docker/daemon.json", folder.path().join("etc/linked")).expect("links");
        symlink("/nowhere", folder.path().join("etc/dangling")).expect("links");
        assert_eq!(root.read("/etc/docker/daemon.json"), Content::Text("{}".into()));
        assert_eq!(root.read("/etc/linked"), Content::Linked("{}".into()));
        assert!(matches!(root.read("/etc/dangling"), Content::Unreadable(_)));
        assert!(matches!(root.read("/etc/docker"), Content::Unreadable(_)));
        assert_eq!(root.read("/etc/docker/none"), Content::Absent);
        assert_eq!(root.read("/none/none"), Content::Absent);
        assert_eq!(root.list("/etc/docker"), ["daemon.json"]);
        assert!(!root.is_live());
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_new_one_gets_its_own() {
        let (folder, root) = tree();
        let path = folder.path().join("a/b/file");
        assert_eq!(root.missing_folders("/a/b/file"), ["/a", "/a/b"]);
        root.write("/a/b/file", "one", 0o644).expect("writes");
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o7777, 0o644);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changes");
        std::fs::write(folder.path().join("a/b/.file.lighterman"), "left").expect("writes");
        root.write("/a/b/file", "two", 0o644).expect("writes");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "two");
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o7777, 0o640);
        assert_eq!(root.list("/a/b"), ["file"]);
        root.remove("/a/b/file", &["/a".into(), "/a/b".into()]).expect("removes");
        assert!(!folder.path().join("a").exists());
    }
}
