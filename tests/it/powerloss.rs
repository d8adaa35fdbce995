//! Losses of power: what was reported done is there afterwards, and nothing torn is ever visible.
//!
//! The disk loses what only the kernel's memory has (`support::disk`), under a real containerd and
//! under a pull of ours, right after the pull or in the middle of it.
//!
//!     cargo test --test it powerloss::
//!     LIGHTERMAN_POWERLOSS_ROUNDS=100 cargo test --test it powerloss::      more moments
//!     LIGHTERMAN_TEST_SEED=123 cargo test --test it powerloss::             those of an earlier run

mod content;
mod layout;
mod leases;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::containerd::ContainerdDaemon;
use crate::support::dice::Dice;
use crate::support::disk::Journal;
use crate::support::fixture::{self, Flavour, Image, Manifest, Tree, digest, noise, platform};
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, Outcome, Running, exit};
use crate::support::{asked_for, host};

/// Room for the image and as much again.
pub(crate) const MEBIBYTES: u64 = 256;
/// Bytes of the large file.
const LARGE: usize = 24 << 20;

/// What is in the image, by path: a program, very many small files, a large one.
fn files() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let small = |n: usize| (format!("small-{}/{}/{n}", n % 2, n % 40), noise(n as u64 + 1, 200 + n * 37 % 7800));
        let mut files: BTreeMap<String, Vec<u8>> = (0..1600).map(small).collect();
        files.insert("opt/large".into(), noise(7, LARGE));
        files.insert("bin/busybox".into(), fixture::busybox_program(host()));
        files
    })
}

/// The image of those files, in four layers.
pub(crate) fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let layer = |top: &str| {
            let own = files().iter().filter(|(path, _)| path.starts_with(top));
            own.fold(Tree::new(), |tree, (path, bytes)| tree.file(path, 0o755, bytes))
        };
        let program = layer("bin/").symlink("bin/sh", "busybox");
        let layers = [program, layer("small-0/"), layer("small-1/"), layer("opt/")].map(Tree::layer);
        let start = ("/bin/sh", &["-c", "echo it runs"][..]);
        Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, ""), &layers, start))
    })
}

/// The files of the image, as containerd has it, that are not what they were.
pub(crate) fn torn(daemon: &ContainerdDaemon, reference: &str) -> Vec<String> {
    let target = daemon.folder().join("looked-at");
    std::fs::create_dir_all(&target).expect("a mount point");
    let point = target.to_str().expect("UTF-8");
    daemon.ctr_prints(&["images", "mount", reference, point]);
    let is_torn = |(path, bytes): &(&String, &Vec<u8>)| std::fs::read(target.join(path)).ok().as_ref() != Some(*bytes);
    let torn = files().iter().filter(is_torn).map(|(path, _)| path.clone()).collect();
    daemon.ctr_prints(&["images", "unmount", "--rm", point]);
    torn
}

