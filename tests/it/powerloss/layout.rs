//! The same for an image that is pulled into a directory.

use std::time::Instant;

use super::{MEBIBYTES, Moment, assert_blobs, image, rounds};
use crate::support::dice::Dice;
use crate::support::disk::{Disk, Journal};
use crate::support::liar::Liar;
use crate::support::lighterman::Lighterman;

/// A directory on a disk, and a registry that has the image.
struct Bed {
    disk: Disk,
    liar: Liar,
    user: Lighterman<'static>,
}

impl Bed {
    fn new() -> Self {
        let disk = Disk::new(MEBIBYTES);
        disk.sync();
        Self { disk, liar: Liar::serving(image(), "app:1"), user: Lighterman::new() }
    }

    fn with_args<T>(&self, run: impl FnOnce(&Lighterman<'_>, &[&str]) -> T) -> T {
        let destination = format!("oci:{}", self.disk.path().join("layout").display());
        run(&self.user, &["pull", "--json", &self.liar.reference("app:1"), "--to", &destination])
    }

    fn is_named(&self) -> bool {
        let index = std::fs::read_to_string(self.disk.path().join("layout/index.json")).unwrap_or_default();
        index.contains(&self.liar.reference("app:1"))
    }

    fn assert_whole(&self, told: &str) {
        assert!(self.is_named(), "{told}: it has no name");
        assert_blobs(&self.disk.path().join("layout/blobs/sha256"), told);
    }
}

#[test]
fn a_directory_outlives_a_loss_of_power() {
    for journal in [Journal::Lost, Journal::Written] {
        let bed = Bed::new();
        bed.with_args(|user, args| user.run(args)).succeeds();
        bed.disk.lose_power(journal);
        bed.disk.restore();
        bed.assert_whole(&format!("{journal:?}"));
        let second = bed.with_args(|user, args| user.run(args)).succeeds().pulled();
        assert_eq!(second["blobsFetched"], 0, "{journal:?}: {second:#}");
    }
}

#[test]
fn a_loss_of_power_at_any_moment_leaves_nothing_torn_in_a_directory() {
    let mut dice = Dice::new();
    let before = Instant::now();
    Bed::new().with_args(|user, args| user.run(args)).succeeds();
    let usual = before.elapsed();
    for round in 0..rounds(4) {
        let bed = Bed::new();
        let moment = Moment::any(&mut dice);
        let told = format!("round {round}: {moment:?}");
        let running = bed.with_args(|user, args| user.spawn(args));
        moment.reach(usual);
        bed.disk.lose_power(moment.journal);
        running.kill();
        bed.disk.restore();
        if bed.is_named() {
            bed.assert_whole(&told);
        }
        bed.with_args(|user, args| user.run(args)).succeeds();
        bed.assert_whole(&told);
    }
}
