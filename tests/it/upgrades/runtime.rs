//! containerd is replaced by newer ones, over one root, under a daemon that goes on.

use crate::support::containerd::{ContainerdDaemon, newer};
use crate::support::daemon::Daemon;
use crate::support::fixture::{Blob, Flavour, Image, Layer, Manifest, Tree, busybox_program, noise, platform};
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::exit;
use crate::support::{files_below, host};

/// Versions over which it is tried, beside the machine's own.
const SINCE: (u32, u32) = (1, 7);
/// Bytes of the layer that is on its way during an upgrade: it comes in ranges.
const LARGE: usize = 10 << 20;

/// An image that prints its number: a program and files that all have, and some of its own.
fn image(number: usize) -> Image {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(host())).layer();
    let shared = Tree::new().dir("hold").file("hold/shared", 0o644, &noise(3, 300_000)).layer();
    let own = Tree::new()
        .dir("etc")
        .file("etc/number", 0o644, number.to_string().as_bytes())
        .file("etc/own", 0o644, &noise(number as u64 + 11, LARGE))
        .layer();
    let layers: [Layer; 3] = [program, shared, own];
    let start = ("/bin/busybox", &["cat", "/etc/number"][..]);
    Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, ""), &layers, start))
}

fn layers(image: &Image) -> &[Blob] {
    &image.manifests[0].layers
}

/// Fails the test unless each of the images runs, under a container of its own name.
fn assert_run(containerd: &ContainerdDaemon, references: &[String], when: &str) {
    for (number, reference) in references.iter().enumerate() {
        let printed = containerd.run("default", &[reference, &format!("{when}-{number}")]);
        assert_eq!(printed, number.to_string(), "{reference} {when}");
    }
}

#[test]
fn what_was_pulled_runs_and_what_is_pulled_completes_under_every_next_containerd() {
    let mut containerd = ContainerdDaemon::start();
    let daemon = Daemon::start(&containerd);
    let pull = |reference: &str| daemon.user().run(&["pull", reference]).succeeds();
    let first = Liar::serving(&image(0), "app:1");
    let mut references = vec![first.reference("app:1")];
    pull(&references[0]);
    assert_run(&containerd, &references, "at-first");

    for programs in newer(SINCE) {
        let number = references.len();
        let image = image(number);
        let [program, shared, own] = layers(&image) else { panic!("three layers") };
        let liar = Liar::serving(&image, "app:1");
        liar.always(&own.digest, Reply::Gated(At::Half));
        let reference = liar.reference("app:1");
        let running = daemon.user().spawn(&["pull", &reference]);
        liar.wait_for(&own.digest);
        containerd.upgrade(&programs);
        let told = format!("containerd {:?}", programs.version);
        liar.open_gate();
        let outcome = running.wait();
        if outcome.code != Some(exit::OK) {
            assert!([Some(exit::UNAVAILABLE), Some(exit::LOCAL_IO)].contains(&outcome.code), "{told}: {outcome:#?}");
            let code = outcome.code.expect("it ended");
            outcome.fails(code).says(&["blame: this node"]);
        }
        pull(&references[0]).says(&["nothing to fetch"]);
        pull(&reference);
        for blob in [program, shared] {
            assert_eq!(liar.requests_for(&blob.digest).len(), 0, "{told}: it was there already");
        }
        references.push(reference);
        assert_run(&containerd, &references, &format!("after-{}-{}", programs.version.0, programs.version.1));
    }

    for reference in &references {
        containerd.ctr_prints(&["images", "rm", "--sync", reference]);
    }
    containerd.collect("default");
    for (args, heading) in [
        (&["leases", "ls", "-q"][..], 0),
        (&["content", "ls", "-q"], 0),
        (&["content", "active"], 1),
        (&["snapshots", "ls"], 1),
    ] {
        let left = containerd.ctr_prints(args);
        assert_eq!(left.lines().count(), heading, "{args:?}: {left}");
    }
    assert_eq!(files_below(&daemon.staging()), [""; 0]);
    let trees = containerd.folder().join("root/io.containerd.snapshotter.v1.overlayfs/lighterman");
    assert_eq!(files_below(&trees), [""; 0]);
}
