//! Layers that are unpacked while they arrive, into a real containerd.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use base64::Engine as _;

use crate::support::containerd::ContainerdDaemon;
use crate::support::fixture::{self, Flavour, Image, Layer, Manifest, Tree, noise, platform};
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
        Self { request, ..Self::of(&image, ContainerdDaemon::start()) }
    }

    fn of(image: &Image, daemon: ContainerdDaemon) -> Self {
        Self { daemon, liar: Liar::serving(image, "app:1"), request: String::new() }
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
    let manifest = manifest(cargo(rest).layer());
    let request = format!("GET /v2/app/blobs/{}", manifest.layers[1].digest);
    (Image::single(manifest), request)
}

fn cargo(rest: &[u8]) -> Tree {
    Tree::new().dir("quay").file("quay/cargo", 0o644, &[b"the last stretch\n", rest].concat())
}

fn manifest(cargo: Layer) -> Manifest {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &fixture::busybox_program(host()));
    let program = program.symlink("bin/head", "busybox").layer();
    let start = ("/bin/head", &["-n", "1", "/quay/cargo"][..]);
    Manifest::new(Flavour::Oci, &platform(host().arch, ""), &[program, cargo], start)
}

/// The type of a layer that only containerd may know how to unpack, and how it is told.
const ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+encrypted";
const PROCESSOR: &str = r#"
[stream_processors."io.containerd.ocicrypt.decoder.v1.tar"]
  accepts = ["application/vnd.oci.image.layer.v1.tar+encrypted"]
  returns = "application/vnd.oci.image.layer.v1.tar"
  path = "base64"
  args = ["--decode"]
"#;

fn encrypted() -> Image {
    let tar = cargo(b"").tar();
    let blob = base64::engine::general_purpose::STANDARD.encode(&tar).into_bytes();
    Image::single(manifest(Layer::packed(ENCRYPTED, blob, &tar)))
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
fn bytes_that_the_store_has_lost_are_not_the_images_fault() {
    // Compresses well, so that it does not even inflate.
    let (image, request) = image(&b"from the ship to the quay ".repeat(500_000));
    let bed = Bed::of(&image, ContainerdDaemon::start());
    let user = Lighterman::new();
    user.run(&text(&bed.args(&["--no-unpack"]))).succeeds();
    let (_, hex) = request.rsplit_once(':').expect("a digest");
    let stored = std::fs::OpenOptions::new().read(true).write(true).open(bed.daemon.blobs().join(hex));
    let stored = stored.expect("root may");
    let flip = || {
        let mut byte = [0];
        stored.read_exact_at(&mut byte, 5000).expect("reads");
        stored.write_all_at(&[!byte[0]], 5000).expect("writes");
    };
    flip();
    let refused = user.run(&text(&bed.args(&[]))).fails(exit::LOCAL_IO);
    refused.says(&["content in the store is damaged", "blame: this node"]);
    flip();
    user.run(&text(&bed.args(&[]))).succeeds();
    bed.runs("mended");
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

#[test]
fn a_layer_that_only_containerd_can_read_is_left_to_it() {
    let bed = Bed::of(&encrypted(), ContainerdDaemon::start_configured(PROCESSOR));
    let outcome = Lighterman::new().run(&text(&bed.args(&["--json"]))).succeeds();
    let counts = ["layersUnpacked", "layersUnpackedByContainerd"].map(|count| outcome.pulled()[count].clone());
    assert_eq!(counts, [1, 1], "{outcome:?}");
    bed.runs("decrypted");
}

#[test]
fn a_layer_that_nobody_can_read_is_refused_by_both_and_goes_into_a_layout() {
    let bed = Bed::of(&encrypted(), ContainerdDaemon::start());
    let user = Lighterman::new();
    let refused = user.run(&text(&bed.args(&[]))).fails(exit::CONTENT);
    refused.says(&[ENCRYPTED, "neither does containerd: ", "processor", "blame: the image", "--no-unpack"]);
    assert_eq!(files_below(&bed.trees()), [""; 0], "unfinished trees are left");
    user.run(&text(&bed.args(&["--no-unpack"]))).succeeds();
    let (_, layout) = user.layout("layout");
    user.run(&["pull", &bed.liar.reference("app:1"), "--to", &layout]).succeeds();
}

/// What a pull may have resident at its peak, in KiB.
const MOST: u64 = 128 * 1024;

/// Pulls with `more` arguments and gives the result, and the most that was resident.
fn peak_of(bed: &Bed, more: &[&str]) -> (crate::support::lighterman::Outcome, u64) {
    let user = Lighterman::new();
    let mut running = user.spawn(&text(&bed.args(&[&["--json"], more].concat())));
    let peak = running.peak();
    (running.wait().succeeds(), peak)
}

#[test]
fn layers_of_very_many_long_names_take_no_more_memory_than_others() {
    let deep = format!("{}/", "n".repeat(255)).repeat(14);
    // More than a hundred megabytes of names that have to be kept to the end of the layer, and
    // tens of them in one that depends on the layer below, which is more than there is.
    let explicit = (0..32_000).fold(Tree::new(), |tree, n| tree.dir(&format!("{deep}{n}")));
    let implied = (0..12_000).fold(Tree::new(), |tree, n| tree.file(&format!("{deep}of-{n}/f"), 0o644, b""));
    let layers = [explicit.layer(), implied.layer()];
    let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, ""), &layers, ("/none", &[]));
    let bed = Bed::of(&Image::single(manifest), ContainerdDaemon::start());
    let (outcome, peak) = peak_of(&bed, &[]);
    assert!(peak < MOST, "{peak} KiB");
    let counts = ["layersUnpacked", "layersUnpackedByContainerd"].map(|count| outcome.pulled()[count].clone());
    assert_eq!(counts, [1, 1], "{outcome:?}");
    outcome.says(&["more memory than there is", "containerd extracts this layer itself"]);
}

#[test]
fn blobs_that_are_sent_to_containerd_take_no_more_memory_than_others() {
    // As many as could be sent at once, each of about what one stream has in memory.
    let layer = |seed| Tree::new().file(&format!("quay/{seed}"), 0o644, &noise(seed, 7 << 20)).layer();
    let layers: Vec<Layer> = (1..=32).map(layer).collect();
    let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, ""), &layers, ("/none", &[]));
    let bed = Bed::of(&Image::single(manifest), ContainerdDaemon::start());
    let (_, peak) = peak_of(&bed, &["--content", "write", "--max-concurrent-downloads", "32"]);
    assert!(peak < MOST, "{peak} KiB");
}
