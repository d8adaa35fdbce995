//! Images that stand already, and pulls of one image at the same moment: everybody is answered by his
//! own stance.

use super::{Bed, ID, REFUSE, lying, mismatches, warnings};
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::foreign;
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::{Lighterman, Outcome, Running, exit};
use crate::support::sandbox::Sandbox;

const WARN: &str = "[arch-mismatch]\ndefault = \"warn\"\n";
const ALLOW: &str = "[arch-mismatch]\ndefault = \"allow\"\n";

#[test]
fn what_stands_is_looked_at_for_who_refuses_it_and_stays() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let reference = bed.registry.push(&lying(), "app:1");
    bed.pull(ALLOW, &reference, &[]).succeeds();
    // Both snapshotters of this containerd, whose mounts look different.
    bed.pull(ALLOW, &reference, &["--snapshotter", "native"]).succeeds();
    for more in [&[][..], &["--snapshotter", "native"]] {
        let refused = bed.pull(REFUSE, &reference, &[more, &["--json"]].concat()).ends(exit::PLATFORM);
        let [event] = mismatches(&refused).try_into().expect("one event");
        assert_eq!((&event["id"], &event["action"]), (&ID.into(), &"refuse".into()), "{event}");
        assert_eq!(refused.error()["kind"], "platform-mismatch");
    }
    let refused = bed.pull(REFUSE, &reference, &[]).fails(exit::PLATFORM);
    refused.says(&[&reference, "/bin/busybox", foreign().arch, ID, "--allow-mismatch"]);
    assert!(bed.names().contains(&reference), "what was there before is not ours to take away");
    let views = bed.containerd.ctr_prints(&["snapshots", "ls"]);
    assert!(!views.contains("look-"), "a view is left: {views}");
    assert_eq!(bed.containerd.ctr_prints(&["leases", "ls", "-q"]), "");

    // Whoever would take it anyway gets it as cheaply as ever.
    for (configuration, more) in [("", &[][..]), (WARN, &[]), (ALLOW, &[]), (REFUSE, &["--allow-mismatch"])] {
        let again = bed.pull(configuration, &reference, &[more, &["--json"]].concat()).succeeds();
        assert_eq!((mismatches(&again).len(), &again.pulled()["bytesFetched"]), (0, &0.into()), "{again:?}");
    }
    bed.pull(REFUSE, &reference, &["--no-unpack"]).succeeds();
}

#[test]
fn what_runs_here_is_refused_by_nobody_though_it_is_looked_at() {
    let plain_node = Sandbox::without_emulators();
    let bed = Bed::new(&plain_node);
    let reference = bed.registry.push(crate::support::fixture::busybox(), "busybox:1");
    bed.pull("", &reference, &[]).succeeds();
    let again = bed.pull(REFUSE, &reference, &["--json"]).succeeds();
    assert_eq!((mismatches(&again).len(), &again.pulled()["bytesFetched"]), (0, &0.into()), "{again:?}");
}

/// A daemon that refuses what does not run here, or what else its configuration says, and an image that
/// stands still at its registry until everybody is there.
struct Quay<'a> {
    daemon: Daemon<'a>,
    containerd: ContainerdDaemon,
    liar: Liar,
}

impl<'a> Quay<'a> {
    fn new(plain_node: &'a Sandbox, configuration: &str) -> Self {
        let image = lying();
        let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image, "app:1"));
        let layer = &image.manifests[0].layers[0].digest;
        liar.always(&format!("GET /v2/app/blobs/{layer}"), Reply::Gated(At::AfterHead));
        let daemon = Daemon::start_as(Lighterman::inside(plain_node), &containerd, configuration);
        Self { daemon, containerd, liar }
    }

    fn begin(&self, more: &[&str]) -> Running {
        let reference = self.liar.reference("app:1");
        let mut command = self.daemon.user().command(&[&["pull", &reference, "--json"], more].concat());
        command.env_remove("CONTAINERD_ADDRESS");
        Running::of(command)
    }

    /// Pulls that all want the image before anybody has it, in this order.
    fn at_once(&self, callers: &[&[&str]]) -> Vec<Outcome> {
        let mut running = Vec::new();
        for (before, more) in callers.iter().enumerate() {
            running.push(self.begin(more));
            let counts = (1, before);
            let count = |pulls: &[serde_json::Value], phase: &str| pulls.iter().filter(|p| p["phase"] == phase).count();
            self.daemon.wait_for_pulls(|pulls| (count(pulls, "landing"), count(pulls, "queued")) == counts);
        }
        self.liar.open_gate();
        running.into_iter().map(Running::wait).collect()
    }
}

/// What a caller was told of the program, by what was done about it.
fn told(outcome: &Outcome) -> Vec<String> {
    let action = |event: serde_json::Value| event["action"].as_str().unwrap_or_default().to_owned();
    mismatches(outcome).into_iter().map(action).collect()
}

#[test]
fn of_two_at_the_same_moment_each_is_answered_by_his_own_stance() {
    let plain_node = Sandbox::without_emulators();
    let allows: &[&str] = &["--allow-mismatch"];
    for lax_first in [true, false] {
        let quay = Quay::new(&plain_node, REFUSE);
        let callers = if lax_first { [allows, &[]] } else { [&[], allows] };
        let mut outcomes = quay.at_once(&callers);
        if !lax_first {
            outcomes.reverse();
        }
        let [lax, strict] = outcomes.try_into().expect("two");
        let (lax, strict) = (lax.succeeds(), strict.ends(exit::PLATFORM));
        assert_eq!((told(&lax), told(&strict)), (vec![], vec!["refuse".to_owned()]), "lax first: {lax_first}");
        assert_eq!(strict.error()["kind"], "platform-mismatch");
        let names = quay.containerd.ctr_prints(&["images", "ls", "-q"]);
        assert!(names.contains(&quay.liar.reference("app:1")), "{names}");
        assert_eq!(quay.containerd.ctr_prints(&["leases", "ls", "-q"]), "");
    }
}

#[test]
fn all_who_are_of_one_mind_are_told_once_each() {
    let plain_node = Sandbox::without_emulators();
    for (configuration, action, code) in [(REFUSE, "refuse", exit::PLATFORM), (WARN, "warn", 0)] {
        let quay = Quay::new(&plain_node, configuration);
        let outcomes = quay.at_once(&[&[], &[], &[]]);
        for outcome in &outcomes {
            assert_eq!((outcome.code, told(outcome)), (Some(code), vec![action.to_owned()]), "{outcome:?}");
        }
        let log = quay.daemon.log();
        let told = |line: &&str| line.contains("the image is refused") || line.contains("the image does not run here");
        assert_eq!(log.lines().filter(told).count(), 3, "{log}");
    }
}

#[test]
fn who_only_waited_for_a_laxer_one_is_warned_as_well() {
    let plain_node = Sandbox::without_emulators();
    let quay = Quay::new(&plain_node, "");
    let outcomes = quay.at_once(&[&["--allow-mismatch"], &[]]);
    let [lax, usual] = outcomes.try_into().expect("two");
    let (lax, usual) = (lax.succeeds(), usual.succeeds());
    assert_eq!((told(&lax), told(&usual)), (vec![], vec!["warn".to_owned()]));
    let told = usual.events().iter().filter(|event| event["event"] == "warning").count();
    assert_eq!(told, 1, "{}", usual.stdout);
    assert_eq!(warnings(&lax), [""; 0]);
}
