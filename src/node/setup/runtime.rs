//! What containerd's configuration says about pulling images.

use toml::{Table, Value};

use super::version::Version;

/// Where containerd looks for hosts.toml files when nobody says, from 2.0 on.
const DEFAULT_SINCE_2_0: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";
/// Where containerd keeps everything when nobody says.
const DEFAULT_ROOT: &str = "/var/lib/containerd";
/// The plug-in that pulls images for CRI from 2.1 on, and for `ctr` from 1.7 on.
pub(super) const TRANSFER: &str = "io.containerd.transfer.v1.local";
/// What we are called in containerd's configuration.
pub(super) const NAME: &str = "lighterman";
/// The snapshotter when nobody says.
pub(super) const OVERLAYFS: &str = "overlayfs";

/// The part of config.toml that concerns us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// `version`: the layout of the file. 1 where nothing is said.
    pub schema: i64,
    /// CRI is switched off, as in Docker's packages.
    pub cri_disabled: bool,
    /// `config_path` as it is written; empty counts as absent.
    pub config_path: Option<String>,
    /// `registry.mirrors` or `registry.configs` are used, which exclude `config_path`.
    pub legacy_registries: bool,
    /// `root`.
    pub root: Option<String>,
    /// Other files that are read after this one, as patterns.
    pub imports: Vec<String>,
    /// `default` of the diff service.
    pub differs: Option<Vec<String>>,
    /// `address` of the proxy plug-in called lighterman.
    pub our_differ: Option<String>,
    /// `unpack_config` of the transfer service: a snapshotter and its differ, in each entry.
    pub unpacking: Option<Vec<(String, String)>>,
    /// `snapshotter` of CRI.
    pub snapshotter: Option<String>,
}

impl RuntimeConfig {
    /// Reads config.toml.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let schema = file.get("version").and_then(Value::as_integer).unwrap_or(1);
        let at = |path: &[&str]| {
            let first = file.get(*path.first()?)?;
            path[1..].iter().try_fold(first, |value, key| value.get(key))
        };
        let registry = |key| at(&["plugins", cri_plugin(schema), "registry", key]);
        let used = |key| registry(key).and_then(Value::as_table).is_some_and(|table| !table.is_empty());
        let disabled = ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"];
        Ok(Self {
            schema,
            cri_disabled: texts(file.get("disabled_plugins")).iter().any(|name| disabled.contains(&name.as_str())),
            config_path: string(registry("config_path")).filter(|path| !path.is_empty()),
            legacy_registries: used("mirrors") || used("configs"),
            root: string(file.get("root")),
            imports: texts(file.get("imports")),
            differs: at(&["plugins", differ_plugin(schema), "default"]).map(|list| texts(Some(list))),
            our_differ: string(at(&["proxy_plugins", NAME, "address"])),
            unpacking: at(&["plugins", TRANSFER, "unpack_config"]).and_then(Value::as_array).map(|entries| {
                let field = |entry: &Value, name| string(entry.get(name)).unwrap_or_default();
                entries.iter().map(|entry| (field(entry, "snapshotter"), field(entry, "differ"))).collect()
            }),
            snapshotter: match schema {
                ..=2 => string(at(&["plugins", cri_plugin(schema), "containerd", "snapshotter"])),
                _ => string(at(&["plugins", cri_plugin(schema), "snapshotter"])),
            },
        })
    }

    /// The folders in which this containerd looks for hosts.toml files.
    #[must_use]
    pub fn hosts_path(&self, version: Option<Version>) -> Option<&str> {
        let default = match version {
            Some(version) if version >= Version::new(2, 0) => Some(DEFAULT_SINCE_2_0),
            None if self.schema >= 3 => Some(DEFAULT_SINCE_2_0),
            _ => None,
        };
        self.config_path.as_deref().or(default)
    }

    /// Where containerd keeps content and snapshots.
    #[must_use]
    pub fn root(&self) -> &str {
        self.root.as_deref().unwrap_or(DEFAULT_ROOT)
    }

    /// The differ that the transfer service has for a snapshotter.
    #[must_use]
    pub fn unpacking_with(&self, snapshotter: &str) -> Option<&str> {
        let entries = self.unpacking.iter().flatten();
        entries.filter(|(name, _)| name == snapshotter).map(|(_, differ)| differ.as_str()).next()
    }

    /// Whether the differ behind this socket unpacks for anybody.
    #[must_use]
    pub fn unpacks_through(&self, socket: &str) -> bool {
        let listed = self.differs.iter().flatten().any(|name| name == NAME);
        let transferring = self.unpacking.iter().flatten().any(|(_, differ)| differ == NAME);
        self.our_differ.as_deref() == Some(socket) && (listed || transferring)
    }

    /// Whether a file that is imported speaks of the plug-in that we would configure, by the
    /// plug-in's name in each layout of the file.
    #[must_use]
    pub fn is_overridden_by(&self, imported: &str, plugin: impl Fn(i64) -> &'static str) -> bool {
        let Ok(file) = imported.parse::<Table>() else { return true };
        let schema = file.get("version").and_then(Value::as_integer).unwrap_or(self.schema);
        file.get("plugins").and_then(|plugins| plugins.get(plugin(schema))).is_some()
    }
}

