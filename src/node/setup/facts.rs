//! What is on the node, read once.

use std::process::Command;

use super::root::{Content, Root};
use super::runtime::RuntimeConfig;
use super::version::{Version, packaged};

/// containerd's configuration file when nobody names another one.
pub(super) const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
/// Where hosts.toml files are when nobody says.
pub(super) const HOSTS_DIR: &str = "/etc/containerd/certs.d";
/// Where kubeadm puts kubelet's configuration.
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// Where kubelet's flags come from on Debian, Fedora and with kubeadm.
const KUBELET_FLAGS: [&str; 4] = [
    "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
];
/// docker's configuration file.
pub(super) const DOCKER_CONFIG: &str = "/etc/docker/daemon.json";
/// podman's, and where parts of it lie.
const REGISTRIES: &str = "/etc/containers/registries.conf";
/// The folder of parts, ending in a slash.
pub(super) const REGISTRIES_DIR: &str = "/etc/containers/registries.conf.d/";
/// Folders with programs.
const BIN_DIRS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/bin"];

/// A file and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path on the node.
    pub path: String,
    /// What is there.
    pub content: Content,
}

/// Everything that `setup` looks at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// containerd, if it is installed.
    pub containerd: Option<Containerd>,
    /// kubelet.
    pub kubelet: Option<Kubelet>,
    /// docker.
    pub docker: Option<Docker>,
    /// podman.
    pub podman: Option<Podman>,
}

/// containerd on the node.
#[derive(Debug, Clone)]
pub struct Containerd {
    /// Its version, where that can be known.
    pub version: Option<Version>,
    /// config.toml.
    pub config: Found,
    /// What it says; an error in words where it is no configuration.
    pub settings: Result<RuntimeConfig, String>,
    /// Files that config.toml imports.
    pub imports: Vec<Found>,
    /// `_default/hosts.toml` in the first folder that containerd looks into.
    pub hosts: Found,
    /// Our entry among the image verifiers.
    pub verifier: Found,
    /// Our addition to lighterman.service.
    pub unit_addition: Found,
}

/// kubelet on the node.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// Its version, where that can be known.
    pub version: Option<Version>,
    /// Its configuration file.
    pub config: Found,
    /// `--image-service-endpoint`, which wins over the file, and where it is set.
    pub flag: Option<(String, String)>,
}

/// docker on the node.
#[derive(Debug, Clone)]
pub struct Docker {
    /// daemon.json.
    pub config: Found,
}

/// podman on the node.
#[derive(Debug, Clone)]
pub struct Podman {
    /// Our own part of registries.conf.
    pub own: Found,
    /// The file itself, and the parts of others.
    pub others: Vec<Found>,
}

impl Containerd {
    /// The file that is imported and takes the place of what config.toml says of a plug-in, by
    /// the plug-in's name in each layout of the file.
    pub(super) fn import_with(&self, plugin: impl Fn(i64) -> &'static str) -> Option<&Found> {
        let settings = self.settings.as_ref().ok()?;
        let replaces = |file: &&Found| file.content.text().is_some_and(|text| settings.is_overridden_by(text, &plugin));
        self.imports.iter().find(replaces)
    }
}

impl Facts {
    /// Looks at a node.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let node = Reader { root, packages: root.read("/var/lib/dpkg/status") };
        Self { containerd: node.containerd(), kubelet: node.kubelet(), docker: node.docker(), podman: node.podman() }
    }

    /// Whether any runtime is told to ask the mirror at this address.
    #[must_use]
    pub fn names_mirror(&self, address: &str) -> bool {
        let hosts = self.containerd.iter().map(|node| &node.hosts);
        let docker = self.docker.iter().map(|node| &node.config);
        let podman = self.podman.iter().flat_map(|node| node.others.iter().chain([&node.own]));
        hosts.chain(docker).chain(podman).any(|file| file.content.names(address))
    }
}

struct Reader<'a> {
    root: &'a Root,
    packages: Content,
}

