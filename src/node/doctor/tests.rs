//! Nodes in words: what is found on them, and in which order.

use std::time::{Duration, SystemTime};

use super::*;
use crate::host::Emulator;
use crate::node::setup;
use crate::node::setup::{Content, Docker, Found, Kubelet, Root, Wanted};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A node with nothing wrong on it.
fn well() -> Facts {
    let file = SocketFile { is_socket: true, mode: 0o660, uid: 0 };
    Facts {
        daemon: Service { address: "/s".into(), file: Some(file), answer: Answer::Well },
        mirror: Service { address: "127.0.0.1:335".into(), file: None, answer: Answer::Well },
        first_free_port: Some(1024),
        containerd: Runtime {
            address: "/c".into(),
            version: Ok("1.6.20".into()),
            links: Some(Ok(())),
            renames: Some(Ok(())),
        },
        setup: setup::Facts::default(),
        missing: setup::Steps::default(),
        broken_hosts: Vec::new(),
        clock: Clock {
            now: NOW + Duration::from_secs(1000),
            built: Some(NOW),
            registry: Some(NOW + Duration::from_secs(1030)),
        },
        disks: vec![Disk { path: "/var".into(), bytes: (100 << 30, 50 << 30), inodes: (1_000_000, 900_000) }],
        staging: vec![Folder { path: "/staging".into(), uid: 0, mode: 0o700 }],
        filesystems: Some("nodev\tproc\nnodev\toverlay\n\text4\n".into()),
        emulators: Vec::new(),
    }
}

fn emulator(flags: &str, enabled: bool) -> Emulator {
    Emulator {
        name: "qemu-aarch64".into(),
        enabled,
        interpreter: "/usr/bin/qemu-aarch64".into(),
        interpreter_exists: true,
        flags: flags.into(),
        offset: 0,
        magic: vec![0x7f],
        mask: Vec::new(),
        extension: None,
        architectures: vec!["arm64".into()],
    }
}

/// A configuration of containerd's in which the differ at /s unpacks.
const DIFFER: &str = "version = 2\n[proxy_plugins.lighterman]\ntype = 'diff'\naddress = '/s'\n\
                      [plugins.'io.containerd.service.v1.diff-service']\ndefault = ['lighterman', 'walking']\n";

fn docker(config: &str) -> Docker {
    Docker { config: Found { path: "/d".into(), content: Content::Text(config.into()) } }
}

fn kubelet(config: &str) -> Kubelet {
    let config = Found { path: "/k".into(), content: Content::Text(config.into()) };
    Kubelet { version: None, config, flag: None }
}

/// The steps for a node with containerd 1.6 in Debian's way.
fn missing(files: &[(&str, &str)]) -> (setup::Facts, setup::Steps) {
    let folder = tempfile::tempdir().expect("folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
        std::fs::write(path, text).expect("writes");
    }
    let facts = setup::Facts::read(&Root::open(folder.path()).expect("opens"));
    let wanted = Wanted {
        mirror: "127.0.0.1:335".into(),
        socket: "/s".into(),
        program: "/usr/bin/lighterman".into(),
        verifier: false,
        differ: false,
    };
    let steps = setup::plan(&facts, &wanted);
    (facts, steps)
}

fn ids(facts: &Facts) -> Vec<(&'static str, Severity)> {
    examine(facts).iter().map(|finding| (finding.id, finding.severity)).collect()
}

#[test]
fn a_node_that_is_well_has_no_findings() {
    assert_eq!(examine(&well()), []);
    assert!(Unwell::unless_well(&[]).is_ok());
}

