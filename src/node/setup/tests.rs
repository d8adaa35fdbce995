//! Nodes as trees of files: what is planned, that it is done once, and that it is taken back.

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

#[test]
fn a_node_without_any_runtime_is_left_alone() {
    assert!(Node::new(&[("/etc/hostname", "x")]).plan().steps().is_empty());
}

/// A name, the files of a node, which are written, and which a person is asked to change.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);

#[test]
fn what_is_planned_depends_on_what_is_there() {
    let old = dpkg("containerd", "1.6.20~ds1-1");
    let new = dpkg("containerd.io", "2.1.4-1");
    let status = "/var/lib/dpkg/status";
    let verifier = "/opt/containerd/image-verifier/bin/lighterman";
    let unit = "/etc/systemd/system/lighterman.service.d/50-containerd-root.conf";
    let cases: &[Case<'_>] = &[
        ("containerd 1.6 with Debian's file", &[(status, &old), (CONFIG, DEBIAN_CONFIG)], &[HOSTS, CONFIG], &[]),
        ("containerd 1.6 without a file", &[(status, &old), ("/usr/bin/containerd", "")], &[HOSTS, CONFIG], &[]),
        (
            "containerd 2.1 without a file",
            &[(status, &new), ("/usr/bin/containerd", "")],
            &[HOSTS, CONFIG, verifier],
            &[],
        ),
        (
            "containerd 2.1 with two folders",
            &[
                (status, &new),
                (
                    CONFIG,
                    "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/x'\n",
                ),
            ],
            &[HOSTS, verifier],
            &[CONFIG],
        ),
        (
            "containerd 1.6 with two folders",
            &[
                (status, &old),
                (
                    CONFIG,
                    "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/containerd/certs.d:/x'\n",
                ),
            ],
            &[HOSTS],
            &[],
        ),
        (
            "mirrors of old",
            &[
                (status, &old),
                (
                    CONFIG,
                    "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = []\n",
                ),
            ],
            &[HOSTS],
            &[CONFIG],
        ),
        ("Docker's containerd", &[(status, &old), (CONFIG, "disabled_plugins = ['cri']\n")], &[HOSTS], &[]),
        (
            "another folder",
            &[
                (status, &old),
                (CONFIG, "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/srv/hosts'\n"),
            ],
            &["/srv/hosts/_default/hosts.toml"],
            &[],
        ),
        ("no TOML", &[(CONFIG, "version = [")], &[HOSTS], &[CONFIG]),
        (
            "an import that wins",
            &[
                (status, &old),
                (CONFIG, "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n"),
                ("/etc/containerd/conf.d/cri.toml", "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nx = 1\n"),
            ],
            &[HOSTS],
            &["/etc/containerd/conf.d/cri.toml"],
        ),
        (
            "a hosts.toml of a person",
            &[(status, &old), (CONFIG, DEBIAN_CONFIG), (HOSTS, "server = 'https://x'\n")],
            &[CONFIG],
            &[HOSTS],
        ),
        (
            "a hosts.toml of a person that leads to us",
            &[(status, &old), (CONFIG, DEBIAN_CONFIG), (HOSTS, "[host.\"http://127.0.0.1:335\"]\n")],
            &[CONFIG],
            &[],
        ),
        (
            "a disk of its own",
            &[(status, &old), (CONFIG, "version = 2\nroot = '/data/containerd'\n")],
            &[HOSTS, CONFIG, unit],
            &[],
        ),
        ("kubelet", &[("/usr/bin/kubelet", ""), (KUBELET, "kind: KubeletConfiguration\n")], &[KUBELET], &[]),
        (
            "kubelet elsewhere",
            &[
                ("/usr/bin/kubelet", ""),
                ("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--config=/etc/k.yaml\n"),
                ("/etc/k.yaml", "kind: KubeletConfiguration\n"),
            ],
            &["/etc/k.yaml"],
            &[],
        ),
        (
            "kubelet with another endpoint",
            &[("/usr/bin/kubelet", ""), (KUBELET, "kind: KubeletConfiguration\nimageServiceEndpoint: unix:///x\n")],
            &[],
            &[KUBELET],
        ),
        (
            "kubelet with a flag",
            &[("/usr/bin/kubelet", ""), ("/etc/default/kubelet", "X=--image-service-endpoint=unix:///x\n")],
            &[],
            &["/etc/default/kubelet"],
        ),
        (
            "an old kubelet",
            &[("/usr/bin/kubelet", ""), (status, &dpkg("kubelet", "1.26.1-00"))],
            &[],
            &["/etc/default/kubelet"],
        ),
        ("docker", &[("/usr/bin/dockerd", "")], &[DAEMON], &[]),
        ("docker with a file", &[("/usr/bin/dockerd", ""), (DAEMON, "{\"debug\": true}")], &[DAEMON], &[]),
        ("docker with no JSON", &[("/usr/bin/dockerd", ""), (DAEMON, "nonsense")], &[], &[DAEMON]),
        ("podman", &[("/usr/bin/podman", "")], &[PODMAN], &[]),
        (
            "podman with a mirror",
            &[("/usr/bin/podman", ""), ("/etc/containers/registries.conf", "[[registry]]\nlocation = 'docker.io'\n")],
            &[],
            &["/etc/containers/registries.conf"],
        ),
    ];
    for (name, files, written, advised) in cases {
        let node = Node::new(files);
        let steps = node.plan();
        assert_eq!(paths(&steps), (written.to_vec(), advised.to_vec()), "{name}");

        // Done, and what a person was advised is all that is left to do.
        let before = node.all();
        assert_eq!(carry_out(&node.root, &steps).expect(name), *written, "{name}");
        assert_eq!(paths(&node.plan()), (Vec::new(), advised.to_vec()), "{name}");
        undo(&node.root).expect(name);
        assert_eq!(node.all(), before, "{name}");
        assert!(!node.root.exists(LEDGER), "{name}");
    }
}

