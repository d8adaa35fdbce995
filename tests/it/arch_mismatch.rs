//! Images whose claims are fine and whose programs are not, pulled into a real containerd: what is said,
//! what is refused, and that a refusal leaves nothing behind.

mod host;
mod merged;
mod standing;

use std::path::Path;

use serde_json::Value;

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Flavour, Image, Layer, Manifest, Tree, platform};
use crate::support::lighterman::{Lighterman, Outcome, exit};
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{files_below, foreign, host};

const REFUSE: &str = "[arch-mismatch]\ndefault = \"refuse\"\n";
const ID: &str = "PLAT-004";

/// Of these layers, for this machine by its own word.
fn claiming(layers: &[Layer], entrypoint: &str) -> Image {
    Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, ""), layers, (entrypoint, &[])))
}

/// busybox of another machine, below two layers that have nothing to do with it.
fn lying_layers() -> [Layer; 3] {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &fixture::busybox_program(foreign()));
    let etc = Tree::new().dir("etc").file("etc/motd", 0o644, b"welcome aboard\n");
    [program.symlink("bin/sh", "busybox").layer(), etc.layer(), Tree::new().dir("srv").layer()]
}

fn lying() -> Image {
    claiming(&lying_layers(), "/bin/sh")
}

/// A user without emulators, whose configuration has these lines, and a containerd.
struct Bed<'a> {
    user: Lighterman<'a>,
    containerd: ContainerdDaemon,
    registry: Registry,
}

impl<'a> Bed<'a> {
    fn new(plain_node: &'a Sandbox) -> Self {
        Self {
            user: Lighterman::inside(plain_node),
            containerd: ContainerdDaemon::start(),
            registry: Registry::plain(),
        }
    }

    fn pull(&self, configuration: &str, reference: &str, more: &[&str]) -> Outcome {
        let config = self.user.path("config.toml");
        std::fs::write(&config, configuration).expect("a writable home");
        let (address, staging) = (self.containerd.address(), self.user.path("staging"));
        let [config, address, staging] =
            [&config, &address, &staging].map(|path: &std::path::PathBuf| path.to_str().expect("UTF-8"));
        let own = ["--config", config, "pull", reference, "--containerd-address", address, "--staging-dir", staging];
        self.user.run(&[&own[..], more].concat())
    }

    fn names(&self) -> String {
        self.containerd.ctr_prints(&["images", "ls", "-q"])
    }
}

/// Nothing that anybody could see, and nothing left once containerd has collected.
fn assert_nothing_stays(containerd: &ContainerdDaemon, namespace: &str, staging: &Path) {
    for what in ["images", "leases"] {
        assert_eq!(containerd.ctr_prints(&["-n", namespace, what, "ls", "-q"]), "", "{what}");
    }
    assert_eq!(files_below(&containerd.folder().join("root/io.containerd.content.v1.content/ingest")), [""; 0]);
    containerd.collect(namespace);
    assert_eq!(containerd.ctr_prints(&["-n", namespace, "content", "ls", "-q"]), "");
    let snapshots = containerd.ctr_prints(&["-n", namespace, "snapshots", "ls"]);
    assert_eq!(snapshots.lines().count(), 1, "{snapshots}");
    assert_eq!(files_below(staging), [""; 0]);
}

fn warnings(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().filter(|line| line.contains("warning")).collect()
}

fn mismatches(outcome: &Outcome) -> Vec<Value> {
    outcome.events().into_iter().filter(|event| event["event"] == "arch-mismatch").collect()
}

#[test]
fn what_only_the_program_shows_is_warned_of_and_the_image_is_there() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let reference = bed.registry.push(&lying(), "app:1");
    let pulled = bed.pull("", &reference, &[]).succeeds();
    let [warning] = warnings(&pulled).try_into().expect("one warning");
    for part in ["/bin/busybox", foreign().arch, ID] {
        assert!(warning.contains(part), "{warning} does not say {part}");
    }
    assert!(bed.names().contains(&reference));

    bed.containerd.ctr_prints(&["images", "rm", "--sync", &reference]);
    let told = bed.pull("", &reference, &["--json"]).succeeds();
    let [event] = mismatches(&told).try_into().expect("one event");
    assert_eq!((&event["id"], &event["action"]), (&ID.into(), &"warn".into()), "{event}");
    assert_eq!((&event["image"], &event["platform"]), (&reference.as_str().into(), &host().platform.into()), "{event}");
    assert!(event["node"].as_str().is_some_and(|node| !node.is_empty()), "{event}");
}

