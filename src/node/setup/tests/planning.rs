//! What is planned, by what is there.

use super::*;

const VERIFIER: &str = "/opt/containerd/image-verifier/bin/lighterman";
const OLD: &str = "1.6.20~ds1-1";
const NEW: &str = "2.1.4-1";

/// A name, the files of a node, which are written, and which a person is asked to change.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);

/// A name, the version of containerd, its file, which are written, and which a person is asked to change.
type ConfigCase<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);

/// Each is planned, done once, and taken back.
fn check(cases: &[Case<'_>]) {
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
fn a_node_without_any_runtime_is_left_alone() {
    assert!(Node::new(&[("/etc/hostname", "x")]).plan().steps().is_empty());
}

#[test]
fn containerd_reads_hosts_toml_by_what_its_configuration_says() {
    const CRI: &str = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\n";
    const IMAGES: &str = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n";
    let two_folders = "config_path = '/etc/containerd/certs.d:/x'\n";
    let cases: &[ConfigCase<'_>] = &[
        ("1.6 with Debian's file", OLD, DEBIAN_CONFIG, &[HOSTS, CONFIG], &[]),
        ("2.1 with two folders", NEW, &format!("{IMAGES}{two_folders}"), &[HOSTS, VERIFIER], &[CONFIG]),
        ("1.6 with two folders", OLD, &format!("{CRI}{two_folders}"), &[HOSTS], &[]),
        ("mirrors of old", OLD, &CRI.replace("]\n", ".mirrors.'docker.io']\nendpoint = []\n"), &[HOSTS], &[CONFIG]),
        ("Docker's containerd", OLD, "disabled_plugins = ['cri']\n", &[HOSTS], &[]),
        (
            "another folder",
            OLD,
            &format!("{CRI}config_path = '/srv/hosts'\n"),
            &["/srv/hosts/_default/hosts.toml"],
            &[],
        ),
        ("no TOML", OLD, "version = [", &[HOSTS], &[CONFIG]),
    ];
    for (name, version, config, written, advised) in cases {
        let status = dpkg("containerd", version);
        let files = [("/var/lib/dpkg/status", status.as_str()), (CONFIG, config)];
        check(&[(name, &files, written, advised)]);
    }
}

#[test]
fn containerd_is_connected_by_what_else_is_there() {
    let (old, new) = (dpkg("containerd", OLD), dpkg("containerd.io", NEW));
    let old = ("/var/lib/dpkg/status", old.as_str());
    let new = ("/var/lib/dpkg/status", new.as_str());
    let program = ("/usr/bin/containerd", "");
    let unit = "/etc/systemd/system/lighterman.service.d/50-containerd-root.conf";
    let part = "/etc/containerd/conf.d/cri.toml";
    check(&[
        ("1.6 without a file", &[old, program], &[HOSTS, CONFIG], &[]),
        ("2.1 without a file", &[new, program], &[HOSTS, CONFIG, VERIFIER], &[]),
        (
            "an import that wins",
            &[
                old,
                (CONFIG, "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n"),
                (part, "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nx = 1\n"),
            ],
            &[HOSTS],
            &[part],
        ),
        (
            "a hosts.toml of a person",
            &[old, (CONFIG, DEBIAN_CONFIG), (HOSTS, "server = 'https://x'\n")],
            &[CONFIG],
            &[HOSTS],
        ),
        (
            "a hosts.toml of a person that leads to us",
            &[old, (CONFIG, DEBIAN_CONFIG), (HOSTS, "[host.\"http://127.0.0.1:335\"]\n")],
            &[CONFIG],
            &[],
        ),
        (
            "a disk of its own",
            &[old, (CONFIG, "version = 2\nroot = '/data/containerd'\n")],
            &[HOSTS, CONFIG, unit],
            &[],
        ),
    ]);
}

#[test]
fn kubelet_is_connected_by_where_it_takes_its_endpoint_from() {
    const FLAGS: &str = "/etc/default/kubelet";
    const PLAIN: &str = "kind: KubeletConfiguration\n";
    let program = ("/usr/bin/kubelet", "");
    let elsewhere = "KUBELET_EXTRA_ARGS=--config=/etc/k.yaml\n";
    let other = format!("{PLAIN}imageServiceEndpoint: unix:///x\n");
    let old = dpkg("kubelet", "1.26.1-00");
    check(&[
        ("a plain file", &[program, (KUBELET, PLAIN)], &[KUBELET], &[]),
        ("a file elsewhere", &[program, (FLAGS, elsewhere), ("/etc/k.yaml", PLAIN)], &["/etc/k.yaml"], &[]),
        ("another endpoint", &[program, (KUBELET, &other)], &[], &[KUBELET]),
        ("a flag", &[program, (FLAGS, "X=--image-service-endpoint=unix:///s\n")], &[], &[FLAGS]),
        ("an old kubelet", &[program, ("/var/lib/dpkg/status", &old)], &[], &[FLAGS]),
    ]);
}

#[test]
fn docker_and_podman_get_a_mirror_of_docker_io() {
    let (docker, podman) = (("/usr/bin/dockerd", ""), ("/usr/bin/podman", ""));
    let registries = "/etc/containers/registries.conf";
    check(&[
        ("docker", &[docker], &[DAEMON], &[]),
        ("docker with a file", &[docker, (DAEMON, "{\"debug\": true}")], &[DAEMON], &[]),
        ("docker with no JSON", &[docker, (DAEMON, "nonsense")], &[], &[DAEMON]),
        ("podman", &[podman], &[PODMAN], &[]),
        ("podman with a mirror", &[podman, (registries, "[[registry]]\nlocation = 'docker.io'\n")], &[], &[registries]),
    ]);
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
fn a_file_that_changes_in_between_is_not_overwritten() {
    let node = Node::new(&[("/usr/bin/dockerd", ""), (DAEMON, "{}")]);
    let steps = node.plan();
    node.put(DAEMON, "{\"debug\": true}");
    assert!(matches!(carry_out(&node.root, &steps), Err(crate::node::NodeError::Changed { .. })));
    assert_eq!(node.text(DAEMON), "{\"debug\": true}");
}
