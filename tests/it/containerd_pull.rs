//! Pulling into a real containerd until the image runs, and until nothing of it is left.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::containerd::{ContainerdDaemon, ISOLATED};
use crate::support::fixture::{self, Image, greeting};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, Outcome, exit};
use crate::support::registry::Registry;
use crate::support::sandbox::{Sandbox, with_emulator};
use crate::support::{files_below, foreign, host, succeed};

/// A user who speaks to this containerd and stages in their own folder.
fn pull(user: &Lighterman<'_>, daemon: &ContainerdDaemon, reference: &str, more: &[&str]) -> Outcome {
    let (address, staging) = (daemon.address(), user.path("staging"));
    let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
    let args = ["pull", reference, "--containerd-address", address, "--staging-dir", staging];
    user.run(&[&args[..], more].concat())
}

/// Rows of a listing without its header.
fn rows(daemon: &ContainerdDaemon, namespace: &str, what: &str) -> Vec<String> {
    let listing = daemon.ctr_prints(&["-n", namespace, what, "ls"]);
    listing.lines().skip(1).map(str::to_owned).collect()
}

fn assert_empty(daemon: &ContainerdDaemon, namespace: &str) {
    for what in ["images", "content", "snapshots", "leases"] {
        assert_eq!(rows(daemon, namespace, what), [""; 0], "{what} are left in {namespace}");
    }
}

#[test]
fn an_image_is_pulled_runs_and_goes_without_a_trace() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    for (image, tag, namespace) in
        [(fixture::busybox(), "oci", "default"), (fixture::busybox_docker(), "docker", "k8s.io")]
    {
        let reference = registry.push(image, &format!("library/busybox:{tag}"));
        let user = Lighterman::new();
        let destination = format!("containerd:{namespace}");
        let outcome = pull(&user, &daemon, &reference, &["--to", &destination]).succeeds();
        assert!(outcome.stdout.lines().last().is_some_and(|line| line.starts_with("sha256:")), "{outcome:?}");
        assert_eq!(rows(&daemon, namespace, "leases"), [""; 0], "a lease outlives its pull");
        assert_eq!(files_below(&user.path("staging")), [""; 0]);

        assert_eq!(daemon.run(namespace, &[&reference, "first"]), greeting(host()));

        daemon.ctr_prints(&["-n", namespace, "images", "rm", "--sync", &reference]);
        for other in rows(&daemon, namespace, "images") {
            // CRI's own names of the image, by config and by digest.
            let name = other.split_whitespace().next().expect("a name");
            daemon.ctr_prints(&["-n", namespace, "images", "rm", "--sync", name]);
        }
        assert_empty(&daemon, namespace);
    }
}

#[test]
fn a_staging_folder_of_others_is_not_used_and_a_link_in_its_place_not_followed() {
    use std::fs::{Permissions, create_dir, remove_dir_all, set_permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    const NOBODY: u32 = 65534;
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let (staging, elsewhere) = (user.path("staging"), user.path("elsewhere"));
    for folder in [&staging, &elsewhere] {
        create_dir(folder).expect("a writable home");
        std::fs::write(folder.join("a person's"), b"notes").expect("a writable home");
    }
    let refused = |says: &str| {
        let place = staging.to_str().expect("UTF-8");
        let outcome = pull(&user, &daemon, &reference, &[]).fails(exit::DESTINATION);
        outcome.says(&[place, says, "blame: this node", "hint: ", "--staging-dir"]);
    };
    set_permissions(&staging, Permissions::from_mode(0o777)).expect("a folder of ours");
    refused("others could change what is staged there");
    set_permissions(&staging, Permissions::from_mode(0o700)).expect("a folder of ours");
    chown(&staging, Some(NOBODY), Some(NOBODY)).expect("root gives it away");
    refused("others could change what is staged there");
    assert_eq!(files_below(&staging), ["a person's"]);
    remove_dir_all(&staging).expect("a folder of ours");
    symlink(&elsewhere, &staging).expect("a link");
    refused("is a symbolic link");
    assert_eq!(files_below(&elsewhere), ["a person's"]);
    std::fs::remove_file(&staging).expect("a link of ours");
    pull(&user, &daemon, &reference, &[]).succeeds();
}

#[test]
fn an_image_that_is_left_packed_is_there_and_runs_later() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    pull(&Lighterman::new(), &daemon, &reference, &["--no-unpack"]).succeeds();
    assert_eq!(rows(&daemon, "default", "images").len(), 1);
    assert_eq!(rows(&daemon, "default", "snapshots"), [""; 0]);
    drop(registry);
    assert_eq!(daemon.run("default", &[&reference, "later"]), greeting(host()));
}

