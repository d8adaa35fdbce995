//! Makes layers and looks at what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::super::{Account, Grown, Tree, TreeError, Whiteouts};
use crate::core::limits::Limits;
use crate::fetch::Budget;
use crate::unpack::archive::{Entry, Kind, Sink, Time};

/// Fails where the rights are missing that unpacking needs: `tests/run` runs tests as root.
pub(crate) fn must_be_root() {
    assert!(rustix::process::geteuid().is_root(), "this test makes devices and changes owners: run it as root");
}

/// An entry with its content.
#[derive(Debug, Clone)]
pub(crate) struct Made(pub(crate) Entry, pub(crate) Vec<u8>);

pub(crate) fn entry(path: &str, kind: Kind) -> Made {
    let entry = Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        modified: Time { seconds: 0, nanos: 0 },
        accessed: None,
        xattrs: Vec::new(),
    };
    Made(entry, Vec::new())
}

pub(crate) fn file(path: &str, content: &str) -> Made {
    Made(entry(path, Kind::File { size: content.len() as u64 }).0, content.as_bytes().to_vec())
}

pub(crate) fn dir(path: &str) -> Made {
    entry(path, Kind::Directory).mode(0o755)
}

pub(crate) fn symlink(path: &str, target: &str) -> Made {
    entry(path, Kind::Symlink(target.as_bytes().to_vec())).mode(0o777)
}

pub(crate) fn link(path: &str, target: &str) -> Made {
    entry(path, Kind::HardLink(target.as_bytes().to_vec()))
}

impl Made {
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.0.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.0.uid, self.0.gid) = (uid, gid);
        self
    }

    /// When it was changed and read, in seconds.
    pub(crate) fn times(mut self, modified: i64, accessed: i64) -> Self {
        self.0.modified = Time { seconds: modified, nanos: 0 };
        self.0.accessed = Some(Time { seconds: accessed, nanos: 0 });
        self
    }

    pub(crate) fn xattr(mut self, name: &str, value: &str) -> Self {
        self.0.xattrs.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        self
    }

    /// A file of so many bytes, whose content comes otherwise.
    pub(crate) fn sized(mut self, size: u64) -> Entry {
        self.0.kind = Kind::File { size };
        self.0
    }
}

/// A tree that grows, in a folder of its own.
pub(crate) struct Growing {
    folder: tempfile::TempDir,
    pub(crate) tree: Tree,
}

impl Growing {
    pub(crate) fn new(style: Whiteouts) -> Self {
        Self::with(style, &Limits::default())
    }

    pub(crate) fn with(style: Whiteouts, limits: &Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Budget::new(limits.buffer_bytes).memory();
        let share = Account::default().share();
        let tree = Tree::create(folder.path(), style, limits, (share, memory)).expect("an empty folder");
        Self { folder, tree }
    }

    pub(crate) fn add(&mut self, entries: &[Made]) -> Result<(), TreeError> {
        for Made(entry, content) in entries {
            self.tree.entry(entry.clone())?;
            for (number, chunk) in content.chunks(3).enumerate() {
                self.tree.content(number as u64 * 3, chunk)?;
            }
            self.tree.end_entry()?;
        }
        Ok(())
    }

    pub(crate) fn owns(&self, path: &Path) -> bool {
        path.starts_with(self.folder.path())
    }

    pub(crate) fn finish(self) -> Result<Whole, TreeError> {
        let grown = self.tree.finish()?;
        let stats = survey(self.folder.path());
        Ok(Whole { folder: self.folder, grown, stats })
    }
}

pub(crate) fn attempt(style: Whiteouts, entries: &[Made]) -> Result<Whole, TreeError> {
    let mut growing = Growing::new(style);
    growing.add(entries)?;
    growing.finish()
}

pub(crate) fn grown(entries: &[Made]) -> Whole {
    attempt(Whiteouts::Overlay, entries).expect("becomes a tree")
}

pub(crate) fn refused(entries: &[Made]) -> TreeError {
    match attempt(Whiteouts::Overlay, entries) {
        Ok(tree) => panic!("became {:?}", tree.listing()),
        Err(error) => error,
    }
}

/// Paths of the files that this process has open.
pub(crate) fn open_files() -> BTreeSet<PathBuf> {
    let fds = std::fs::read_dir("/proc/self/fd").expect("procfs");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).collect()
}

/// A tree that is whole.
pub(crate) struct Whole {
    folder: tempfile::TempDir,
    pub(crate) grown: Grown,
    /// By path, as they were before anybody read something, which changes the time of it.
    stats: BTreeMap<String, Metadata>,
}

fn survey(root: &Path) -> BTreeMap<String, Metadata> {
    let mut stats = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let stat = std::fs::symlink_metadata(&path).expect("is there");
        if stat.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("reads").map(|entry| entry.expect("reads").path()));
        }
        stats.insert(path.strip_prefix(root).expect("below").to_string_lossy().into_owned(), stat);
    }
    stats.remove("");
    stats
}

impl Whole {
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stat(&self, name: &str) -> &Metadata {
        &self.stats[name]
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.stats.keys().map(String::as_str).collect()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        self.stat(name).mode() & 0o7777
    }

    /// When it was changed and read, in seconds.
    pub(crate) fn times(&self, name: &str) -> (i64, i64) {
        (self.stat(name).mtime(), self.stat(name).atime())
    }

    pub(crate) fn links(&self, name: &str) -> u64 {
        self.stat(name).nlink()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        assert!(self.stat(name).is_file(), "{name} is a file");
        std::fs::read_to_string(self.path(name)).expect("reads")
    }

    pub(crate) fn target(&self, name: &str) -> String {
        std::fs::read_link(self.path(name)).expect("is a link").to_string_lossy().into_owned()
    }

    pub(crate) fn xattr(&self, name: &str, attribute: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(self.path(name), attribute, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// One line for everything: path, type, mode, owner, times, and what its type has.
    pub(crate) fn listing(&self) -> Vec<String> {
        self.stats.keys().map(|name| self.line(name)).collect()
    }

    fn line(&self, name: &str) -> String {
        let stat = self.stat(name);
        let kind = stat.file_type();
        let device = || {
            let number = stat.rdev();
            format!(" {}:{}", rustix::fs::major(number), rustix::fs::minor(number))
        };
        let mode = format!(" {:o}", stat.mode() & 0o7777);
        let content = || format!(" '{}'", self.read(name));
        let links = if stat.nlink() > 1 { format!(" x{}", stat.nlink()) } else { String::new() };
        let times = format!("{}/{}", stat.mtime(), stat.atime());
        let (letter, mode, rest) = if kind.is_dir() {
            ("d", mode, String::new())
        } else if kind.is_symlink() {
            ("l", String::new(), format!(" -> {}", self.target(name)))
        } else if kind.is_fifo() {
            ("p", mode, String::new())
        } else if kind.is_char_device() {
            ("c", mode, device())
        } else if kind.is_block_device() {
            ("b", mode, device())
        } else {
            ("f", mode, links + &content())
        };
        let note = self.xattr(name, "user.note").filter(|_| !kind.is_symlink());
        let note = note.map(|value| format!(" user.note={}", String::from_utf8_lossy(&value))).unwrap_or_default();
        let (uid, gid) = (stat.uid(), stat.gid());
        format!("{name} {letter}{mode} {uid}:{gid} {times}{rest}{note}")
    }
}
