//! What goes wrong between a registry and this node, scripted over real sockets: whatever it
//! is, a pull ends with every byte equal, or with the right error, and leaves nothing but
//! what the next one can go on from.

mod breaks;
mod busy;
mod hosts;
mod journal;
mod kill;
mod lies;
pub(crate) mod memory;
mod sharing;
mod slow;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::fixture::{Blob, Flavour, Image, Manifest, Tree, digest, noise, platform};
use crate::support::liar::{Liar, Request, sent};
use crate::support::lighterman::{Lighterman, Outcome, Running};
use crate::support::{files_below, host};

const MIB: usize = 1 << 20;
/// A blob of this size comes in ranges.
const LARGE: usize = 24 * MIB;
/// Blobs below this never do.
const SPLIT_FROM: usize = 8 * MIB;
/// Table cases that run at the same time: they wait more than they compute.
const AT_ONCE: usize = 4;

/// An image of layers of noise, which does not compress.
pub(crate) fn image_of(sizes: &[usize]) -> Image {
    let layer = |(index, size): (usize, &usize)| {
        let content = noise(index as u64 * 7919 + *size as u64, *size);
        Tree::new().file(&format!("hold/{index}.bin"), 0o644, &content).layer()
    };
    let layers: Vec<_> = sizes.iter().enumerate().map(layer).collect();
    let platform = platform(host().arch, host().variant);
    Image::single(Manifest::new(Flavour::Oci, &platform, &layers, ("/crate", &[])))
}

/// A small layer and a large one.
fn cargo() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| image_of(&[100_000, LARGE]))
}

/// The largest layer of an image.
fn largest(image: &Image) -> &Blob {
    image.manifests[0].layers.iter().max_by_key(|layer| layer.bytes.len()).expect("an image with layers")
}

/// What a request for a blob contains.
fn request_for(blob: &Blob) -> String {
    format!("GET /v2/app/blobs/{}", blob.digest)
}

/// One user who pulls `app:1` from a registry into a layout, once or again.
struct Pull {
    user: Lighterman<'static>,
    layout: PathBuf,
    reference: String,
    args: Vec<String>,
}

impl Pull {
    fn from(registry: &Liar) -> Self {
        Self::of(&registry.reference("app:1"), &[])
    }

    fn of(reference: &str, more: &[&str]) -> Self {
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        let args = ["pull", reference, "--to", &destination].iter().chain(more).map(ToString::to_string).collect();
        Self { user, layout, reference: reference.into(), args }
    }

    fn args(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }

    fn run(&self) -> Outcome {
        self.user.run(&self.args())
    }

    fn spawn(&self) -> Running {
        self.user.spawn(&self.args())
    }

    fn staging(&self) -> PathBuf {
        self.layout.join(".lighterman")
    }

    /// The staged file of a blob, and its journal.
    fn staged(&self, blob: &Blob) -> (PathBuf, PathBuf) {
        let file = self.staging().join(format!("sha256-{}", blob.hex()));
        let journal = file.with_extension("journal");
        (file, journal)
    }

    /// The image is there, every byte of it, and nothing else.
    #[track_caller]
    fn assert_whole(&self, image: &Image, told: &str) {
        for blob in image.blobs() {
            let bytes = std::fs::read(self.layout.join("blobs/sha256").join(blob.hex()));
            let bytes = bytes.unwrap_or_else(|error| panic!("{told}: {}: {error}", blob.digest));
            assert!(bytes == blob.bytes, "{told}: {} has other bytes", blob.digest);
        }
        let index = std::fs::read_to_string(self.layout.join("index.json")).expect("an index");
        assert!(index.contains(&self.reference), "{told}: {index}");
        assert!(!self.staging().exists(), "{told}: {:?} is left", files_below(&self.staging()));
        assert_eq!(self.user.left_in_tmp(), [""; 0], "{told}");
    }

    /// Nothing that could be taken for the image, and nothing wrong, can be seen.
    #[track_caller]
    fn assert_nothing_visible(&self, told: &str) {
        let index = std::fs::read_to_string(self.layout.join("index.json")).unwrap_or_default();
        assert!(!index.contains(&self.reference), "{told}: a failed pull left a name: {index}");
        for name in files_below(&self.layout) {
            let path = self.layout.join(&name);
            match name.strip_prefix("blobs/sha256/") {
                Some(hex) => {
                    let bytes = std::fs::read(&path).expect("a blob");
                    assert_eq!(digest(&bytes), format!("sha256:{hex}"), "{told}: a wrong blob is visible");
                }
                None => assert!(is_expected(&name), "{told}: {name} is left"),
            }
        }
        assert_eq!(self.user.left_in_tmp(), [""; 0], "{told}");
    }
}

/// Whether a file other than a blob may be in a layout: its own two, and what is staged.
fn is_expected(name: &str) -> bool {
    matches!(name, "index.json" | "oci-layout") || name.starts_with(".lighterman/sha256-")
}

/// Runs all cases of a table, some at a time; the first that fails fails the test.
fn for_each<Case: Sync>(cases: &[Case], check: impl Fn(&Case) + Sync) {
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
            check(case);
        }
    };
    std::thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(worker)));
    });
}

/// Bytes that requests asked for: all of the blob where they asked for no range.
fn asked(request: &Request, size: usize) -> usize {
    request.bounded_range().map_or(size, |(first, last)| last.min(size - 1) + 1 - first)
}

/// Every request that got less than it asked for, and so broke off or was given up.
fn cut_short(requests: &[Request], size: usize) -> Vec<Request> {
    requests.iter().filter(|request| request.sent < asked(request, size)).cloned().collect()
}

/// Bytes of these requests that the server may have sent without being to blame, nor the
/// program: of answers that broke off or were given up, and of those whose second half was
/// handed to a faster connection when they were in the socket's buffers already.
fn excused(requests: &[Request], size: usize) -> usize {
    let ranges: Vec<(usize, usize)> =
        requests.iter().filter(|r| r.sent == asked(r, size)).filter_map(Request::bounded_range).collect();
    let helpers = requests.iter().filter_map(Request::bounded_range);
    let helped = |(start, end): (usize, usize)| {
        let within = ranges.iter().filter(|(first, last)| *first < start && start <= *last);
        within.map(|(_, last)| end.min(*last) + 1 - start).max().unwrap_or(0)
    };
    sent(&cut_short(requests, size)) + helpers.map(helped).sum::<usize>()
}

/// Whether some answer broke off and the rest was asked for from the very byte on.
fn goes_on(requests: &[Request], size: usize) -> bool {
    let broken = cut_short(requests, size).into_iter().filter(|r| r.sent > 0);
    let mut places = broken.map(|r| r.range().map_or(0, |(first, _)| first) + r.sent);
    places.any(|place| requests.iter().any(|r| r.range().is_some_and(|(first, _)| first == place)))
}

/// Ranges are bounded, whoever asks for them.
#[track_caller]
fn assert_bounded(requests: &[Request], told: &str) {
    for range in requests.iter().filter_map(Request::range) {
        assert!(range.1.is_some_and(|last| last >= range.0), "{told}: an open range {range:?}");
    }
}

/// Writes hosts.toml for the registry `name` and gives the folder to name with --hosts-dir.
fn hosts_dir(user: &Path, name: &str, lines: &str) -> String {
    let dir = user.join("certs.d");
    crate::hosts::write(&dir, name, |_| lines.to_owned());
    dir.to_str().expect("a temporary folder with a UTF-8 name").to_owned()
}
