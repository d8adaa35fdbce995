//! Layers that are unpacked while they arrive, into a real containerd.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use base64::Engine as _;

use crate::support::containerd::ContainerdDaemon;
use crate::support::fixture::{self, Flavour, Image, Layer, Manifest, Tree, noise, platform};
use crate::support::liar::{At, Liar, Reply};
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

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Writes an archive of so many files of zeros, each of so many MiB.
fn zeros(out: impl std::io::Write, files: usize, mebibytes: u64) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for number in 0..files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(mebibytes << 20);
        let content = std::io::Read::take(std::io::repeat(0), mebibytes << 20);
        archive.append_data(&mut header, format!("zeros-{number}"), content)?;
    }
    archive.finish()
}

/// Layers of few bytes that are many times more than the disk has. What the config promises of
/// them is not looked at before that.
fn bombs() -> Vec<(&'static str, Layer)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zeros(&mut gzip, 1, 400).expect("memory");
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    zeros(&mut zstd, 400, 1).expect("memory");
    vec![
        ("one file, gzip", Layer::packed(GZIP, gzip.finish().expect("memory"), b"")),
        ("many files, zstd", Layer::packed(ZSTD, zstd.finish().expect("memory"), b"")),
    ]
}

fn bytes_free(disk: &std::path::Path) -> u64 {
    let disk = rustix::fs::statvfs(disk).expect("is mounted");
    disk.f_bavail * disk.f_frsize
}

#[test]
fn a_bomb_stops_before_the_disk_is_full_and_leaves_nothing() {
    let (good, _) = image(&noise(7, 6 << 20));
    let bed = Bed::of(&good, ContainerdDaemon::start_with_small_disk(256));
    let disk = bed.daemon.folder().join("root");
    let before = bytes_free(&disk);
    for (number, (what, layer)) in bombs().into_iter().enumerate() {
        let bomb = Manifest::new(Flavour::Oci, &platform(host().arch, ""), &[layer], ("/none", &[]));
        let name = format!("bomb:{number}");
        bed.liar.add(&Image::single(bomb.clone()), &name);
        let args = |more: &[&str]| {
            let app = bed.liar.reference("app:1");
            let named = |arg: String| if arg == app { bed.liar.reference(&name) } else { arg };
            bed.args(more).into_iter().map(named).collect::<Vec<_>>()
        };
        // Nobody knows yet whether the bytes are the right ones: the last of them does not come.
        bed.liar.plan(format!("GET /v2/bomb/blobs/{}", bomb.layers[0].digest).as_str(), [Reply::Gated(At::LastByte)]);
        for more in [&[][..], &["--unpack", "verified"]] {
            let outcome = Lighterman::new().run(&text(&args(more))).fails(exit::LOCAL_IO);
            outcome.says(&["stay free", "MiB left of 256.0 MiB"]);
            assert_eq!(files_below(&bed.trees()), [""; 0], "{what} {more:?}: an unfinished tree is left");
            bed.daemon.collect("default");
            let snapshots = bed.daemon.ctr_prints(&["snapshots", "ls"]);
            assert!(!snapshots.contains("Active"), "{what} {more:?}: {snapshots}");
            let after = bytes_free(&disk);
            assert!(before - after < 32 << 20, "{what} {more:?}: {} bytes are left", before - after);
        }
    }
    Lighterman::new().run(&text(&bed.args(&[]))).succeeds();
    bed.runs("beside");
}

#[test]
fn nobody_unpacks_onto_a_disk_that_is_full() {
    let bed = Bed::of(&Image::single(fixture::tiny(host().arch, "")), ContainerdDaemon::start_with_small_disk(256));
    let ballast = bed.daemon.folder().join("root/ballast");
    let left = 4 << 20;
    let ballast_bytes = usize::try_from(bytes_free(&bed.daemon.folder().join("root")) - left).expect("a small disk");
    std::fs::write(&ballast, vec![0; ballast_bytes]).expect("fits");
    for more in [&[][..], &["--extract-with", "diff-service"]] {
        Lighterman::new().run(&text(&bed.args(more))).fails(exit::LOCAL_IO).says(&["stay free", "5.1 MiB"]);
        assert!(!bed.daemon.ctr_prints(&["snapshots", "ls"]).contains("Committed"), "{more:?} has unpacked it");
    }
    std::fs::remove_file(&ballast).expect("is there");
    for more in [&[][..], &["--extract-with", "diff-service"]] {
        Lighterman::new().run(&text(&bed.args(more))).succeeds();
    }
}

#[test]
fn a_digest_that_containerd_would_not_check_is_refused() {
    let (good, _) = image(b"");
    let mut manifest = good.manifests[0].clone();
    let layer = &mut manifest.layers[1];
    let hash = <sha2::Sha512 as sha2::Digest>::digest(&layer.bytes);
    layer.digest = hash.iter().fold("sha512:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    let mut document: serde_json::Value = serde_json::from_slice(&manifest.blob.bytes).expect("JSON of ours");
    document["layers"][1] = layer.descriptor();
    manifest.blob = fixture::Blob::json(&manifest.blob.media_type, &document);
    let bed = Bed::of(&Image::single(manifest), ContainerdDaemon::start());
    Lighterman::new().run(&text(&bed.args(&[]))).fails(exit::CONTENT).says(&["sha512"]);
    bed.daemon.collect("default");
    assert_eq!(bed.daemon.ctr_prints(&["images", "ls", "-q"]), "");
    assert_eq!(bed.daemon.ctr_prints(&["content", "ls", "-q"]), "");
}
