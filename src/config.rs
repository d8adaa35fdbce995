//! The configuration file: raw TOML to checked values, every mistake reported at once.
//!
//! The file says what the flags say, under the same names. Flags win over environment
//! variables (both are read by the command line), those over the file, the file over the
//! defaults. This module only reads; [`FileConfig::load`] is its one touch of the disk.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use toml::{Table, Value};

use crate::core::error::{Classify, Kind};

/// Where the file is looked for when nobody names one.
pub const DEFAULT_PATH: &str = "/etc/lighterman/config.toml";

/// What a configuration file says; everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// `log-level`.
    pub log_level: Option<String>,
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
    /// `max-connections-per-host`, at least 1.
    pub max_connections_per_host: Option<usize>,
    /// `max-connections`, at least 1.
    pub max_connections: Option<usize>,
    /// `max-bandwidth`, in bytes per second.
    pub max_bandwidth: Option<NonZeroU64>,
    /// `containerd.address`.
    pub containerd_address: Option<PathBuf>,
    /// `containerd.namespace`.
    pub namespace: Option<String>,
    /// `containerd.snapshotter`.
    pub snapshotter: Option<String>,
    /// `containerd.staging-dir`.
    pub staging_dir: Option<PathBuf>,
    /// `containerd.content`: `link` or `write`.
    pub content: Option<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("the configuration {path} is not TOML: {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// It is TOML, with these mistakes.
    #[error("the configuration {path} has mistakes: {}", mistakes.join("; "), path = path.display())]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<String>,
    },
    /// Flags or settings that contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl Classify for ConfigError {
    fn kind(&self) -> Kind {
        match self {
            Self::Contradiction(_) => Kind::InvalidArgument,
            _ => Kind::InvalidConfiguration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Contradiction(_) => None,
            _ => Some("the README lists every key; --config names another file".into()),
        }
    }
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
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax { path: path.into(), reason: error.to_string() })?;
        let mut top = Section { prefix: "", table, mistakes: Vec::new() };
        let nested = match top.table.remove("containerd") {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                top.mistakes.push("containerd has to be a section: [containerd]".into());
                Table::new()
            }
        };
        let mut containerd = Section { prefix: "containerd.", table: nested, mistakes: Vec::new() };
        let config = Self {
            log_level: top.one_of("log-level", &["error", "warn", "info", "debug", "trace"]),
            hosts_dirs: top.texts("hosts-dir").map(|list| list.into_iter().map(PathBuf::from).collect()),
            mirrors: top.texts("mirrors"),
            plain_http: top.flag("plain-http"),
            skip_verify: top.flag("skip-verify"),
            tlscacert: top.text("tlscacert").map(PathBuf::from),
            tlscert: top.text("tlscert").map(PathBuf::from),
            tlskey: top.text("tlskey").map(PathBuf::from),
            max_concurrent_downloads: top.count("max-concurrent-downloads"),
            max_connections_per_host: top.count("max-connections-per-host"),
            max_connections: top.count("max-connections"),
            max_bandwidth: top.rate("max-bandwidth"),
            containerd_address: containerd.text("address").map(PathBuf::from),
            namespace: containerd.text("namespace"),
            snapshotter: containerd.text("snapshotter"),
            staging_dir: containerd.text("staging-dir").map(PathBuf::from),
            content: containerd.one_of("content", &["link", "write"]),
        };
        let mistakes: Vec<String> = top.finish().into_iter().chain(containerd.finish()).collect();
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError::Mistakes { path: path.into(), mistakes }) }
    }
}

/// What [`rate`] reads, for messages.
pub(crate) const RATE: &str = "a number of bytes per second of at least 1, as in 20MB or 16MiB";

/// Reads a number of bytes per second, with or without a unit.
pub(crate) fn rate(text: &str) -> Option<NonZeroU64> {
    NonZeroU64::new(text.parse::<ByteSize>().ok()?.as_u64())
}

/// A table being emptied key by key; what is left over is a mistake.
struct Section {
    prefix: &'static str,
    table: Table,
    mistakes: Vec<String>,
}

