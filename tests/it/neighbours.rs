//! Others at the same containerd: they bring what we bring, at the same moment, and take away what
//! we are about to take over. Everybody ends well, the image is whole, and nothing is left.
//!
//!     cargo test --test it neighbours::
//!     LIGHTERMAN_NEIGHBOUR_ROUNDS=100 cargo test --test it neighbours::     more moments
//!     LIGHTERMAN_TEST_SEED=123 cargo test --test it neighbours::            those of an earlier run

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::containerd::{ContainerdDaemon, Cri};
use crate::support::cri::CriImages;
use crate::support::daemon::Daemon;
use crate::support::dice::Dice;
use crate::support::fixture::{Flavour, Image, Manifest, Tree, busybox_program, noise, platform};
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, Outcome};
use crate::support::{asked_for, host};

/// The namespace of containerd's CRI.
const K8S: &str = "k8s.io";

/// An image of as many layers as usual ones have.
fn image() -> Image {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(host())).layer();
    let layer = |number: u64| {
        let folder = format!("layer{number}");
        let files = (0..20).map(|file| (format!("{folder}/{file}"), noise(number * 100 + file, 20_000)));
        files.fold(Tree::new().dir(&folder), |tree, (path, bytes)| tree.file(&path, 0o644, &bytes)).layer()
    };
    let layers: Vec<_> = std::iter::once(program).chain((0..8).map(layer)).collect();
    let run = ["sh", "-c", "/bin/busybox find / -xdev -path '/layer*/*' | /bin/busybox wc -l"];
    Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, host().variant), &layers, ("/bin/busybox", &run)))
}

/// What the image says when all of it is there.
const ALL_FILES: &str = "160\n";

fn rounds(usual: usize) -> usize {
    asked_for("LIGHTERMAN_NEIGHBOUR_ROUNDS").unwrap_or(usual)
}

/// A moment that others begin at. There is nothing to wait for: one is as good as another.
fn moment(dice: &mut Dice, within: Duration) -> Duration {
    within * u32::try_from(dice.below(1000)).expect("a small number") / 1000
}

fn pull_directly(containerd: &Path, reference: &str, namespace: &str) -> Outcome {
    let (user, destination) = (Lighterman::new(), format!("containerd:{namespace}"));
    let address = containerd.to_str().expect("UTF-8");
    let staging = user.path("staging");
    let staging = staging.to_str().expect("UTF-8");
    let to = ["--to", &destination, "--containerd-address", address, "--staging-dir", staging];
    user.run(&[&["pull", reference], &to[..]].concat())
}

fn assert_whole(containerd: &ContainerdDaemon, image: &Image, namespace: &str, (reference, told): (&str, &str)) {
    for blob in image.blobs() {
        let bytes = std::fs::read(containerd.blobs().join(blob.hex()));
        assert!(bytes.is_ok_and(|bytes| bytes == blob.bytes), "{told}: {}", blob.digest);
    }
    let container = format!("{namespace}-{}", std::process::id());
    assert_eq!(containerd.run(namespace, &[reference, &container]), ALL_FILES, "{told}");
}

/// Takes all names away, and with them everything else has to go.
fn assert_goes(containerd: &ContainerdDaemon, namespace: &str, told: &str) {
    let listed = |what: &[&str]| containerd.ctr_prints(&[&["-n", namespace], what].concat());
    for name in listed(&["images", "ls", "-q"]).lines() {
        containerd.ctr_prints(&["-n", namespace, "images", "rm", "--sync", name]);
    }
    containerd.collect(namespace);
    for what in [&["content", "ls"][..], &["content", "active"], &["snapshots", "ls"], &["leases", "ls"]] {
        let rows = listed(what);
        assert_eq!(rows.lines().count(), 1, "{told}: {what:?} in {namespace}: {rows}");
    }
}

#[test]
fn all_who_pull_the_same_image_at_the_same_moment_get_it_whole() {
    let (mut dice, image) = (Dice::new(), image());
    let containerd = ContainerdDaemon::start_with(Cri::On);
    let daemon = Daemon::start(&containerd);
    let registry = Liar::serving(&image, "app:1");
    let reference = registry.reference("app:1");
    let id = &image.manifests[0].config.digest;
    for round in 0..rounds(2) {
        let moments: [Duration; 4] = std::array::from_fn(|_| moment(&mut dice, Duration::from_millis(200)));
        let told = format!("round {round}: {moments:?}");
        let [cri, ctr, ours, direct] = moments;
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(cri);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let pulled = async { CriImages::connect(&containerd.address()).await.pull(&reference).await };
                assert_eq!(&runtime.block_on(pulled), id, "{told}");
            });
            scope.spawn(|| {
                thread::sleep(ctr);
                containerd.ctr_prints(&["-n", K8S, "images", "pull", "--plain-http", &reference]);
            });
            scope.spawn(|| {
                thread::sleep(ours);
                daemon.user().run(&["pull", &reference, "-n", K8S]).succeeds();
            });
            scope.spawn(|| {
                thread::sleep(direct);
                pull_directly(&containerd.address(), &reference, K8S).succeeds();
            });
        });
        assert_whole(&containerd, &image, K8S, (&reference, &told));
        assert_goes(&containerd, K8S, &told);
    }
}

#[test]
fn what_another_namespace_throws_away_while_we_take_it_over_is_ours_all_the_same() {
    let (mut dice, image) = (Dice::new(), image());
    let containerd = ContainerdDaemon::start();
    let registry = Liar::serving(&image, "app:1");
    let reference = registry.reference("app:1");
    let address = containerd.address();
    pull_directly(&address, &reference, "theirs").succeeds();
    let before = Instant::now();
    pull_directly(&address, &reference, "ours").succeeds();
    let usual = before.elapsed();
    assert_goes(&containerd, "ours", "to begin with");
    for round in 0..rounds(6) {
        pull_directly(&address, &reference, "theirs").succeeds();
        let moment = moment(&mut dice, usual);
        let told = format!("round {round}: {moment:?} of {usual:?}");
        thread::scope(|scope| {
            scope.spawn(|| pull_directly(&address, &reference, "ours").succeeds());
            thread::sleep(moment);
            containerd.ctr_prints(&["-n", "theirs", "images", "rm", "--sync", &reference]);
        });
        assert_whole(&containerd, &image, "ours", (&reference, &told));
        assert_goes(&containerd, "ours", &told);
        assert_goes(&containerd, "theirs", &told);
    }
}
