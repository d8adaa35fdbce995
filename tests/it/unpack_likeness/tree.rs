//! Everything that can be told of a tree of files without knowing who made it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{lgetxattr, llistxattr};

use crate::support::fixture::digest;

/// What one name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    kind: &'static str,
    mode: String,
    owner: (u32, u32),
    links: u64,
    /// The first of the names that this file has.
    alias: String,
    /// Major and minor number of a device.
    device: Option<u64>,
    modified: Stamp,
    accessed: Stamp,
    /// The digest of a file's content, or the target of a link.
    content: String,
    xattrs: BTreeMap<String, String>,
}

/// Seconds and nanoseconds, or that nobody set it.
#[derive(Debug, PartialEq, Eq)]
enum Stamp {
    At(i64, i64),
    /// Since the test began: by the kernel, when a child came or the file was made.
    Now,
    /// Whoever looks into a directory or follows a link may change when it was read last.
    Unknown,
}

/// Names and what they stand for; the root is empty.
pub(super) type Nodes = BTreeMap<String, Node>;

/// Looks at everything below a directory. What was changed after `begin` is told no closer.
pub(super) fn nodes(root: &Path, begin: SystemTime) -> Nodes {
    let mut found = Nodes::new();
    let mut first = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let name = path.as_os_str().as_bytes().escape_ascii().to_string();
        let meta = full.symlink_metadata().expect("a file");
        let alias = first.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        let mut node = node(&full, &meta, alias, begin);
        if name.is_empty() {
            // It is made before the layer is, and what the layer says of it is ignored.
            node.modified = Stamp::Unknown;
        }
        found.insert(name, node);
        if meta.is_dir() {
            let mut children: Vec<PathBuf> = std::fs::read_dir(&full)
                .expect("a directory")
                .map(|child| path.join(child.expect("a readable entry").file_name()))
                .collect();
            children.sort();
            pending.extend(children.into_iter().rev());
        }
    }
    found
}

fn node(path: &Path, meta: &std::fs::Metadata, alias: String, begin: SystemTime) -> Node {
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symbolic link",
        kind if kind.is_char_device() => "character device",
        kind if kind.is_block_device() => "block device",
        kind if kind.is_fifo() => "pipe",
        kind if kind.is_file() => "file",
        kind => panic!("{}: {kind:?}", path.display()),
    };
    let accessed = match kind {
        "directory" | "symbolic link" => Stamp::Unknown,
        _ => stamp(meta.atime(), meta.atime_nsec(), begin),
    };
    let content = match kind {
        "file" => format!("{} bytes, {}", meta.len(), digest(&std::fs::read(path).expect("a file"))),
        "symbolic link" => {
            std::fs::read_link(path).expect("a link").into_os_string().into_vec().escape_ascii().to_string()
        }
        _ => String::new(),
    };
    Node {
        kind,
        mode: format!("{:o}", meta.mode() & 0o7777),
        owner: (meta.uid(), meta.gid()),
        links: meta.nlink(),
        alias,
        device: kind.ends_with("device").then(|| meta.rdev()),
        modified: stamp(meta.mtime(), meta.mtime_nsec(), begin),
        accessed,
        content,
        xattrs: xattrs(path),
    }
}

fn stamp(seconds: i64, nanos: i64, begin: SystemTime) -> Stamp {
    let unix = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs().cast_signed();
    // The kernel's clock of files may be a tick behind, and ours may be set meanwhile.
    let slack = Duration::from_secs(2);
    let span = unix(begin - slack)..unix(SystemTime::now() + slack);
    if span.contains(&seconds) { Stamp::Now } else { Stamp::At(seconds, nanos) }
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 64 * 1024];
    let count = llistxattr(path, &mut names[..]).expect("attributes");
    let names = names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let count = lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).expect("an attribute");
            (name.escape_ascii().to_string(), value[..count].escape_ascii().to_string())
        })
        .collect()
}

/// Where two trees differ, one line each; empty where they do not.
pub(super) fn differences(ours: &Nodes, theirs: &Nodes) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differs = |name: &&&String| ours.get(**name) != theirs.get(**name);
    let line = |name: &String| format!("{name:?}\n    ours   {:?}\n    theirs {:?}", ours.get(name), theirs.get(name));
    names.iter().filter(differs).map(|name| line(name)).collect()
}
