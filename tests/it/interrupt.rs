//! Ctrl-C: what is left is partial data to go on from, and nothing that looks like an image.

use std::path::{Path, PathBuf};

use crate::support::fixture::{self, Blob, Image, digest};
use crate::support::liar::{Liar, Reply, Request};
use crate::support::lighterman::{Lighterman, Running, exit};
use crate::support::{files_below, host};

/// How much of the big layer arrives before it stops.
const SENT: usize = 3 << 20;
/// How much of that must be on disk before the interrupt; the rest may still be in a buffer.
const STORED: usize = 1 << 20;

/// A user who pulls into a layout, from a registry that stops in the middle of the big layer
/// the first time it is asked.
struct Bed {
    liar: Liar,
    user: Lighterman<'static>,
    big: Blob,
    layout: PathBuf,
    reference: String,
    /// What the layout is called on the command line.
    destination: String,
}

impl Bed {
    fn new() -> Self {
        let image = Image::single(fixture::busybox().of(host()).clone());
        let big = image.manifests[0].layers[2].clone();
        let liar = Liar::serving(&image, "app:1");
        liar.plan(&request_for(&big), [Reply::HangAfter(SENT)]);
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        let reference = liar.reference("app:1");
        Self { liar, user, big, layout, reference, destination }
    }
}

fn request_for(blob: &Blob) -> String {
    format!("GET /v2/app/blobs/{}", blob.digest)
}

/// Waits until a file under `dir` begins with `prefix`, or the program has ended.
fn wait_for_bytes(dir: &Path, prefix: &[u8], running: &mut Running) {
    let has_them = || {
        files_below(dir).iter().any(|name| std::fs::read(dir.join(name)).is_ok_and(|bytes| bytes.starts_with(prefix)))
    };
    while !has_them() {
        assert!(!running.has_ended(), "lighterman ended before it was interrupted");
        // Only to leave the CPU to lighterman; what ends the wait is the condition.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn an_interrupted_pull_leaves_partial_data_only_and_the_next_one_goes_on_from_it() {
    let Bed { liar, user, big, layout, reference, destination } = &Bed::new();
    let args = ["pull", reference, "--to", destination];

    let mut running = user.spawn(&args);
    wait_for_bytes(&layout.join(".lighterman"), &big.bytes[..STORED], &mut running);
    let interrupted = running.interrupt().ends(exit::INTERRUPTED);
    assert_eq!(interrupted.stdout, "", "an interrupted pull has no result");

    assert!(!layout.join("blobs/sha256").join(big.hex()).exists(), "a partial blob has a name that anyone can see");
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap_or_default();
    assert!(!index.contains(reference.as_str()), "an image that is not whole has a name: {index}");
    for name in files_below(&layout.join("blobs/sha256")) {
        let bytes = std::fs::read(layout.join("blobs/sha256").join(&name)).expect("a blob");
        assert_eq!(digest(&bytes), format!("sha256:{name}"));
    }
    assert_eq!(user.left_in_tmp(), [""; 0]);

    let before = liar.requests_for(&request_for(big)).len();
    user.run(&args).succeeds();
    let later = liar.requests_for(&request_for(big));
    let resumed: Vec<usize> = later[before..].iter().filter_map(Request::range).map(|(first, _)| first).collect();
    assert!(resumed.iter().any(|first| *first >= STORED), "the second pull started again: {later:?}");
    assert!(later[before..].iter().all(|r| r.range().is_some_and(|(first, _)| first > 0)), "{later:?}");
    let bytes = std::fs::read(layout.join("blobs/sha256").join(big.hex())).expect("the blob landed");
    assert_eq!(digest(&bytes), big.digest);
    let staging = layout.join(".lighterman");
    assert!(!staging.exists(), "partial data outlives the pull that needed it: {:?}", files_below(&staging));
}

#[test]
fn partial_data_that_was_tampered_with_does_not_get_into_the_image() {
    let Bed { user, big, layout, reference, destination, .. } = &Bed::new();
    let args = ["pull", reference, "--to", destination];
    let staging = layout.join(".lighterman");

    let mut running = user.spawn(&args);
    wait_for_bytes(&staging, &big.bytes[..STORED], &mut running);
    running.interrupt().ends(exit::INTERRUPTED);
    for name in files_below(&staging) {
        let file = staging.join(name);
        let mut bytes = std::fs::read(&file).expect("partial data");
        if bytes.starts_with(&big.bytes[..STORED]) {
            bytes[STORED / 2] ^= 1;
            std::fs::write(&file, bytes).expect("partial data is ours to write");
        }
    }
    // Whether the blob is fetched anew or refused, nothing wrong may become visible.
    let second = user.run(&args);
    if second.code != Some(exit::OK) {
        second.fails(exit::CONTENT);
        user.run(&args).succeeds();
    }
    let bytes = std::fs::read(layout.join("blobs/sha256").join(big.hex())).expect("the blob landed");
    assert_eq!(digest(&bytes), big.digest);
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let Bed { liar, user, big, layout, reference, destination } = &Bed::new();
    let args = ["pull", reference, "--to", destination];

    let mut running = user.spawn(&args);
    wait_for_bytes(&layout.join(".lighterman"), &big.bytes[..STORED], &mut running);
    // With no chance to tidy up: dropping kills it.
    drop(running);
    let before = liar.requests_for(&request_for(big)).len();
    user.run(&args).succeeds();
    let later = liar.requests_for(&request_for(big));
    // What was written and not yet noted down is one piece at the most.
    let resumed = later[before..].iter().filter_map(Request::range).any(|(first, _)| first >= STORED / 2);
    assert!(resumed, "the second pull started again: {later:?}");
    let bytes = std::fs::read(layout.join("blobs/sha256").join(big.hex())).expect("the blob landed");
    assert_eq!(digest(&bytes), big.digest);
    assert!(!layout.join(".lighterman").exists(), "partial data outlives the pull that needed it");
}
