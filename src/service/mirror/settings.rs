//! What an operator decides about the mirror.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::registry::HostOptions;

/// The registry of requests that name none: docker's `registry-mirrors` is for this one only.
const DOCKER: &str = "docker.io";
/// Connections at a time; each holds a buffer of [`super::body::CHUNK`] and what HTTP reads ahead.
const CONNECTIONS: usize = 256;

/// Settings of the mirror.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The registry of requests without `?ns=`.
    pub upstream: String,
    /// Registries that may be at addresses that are not public, as `host[:port]`. Those that a
    /// hosts.toml describes need no mention.
    pub allow: Vec<String>,
    /// How the hosts of a registry are found. A client certificate in it is not used: it is
    /// the node's, and not the caller's.
    pub hosts: HostOptions,
    /// Where the mirror listens: `Host` headers may name it, and no hosts.toml leads us there.
    pub listen: Vec<SocketAddr>,
    /// Where blobs are kept that came through the mirror; a directory of its own.
    pub cache: PathBuf,
    /// Connections at a time.
    pub connections: usize,
}

impl Settings {
    /// The defaults, with blobs kept in `cache`.
    #[must_use]
    pub fn new(cache: PathBuf) -> Self {
        Self {
            upstream: DOCKER.into(),
            allow: Vec::new(),
            hosts: HostOptions::default(),
            listen: Vec::new(),
            cache,
            connections: CONNECTIONS,
        }
    }

    pub(super) fn without_identity(mut self) -> Self {
        self.hosts.client = None;
        self
    }
}
