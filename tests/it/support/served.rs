//! A lighterman daemon beside a containerd.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::lighterman::Lighterman;

/// A daemon that serves; it is killed when this is dropped.
pub(crate) struct Served<'a> {
    child: Child,
    user: Lighterman<'a>,
}

impl Served<'static> {
    /// Starts a daemon for the containerd at this socket, and waits until it listens.
    pub(crate) fn start(containerd: &Path) -> Self {
        Self::start_as(Lighterman::new(), containerd)
    }
}

impl<'a> Served<'a> {
    /// The same for a user of whom more is known.
    pub(crate) fn start_as(user: Lighterman<'a>, containerd: &Path) -> Self {
        let socket = Self::socket_of(&user);
        let [listen, containerd] = [&*socket, containerd].map(|path| path.to_str().expect("UTF-8"));
        let log = File::create(user.path("serve.log")).expect("a writable home");
        let mut command =
            user.command(&["serve", "--log-level", "info", "--listen", listen, "--containerd-address", containerd]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("lighterman starts");
        let mut served = Self { child, user };
        while UnixStream::connect(&socket).is_err() {
            let status = served.child.try_wait().expect("its state");
            assert!(status.is_none(), "lighterman serve has ended: {}", served.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        served
    }

    /// Where the daemon of a user listens.
    pub(crate) fn socket_of(user: &Lighterman<'_>) -> PathBuf {
        user.path("lighterman.sock")
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        Self::socket_of(&self.user)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.user.path("serve.log")).expect("a log")
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