/// The plug-in that pulls images for CRI, by the version of the file.
pub(super) fn cri_plugin(schema: i64) -> &'static str {
    match schema {
        ..=1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.images",
    }
}

/// The service that chooses who unpacks layers.
pub(super) fn differ_plugin(schema: i64) -> &'static str {
    if schema <= 1 { "diff-service" } else { "io.containerd.service.v1.diff-service" }
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(Into::into)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_of_the_file_is_read() {
        let cases = [
            ("", 1, None),
            ("[plugins.cri.registry]\nconfig_path = \"/a\"", 1, Some("/a")),
            (
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"",
                2,
                Some("/a:/b"),
            ),
            ("version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/a'", 3, Some("/a")),
            ("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"\"", 2, None),
        ];
        for (text, schema, path) in cases {
            let config = RuntimeConfig::parse(text).expect("reads");
            assert_eq!((config.schema, config.config_path.as_deref()), (schema, path), "{text}");
        }
        let text = "disabled_plugins = [\"cri\"]\nroot = \"/data\"\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n\
                    version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = []\n\
                    [plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"walking\"]\n\
                    [proxy_plugins.lighterman]\ntype = \"diff\"\naddress = \"/s\"\n\
                    [[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nsnapshotter = \"overlayfs\"\n\
                    [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n";
        let config = RuntimeConfig::parse(text).expect("reads");
        assert!(config.cri_disabled && config.legacy_registries);
        assert_eq!((config.our_differ.as_deref(), config.snapshotter.as_deref()), (Some("/s"), Some("native")));
        assert_eq!((config.unpacking_with(OVERLAYFS), config.unpacking_with("native")), (Some(""), None));
        assert_eq!((config.root(), config.imports.len()), ("/data", 1));
        assert_eq!(config.differs, Some(vec!["walking".to_owned()]));
        assert!(RuntimeConfig::parse("x = [").is_err());
    }

    #[test]
    fn the_default_folders_came_with_2_0() {
        let old = RuntimeConfig { schema: 2, ..RuntimeConfig::default() };
        assert_eq!(old.hosts_path(Some(Version::new(1, 7))), None);
        assert_eq!(old.hosts_path(None), None);
        assert_eq!(old.hosts_path(Some(Version::new(2, 1))), Some(DEFAULT_SINCE_2_0));
        assert_eq!(RuntimeConfig { schema: 3, ..old }.hosts_path(None), Some(DEFAULT_SINCE_2_0));
    }

    #[test]
    fn imports_that_speak_of_the_same_plug_in_are_seen() {
        let config = RuntimeConfig { schema: 2, ..RuntimeConfig::default() };
        assert!(config.is_overridden_by("[plugins.\"io.containerd.grpc.v1.cri\"]\nx = 1", cri_plugin));
        assert!(config.is_overridden_by("version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\nx = 1", cri_plugin));
        assert!(config.is_overridden_by("not toml", cri_plugin));
        assert!(!config.is_overridden_by("[plugins.other]\nx = 1", cri_plugin));
    }
}