impl Reader<'_> {
    fn found(&self, path: &str) -> Found {
        Found { path: path.into(), content: self.root.read(path) }
    }

    /// The path of a program.
    fn program(&self, name: &str) -> Option<String> {
        BIN_DIRS.iter().map(|dir| format!("{dir}/{name}")).find(|path| self.root.exists(path))
    }

    /// What is installed, as its package says, or as it says itself where it can be run.
    fn version(&self, program: &str, packages: &[&str]) -> Option<Version> {
        let status = self.packages.text().and_then(|status| packaged(status, packages));
        status.or_else(|| {
            let program = self.program(program).filter(|_| self.root.is_live())?;
            let output = Command::new(program).arg("--version").output().ok()?;
            Version::find(&String::from_utf8_lossy(&output.stdout))
        })
    }

    fn containerd(&self) -> Option<Containerd> {
        let config = self.found(CONTAINERD_CONFIG);
        if self.program("containerd").is_none() && config.content == Content::Absent {
            return None;
        }
        let version = self.version("containerd", &["containerd", "containerd.io"]);
        let settings = match &config.content {
            // containerd's defaults, in the newest layout that it knows.
            Content::Absent => Ok(RuntimeConfig { schema: newest_schema(version), ..RuntimeConfig::default() }),
            Content::Text(text) | Content::Linked(text) => RuntimeConfig::parse(text),
            Content::Unreadable(reason) => Err(reason.clone()),
        };
        let imports = settings.iter().flat_map(|settings| &settings.imports).flat_map(|pattern| self.matching(pattern));
        let folder = settings.as_ref().ok().and_then(|settings| settings.hosts_path(version)).unwrap_or(HOSTS_DIR);
        let folder = folder.split(':').next().unwrap_or(HOSTS_DIR);
        Some(Containerd {
            version,
            imports: imports.collect(),
            hosts: self.found(&format!("{folder}/_default/hosts.toml")),
            verifier: self.found(super::containerd::VERIFIER),
            unit_addition: self.found(super::containerd::UNIT_ADDITION),
            config,
            settings,
        })
    }

    /// Files that a pattern of `imports` stands for: a path, or `*` and an ending in its last part.
    fn matching(&self, pattern: &str) -> Vec<Found> {
        match pattern.rsplit_once('/') {
            Some((folder, last)) if last.contains('*') => {
                let (start, end) = last.split_once('*').unwrap_or((last, ""));
                let names = self.root.list(folder).into_iter();
                let matching = names.filter(|name| name.starts_with(start) && name.ends_with(end));
                matching.map(|name| self.found(&format!("{folder}/{name}"))).collect()
            }
            Some(_) => vec![self.found(pattern)],
            None => Vec::new(),
        }
    }

    fn kubelet(&self) -> Option<Kubelet> {
        self.program("kubelet")?;
        let files: Vec<(&str, String)> =
            KUBELET_FLAGS.iter().filter_map(|path| Some((*path, self.root.read(path).text()?.to_owned()))).collect();
        let value = |flag: &str| files.iter().find_map(|(path, text)| Some((flag_value(text, flag)?, *path)));
        let config = value("--config").map_or_else(|| KUBELET_CONFIG.to_owned(), |(path, _)| path);
        Some(Kubelet {
            version: self.version("kubelet", &["kubelet"]),
            config: self.found(&config),
            flag: value("--image-service-endpoint").map(|(endpoint, path)| (endpoint, path.to_owned())),
        })
    }

    fn docker(&self) -> Option<Docker> {
        self.program("dockerd").map(|_| Docker { config: self.found(DOCKER_CONFIG) })
    }

    fn podman(&self) -> Option<Podman> {
        self.program("podman")?;
        let parts = self.root.list(REGISTRIES_DIR).into_iter().filter(|name| name.ends_with(".conf"));
        let parts = parts.map(|name| format!("{REGISTRIES_DIR}{name}")).filter(|path| path != super::podman::PART);
        let others = std::iter::once(REGISTRIES.to_owned()).chain(parts).map(|path| self.found(&path)).collect();
        Some(Podman { own: self.found(super::podman::PART), others })
    }
}

/// The layout for a file that we write.
fn newest_schema(version: Option<Version>) -> i64 {
    if version.is_some_and(|version| version >= Version::new(2, 0)) { 3 } else { 2 }
}

/// The value of a flag on a command line somewhere in a text. `--flag value` and `--flag=value`,
/// comments left out.
fn flag_value(text: &str, flag: &str) -> Option<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')));
    loop {
        let word = words.next()?;
        // What comes before is the name of a variable: `ARGS=--flag=value`.
        let Some((before, rest)) = word.split_once(flag) else { continue };
        if !before.is_empty() && !before.ends_with('=') {
            continue;
        }
        match rest.strip_prefix('=') {
            Some(value) if !value.is_empty() => return Some(value.into()),
            None if rest.is_empty() => return words.find(|word| !word.is_empty()).map(str::to_owned),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_where_they_are_set() {
        let cases = [
            ("KUBELET_EXTRA_ARGS=--image-service-endpoint=unix:///s", Some("unix:///s")),
            ("KUBELET_EXTRA_ARGS=\"--v=2 --image-service-endpoint unix:///s --x\"", Some("unix:///s")),
            ("# --image-service-endpoint=unix:///s", None),
            ("--image-service-endpoints=unix:///s", None),
            ("--image-service-endpoint=", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(flag_value(text, "--image-service-endpoint").as_deref(), expected, "{text}");
        }
    }
}
