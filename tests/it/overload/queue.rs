//! Hundreds of pulls from a registry that gives nothing for now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lighterman::core::error::Kind;
use lighterman::fetch::progress::Silent;
use lighterman::service::api::client::{Client, ClientError};
use lighterman::service::api::v1::PullRequest;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{PEAK, connect, kind};
use crate::faults::image_of;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::files_below;
use crate::support::liar::{At, Liar, Reply};

/// Pulls from the slow registry, and from each of the others.
const SLOW: usize = 300;
const QUICK: usize = 10;
/// Those that are cancelled while they wait, while they are at it, and whose callers go away.
const CANCELLED: (usize, usize, usize) = (200, 8, 20);
/// `max-pulls`, as it is unless somebody sets it.
const AT_ONCE: usize = 16;

/// Descriptors of connections to three registries that are kept for a while: as many as a registry may
/// have of each of two kinds.
const IDLE: usize = 3 * 2 * 32;

type Pull = JoinHandle<Result<(), ClientError>>;

/// A registry with so many images of one layer each, whose sizes begin at `size`.
fn registry(images: usize, size: usize, reply: &Reply) -> Liar {
    let liar = Liar::start();
    for number in 0..images {
        let image = image_of(&[size + number]);
        liar.always(&image.manifests[0].layers[0].digest, reply.clone());
        liar.add(&image, &format!("app{number}:1"));
    }
    liar
}

fn references(liar: &Liar, images: usize) -> Vec<String> {
    (0..images).map(|number| liar.reference(&format!("app{number}:1"))).collect()
}

fn start(runtime: &Runtime, clients: &[Client], references: &[String]) -> BTreeMap<String, Pull> {
    let pull = |(number, reference): (usize, &String)| {
        let client = clients[number % clients.len()].clone();
        let request = PullRequest { reference: reference.clone(), ..Default::default() };
        let pulling = async move { client.pull(request, Arc::new(Silent).as_ref(), |_| {}).await.map(|_| ()) };
        (reference.clone(), runtime.spawn(pulling))
    };
    references.iter().enumerate().map(pull).collect()
}

/// Number and reference of those that are at this.
fn at(pulls: &[Value], phase: &str) -> Vec<(u64, String)> {
    let of = pulls.iter().filter(|pull| pull["phase"] == phase);
    of.map(|pull| (pull["id"].as_u64().expect("a number"), pull["reference"].as_str().expect("text").to_owned()))
        .collect()
}

fn counts(pulls: &[Value]) -> (usize, usize) {
    (at(pulls, "landing").len(), at(pulls, "queued").len())
}

fn open_files(daemon: &mut Daemon<'_>) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.process().id())).expect("it runs").count()
}

