//! Layers that are unpacked while they arrive, into a real containerd.

use std::path::PathBuf;

use crate::support::containerd::ContainerdDaemon;
use crate::support::fixture::{self, Flavour, Image, Manifest, Tree, noise, platform};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::{files_below, host};

/// A containerd, and a registry with an image that prints the first line of a large file.
struct Bed {
    daemon: ContainerdDaemon,
    liar: Liar,
    /// How the layer with the large file is asked for.
    request: String,
}

impl Bed {
    fn new() -> Self {
        let (image, request) = image(&noise(7, 6 << 20));
        let liar = Liar::serving(&image, "app:1");
        Self { daemon: ContainerdDaemon::start(), liar, request }
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let (reference, address) = (self.liar.reference("app:1"), self.daemon.address());
        let staging = self.daemon.folder().join("root/staging");
        let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
        let own = ["pull", &reference, "--to", "containerd", "--containerd-address", address, "--staging-dir", staging];
        own.iter().chain(more).map(|&arg| arg.to_owned()).collect()
    }

    /// Where layers grow before they are snapshots.
    fn trees(&self) -> PathBuf {
        self.daemon.folder().join("root/io.containerd.snapshotter.v1.overlayfs/lighterman")
    }

    fn runs(&self, name: &str) {
        let printed = self.daemon.run("default", &[&self.liar.reference("app:1"), name]);
        assert_eq!(printed, "the last stretch\n");
        assert_eq!(files_below(&self.trees()), [""; 0], "unfinished trees are left");
    }
}

/// The image, with this behind the line that it prints, and how its large layer is asked for.
fn image(rest: &[u8]) -> (Image, String) {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &fixture::busybox_program(host()));
    let program = program.symlink("bin/head", "busybox").layer();
    let content = [b"the last stretch\n", rest].concat();
    let cargo = Tree::new().dir("quay").file("quay/cargo", 0o644, &content).layer();
    let start = ("/bin/head", &["-n", "1", "/quay/cargo"][..]);
    let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, ""), &[program, cargo], start);
    let request = format!("GET /v2/app/blobs/{}", manifest.layers[1].digest);
    (Image::single(manifest), request)
}

fn text(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn every_way_to_unpack_makes_an_image_that_runs() {
    for more in [&[][..], &["--unpack", "verified"], &["--sync-snapshots"], &["--extract-with", "diff-service"]] {
        let bed = Bed::new();
        Lighterman::new().run(&text(&bed.args(more))).succeeds();
        bed.runs("it");
    }
}

#[test]
fn another_snapshotter_is_left_to_containerd_and_that_is_said() {
    let bed = Bed::new();
    let outcome = Lighterman::new().run(&text(&bed.args(&["--snapshotter", "native"]))).succeeds();
    assert!(outcome.stderr.contains("containerd extracts the layers itself"), "{outcome:?}");
    bed.daemon.run("default", &["--snapshotter", "native", &bed.liar.reference("app:1"), "native"]);
    assert!(!bed.trees().exists());
}

#[test]
fn a_layer_of_wrong_bytes_is_unpacked_again_from_the_right_ones() {
    let bed = Bed::new();
    bed.liar.plan(&bed.request, [Reply::CutAfter(1 << 20), Reply::Flipped(5 << 20)]);
    let user = Lighterman::new();
    // A single host that lies is not asked again for the same bytes; the next run is.
    user.run(&text(&bed.args(&[]))).fails(exit::CONTENT);
    assert_eq!(files_below(&bed.trees()), [""; 0], "unfinished trees are left");
    bed.daemon.collect("default");
    let snapshots = bed.daemon.ctr_prints(&["snapshots", "ls"]);
    assert!(!snapshots.contains("Active"), "{snapshots}");
    user.run(&text(&bed.args(&[]))).succeeds();
    bed.runs("again");
}

#[test]
fn a_mirror_whose_bytes_do_not_even_inflate_is_left_for_the_registry() {
    // Compresses well, so that a wrong byte is noticed long before the digest could tell.
    let (image, request) = image(&b"from the ship to the quay ".repeat(500_000));
    let (registry, mirror) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    mirror.plan(&request, [Reply::Flipped(100)]);
    let bed = Bed { daemon: ContainerdDaemon::start(), liar: registry, request };
    let outcome = Lighterman::new().run(&text(&bed.args(&["--mirror", &format!("http://{}", mirror.address())])));
    let outcome = outcome.succeeds();
    assert!(outcome.stderr.contains(&mirror.address()), "nobody is told who sent wrong bytes: {outcome:?}");
    assert_eq!(bed.liar.requests_for(&bed.request).len(), 1, "the registry was not asked once");
    bed.runs("right");
}

#[test]
fn what_a_killed_pull_left_half_unpacked_goes_with_the_next_one() {
    let bed = Bed::new();
    bed.liar.plan(&bed.request, [Reply::HangAfter(5 << 20)]);
    let user = Lighterman::new();
    let args = bed.args(&[]);
    let running = user.spawn(&text(&args));
    let large = |files: &[String]| files.iter().any(|file| file.ends_with("quay/cargo"));
    while !large(&files_below(&bed.trees())) {
        std::thread::yield_now();
    }
    drop(running);
    assert!(large(&files_below(&bed.trees())), "a killed process tidies nothing");
    user.run(&text(&args)).succeeds();
    bed.runs("after");
}
