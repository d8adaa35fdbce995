//! Pulls of one daemon beside each other, where a registry is slow, silent or broken.

use serde_json::Value;

use crate::faults::image_of;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::{Outcome, exit};

/// How many pulls are at it.
fn count(pulls: &[Value], phase: &str) -> usize {
    pulls.iter().filter(|pull| pull["phase"] == phase).count()
}

/// The failure and its attempts. Durations differ from caller to caller.
fn without_seconds(text: &str) -> Vec<String> {
    let told = text.lines().filter(|line| line.starts_with("error") || line.contains("attempt: "));
    told.map(|line| line.split(" times, ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn those_who_wait_for_an_image_that_cannot_be_had_fail_with_the_first() {
    let image = image_of(&[200_000, 10_000]);
    let [large, small] =
        [0, 1].map(|index: usize| format!("GET /v2/app/blobs/{}", image.manifests[0].layers[index].digest));
    let (containerd, liar) = (ContainerdDaemon::start(), Liar::serving(&image, "app:1"));
    liar.always(&large, Reply::Gated(At::AfterHead));
    liar.always(&small, Reply::status(503));
    // The small one is fetched behind the large one, when everybody is there.
    let daemon = Daemon::start_configured(&containerd, "max-concurrent-downloads = 1");
    let reference = liar.reference("app:1");
    let running: Vec<_> = (0..6).map(|_| daemon.user().spawn(&["pull", &reference])).collect();
    daemon.wait_for_pulls(|pulls| (count(pulls, "landing"), count(pulls, "queued")) == (1, 5));
    liar.open_gate();
    let outcomes: Vec<Outcome> = running.into_iter().map(|pull| pull.wait().fails(exit::UNAVAILABLE)).collect();
    let told: Vec<_> = outcomes.iter().map(|outcome| without_seconds(&outcome.stderr)).collect();
    assert!(told[0].len() == 2 && told.iter().all(|other| *other == told[0]), "{told:#?}");
    let asked = liar.requests_for(&small).len();
    daemon.user().run(&["pull", &reference]).fails(exit::UNAVAILABLE);
    assert_eq!(liar.requests_for(&small).len(), 2 * asked, "they tried one after the other");
    assert_eq!(containerd.ctr_prints(&["leases", "ls", "-q"]).trim(), "");
}

#[test]
fn a_silent_registry_holds_up_nobody_but_those_who_want_something_from_it() {
    let images = [10_000, 11_000, 12_000, 13_000].map(|size| image_of(&[size]));
    let [here, first, second, third] = &images;
    let (containerd, silent, other) = (ContainerdDaemon::start(), Liar::serving(here, "here:1"), Liar::start());
    for (image, name) in [(first, "first"), (second, "second"), (third, "third")] {
        silent.add(image, &format!("{name}:1"));
    }
    other.add(third, "app:1");
    let daemon = Daemon::start_configured(&containerd, "[serve]\nmax-pulls = 2");
    let user = daemon.user();
    user.run(&["pull", &silent.reference("here:1")]).succeeds();
    for image in [first, second, third] {
        silent.always(&image.manifests[0].layers[0].digest, Reply::Gated(At::BeforeHead));
    }
    let pull = |name: &str| user.spawn(&["pull", &silent.reference(name)]);
    let mut stalled = vec![pull("first:1"), pull("second:1")];
    daemon.wait_for_pulls(|pulls| count(pulls, "landing") == 2);
    stalled.push(pull("third:1"));
    daemon.wait_for_pulls(|pulls| count(pulls, "queued") == 1);
    user.run(&["pull", &other.reference("app:1"), "-n", "elsewhere"]).succeeds();
    user.run(&["pull", &silent.reference("here:1")]).succeeds().says(&["nothing to fetch"]);
    let pulls = daemon.pulls();
    assert_eq!((count(&pulls, "landing"), count(&pulls, "queued")), (2, 1), "they waited for those: {pulls:#?}");
    // Whoever waits goes on when one of them goes.
    user.run(&["cancel", &pulls[0]["id"].to_string()]).succeeds();
    daemon.wait_for_pulls(|pulls| (count(pulls, "landing"), count(pulls, "queued")) == (2, 0));
    silent.open_gate();
    let codes: Vec<_> = stalled.into_iter().map(|pull| pull.wait().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 2, "{codes:?}");
}