#[test]
fn every_fault_is_found_by_its_name() {
    use Severity::{Error, Note, Warning};
    type Change = fn(&mut Facts);
    let socket = |is_socket, mode| Some(SocketFile { is_socket, mode, uid: 0 });
    assert_eq!(socket(true, 0o660), well().daemon.file);
    let cases: [(&'static str, Severity, Change); 29] = [
        ("daemon-socket-missing", Error, |f| (f.daemon.answer, f.daemon.file) = (Answer::Nobody, None)),
        ("daemon-down", Error, |f| f.daemon.answer = Answer::Nobody),
        ("daemon-socket-denied", Error, |f| f.daemon.answer = Answer::Denied),
        ("daemon-silent", Error, |f| f.daemon.answer = Answer::Strange("it hangs".into())),
        ("daemon-socket-is-none", Error, |f| {
            f.daemon.file = Some(SocketFile { is_socket: false, mode: 0o644, uid: 0 })
        }),
        ("daemon-socket-open", Error, |f| f.daemon.file = Some(SocketFile { is_socket: true, mode: 0o666, uid: 0 })),
        ("daemon-socket-open", Error, |f| f.daemon.file = Some(SocketFile { is_socket: true, mode: 0o660, uid: 7 })),
        ("containerd-unreachable", Error, |f| f.containerd.version = Err("no containerd answers".into())),
        ("containerd-old", Error, |f| f.containerd.version = Ok("v1.5.9".into())),
        ("links-fail", Warning, |f| f.containerd.links = Some(Err("another file system".into()))),
        ("renames-fail", Warning, |f| f.containerd.renames = Some(Err("another file system".into()))),
        ("hosts-toml-broken", Error, |f| f.broken_hosts = vec!["/x/hosts.toml:3: nonsense".into()]),
        ("mirror-down", Note, |f| f.mirror.answer = Answer::Nobody),
        ("mirror-down", Warning, |f| {
            f.mirror.answer = Answer::Nobody;
            f.setup.docker = Some(docker("{\"registry-mirrors\": [\"http://127.0.0.1:335\"]}"));
        }),
        ("mirror-strange", Warning, |f| f.mirror.answer = Answer::Strange("it answers /v2/ with 404".into())),
        ("mirror-port-free", Warning, |f| f.first_free_port = Some(80)),
        ("clock-behind-build", Error, |f| f.clock.built = Some(NOW + Duration::from_secs(2000))),
        ("clock-skewed", Error, |f| f.clock.registry = Some(NOW + Duration::from_secs(1100))),
        ("clock-skewed", Error, |f| f.clock.registry = Some(NOW + Duration::from_secs(900))),
        ("disk-full", Error, |f| f.disks[0].bytes = (100 << 30, 1 << 20)),
        ("disk-full", Warning, |f| f.disks[0].bytes = (100 << 30, 10 << 30)),
        ("inodes-used-up", Error, |f| f.disks[0].inodes = (1_000_000, 100)),
        ("inodes-used-up", Warning, |f| f.disks[0].inodes = (1_000_000, 100_000)),
        ("staging-open", Error, |f| f.staging[0].mode = 0o755),
        ("staging-open", Error, |f| f.staging[0].uid = 1000),
        ("overlay-missing", Warning, |f| f.filesystems = Some("nodev\tproc\n\toverlayx\n".into())),
        ("emulator-not-fixed", Note, |f| f.emulators = vec![emulator("", true)]),
        ("kubelet-endpoint-dead", Error, |f| {
            f.daemon.answer = Answer::Nobody;
            f.setup.kubelet = Some(kubelet("kind: KubeletConfiguration\nimageServiceEndpoint: \"unix:///s\" # x\n"));
        }),
        ("containerd-differ-dead", Error, |f| {
            f.daemon.answer = Answer::Nobody;
            f.setup = missing(&[("etc/containerd/config.toml", DIFFER)]).0;
        }),
    ];
    for (id, severity, change) in cases {
        let mut facts = well();
        change(&mut facts);
        let found = ids(&facts);
        assert!(found.contains(&(id, severity)), "{id}: {found:?}");
        assert!(found.len() == 1 || id.ends_with("-dead"), "{id}: {found:?}");
        assert!(examine(&facts).iter().all(|finding| !finding.message.is_empty() && !finding.fix.is_empty()));
    }
}

#[test]
fn what_cannot_be_known_is_not_held_against_a_node() {
    let mut facts = well();
    facts.clock = Clock { built: None, registry: None, ..facts.clock };
    facts.containerd.links = None;
    facts.containerd.renames = None;
    facts.first_free_port = None;
    facts.filesystems = None;
    facts.disks[0].inodes = (0, 0);
    facts.emulators = vec![emulator("", false), emulator("OCF", true)];
    facts.setup.kubelet = Some(kubelet("imageServiceEndpoint: unix:///other\n"));
    facts.setup.containerd = missing(&[("etc/containerd/config.toml", DIFFER)]).0.containerd;
    assert_eq!(ids(&facts), []);
}

#[test]
fn an_unread_hosts_toml_is_the_trap_and_an_unconnected_node_is_none() {
    let config = ("etc/containerd/config.toml", "version = 2\n");
    let mut facts = well();
    (facts.setup, facts.missing) = missing(&[config]);
    let notes = [("containerd-hosts", Severity::Note), ("containerd-config-path", Severity::Note)];
    assert_eq!(ids(&facts), notes);
    assert!(Unwell::unless_well(&examine(&facts)).is_ok());

    let hosts = ("etc/containerd/certs.d/_default/hosts.toml", "[host.\"http://127.0.0.1:335\"]\n");
    (facts.setup, facts.missing) = missing(&[config, hosts]);
    assert_eq!(ids(&facts), [("containerd-config-path", Severity::Warning)]);
}

#[test]
fn the_worst_comes_first_and_decides() {
    let mut facts = well();
    facts.emulators = vec![emulator("", true)];
    facts.mirror.answer = Answer::Strange("it hangs".into());
    facts.disks[0].bytes = (100 << 30, 0);
    let findings = examine(&facts);
    let order: Vec<_> = findings.iter().map(|finding| finding.id).collect();
    assert_eq!(order, ["disk-full", "mirror-strange", "emulator-not-fixed"]);
    let unwell = Unwell::unless_well(&findings).expect_err("something is wrong");
    assert_eq!(unwell.kind(), Kind::StoreFull);
    assert!(unwell.to_string().starts_with("2 things are wrong on this node, first of all: 0 B of 100"), "{unwell}");
}