#[test]
fn what_the_image_claims_is_told_in_the_same_way() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let honest = Image::single(fixture::busybox().of(foreign()).clone());
    let reference = bed.registry.push(&honest, "app:1");
    let refused = bed.pull("", &reference, &["--json"]).ends(exit::PLATFORM);
    let [event] = mismatches(&refused).try_into().expect("one event");
    assert_eq!((&event["id"], &event["action"]), (&"PLAT-011".into(), &"refuse".into()), "{event}");
    assert_nothing_stays(&bed.containerd, "default", &bed.user.path("staging"));

    let warned = bed.pull("[arch-mismatch]\ndefault = \"warn\"\n", &reference, &["--json"]).succeeds();
    let [event] = mismatches(&warned).try_into().expect("one event, and not another for the program");
    assert_eq!((&event["id"], &event["action"]), (&"PLAT-011".into(), &"warn".into()), "{event}");
    assert_eq!(event["platform"], foreign().platform);
    let told = warned.events().iter().filter(|event| event["event"] == "warning").count();
    assert_eq!(told, 1, "{}", warned.stdout);
}

#[test]
fn a_refusal_leaves_no_name_no_lease_and_no_content() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let reference = bed.registry.push(&lying(), "app:1");
    for more in [&[][..], &["--extract-with", "diff-service"], &["--snapshotter", "native"], &["--unpack", "verified"]]
    {
        let refused = bed.pull(REFUSE, &reference, more).fails(exit::PLATFORM);
        refused.says(&[&reference, "/bin/busybox", foreign().arch, ID, "--allow-mismatch"]);
        assert_nothing_stays(&bed.containerd, "default", &bed.user.path("staging"));
    }
    let refused = bed.pull(REFUSE, &reference, &["--json"]).ends(exit::PLATFORM);
    assert_eq!(refused.error()["kind"], "platform-mismatch");
    assert_eq!(mismatches(&refused)[0]["action"], "refuse");
    // One word on the command line, and none is said.
    let allowed = bed.pull(REFUSE, &reference, &["--allow-mismatch"]).succeeds();
    assert_eq!(warnings(&allowed), [""; 0], "{}", allowed.stderr);
    assert!(bed.names().contains(&reference));
}

#[test]
fn layers_that_are_there_already_are_looked_into_as_well() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let [program, etc, srv] = lying_layers();
    let first = bed.registry.push(&claiming(&[program.clone(), etc.clone(), srv.clone()], "/bin/sh"), "app:1");
    // Another config, and so another image, on the same snapshots.
    let second = bed.registry.push(&claiming(&[program.clone(), etc, srv], "/bin/busybox"), "app:2");
    let single = bed.registry.push(&claiming(&[program], "/bin/busybox"), "app:3");
    bed.pull("", &first, &[]).succeeds();
    for reference in [&second, &single] {
        bed.pull(REFUSE, reference, &[]).fails(exit::PLATFORM).says(&["/bin/busybox", ID]);
        assert!(!bed.names().contains(reference.as_str()));
    }
    let views = bed.containerd.ctr_prints(&["snapshots", "ls"]);
    assert!(!views.contains("look-"), "a view is left: {views}");
}

#[test]
fn the_most_specific_rule_of_the_configuration_counts() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let image = lying();
    let [strict, lax, other] = ["team/strict:1", "team/lax:1", "other:1"].map(|name| bed.registry.push(&image, name));
    let at = bed.registry.address();
    let rules = format!(
        "[arch-mismatch]\ndefault = \"allow\"\nrefuse = [\"{at}/team\"]\nwarn = \"{at}/team/lax\"\nallow = [\"{at}/te\"]\n"
    );
    bed.pull(&rules, &strict, &[]).fails(exit::PLATFORM).says(&[ID]);
    assert_eq!(warnings(&bed.pull(&rules, &lax, &[]).succeeds()).len(), 1);
    assert_eq!(warnings(&bed.pull(&rules, &other, &[]).succeeds()), [""; 0]);
}

#[test]
fn what_is_not_unpacked_or_meant_for_all_is_taken_at_its_word() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let reference = bed.registry.push(&lying(), "app:1");
    let (_, layout) = bed.user.layout("layout");
    for more in [&["--to", &layout][..], &["--no-unpack"], &["--all-platforms"]] {
        let pulled = bed.pull(REFUSE, &reference, more).succeeds();
        assert_eq!(warnings(&pulled), [""; 0], "{}", pulled.stderr);
        for name in bed.names().split_whitespace() {
            bed.containerd.ctr_prints(&["images", "rm", "--sync", name]);
        }
    }
}

