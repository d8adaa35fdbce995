//! The node around the daemon, as far as it can be tried without systemd: what `setup` and
//! `doctor` say as programs, and that the units say what the program expects.
//! `tests/guest` tries the rest in a booted system.

use std::fs;
use std::path::Path;

use lighterman::node::{MIRROR, PROGRAM};

use crate::support::lighterman::{Lighterman, exit};

const KUBELET: &str = "var/lib/kubelet/config.yaml";

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    fs::read_to_string(path).expect("a unit")
}

/// What a unit sets, comments left out.
fn setting<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn units_agree_with_the_program() {
    let (service, api) = (unit("lighterman.service"), unit("lighterman.socket"));
    let mirror = unit("lighterman-mirror.socket");
    assert_eq!(setting(&service, "ExecStart"), [format!("{PROGRAM} serve")]);
    // Starting the service starts no socket that somebody disabled.
    assert_eq!(setting(&service, "Sockets"), [""; 0]);
    assert_eq!(setting(&mirror, "ListenStream"), [MIRROR]);
    for socket in [&api, &mirror] {
        assert_eq!(setting(socket, "Service"), ["lighterman.service"]);
    }
    let socket = lighterman::config::FileConfig::defaults().serve_listen.expect("a default");
    assert_eq!(setting(&api, "ListenStream"), [socket.to_str().expect("a path")]);
    assert_eq!(
        (setting(&api, "FileDescriptorName"), setting(&mirror, "FileDescriptorName")),
        (vec!["api"], vec!["mirror"])
    );
    let group = lighterman::config::FileConfig::defaults().serve_group.expect("a default");
    assert_eq!(setting(&api, "SocketGroup"), [group.as_str()]);
    assert!(unit("lighterman.sysusers.conf").contains(&format!("\ng {group} ")));
    // What it bounds itself to, and the files that it writes, stay well below where the kernel ends it.
    let gib = |text: &str| text.strip_suffix('G').and_then(|text| text.parse::<u64>().ok()).expect("whole GiB") << 30;
    let [most] = setting(&service, "MemoryMax")[..] else { panic!("no bound on memory, or several") };
    assert!(gib(most) >= 16 * u64::from(lighterman::core::limits::Limits::default().buffer_bytes));
    assert_eq!(setting(&service, "TasksMax").len(), 1);
    for hardened in ["NoNewPrivileges=yes", "KeyringMode=private", "LimitCORE=1", "ProtectSystem=strict"] {
        assert!(service.lines().any(|line| line == hardened), "{hardened}");
    }
    assert_eq!(setting(&service, "ReadWritePaths"), ["/var/lib/lighterman -/var/lib/containerd"]);
}

#[test]
fn a_system_is_set_up_and_put_back_by_the_program() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path();
    for (path, text) in [("usr/bin/kubelet", ""), (KUBELET, "kind: KubeletConfiguration\n"), ("usr/bin/dockerd", "")] {
        fs::create_dir_all(root.join(path).parent().expect("a folder")).expect("creates");
        fs::write(root.join(path), text).expect("writes");
    }
    let lighterman = Lighterman::new();
    let setup = |flags: &[&str]| {
        let root = root.to_str().expect("a path");
        let run = lighterman.run(&[&["setup", "--json", "--root", root][..], flags].concat());
        run.succeeds().json()
    };
    let planned = setup(&["--dry-run"]);
    assert_eq!(fs::read_to_string(root.join(KUBELET)).expect("reads"), "kind: KubeletConfiguration\n");
    let paths: Vec<_> = planned["steps"].as_array().expect("steps").iter().map(|step| step["path"].clone()).collect();
    assert_eq!(paths, ["/var/lib/kubelet/config.yaml", "/etc/docker/daemon.json"]);

    assert_eq!(setup(&[])["steps"][0]["done"], true);
    assert_eq!(setup(&[])["steps"].as_array().expect("steps").len(), 0);
    let undone = setup(&["--undo"]);
    assert_eq!(undone["files"].as_array().expect("files").len(), 2);
    assert_eq!(fs::read_to_string(root.join(KUBELET)).expect("reads"), "kind: KubeletConfiguration\n");
    assert!(!root.join("etc").exists() && !root.join("var/lib/lighterman").exists());
}

#[test]
fn a_node_without_a_daemon_is_not_well() {
    let folder = tempfile::tempdir().expect("folder");
    let config = folder.path().join("config.toml");
    let nowhere = folder.path().join("none.sock");
    fs::write(&config, format!("[serve]\nlisten = {nowhere:?}\n[containerd]\naddress = {nowhere:?}\n"))
        .expect("writes");
    let run = Lighterman::new().run(&["doctor", "--json", "--config", config.to_str().expect("a path")]);
    let report = run.ends(exit::UNAVAILABLE).json();
    assert_eq!(report["well"], false);
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings[0]["id"], "daemon-socket-missing");
    assert_eq!(findings[1]["id"], "containerd-unreachable");
}

#[cfg(feature = "containerd")]
#[test]
fn what_runs_is_told_from_what_does_not() {
    use crate::support::containerd::ContainerdDaemon;
    use crate::support::daemon::Daemon;

    let mut containerd = ContainerdDaemon::start();
    let daemon = Daemon::start(&containerd);
    let folder = tempfile::tempdir().expect("folder");
    let config = folder.path().join("config.toml");
    let text = format!(
        "[serve]\nlisten = {:?}\n[containerd]\naddress = {:?}\nstaging-dir = {:?}\n",
        daemon.socket(),
        containerd.address(),
        daemon.staging()
    );
    fs::write(&config, text).expect("writes");
    // What is wrong with this machine is another matter.
    let address = containerd.address();
    let user = Lighterman::new().with("CONTAINERD_ADDRESS", address.to_str().expect("a path"));
    let found = || {
        let report = user.run(&["doctor", "--json", "--config", config.to_str().expect("a path")]).json();
        let ids = report["findings"].as_array().expect("findings").iter().map(|finding| finding["id"].clone());
        let ours = ["daemon-", "containerd-unreachable", "containerd-old", "links-fail", "renames-fail"];
        let is_ours = |id: &serde_json::Value| ours.iter().any(|ours| id.as_str().expect("a text").starts_with(ours));
        ids.filter(is_ours).collect::<Vec<_>>()
    };
    assert_eq!(found(), [""; 0], "{}", daemon.log());
    containerd.kill();
    assert_eq!(found(), ["containerd-unreachable"]);
    let socket = daemon.socket();
    drop(daemon);
    // The home of the daemon is gone with it.
    assert!(!socket.exists());
    assert_eq!(found(), ["daemon-socket-missing", "containerd-unreachable"]);
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let lighterman = Lighterman::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = lighterman.run(&["completions", shell]);
        assert!(run.succeeds().stdout.contains("doctor"), "{shell}");
    }
    let folder = tempfile::tempdir().expect("folder");
    lighterman.run(&["man", folder.path().to_str().expect("a path")]).succeeds();
    for page in ["lighterman.1", "lighterman-setup.1", "lighterman-doctor.1"] {
        let text = fs::read_to_string(folder.path().join(page)).expect("a page");
        assert!(text.contains(".TH lighterman"), "{page}");
    }
}
