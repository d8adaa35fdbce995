//! What an operator decides about the mirror.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::meter::Meter;
use crate::registry::HostOptions;
use crate::store::Store;

/// The registry of requests that name none: docker's `registry-mirrors` is for this one only.
const DOCKER: &str = "docker.io";

/// What can be changed while the mirror runs. A request goes by what was set when it came.
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
}

/// What stays as it is for as long as the mirror runs.
#[derive(Debug)]
pub struct Home {
    /// Where the mirror listens: no hosts.toml leads it there.
    pub listen: Vec<SocketAddr>,
    /// Where blobs are kept that came through the mirror; a directory of its own.
    pub cache: PathBuf,
    /// What blobs are served from as well, as far as they are known to be from the registry asked,
    /// and it has them.
    pub stores: Vec<Arc<dyn Store>>,
    /// Who counts.
    pub meter: Arc<dyn Meter>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { upstream: DOCKER.into(), allow: Vec::new(), hosts: HostOptions::default() }
    }
}

impl Settings {
    pub(super) fn without_identity(mut self) -> Self {
        self.hosts.client = None;
        self
    }
}