#[test]
fn scripts_are_what_their_interpreters_are() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let script = |program: &[u8]| {
        let tree = Tree::new().dir("bin").file("bin/busybox", 0o755, program).symlink("bin/sh", "/bin/busybox");
        let start = Tree::new().file("start", 0o755, b"#!/bin/sh -e\nexec uname\n").layer();
        claiming(&[tree.layer(), start], "/start")
    };
    let foreign = bed.registry.push(&script(&fixture::busybox_program(foreign())), "foreign:1");
    let own = bed.registry.push(&script(&fixture::busybox_program(host())), "own:1");
    bed.pull(REFUSE, &foreign, &[]).fails(exit::PLATFORM).says(&["/bin/busybox", ID]);
    assert_eq!(warnings(&bed.pull(REFUSE, &own, &[]).succeeds()), [""; 0]);
    assert_eq!(bed.containerd.run("default", &[&own, "own"]), "Linux\n");
}

#[test]
fn a_program_that_another_layer_replaces_or_hides_does_not_count() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let below = lying_layers()[0].clone();
    let own = fixture::busybox_program(host());
    let over = Tree::new().dir("bin").file("bin/busybox", 0o755, &own).layer();
    let moved = Tree::new().dir("bin").file("bin/.wh.busybox", 0o644, b"").file("bin/real", 0o755, &own);
    let opaque = Tree::new().dir("bin").file("bin/.wh..wh..opq", 0o644, b"").file("bin/sh", 0o755, &own);
    let images = [
        claiming(&[below.clone(), over], "/bin/sh"),
        claiming(&[below.clone(), moved.symlink("bin/sh", "real").layer()], "/bin/sh"),
        claiming(&[below, opaque.layer()], "/bin/sh"),
    ];
    for (number, image) in images.iter().enumerate() {
        let reference = bed.registry.push(image, &format!("app:{number}"));
        let pulled = bed.pull(REFUSE, &reference, &[]).succeeds();
        assert_eq!(warnings(&pulled), [""; 0], "{}", pulled.stderr);
        let name = format!("app-{number}");
        let shown = bed.containerd.run("default", &[&reference, &name, "/bin/sh", "-c", "echo aboard"]);
        assert_eq!(shown, "aboard\n");
    }
}

#[test]
fn a_platform_that_is_asked_for_by_name_is_refused_only_where_somebody_says_so() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let reference = bed.registry.push(fixture::busybox(), "busybox:1");
    let asked = ["--platform", foreign().platform];
    let pulled = bed.pull("", &reference, &asked).succeeds();
    let [warning] = warnings(&pulled).try_into().expect("one warning, and not another for the program");
    assert!(warning.contains(foreign().platform), "{warning}");
    bed.containerd.ctr_prints(&["images", "rm", "--sync", &reference]);
    bed.pull(REFUSE, &reference, &asked).fails(exit::PLATFORM).says(&[foreign().platform]);
    // It may be meant for another machine.
    let (_, layout) = bed.user.layout("layout");
    bed.pull(REFUSE, &reference, &[&asked[..], &["--to", &layout]].concat()).succeeds();
}

#[test]
fn the_daemon_tells_its_clients_and_its_log_and_takes_up_another_policy() {
    let plain_node = Sandbox::without_emulators();
    let containerd = ContainerdDaemon::start();
    let registry = Registry::plain();
    let mut daemon = Daemon::start_as(Lighterman::inside(&plain_node), &containerd, "");
    let reference = registry.push(&lying(), "app:1");
    let pull = |daemon: &Daemon<'_>, more: &[&str]| {
        let mut command = daemon.user().command(&[&["pull", &reference, "--json"], more].concat());
        command.env_remove("CONTAINERD_ADDRESS");
        crate::support::lighterman::Running::of(command).wait()
    };
    let warned = pull(&daemon, &[]).succeeds();
    assert_eq!((mismatches(&warned).len(), &mismatches(&warned)[0]["id"]), (1, &ID.into()), "{warned:?}");
    assert!(warned.events().iter().any(|event| event["event"] == "warning"), "{warned:?}");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("the image does not run here")).expect("a line in the log");
    for field in [&format!("image={reference}"), "WARN", ID, "platform=", "node="] {
        assert!(line.contains(field), "{line} has no {field}");
    }

    containerd.ctr_prints(&["images", "rm", "--sync", &reference]);
    daemon.reload(&containerd.address(), REFUSE);
    let refused = pull(&daemon, &[]).ends(exit::PLATFORM);
    assert_eq!(refused.error()["kind"], "platform-mismatch");
    assert_eq!(mismatches(&refused)[0]["action"], "refuse");
    assert_nothing_stays(&containerd, "default", &daemon.staging());
    let allowed = pull(&daemon, &["--allow-mismatch"]).succeeds();
    assert_eq!(mismatches(&allowed), [Value::Null; 0]);
}
