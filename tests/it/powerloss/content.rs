//! Content of which containerd has a record, and not the file: what a loss of power leaves where
//! the folder was not synced. Pulls bring it again.

use std::fs::OpenOptions;
use std::path::PathBuf;

use super::{arguments, words};
use crate::support::containerd::{ContainerdDaemon, Cri, newer};
use crate::support::fixture::{self, Blob, Image, digest, greeting};
use crate::support::host;
use crate::support::liar::Liar;
use crate::support::lighterman::{Lighterman, Outcome};

/// What became of a file.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Gone,
    Short,
}

struct Bed {
    daemon: ContainerdDaemon,
    liar: Liar,
    user: Lighterman<'static>,
}

impl Bed {
    fn new(daemon: ContainerdDaemon) -> Self {
        Self { daemon, liar: Liar::serving(fixture::busybox(), "app:1"), user: Lighterman::new() }
    }

    fn pull(&self, more: &[&str]) -> Outcome {
        self.user.run(&words(&arguments(&self.liar.reference("app:1"), &self.daemon, more)))
    }

    fn file(&self, blob: &Blob) -> PathBuf {
        self.daemon.blobs().join(blob.hex())
    }

    fn lose(&self, blob: &Blob, loss: Loss) {
        let file = self.file(blob);
        match loss {
            Loss::Gone => std::fs::remove_file(file).expect("is there"),
            Loss::Short => {
                let opened = OpenOptions::new().write(true).open(file).expect("is there");
                opened.set_len(blob.bytes.len() as u64 / 2).expect("root may");
            }
        }
    }

    /// Loses the blobs, and fails the test unless the next pull brings them again.
    fn heals(&self, blobs: &[&Blob], loss: Loss, more: &[&str]) {
        blobs.iter().for_each(|blob| self.lose(blob, loss));
        self.pull(more).succeeds();
        for blob in blobs {
            let bytes = std::fs::read(self.file(blob)).unwrap_or_default();
            assert_eq!(digest(&bytes), blob.digest, "{loss:?} {}: {}", blob.media_type, self.daemon.log());
        }
    }
}

/// What is pulled of the image, documents first.
fn blobs(image: &Image) -> Vec<&Blob> {
    let manifest = image.of(host());
    [&image.root, &manifest.blob].into_iter().chain(manifest.blobs()).collect()
}

fn every_containerd() -> Vec<ContainerdDaemon> {
    let newer = newer((1, 7)).into_iter();
    let others = newer.map(|programs| ContainerdDaemon::start_other(&programs, Cri::Off, |text| text));
    std::iter::once(ContainerdDaemon::start()).chain(others).collect()
}

#[test]
fn a_blob_whose_file_is_gone_is_brought_again() {
    let all = blobs(fixture::busybox());
    for daemon in every_containerd() {
        let bed = Bed::new(daemon);
        bed.pull(&[]).succeeds();
        // An index, a manifest, a config, a layer.
        for one in &all[..4] {
            bed.heals(&[one], Loss::Gone, &[]);
        }
        bed.heals(&all, Loss::Gone, &[]);
        bed.heals(&all[2..4], Loss::Short, &[]);
        bed.heals(&all, Loss::Short, &["--content", "write"]);
        assert_eq!(bed.daemon.run("default", &[&bed.liar.reference("app:1"), "healed"]), greeting(host()));
    }
}

#[test]
fn what_another_namespace_has_lost_is_not_taken_over() {
    let bed = Bed::new(ContainerdDaemon::start());
    let all = blobs(fixture::busybox());
    bed.pull(&[]).succeeds();
    bed.heals(&all, Loss::Gone, &["--namespace", "other"]);
    // Both have a record, and there is one file.
    bed.pull(&[]).succeeds();
    assert_eq!(bed.daemon.run("default", &[&bed.liar.reference("app:1"), "shared"]), greeting(host()));
}
