//! The configuration file: raw TOML to checked values, every mistake reported at once.
//!
//! The file says what the flags say, under the same names. Flags win over environment
//! variables (both are read by the command line), those over the file, the file over the
//! defaults. What a key means and takes stands once, in [`keys`]; reader, example, README and
//! `config show` come from there. This room only reads; [`FileConfig::load`] is its one touch
//! of the disk, and what follows from a value is decided where it is used.

mod accepts;
mod changes;
mod effective;
mod error;
mod example;
pub mod keys;
mod nearest;
mod read;
mod setting;
mod units;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::core::mismatch::{Action, Policy, Scope};
use crate::telemetry::Format;
use crate::unpack::options::{Extractor, Start};

pub use accepts::Accepts;
pub use changes::{Changes, changes};
pub use effective::{Effective, Origin, effective};
pub use error::{ConfigError, Mistake};
pub use example::{commented, short, shown};
pub(crate) use units::{MEMORY, RATE, memory, rate};

/// Where the file is looked for when nobody names one.
pub const DEFAULT_PATH: &str = "/etc/lighterman/config.toml";

/// What a configuration file says; everything is optional. What each means is in [`keys::KEYS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// `log-level`.
    pub log_level: Option<String>,
    /// `log-format`.
    pub log_format: Option<Format>,
    /// `hosts-dir`, a path or a list of them.
    pub hosts_dirs: Option<Vec<PathBuf>>,
    /// `mirrors`, tried before the registry in this order.
    pub mirrors: Option<Vec<String>>,
    /// `plain-http`.
    pub plain_http: Option<bool>,
    /// `skip-verify`.
    pub skip_verify: Option<bool>,
    /// `tlscacert`.
    pub tlscacert: Option<PathBuf>,
    /// `tlscert`.
    pub tlscert: Option<PathBuf>,
    /// `tlskey`.
    pub tlskey: Option<PathBuf>,
    /// `max-concurrent-downloads`, at least 1.
    pub max_concurrent_downloads: Option<usize>,
    /// `unpack`.
    pub unpack: Option<Start>,
    /// `max-connections-per-host`, at least 1.
    pub max_connections_per_host: Option<usize>,
    /// `max-connections`, at least 1.
    pub max_connections: Option<usize>,
    /// `max-bandwidth`, in bytes per second.
    pub max_bandwidth: Option<NonZeroU64>,
    /// `max-memory`, in bytes.
    pub max_memory: Option<u32>,
    /// `containerd.address`.
    pub containerd_address: Option<PathBuf>,
    /// `containerd.namespace`.
    pub namespace: Option<String>,
    /// `containerd.snapshotter`.
    pub snapshotter: Option<String>,
    /// `containerd.staging-dir`.
    pub staging_dir: Option<PathBuf>,
    /// `containerd.extract-with`.
    pub extract_with: Option<Extractor>,
    /// `containerd.sync-snapshots`.
    pub sync_snapshots: Option<bool>,
    /// `containerd.content`: `link` or `write`.
    pub content: Option<String>,
    /// `serve.listen`, an absolute path.
    pub serve_listen: Option<PathBuf>,
    /// `serve.group`, a name or number.
    pub serve_group: Option<String>,
    /// `serve.max-pulls` of one registry, at least 1.
    pub max_pulls: Option<usize>,
    /// `serve.pull-progress-timeout`; zero is never.
    pub pull_progress_timeout: Option<Duration>,
    /// `mirror.listen`, loopback addresses; empty is no mirror.
    pub mirror_listen: Option<Vec<SocketAddr>>,
    /// `mirror.upstream`, a registry as references name it.
    pub mirror_upstream: Option<String>,
    /// `mirror.allow`, registries as references name them.
    pub mirror_allow: Option<Vec<String>>,
    /// `cri.endpoint`, an absolute path.
    pub cri_endpoint: Option<PathBuf>,
    /// `cri.delegate`.
    pub cri_delegate: Option<bool>,
    /// `verify.on-error`.
    pub verify_on_error: Option<OnError>,
    /// `metrics.listen`, loopback addresses; empty is no metrics.
    pub metrics_listen: Option<Vec<SocketAddr>>,
    /// `arch-mismatch.default`.
    pub mismatch_default: Option<Action>,
    /// `arch-mismatch.refuse`; no scope is in two of the lists.
    pub mismatch_refuse: Option<Vec<Scope>>,
    /// `arch-mismatch.warn`.
    pub mismatch_warn: Option<Vec<Scope>>,
    /// `arch-mismatch.allow`.
    pub mismatch_allow: Option<Vec<Scope>>,
    /// `arch-mismatch.pods-may-loosen`.
    pub mismatch_pods: Option<bool>,
}

/// What the image verifier answers for an image that it cannot look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Let it pass: containerd will be refused or not on its own.
    #[default]
    Allow,
    /// Refuse it.
    Refuse,
}

impl FileConfig {
    /// Reads a file. The default one may be missing, a named one may not.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake in the file.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Unreadable { path: path.into(), source }),
        }
    }

    /// Reads the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (config, mistakes) = read::read(text);
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError::Mistakes { path: path.into(), mistakes }) }
    }

    /// What is done with images that are not for this node.
    #[must_use]
    pub fn mismatch_policy(&self) -> Policy {
        let lists = [
            (Action::Refuse, &self.mismatch_refuse),
            (Action::Warn, &self.mismatch_warn),
            (Action::Allow, &self.mismatch_allow),
        ];
        let rules =
            lists.into_iter().flat_map(|(action, list)| list.iter().flatten().map(move |scope| (scope, action)));
        Policy {
            default: self.mismatch_default,
            rules: rules.map(|(scope, action)| (scope.clone(), action)).collect(),
            pods_may_loosen: self.mismatch_pods,
        }
    }

    /// A file that says what holds without one, as far as single values can.
    #[must_use]
    pub fn defaults() -> Self {
        read::defaults()
    }
}

#[cfg(test)]
mod tests;