#[test]
fn containerd_is_the_destination_when_it_answers_and_a_second_pull_transfers_nothing() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let first = pull(&user, &daemon, &reference, &["--json"]).succeeds().pulled();
    let manifest = image.of(host());
    assert_eq!(first["blobsFetched"], manifest.blobs().count());
    manifest.blobs().for_each(|blob| registry.lose_blob(&blob.digest));
    let second = pull(&user, &daemon, &reference, &["--json"]).succeeds().pulled();
    assert_eq!((&second["blobsFetched"], &second["blobsPresent"]), (&Value::from(0), &first["blobsFetched"]));
    assert_eq!(daemon.run("default", &[&reference, "again"]), greeting(host()));
}

#[test]
fn what_one_namespace_has_is_not_fetched_for_another() {
    let image = fixture::busybox();
    let blobs: Vec<_> = image.of(host()).blobs().collect();
    let cases = [(ContainerdDaemon::start(), 1), (ContainerdDaemon::start_configured(ISOLATED), 2)];
    for (daemon, times) in cases {
        let liar = Liar::serving(image, "app:1");
        let reference = liar.reference("app:1");
        let user = Lighterman::new();
        let pulled = |namespace: &str| {
            let destination = format!("containerd:{namespace}");
            pull(&user, &daemon, &reference, &["--to", &destination, "--json"]).succeeds().pulled()
        };
        assert_eq!(pulled("one")["blobsFetched"], blobs.len());
        let second = pulled("two");
        let fetched = if times == 1 { 0 } else { blobs.len() };
        assert_eq!(
            (&second["blobsFetched"], second["blobsPresent"].as_u64()),
            (&fetched.into(), Some((blobs.len() - fetched) as u64))
        );
        for blob in &blobs {
            let requests = liar.requests_for(&format!("/blobs/{}", blob.digest));
            assert_eq!(requests.len(), times, "{requests:#?}");
        }
        // What one throws away, the other still has.
        daemon.ctr_prints(&["-n", "one", "images", "rm", "--sync", &reference]);
        assert_empty(&daemon, "one");
        assert_eq!(daemon.run("two", &[&reference, "shared"]), greeting(host()));
        assert_eq!(rows(&daemon, "two", "leases"), [""; 0]);
        assert_eq!(daemon.ctr_prints(&["-n", "two", "content", "active"]).lines().count(), 1, "ingests are left");
    }
}

#[test]
fn a_second_pull_of_a_foreign_platform_transfers_nothing_even_after_a_collection() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let platform = ["--platform", foreign().platform, "--json"];
    pull(&user, &daemon, &reference, &platform).succeeds();
    daemon.collect("default");
    let second = pull(&user, &daemon, &reference, &platform).succeeds().pulled();
    assert_eq!(second["bytesFetched"], 0, "{second:#}");
    daemon.ctr_prints(&["images", "rm", "--sync", &reference]);
    assert_empty(&daemon, "default");
}

