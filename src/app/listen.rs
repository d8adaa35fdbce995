//! The Unix socket that clients connect to: root's and one group's, and nobody else's.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Group, chown};
use tokio::net::UnixListener;

use super::AppError;

/// Who may connect may make this node run what he likes.
const MODE: u32 = 0o660;

/// A socket that is bound. What we made is removed when this goes.
#[derive(Debug)]
pub struct ApiSocket {
    path: PathBuf,
    listener: StdListener,
    /// Inode of the file that we made; one that somebody else has put there meanwhile is not ours.
    made: Option<u64>,
}

impl ApiSocket {
    /// Makes the socket, mode 0660, for `group` where there is one of that name. A socket that
    /// nobody listens at any more is replaced.
    ///
    /// # Errors
    /// [`AppError::AlreadyRunning`], [`AppError::NoSocket`] or [`AppError::Listen`].
    pub fn bind(path: &Path, group: &str) -> Result<Self, AppError> {
        let failed = |source| AppError::Listen { path: path.into(), source };
        make_way(path)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        // The mask is the process's, and at this time there is nobody else to mind it.
        let before = umask(Mode::from_bits_truncate(0o777 & !MODE));
        let bound = StdListener::bind(path);
        umask(before);
        let listener = bound.map_err(failed)?;
        let made = std::fs::metadata(path).map_err(failed)?.ino();
        let socket = Self { path: path.into(), listener, made: Some(made) };
        give_to(path, group).map_err(failed)?;
        Ok(socket)
    }

    /// A socket that was bound by somebody else, such as systemd, whose it stays.
    #[must_use]
    pub fn inherited(path: PathBuf, listener: StdListener) -> Self {
        Self { path, listener, made: None }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listener, for the runtime that this is called in.
    ///
    /// # Errors
    /// [`AppError::Listen`].
    pub fn listener(&self) -> Result<UnixListener, AppError> {
        let listener = || {
            let listener = self.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        listener().map_err(|source| AppError::Listen { path: self.path.clone(), source })
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        let there = std::fs::metadata(&self.path).map(|metadata| metadata.ino()).ok();
        if self.made.is_some() && there == self.made {
            // If it stays, the next start finds that nobody listens.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a daemon that is gone.
fn make_way(path: &Path) -> Result<(), AppError> {
    let failed = |source| AppError::Listen { path: path.into(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(AppError::NoSocket { path: path.into() }),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(AppError::AlreadyRunning { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn give_to(path: &Path, group: &str) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    match Group::from_name(group)? {
        Some(found) if nix::unistd::geteuid().is_root() => chown(path, None, Some(found.gid))?,
        Some(_) => {}
        None => tracing::warn!("there is no group {group:?}: only root can use the socket"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_removed_and_never_taken_from_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run/api.sock");
        let socket = ApiSocket::bind(&path, "no such group").expect("binds");
        assert_eq!(std::fs::metadata(&path).expect("is there").mode() & 0o777, MODE);
        assert!(matches!(ApiSocket::bind(&path, "root"), Err(AppError::AlreadyRunning { .. })));
        drop(socket);
        assert!(!path.exists(), "it is left behind");

        drop(StdListener::bind(&path).expect("binds"));
        drop(ApiSocket::bind(&path, "root").expect("replaces a dead socket"));

        std::fs::write(&path, "a person's").expect("writes");
        assert!(matches!(ApiSocket::bind(&path, "root"), Err(AppError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "a person's");
    }

    #[test]
    fn what_systemd_made_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("api.sock");
        let listener = StdListener::bind(&path).expect("binds");
        drop(ApiSocket::inherited(path.clone(), listener));
        assert!(path.exists());
    }
}