#[test]
fn hundreds_of_pulls_wait_in_line_and_who_leaves_it_leaves_nothing() {
    let (containerd, runtime) = (ContainerdDaemon::start(), Runtime::new().expect("threads"));
    let slow = registry(SLOW, 1_000, &Reply::Gated(At::AfterHead));
    let quick = [2_000, 3_000].map(|size| registry(QUICK, size, &Reply::Honest));
    let mut daemon = Daemon::start(&containerd);
    let clients = connect(&runtime, &daemon.socket(), 4);
    let files = open_files(&mut daemon);
    let mut pulls = start(&runtime, &clients, &references(&slow, SLOW));
    let listed = daemon.wait_for_pulls(|pulls| counts(pulls) == (AT_ONCE, SLOW - AT_ONCE));

    // Other registries' turns are their own.
    let quick: Vec<String> = quick.iter().flat_map(|liar| references(liar, QUICK)).collect();
    for (reference, pull) in start(&runtime, &clients, &quick) {
        runtime.block_on(pull).expect("no panic").unwrap_or_else(|error| panic!("{reference}: {error}"));
    }
    assert_eq!(counts(&daemon.pulls()), (AT_ONCE, SLOW - AT_ONCE), "it waited for the slow one");

    // Places are free as soon as somebody leaves, though nothing comes as yet.
    let (queued, landing, gone) = CANCELLED;
    let waiting = at(&listed, "queued");
    let cancelled: Vec<_> = waiting[..queued].iter().chain(&at(&listed, "landing")[..landing]).cloned().collect();
    for (id, _) in &cancelled {
        runtime.block_on(clients[0].cancel(*id)).expect("it is there");
    }
    for (_, reference) in &waiting[queued..queued + gone] {
        pulls.remove(reference).expect("is pulled").abort();
    }
    let left = SLOW - queued - landing - gone;
    daemon.wait_for_pulls(|pulls| counts(pulls) == (AT_ONCE, left - AT_ONCE));

    slow.open_gate();
    let cancelled: BTreeSet<&String> = cancelled.iter().map(|(_, reference)| reference).collect();
    for (reference, pull) in pulls {
        let outcome = runtime.block_on(pull).expect("no panic");
        let expected = cancelled.contains(&reference).then_some(Kind::Cancelled);
        assert_eq!(kind(&outcome), expected, "{reference}: {outcome:?}");
    }
    let expected: BTreeSet<String> = containerd_names(&containerd);
    assert_eq!(expected.len(), left + quick.len());
    assert!(expected.iter().all(|name| !cancelled.contains(name)));
    assert_nothing_left(&containerd, &daemon, left + quick.len());
    drop((clients, runtime));
    // Idle connections to registries stay for a while: far fewer than there were pulls.
    let after = open_files(&mut daemon);
    assert!(after < files + IDLE, "{files} files were open, and now {after}");
    let peak = daemon.process().proc_value("status", "VmHWM").expect("it runs");
    assert!(peak < PEAK, "{peak} KiB");
}

fn containerd_names(containerd: &ContainerdDaemon) -> BTreeSet<String> {
    containerd.ctr_prints(&["images", "ls", "-q"]).lines().map(str::to_owned).collect()
}

/// Nothing but what so many images of one layer need.
fn assert_nothing_left(containerd: &ContainerdDaemon, daemon: &Daemon<'_>, images: usize) {
    assert_eq!(daemon.pulls().len(), 0);
    containerd.collect("default");
    let lines = |args: &[&str]| containerd.ctr_prints(args).lines().count();
    assert_eq!(lines(&["leases", "ls", "-q"]), 0);
    assert_eq!(lines(&["content", "active"]), 1, "nothing but a heading");
    assert_eq!(lines(&["content", "ls", "-q"]), 3 * images, "manifest, config and layer of each");
    assert_eq!(lines(&["snapshots", "ls"]), 1 + images);
    assert_eq!(files_below(&daemon.staging()), [""; 0]);
    let root = containerd.folder().join("root/io.containerd.snapshotter.v1.overlayfs/lighterman");
    assert_eq!(files_below(&root), [""; 0]);
}

/// Everything is asked for in the order in which it came.
#[test]
fn who_came_first_to_a_registry_is_served_first() {
    let (containerd, runtime) = (ContainerdDaemon::start(), Runtime::new().expect("threads"));
    let slow = registry(8, 1_000, &Reply::Gated(At::AfterHead));
    let daemon = Daemon::start_configured(&containerd, "[serve]\nmax-pulls = 1");
    let clients = connect(&runtime, &daemon.socket(), 1);
    let references = references(&slow, 8);
    let mut pulls = BTreeMap::new();
    for (number, reference) in references.iter().enumerate() {
        pulls.extend(start(&runtime, &clients, std::slice::from_ref(reference)));
        daemon.wait_for_pulls(|pulls| counts(pulls) == (1, number));
    }
    // The one in front goes, time and again, and the next one steps up.
    for reference in &references {
        let listed = daemon.wait_for_pulls(|pulls| counts(pulls).0 == 1);
        let [(id, first)] = &at(&listed, "landing")[..] else { panic!("one at a time: {listed:#?}") };
        assert_eq!(first, reference);
        runtime.block_on(clients[0].cancel(*id)).expect("it is there");
        let outcome = runtime.block_on(pulls.remove(reference).expect("is pulled")).expect("no panic");
        assert_eq!(kind(&outcome), Some(Kind::Cancelled));
    }
    assert_nothing_left(&containerd, &daemon, 0);
}
