//! What a transfer survives, and that it is concurrent.

use crate::support::fixture::{self, Blob, Image, Manifest, digest};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::{files_below, host};

/// This host's busybox alone, and its big layer.
fn image() -> (Image, Blob) {
    let manifest: Manifest = fixture::busybox().of(host()).clone();
    let big = manifest.layers[2].clone();
    (Image::single(manifest), big)
}

fn request_for(blob: &Blob) -> String {
    format!("GET /v2/app/blobs/{}", blob.digest)
}

#[test]
fn blobs_are_fetched_at_the_same_time() {
    let (image, _) = image();
    let liar = Liar::serving(&image, "app:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    // Every layer stops after its first byte: if one waited for another, it would never be asked for.
    for layer in &image.manifests[0].layers[..3] {
        liar.plan(&request_for(layer), [Reply::HangAfter(1)]);
    }
    let running = user.spawn(&["pull", &liar.reference("app:1"), "--to", &destination]);
    image.manifests[0].layers[..3].iter().for_each(|layer| liar.wait_for(&request_for(layer)));
    drop(running);
}

#[test]
fn at_most_as_many_downloads_run_as_the_user_allows() {
    let (image, _) = image();
    let liar = Liar::serving(&image, "app:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    let args = ["pull", &liar.reference("app:1"), "--to", &destination, "--max-concurrent-downloads", "1"];
    user.run(&args).succeeds();
    assert!(image.manifests[0].layers.iter().all(|layer| !liar.requests_for(&request_for(layer)).is_empty()));
    let none = [&args[..5], &["0"]].concat();
    user.run(&none).fails(crate::support::lighterman::exit::USAGE);
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_stopped() {
    const ARRIVED: usize = 3 << 20;
    for breaks in [Reply::CutAfter(ARRIVED), Reply::ResetAfter(ARRIVED)] {
        let (image, big) = image();
        let liar = Liar::serving(&image, "app:1");
        liar.plan(&request_for(&big), [breaks.clone()]);
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        user.run(&["pull", &liar.reference("app:1"), "--to", &destination]).succeeds();
        let requests = liar.requests_for(&request_for(&big));
        assert!(requests.len() >= 2, "{breaks:?}: {requests:?}");
        let resumed = requests.last().and_then(crate::support::liar::Request::range).map(|(first, _)| first);
        // A reset may overtake the bytes before it; an orderly end may not.
        let least = if matches!(breaks, Reply::CutAfter(_)) { ARRIVED } else { 1 };
        assert!(resumed.is_some_and(|first| first >= least), "{breaks:?}: {requests:?}");
        let bytes = std::fs::read(layout.join("blobs/sha256").join(big.hex())).expect("the blob landed");
        assert_eq!(digest(&bytes), big.digest);
    }
}

#[test]
fn a_host_that_does_not_do_ranges_is_asked_for_the_whole() {
    for answer in [Reply::IgnoreRange, Reply::WrongRange] {
        let (image, big) = image();
        let liar = Liar::serving(&image, "app:1");
        liar.plan(&request_for(&big), [Reply::CutAfter(2 << 20), answer.clone()]);
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        user.run(&["pull", &liar.reference("app:1"), "--to", &destination]).succeeds();
        let bytes = std::fs::read(layout.join("blobs/sha256").join(big.hex())).expect("the blob landed");
        assert_eq!(digest(&bytes), big.digest, "after {answer:?}");
    }
}

#[test]
fn errors_that_pass_are_waited_out() {
    let (image, big) = image();
    let liar = Liar::serving(&image, "app:1");
    let busy = Reply::Status(429, vec![("retry-after", "0".into())], "");
    liar.plan("/v2/app/manifests/1", [busy.clone(), Reply::Status(503, vec![], "")]);
    liar.plan(&request_for(&big), [Reply::Status(500, vec![], ""), busy]);
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&["pull", &liar.reference("app:1"), "--to", &destination]).succeeds();
    assert!(layout.join("blobs/sha256").join(big.hex()).is_file());
}

#[test]
fn a_corrupted_blob_is_fetched_from_the_next_host_and_never_seen() {
    let (image, big) = image();
    let (mirror, registry) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    mirror.plan(&request_for(&big), std::iter::repeat_n(Reply::Flipped(4 << 20), 9));
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let url = format!("http://{}", mirror.address());
    user.run(&["pull", &registry.reference("app:1"), "--mirror", &url, "--to", &destination]).succeeds();
    assert_eq!(mirror.requests_for(&request_for(&big)).len(), 1, "a host that served wrong bytes was asked again");
    for name in files_below(&layout.join("blobs/sha256")) {
        let bytes = std::fs::read(layout.join("blobs/sha256").join(&name)).expect("a blob");
        assert_eq!(digest(&bytes), format!("sha256:{name}"));
    }
}
