//! A node: containerd with CRI, and lighterman serving next to it.

use std::time::Duration;

use bytes::Bytes;

use super::client::{AuthConfig, Client};
use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::daemon::Daemon;
use crate::support::fixture::Image;
use crate::support::lighterman::Lighterman;
use crate::support::registry::{PASSWORD, Registry, USER};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

pub(super) struct Node<'a> {
    pub(super) daemon: Daemon<'a>,
    pub(super) containerd: ContainerdDaemon,
}

impl<'a> Node<'a> {
    pub(super) async fn start() -> Self {
        Self::configured(Lighterman::new(), "").await
    }

    /// With more lines in lighterman's configuration.
    pub(super) async fn configured(administrator: Lighterman<'a>, lines: &str) -> Self {
        let containerd = ContainerdDaemon::start_with(Cri::On);
        let daemon = Daemon::start_as(administrator, &containerd, lines);
        let node = Self { daemon, containerd };
        node.ready().await;
        node
    }

    /// Waits until containerd's CRI is there, as kubelet does.
    pub(super) async fn ready(&self) {
        let ours = self.ours().await;
        eventually(async || ours.send("ImageService/ImageFsInfo", tonic::Request::new(Bytes::new())).await.ok()).await;
    }

    /// CRI at lighterman's socket.
    pub(super) async fn ours(&self) -> Client {
        Client::connect(&self.daemon.socket()).await
    }

    /// CRI at containerd's socket.
    pub(super) async fn theirs(&self) -> Client {
        Client::connect(&self.containerd.address()).await
    }
}

/// Asks until there is something.
pub(super) async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    loop {
        match ask().await {
            Some(found) => return found,
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Pushes an image from within a test's runtime; the tests' own client has one of its own.
pub(super) fn push(registry: &Registry, image: &Image, name: &str) -> String {
    tokio::task::block_in_place(|| registry.push(image, name))
}

/// What the registry with Basic authentication takes.
pub(super) fn porter() -> AuthConfig {
    AuthConfig { username: USER.into(), password: PASSWORD.into(), server_address: String::new() }
}