impl Section {
    fn take<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(Value) -> Option<T>) -> Option<T> {
        let read = read(self.table.remove(key)?);
        if read.is_none() {
            self.mistakes.push(format!("{}{key} has to be {expected}", self.prefix));
        }
        read
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, "a text", |value| match value {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => None,
        })
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        self.take(key, "a text or a list of texts", |value| match value {
            Value::Array(list) => list.into_iter().map(text).collect(),
            other => text(other).map(|text| vec![text]),
        })
    }

    fn one_of(&mut self, key: &str, choices: &[&str]) -> Option<String> {
        self.take(key, &format!("one of {}", choices.join(", ")), |value| match value {
            Value::String(text) if choices.contains(&text.as_str()) => Some(text),
            _ => None,
        })
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key, "true or false", |value| value.as_bool())
    }

    fn count(&mut self, key: &str) -> Option<usize> {
        self.take(key, "a number of at least 1", |value| {
            value.as_integer().and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0)
        })
    }

    fn rate(&mut self, key: &str) -> Option<NonZeroU64> {
        self.take(key, RATE, |value| match value {
            Value::String(text) => rate(&text),
            Value::Integer(number) => u64::try_from(number).ok().and_then(NonZeroU64::new),
            _ => None,
        })
    }

    fn finish(mut self) -> Vec<String> {
        let prefix = self.prefix;
        self.mistakes.extend(self.table.keys().map(|key| format!("{prefix}{key} is not a setting")));
        self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_key() {
        let text = r#"
            log-level = "info"
            hosts-dir = "/etc/containerd/certs.d"
            mirrors = ["https://mirror.example"]
            plain-http = false
            skip-verify = false
            tlscacert = "/ca.pem"
            tlscert = "/cert.pem"
            tlskey = "/key.pem"
            max-concurrent-downloads = 4
            max-connections-per-host = 8
            max-connections = 20
            max-bandwidth = "20MB"
            [containerd]
            address = "/run/containerd/containerd.sock"
            namespace = "k8s.io"
            snapshotter = "native"
            staging-dir = "/var/lib/lighterman/staging"
            content = "write"
        "#;
        let config = FileConfig::parse(Path::new("x"), text).expect("reads");
        assert_eq!(config.hosts_dirs, Some(vec!["/etc/containerd/certs.d".into()]));
        assert_eq!(config.max_concurrent_downloads, Some(4));
        assert_eq!((config.max_connections_per_host, config.max_connections), (Some(8), Some(20)));
        assert_eq!(config.max_bandwidth.map(NonZeroU64::get), Some(20_000_000));
        assert_eq!(config.namespace.as_deref(), Some("k8s.io"));
        assert_eq!(config.content.as_deref(), Some("write"));
        assert_eq!(FileConfig::parse(Path::new("x"), "").expect("reads"), FileConfig::default());
    }

    #[test]
    fn rates_have_units_and_are_not_nothing() {
        let cases =
            [("1", Some(1)), ("20MB", Some(20_000_000)), ("16 MiB", Some(16 << 20)), ("0", None), ("fast", None)];
        for (text, expected) in cases {
            assert_eq!(rate(text).map(NonZeroU64::get), expected, "{text}");
        }
        let Err(ConfigError::Mistakes { mistakes, .. }) = FileConfig::parse(Path::new("x"), "max-bandwidth = 0") else {
            panic!("no bytes at all were accepted");
        };
        assert!(mistakes[0].contains("at least 1"), "{mistakes:?}");
    }

    #[test]
    fn reports_every_mistake_at_once() {
        let text = "log-level = \"loud\"\nmirror = 1\nplain-http = \"yes\"\nmax-concurrent-downloads = 0\n[containerd]\nsocket = \"x\"\naddress = 7";
        let Err(ConfigError::Mistakes { mistakes, .. }) = FileConfig::parse(Path::new("x"), text) else {
            panic!("mistakes were accepted");
        };
        assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
        assert!(mistakes.contains(&"containerd.socket is not a setting".to_owned()));
        assert!(matches!(FileConfig::parse(Path::new("x"), "a = ["), Err(ConfigError::Syntax { .. })));
        assert!(matches!(FileConfig::load(Some(Path::new("/nowhere/x.toml"))), Err(ConfigError::Unreadable { .. })));
    }
}