#[test]
fn the_files_of_all_layers_are_there_and_those_thrown_away_are_not() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    pull(&Lighterman::new(), &daemon, &reference, &["-n", "hold"]).succeeds();
    let look = "ls /etc /hold && busybox wc -c < /hold/cargo.bin";
    let seen = daemon.run("hold", &[&reference, "look", "/bin/sh", "-c", look]);
    assert!(seen.ends_with(&format!("{}\n", fixture::CARGO_BYTES)), "{seen}");
    assert!(seen.contains("arch") && seen.contains("cargo.bin"), "{seen}");
    assert!(!seen.contains("ballast"), "a whiteout was not applied: {seen}");
}

#[test]
fn a_foreign_image_is_refused_where_nothing_emulates_it() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let foreign = foreign();
    let reference = registry.push(&Image::single(fixture::busybox().of(foreign).clone()), "app:1");
    let plain_node = Sandbox::without_emulators();
    let user = Lighterman::inside(&plain_node);
    let refused = pull(&user, &daemon, &reference, &["--to", "containerd"]).fails(exit::PLATFORM);
    refused.says(&[foreign.platform, host().platform, "--allow-mismatch"]);
    assert_empty(&daemon, "default");
}

#[test]
fn a_foreign_image_runs_where_an_emulator_is_registered() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let foreign = foreign();
    let single = registry.push(&Image::single(fixture::busybox().of(foreign).clone()), "app:1");
    let multi = registry.push(fixture::busybox(), "library/busybox:1");
    let emulating_node = match with_emulator(foreign) {
        Ok(node) => node,
        Err(said) => {
            // A kernel that does not let us; another test sees to it that the image is refused then.
            let forbidden = ["denied", "not permitted", "unknown filesystem", "Read-only"];
            assert!(forbidden.iter().any(|why| said.contains(why)), "cannot register an emulator: {said}");
            return;
        }
    };
    let user = Lighterman::inside(&emulating_node);
    let pulled = pull(&user, &daemon, &single, &["--to", "containerd"]).succeeds();
    assert!(pulled.stderr.contains("warning") && pulled.stderr.contains(foreign.platform), "{}", pulled.stderr);
    let platform = ["--platform", foreign.platform];
    assert_eq!(daemon.run("default", &[&platform[..], &[&single, "single"]].concat()), greeting(foreign));

    let asked = [&["--to", "containerd"], &platform[..]].concat();
    pull(&user, &daemon, &multi, &asked).succeeds();
    assert_eq!(daemon.run("default", &[&platform[..], &[&multi, "multi"]].concat()), greeting(foreign));

    // The host knows of it, and says which program does the work.
    let report = user.run(&["host"]).succeeds();
    assert!(report.stdout.contains(&format!("lighterman-test-{}", foreign.qemu)), "{}", report.stdout);
}

#[test]
fn ctr_imports_what_we_wrote_into_a_layout() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&["pull", &reference, "--to", &destination]).succeeds();
    let archive = user.path("image.tar");
    succeed(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg("."));
    daemon.ctr_prints(&["images", "import", archive.to_str().expect("UTF-8")]);
    assert_eq!(daemon.run("default", &[&reference, "imported"]), greeting(host()));
}

#[test]
fn inspect_verifies_an_image_in_containerd() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    pull(&user, &daemon, &reference, &["--to", "containerd:quay"]).succeeds();
    let address = daemon.address();
    let args = ["inspect", &reference, "--from", "containerd:quay", "--containerd-address"];
    let shown = user.run(&[&args[..], &[address.to_str().expect("UTF-8")]].concat()).succeeds();
    for part in [host().platform, "/bin/sh", &fixture::busybox().of(host()).layers[0].digest] {
        assert!(shown.stdout.contains(part), "inspect does not show {part:?}:\n{}", shown.stdout);
    }
}