#[test]
fn a_whole_node_is_connected_with_one_key_each() {
    let node = Node::new(&[
        ("/var/lib/dpkg/status", &dpkg("containerd", "1.7.24")),
        (CONFIG, DEBIAN_CONFIG),
        ("/usr/bin/kubelet", ""),
        (KUBELET, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 50 # mine\n"),
        ("/usr/bin/dockerd", ""),
        (DAEMON, "{\n  \"log-driver\": \"journald\"\n}\n"),
        ("/usr/bin/podman", ""),
    ]);
    let steps = node.plan();
    assert_eq!(
        steps.commands(),
        ["systemctl restart containerd", "systemctl restart kubelet", "systemctl reload docker"]
    );
    carry_out(&node.root, &steps).expect("writes");
    let config = node.text(CONFIG);
    assert!(config.starts_with(DEBIAN_CONFIG), "{config}");
    assert!(
        config.contains("registry]\nconfig_path = \"/etc/containerd/certs.d\" # by lighterman setup\n"),
        "{config}"
    );
    assert!(node.text(HOSTS).contains("[host.\"http://127.0.0.1:335\"]"));
    let line = "imageServiceEndpoint: unix:///run/lighterman/lighterman.sock # by lighterman setup\n";
    assert!(node.text(KUBELET).contains(line));
    assert_eq!(
        node.text(DAEMON),
        "{\n  \"registry-mirrors\": [\"http://127.0.0.1:335\"],\n  \"log-driver\": \"journald\"\n}\n"
    );
    assert!(node.text(PODMAN).contains("location = \"127.0.0.1:335\"\ninsecure = true\n"));
}

#[test]
fn what_changed_since_is_not_lost_when_ours_is_taken_back() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.6.20")), (CONFIG, DEBIAN_CONFIG)]);
    carry_out(&node.root, &node.plan()).expect("writes");
    node.put(CONFIG, &format!("# a person was here\n{}", node.text(CONFIG)));
    node.put(HOSTS, &format!("{}\n[host.\"https://other\"]\n", node.text(HOSTS)));
    let planned = plan_undo(&node.root).expect("reads");
    assert_eq!(planned[1], (HOSTS.to_owned(), Undone::Left));
    assert_eq!(undo(&node.root).expect("undoes"), planned);
    assert_eq!(node.text(CONFIG), format!("# a person was here\n{DEBIAN_CONFIG}"));
    assert!(node.text(HOSTS).contains("https://other"));
}

#[test]
fn a_run_that_was_broken_off_can_be_repeated_and_taken_back() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.6.20")), (CONFIG, DEBIAN_CONFIG)]);
    let before = node.all();
    let steps = node.plan();
    // Killed after the note and before the file: the ledger is ahead.
    carry_out(&node.root, &steps).expect("writes");
    node.put(CONFIG, DEBIAN_CONFIG);
    carry_out(&node.root, &node.plan()).expect("writes again");
    assert_ne!(node.text(CONFIG), DEBIAN_CONFIG);
    undo(&node.root).expect("undoes");
    assert_eq!(node.all(), before);
    assert!(undo(&node.root).expect("nothing to do").is_empty());
}

#[test]
fn a_file_that_changes_in_between_is_not_overwritten() {
    let node = Node::new(&[("/usr/bin/dockerd", ""), (DAEMON, "{}")]);
    let steps = node.plan();
    node.put(DAEMON, "{\"debug\": true}");
    assert!(matches!(carry_out(&node.root, &steps), Err(crate::node::NodeError::Changed { .. })));
    assert_eq!(node.text(DAEMON), "{\"debug\": true}");
}

#[test]
fn an_older_file_of_ours_is_brought_up_to_date() {
    let node = Node::new(&[("/usr/bin/podman", ""), (PODMAN, "# Written by `lighterman setup`\nold\n")]);
    carry_out(&node.root, &node.plan()).expect("writes");
    assert!(node.text(PODMAN).contains(MIRROR));
    undo(&node.root).expect("undoes");
    assert_eq!(node.text(PODMAN), "# Written by `lighterman setup`\nold\n");
}

#[test]
fn the_differ_is_added_to_containerd_on_request_only() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.7.24")), (CONFIG, DEBIAN_CONFIG)]);
    let steps = plan(&Facts::read(&node.root), &Wanted { differ: true, ..wanted() });
    assert_eq!(paths(&steps), (vec![HOSTS, CONFIG], vec![]));
    carry_out(&node.root, &steps).expect("writes");
    let settings = RuntimeConfig::parse(&node.text(CONFIG)).expect("reads");
    assert_eq!(settings.differs, Some(vec!["lighterman".to_owned(), "walking".to_owned()]));
    assert!(settings.knows_our_differ && settings.config_path.is_some());
    let again = plan(&Facts::read(&node.root), &Wanted { differ: true, ..wanted() });
    assert!(again.steps().is_empty());
    undo(&node.root).expect("undoes");
    assert_eq!(node.text(CONFIG), DEBIAN_CONFIG);
}
