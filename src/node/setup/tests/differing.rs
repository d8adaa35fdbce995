//! Who unpacks what containerd pulls, by what its versions read.

use super::*;

const STATUS: &str = "/var/lib/dpkg/status";
const TRANSFER: &str =
    "unpack_config = [{ platform = \"linux\", snapshotter = \"overlayfs\", differ = \"lighterman\" }]";

fn with_differ() -> Wanted {
    Wanted { differ: true, ..wanted() }
}

fn differ_steps(node: &Node) -> Vec<Step> {
    let steps = plan(&Facts::read(&node.root), &with_differ());
    let about = |step: &&Step| match step {
        Step::Write { path, .. } => path == CONFIG,
        Step::Advise { topic, .. } => *topic == Topic::Differ,
    };
    steps.steps().iter().filter(about).cloned().collect()
}

#[test]
fn every_version_gets_the_keys_that_it_reads() {
    // Whether the list of the diff service is written, and the transfer service's own.
    let cases = [("1.6.20", false, false), ("1.7.24", true, false), ("2.0.5", true, false), ("2.1.9", true, true)];
    for (version, listed, transferred) in cases {
        let node = Node::new(&[(STATUS, &dpkg("containerd", version)), (CONFIG, DEBIAN_CONFIG)]);
        node.set_up(true);
        let settings = RuntimeConfig::parse(&node.text(CONFIG)).expect("reads");
        let order = settings.differs.unwrap_or_default();
        assert_eq!(order == ["lighterman", "walking"], listed, "{version}: {order:?}");
        assert_eq!(settings.our_differ.as_deref(), listed.then_some("/run/lighterman/lighterman.sock"), "{version}");
        assert_eq!(node.text(CONFIG).contains(TRANSFER), transferred, "{version}: {}", node.text(CONFIG));
        // Where it is not done, it is said.
        assert_eq!(differ_steps(&node).is_empty(), listed, "{version}");
        undo(&node.root).expect("undoes");
        assert_eq!(node.text(CONFIG), DEBIAN_CONFIG, "{version}");
    }
}

#[test]
fn it_is_on_request_only() {
    let node = Node::new(&[(STATUS, &dpkg("containerd", "2.1.9")), (CONFIG, DEBIAN_CONFIG)]);
    node.set_up(false);
    assert!(!node.text(CONFIG).contains("lighterman.sock"));
}

#[test]
fn a_containerd_without_a_file_gets_one() {
    for (version, schema) in [("1.7.24", 2), ("2.0.5", 3), ("2.1.9", 3)] {
        let node = Node::new(&[(STATUS, &dpkg("containerd", version)), ("/usr/bin/containerd", "")]);
        node.set_up(true);
        let settings = RuntimeConfig::parse(&node.text(CONFIG)).expect("reads");
        assert!(settings.our_differ.is_some() && settings.schema == schema, "{version}: {}", node.text(CONFIG));
        undo(&node.root).expect("undoes");
        assert!(!node.root.exists(CONFIG), "{version}");
    }
}

#[test]
fn what_somebody_said_of_differs_is_theirs_to_change() {
    let unpack = "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = 'linux/amd64'\n";
    let part = "/etc/containerd/conf.d/x.toml";
    let import = format!("imports = ['{part}']\n");
    // Of containerd 2.1: the end of config.toml, what is imported, and the file that is theirs to change.
    let cases = [
        (format!("{unpack}snapshotter = 'overlayfs'\ndiffer = 'walking'\n"), "", CONFIG),
        (format!("{unpack}snapshotter = 'stargz'\n"), "", CONFIG),
        ("[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n".into(), "", CONFIG),
        (import.clone(), "version = 2\n[plugins.'io.containerd.service.v1.diff-service']\nx = 1\n", part),
        (import.clone(), "version = 2\n[plugins.'io.containerd.transfer.v1.local']\nx = 1\n", part),
    ];
    for (more, imported, theirs) in cases {
        let config = format!("version = 2\n{more}");
        let node = Node::new(&[(STATUS, &dpkg("containerd", "2.1.9")), (CONFIG, &config), (part, imported)]);
        // The mirror is connected all the same.
        node.set_up(false);
        let steps = differ_steps(&node);
        let [Step::Advise { path, paste, .. }] = &steps[..] else { panic!("{more}: {steps:?}") };
        assert_eq!(path, theirs, "{more}");
        assert!(paste.contains("unpack_config") && paste.contains("diff-service"), "{paste}");
    }
}

#[test]
fn who_followed_the_advice_is_done() {
    let node = Node::new(&[(STATUS, &dpkg("containerd", "2.1.9")), (CONFIG, "version = 2\nimports = ['/x/*.toml']\n")]);
    node.set_up(false);
    std::fs::create_dir_all(node.folder.path().join("x")).expect("creates");
    node.put("/x/a.toml", "version = 2\n[plugins.'io.containerd.service.v1.diff-service']\nx = 1\n");
    let steps = differ_steps(&node);
    let [Step::Advise { paste, .. }] = &steps[..] else { panic!("{steps:?}") };
    node.put(CONFIG, &format!("{}{paste}", node.text(CONFIG)));
    assert_eq!(differ_steps(&node), []);
}