#[test]
fn an_interrupted_pull_leaves_no_lease_and_no_name() {
    let daemon = ContainerdDaemon::start();
    let image = Image::single(fixture::busybox().of(host()).clone());
    let liar = Liar::serving(&image, "app:1");
    let request = format!("GET /v2/app/blobs/{}", image.manifests[0].layers[2].digest);
    liar.plan(&request, [Reply::HangAfter(1 << 20)]);
    let user = Lighterman::new();
    let (address, staging, reference) = (daemon.address(), user.path("staging"), liar.reference("app:1"));
    let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
    let args = ["pull", &reference, "--to", "containerd", "--containerd-address", address, "--staging-dir", staging];
    let running = user.spawn(&args);
    liar.wait_for(&request);
    running.interrupt().ends(exit::INTERRUPTED);
    daemon.collect("default");
    for what in ["images", "leases", "snapshots"] {
        assert_eq!(rows(&daemon, "default", what), [""; 0], "{what} are left");
    }
    user.run(&args).succeeds();
    assert_eq!(daemon.run("default", &[&reference, "later"]), greeting(host()));
    assert_eq!(files_below(&user.path("staging")), [""; 0]);
}

#[test]
fn an_unknown_snapshotter_is_refused_and_a_known_one_is_used() {
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let unknown = pull(&user, &daemon, &reference, &["--snapshotter", "cargo-net"]);
    assert!(unknown.code != Some(exit::OK) && unknown.stderr.contains("cargo-net"), "{unknown:?}");
    pull(&user, &daemon, &reference, &["--snapshotter", "native"]).succeeds();
    let native = daemon.ctr_prints(&["snapshots", "--snapshotter", "native", "ls"]);
    assert_eq!(native.lines().count(), 1 + fixture::busybox().of(host()).layers.len(), "{native}");
    assert_eq!(daemon.run("default", &["--snapshotter", "native", &reference, "native"]), greeting(host()));
}

/// What goes on until this is dropped.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn pulls_end_well_while_the_collector_never_rests() {
    const ROUNDS: usize = 4;
    let daemon = ContainerdDaemon::start();
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let layers = fixture::busybox().of(host()).layers.len();
    // What one namespace throws away, another is about to use: they share the bytes.
    let (namespaces, done) = (["one", "two"], AtomicBool::new(false));
    let pulls = |namespace: &str| {
        for round in 0..ROUNDS {
            let destination = format!("containerd:{namespace}");
            let outcome = pull(&Lighterman::new(), &daemon, &reference, &["--to", &destination, "--json"]).succeeds();
            let pulled = outcome.pulled();
            let landed = ["contentLinked", "contentWritten"].map(|how| pulled[how].as_u64().expect("a number"));
            assert_eq!(Some(landed.iter().sum()), pulled["blobsFetched"].as_u64(), "{pulled:#}");
            let new = round % 2 == 0;
            assert_eq!(pulled["layersUnpacked"], if new { layers } else { 0 }, "{namespace} {round}: {pulled:#}");
            assert_eq!(daemon.run(namespace, &[&reference, &format!("round-{round}")]), greeting(host()));
            if !new {
                daemon.ctr_prints(&["-n", namespace, "images", "rm", "--sync", &reference]);
            }
        }
    };
    let collections = |namespace: &str| {
        while !done.load(Ordering::Relaxed) {
            daemon.collect(namespace);
            // Manifests forget their layers. Fails where what was listed is gone meanwhile.
            daemon.ctr(&["-n", namespace, "content", "prune", "references"]);
        }
    };
    let (pulls, collections) = (&pulls, &collections);
    std::thread::scope(|scope| {
        let _until = Until(&done);
        let _collecting = namespaces.map(|namespace| scope.spawn(move || collections(namespace)));
        let pulling = namespaces.map(|namespace| scope.spawn(move || pulls(namespace)));
        pulling.into_iter().for_each(|pulling| pulling.join().expect("pulls end well"));
    });
    for namespace in namespaces {
        assert_empty(&daemon, namespace);
    }
    assert_eq!(files_below(&daemon.blobs()), [""; 0]);
}
