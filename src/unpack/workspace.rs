//! Private directories in which layers grow until they are proven and wanted.
//!
//! A workspace lies on the file system of the snapshotter that it works for, since a tree
//! gets into a snapshot by a rename, and belongs to root alone, since trees hold setuid files
//! and devices that nobody has vouched for. Every process has a session of its own in it, and a
//! lock on the session says that the process lives: what a killed one left is removed by
//! the next. A tree that nobody wants is removed on the CPU pool, when nothing else is to be
//! done: it may hold a million files, and whoever lets it go may be serving the network.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tree;
use crate::core::unique;
use crate::cpu::{Cpu, Priority, WeakCpu};

/// Tries to start a session: another process may take a new one for a leftover.
const TRIES: usize = 10;

/// Room for the trees of this process. Clones share it; the last one removes it.
#[derive(Debug, Clone)]
pub struct Workspace {
    session: Arc<Session>,
    /// Weak, since trees are also let go within the pool.
    cpu: WeakCpu,
}

#[derive(Debug)]
struct Session {
    root: PathBuf,
    path: PathBuf,
    /// Held for as long as we live.
    _lock: File,
    /// Names what is made here.
    next: AtomicU64,
}

/// A directory for one tree, empty at first. When this is dropped, its removal with all that is
/// in it is left to the CPU pool.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    workspace: Workspace,
}

impl Workspace {
    /// Opens a session in `root`, which is made if need be, and removes what processes left
    /// there that live no more. `prepare` sees the root before anything is made in it. Trees are
    /// removed on `cpu`.
    ///
    /// # Errors
    /// Whatever keeps directories from being made there.
    pub fn open(root: &Path, cpu: &Cpu, prepare: impl Fn(&Path) -> io::Result<()>) -> io::Result<Self> {
        sweep(root);
        for _ in 0..TRIES {
            DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            match prepare(root) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                prepared => prepared?,
            }
            let path = root.join(unique::name());
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                // Removed by one that ended, or taken.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => continue,
                Err(error) => return Err(error),
            }
            if let Some(lock) = lock(&path)? {
                let session = Session { root: root.into(), path, _lock: lock, next: AtomicU64::new(0) };
                return Ok(Self { session: Arc::new(session), cpu: cpu.downgrade() });
            }
        }
        Err(io::Error::other("other processes keep removing it"))
    }

    /// A fresh directory for one tree.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    pub fn scratch(&self) -> io::Result<Scratch> {
        let number = self.session.next.fetch_add(1, Ordering::Relaxed);
        let path = self.session.path.join(number.to_string());
        DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Scratch { path, workspace: self.clone() })
    }

    /// The directory that all sessions share.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.session.root
    }
}

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Workspace { session, cpu } = &self.workspace;
        let (path, session) = (std::mem::take(&mut self.path), Arc::clone(session));
        cpu.run(Priority::TIDY, move || {
            // A tree that was renamed away is no longer here.
            if let Err(error) = tree::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished tree; the next start will");
            }
            drop(session);
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process.
        let _ = tree::remove(&self.path);
        // Others may be working beside us.
        let _ = std::fs::remove_dir(&self.root);
    }
}

/// Locks a session's directory; `None` where somebody else has it, or it is gone.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (open, named) = (file.metadata()?, std::fs::symlink_metadata(path));
    Ok(named.is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())).then_some(file))
}

/// Removes the sessions of processes that are gone, and nothing else: whoever may write there has
/// his reasons.
fn sweep(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let is_session = entry.file_name().to_str().is_some_and(unique::is_name);
        if !is_session || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(Some(_lock)) = lock(&entry.path()) {
            tracing::info!(path = %entry.path().display(), "removing unfinished trees of a process that is gone");
            let _ = tree::remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(path: &Path) -> usize {
        std::fs::read_dir(path).map_or(0, Iterator::count)
    }

    #[test]
    fn nothing_stays_of_a_session_that_ends() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().join("trees");
        let cpu = Cpu::new();
        let workspace = Workspace::open(&root, &cpu, |_| Ok(())).expect("opens");
        let (scratch, moved) = (workspace.scratch().expect("makes"), workspace.scratch().expect("makes"));
        std::fs::write(scratch.path().join("file"), b"x").expect("writes");
        std::fs::rename(moved.path(), folder.path().join("snapshot")).expect("moves");
        let other = Workspace::open(&root, &cpu, |_| Ok(())).expect("opens beside it");
        assert!(scratch.path().exists(), "a living session is left alone");
        drop((scratch, moved, workspace));
        drop(cpu);
        assert_eq!(entries(&root), 1);
        drop(other);
        assert!(!root.exists());
        assert!(folder.path().join("snapshot").exists());
    }

    #[test]
    fn who_lets_a_tree_go_does_not_wait_for_its_removal() {
        let folder = tempfile::tempdir().expect("folder");
        let cpu = Cpu::new();
        let workspace = Workspace::open(&folder.path().join("trees"), &cpu, |_| Ok(())).expect("opens");
        let scratch = workspace.scratch().expect("makes");
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), b"x").expect("writes");
        // Every thread of the pool is at something else.
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let releases: Vec<_> = std::iter::repeat_with(|| {
            let (release, released) = std::sync::mpsc::channel::<()>();
            cpu.spawn(Priority::HASH, async move { released.recv().is_ok() }).detach();
            release
        })
        .take(threads)
        .collect();
        drop(scratch);
        assert!(path.join("file").exists(), "it was removed right here");
        drop(releases);
        drop(cpu);
        assert!(!path.exists(), "the pool ended before it was removed");
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let dead = folder.path().join(unique::name());
        std::fs::create_dir_all(dead.join("0/etc")).expect("makes");
        std::fs::write(dead.join("0/etc/shadow"), b"x").expect("writes");
        let workspace = Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens");
        assert!(!dead.exists());
        assert_eq!(entries(workspace.root()), 1);
    }

    #[test]
    fn what_no_session_of_ours_is_stays() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir_all(folder.path().join("lost+found/etc")).expect("makes");
        std::fs::write(folder.path().join(unique::name()), b"a file").expect("writes");
        std::os::unix::fs::symlink("lost+found", folder.path().join(unique::name())).expect("links");
        drop(Workspace::open(folder.path(), &Cpu::new(), |_| Ok(())).expect("opens"));
        assert_eq!(entries(folder.path()), 3);
        assert!(folder.path().join("lost+found/etc").exists());
    }
}