/// How to pull into this containerd, staging beside its content.
fn arguments(reference: &str, daemon: &ContainerdDaemon, more: &[&str]) -> Vec<String> {
    let (address, staging) = (daemon.address(), daemon.folder().join("root/staging"));
    let [address, staging] = [&address, &staging].map(|path| path.to_str().expect("UTF-8"));
    let own = ["pull", reference, "--to", "containerd", "--containerd-address", address, "--staging-dir", staging];
    own.iter().chain(more).map(|&word| word.to_owned()).collect()
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// When power is lost.
#[derive(Debug)]
struct Moment {
    /// So many thousandths of the usual time after a pull began.
    thousandths: u32,
    journal: Journal,
}

impl Moment {
    fn any(dice: &mut Dice) -> Self {
        // A few come after the end.
        let thousandths = u32::try_from(dice.below(1100)).expect("a small number");
        Self { thousandths, journal: *dice.pick(&[Journal::Lost, Journal::Written]) }
    }

    /// Lets it come to that. There is nothing to wait for: one moment is as good as another.
    fn reach(&self, usual: Duration) {
        std::thread::sleep(usual * self.thousandths / 1000);
    }
}

/// A containerd on a disk, and a registry that has the image.
struct Bed {
    daemon: ContainerdDaemon,
    liar: Liar,
    user: Lighterman<'static>,
}

impl Bed {
    fn new() -> Self {
        let daemon = ContainerdDaemon::start_on_disk(None, MEBIBYTES, |text| text);
        Self { daemon, liar: Liar::serving(image(), "app:1"), user: Lighterman::new() }
    }

    fn reference(&self) -> String {
        self.liar.reference("app:1")
    }

    fn pull(&self, more: &[&str]) -> Outcome {
        self.user.run(&words(&arguments(&self.reference(), &self.daemon, more)))
    }

    fn start_to_pull(&self) -> Running {
        self.user.spawn(&words(&arguments(&self.reference(), &self.daemon, &[])))
    }

    fn is_named(&self) -> bool {
        self.daemon.ctr_prints(&["images", "ls", "-q"]).lines().any(|name| name == self.reference())
    }

    /// Fails the test unless the image is there in every byte.
    fn assert_whole(&self, told: &str) {
        assert!(self.is_named(), "{told}: it has no name");
        assert_eq!(torn(&self.daemon, &self.reference()), [""; 0], "{told}");
        assert_blobs(&self.daemon.blobs(), told);
    }

    fn assert_runs(&self, name: &str) {
        assert_eq!(self.daemon.run("default", &[&self.reference(), name]), "it runs\n");
    }
}

/// Fails the test unless all blobs of the image are in this folder.
fn assert_blobs(folder: &Path, told: &str) {
    let manifest = &image().manifests[0];
    for blob in manifest.blobs().chain([&manifest.blob]) {
        let read = std::fs::read(folder.join(blob.hex()));
        let read = read.unwrap_or_else(|error| panic!("{told}: {} {}: {error}", blob.media_type, blob.digest));
        assert_eq!(digest(&read), blob.digest, "{told}: {}", blob.media_type);
    }
}

/// Moments to try, which somebody may name.
fn rounds(usual: usize) -> usize {
    asked_for("LIGHTERMAN_POWERLOSS_ROUNDS").unwrap_or(usual)
}

#[test]
fn what_was_reported_done_outlives_a_loss_of_power() {
    for journal in [Journal::Lost, Journal::Written] {
        let mut bed = Bed::new();
        bed.pull(&[]).succeeds();
        bed.daemon.lose_power(journal, || ());
        bed.assert_whole(&format!("{journal:?}"));
        bed.assert_runs("first");
        bed.pull(&[]).succeeds();
        bed.assert_whole(&format!("{journal:?}, after a second pull"));
    }
}

/// Without this, the others would prove nothing.
#[test]
fn what_is_not_written_through_is_torn() {
    let mut bed = Bed::new();
    bed.pull(&["--sync-snapshots=false"]).succeeds();
    bed.daemon.lose_power(Journal::Written, || ());
    assert!(bed.is_named());
    assert_ne!(torn(&bed.daemon, &bed.reference()), [""; 0], "every file had been written by then");
}

#[test]
fn layers_that_somebody_else_left_unwritten_are_written_before_the_image_has_a_name() {
    let first = Bed::new();
    first.pull(&["--sync-snapshots=false"]).succeeds();
    // Another name for the same layers: nothing is left to do but to give it.
    let mut bed = Bed { liar: Liar::serving(image(), "app:1"), ..first };
    bed.pull(&[]).succeeds();
    bed.daemon.lose_power(Journal::Lost, || ());
    bed.assert_whole("layers that were there");
}

#[test]
fn a_loss_of_power_at_any_moment_leaves_nothing_torn_and_the_next_pull_ends_well() {
    let mut dice = Dice::new();
    let before = Instant::now();
    Bed::new().pull(&[]).succeeds();
    let usual = before.elapsed();
    for round in 0..rounds(4) {
        let mut bed = Bed::new();
        let moment = Moment::any(&mut dice);
        let told = format!("round {round}: {moment:?}");
        let running = bed.start_to_pull();
        moment.reach(usual);
        bed.daemon.lose_power(moment.journal, || running.kill());
        if bed.is_named() {
            bed.assert_whole(&told);
        }
        bed.pull(&[]).succeeds();
        bed.assert_whole(&told);
        bed.assert_runs("again");
    }
}

#[test]
fn a_pull_that_ran_out_of_room_succeeds_once_there_is_some() {
    let bed = Bed::new();
    // For the first layers, but not for all.
    bed.daemon.disk().fill_but(LARGE as u64 >> 21);
    bed.pull(&[]).fails(exit::LOCAL_IO);
    assert!(!bed.is_named());
    bed.daemon.disk().make_room();
    bed.pull(&[]).succeeds();
    bed.assert_whole("with room");
    bed.assert_runs("at-last");
}
