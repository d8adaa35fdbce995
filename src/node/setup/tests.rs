//! Nodes as trees of files: what is planned, that it is done once, and that it is taken back.

mod differing;
mod planning;
mod undoing;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

const MIRROR: &str = "127.0.0.1:335";
const CONFIG: &str = "/etc/containerd/config.toml";
const HOSTS: &str = "/etc/containerd/certs.d/_default/hosts.toml";
const KUBELET: &str = "/var/lib/kubelet/config.yaml";
const DAEMON: &str = "/etc/docker/daemon.json";
const PODMAN: &str = "/etc/containers/registries.conf.d/50-lighterman.conf";
const DEBIAN_CONFIG: &str = "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\" # Debian's\n";

fn wanted() -> Wanted {
    Wanted {
        mirror: MIRROR.into(),
        socket: "/run/lighterman/lighterman.sock".into(),
        program: "/usr/bin/lighterman".into(),
        verifier: true,
        differ: false,
    }
}

/// A node with these files; a name without a text is an empty program.
struct Node {
    folder: tempfile::TempDir,
    root: Root,
}

impl Node {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        for (path, text) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
            std::fs::write(path, text).expect("writes");
        }
        let root = Root::open(folder.path()).expect("opens");
        Self { folder, root }
    }

    fn plan(&self) -> Steps {
        plan(&Facts::read(&self.root), &wanted())
    }

    fn set_up(&self, differ: bool) {
        let steps = plan(&Facts::read(&self.root), &Wanted { differ, ..wanted() });
        carry_out(&self.root, &steps).expect("writes");
    }

    fn put(&self, path: &str, text: &str) {
        std::fs::write(self.folder.path().join(path.trim_start_matches('/')), text).expect("writes");
    }

    fn text(&self, path: &str) -> String {
        self.root.read(path).text().unwrap_or_default().to_owned()
    }

    /// Every file and folder but our own.
    fn all(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.folder.path().to_path_buf()];
        while let Some(next) = pending.pop() {
            for entry in std::fs::read_dir(next).expect("lists") {
                let path = entry.expect("an entry").path();
                let text = if path.is_dir() { String::new() } else { std::fs::read_to_string(&path).expect("reads") };
                let name = path.strip_prefix(self.folder.path()).unwrap_or(Path::new("")).display().to_string();
                if path.is_dir() {
                    pending.push(path);
                }
                if !name.starts_with("var/lib/lighterman") {
                    found.insert(name, text);
                }
            }
        }
        found
    }
}

fn dpkg(package: &str, version: &str) -> String {
    format!("Package: {package}\nStatus: install ok installed\nVersion: {version}\n")
}

/// The paths that are written, and those that a person is asked to change.
fn paths(steps: &Steps) -> (Vec<&str>, Vec<&str>) {
    let mut paths = (Vec::new(), Vec::new());
    for step in steps.steps() {
        match step {
            Step::Write { path, .. } => paths.0.push(path.as_str()),
            Step::Advise { path, .. } => paths.1.push(path.as_str()),
        }
    }
    paths
}
