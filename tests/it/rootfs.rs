//! Looking for a file in the layers of an image at a registry: what it costs, and what it survives.

use std::sync::Arc;

use lighterman::core::descriptor::Descriptor;
use lighterman::core::error::{Classify as _, Kind};
use lighterman::diagnose::DiagnoseError;
use lighterman::diagnose::rootfs::blobs::Remote;
use lighterman::diagnose::rootfs::interest::Interest;
use lighterman::diagnose::rootfs::layers::{Effort, Layers};
use lighterman::diagnose::rootfs::{Cost, File, Look, NotRead, RootFs as _};
use lighterman::store::Store;
use lighterman::store::layout::Layout;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::support::engine::fetcher;
use crate::support::fixture::{Blob, Flavour, Image, Layer, Manifest, Tree, noise, platform};
use crate::support::liar::{Liar, Reply, When, sent};

/// Behind the first window, before the fourth.
const BEFORE: usize = 100_000;
/// What a no-range host may send before it is noticed that nobody wants more: the most that hyper
/// takes off a connection at once, which it does where the machine lets it wait.
const CHUNK: u64 = 8192 + 4096 * 100;

/// A layer of 3 MB that does not compress, with a program somewhere at its start.
fn image() -> Image {
    let tree = Tree::new()
        .file("first", 0o755, b"#!/bin/first\n")
        .file("before", 0o644, &noise(5, BEFORE))
        .file("app", 0o755, b"#!/bin/second\n")
        .file("behind", 0o644, &noise(6, 3_000_000));
    image_of(&[tree.layer()])
}

fn image_of(layers: &[Layer]) -> Image {
    Image::single(Manifest::new(Flavour::Oci, &platform("amd64", ""), layers, ("/app", &[])))
}

fn descriptor(blob: &Blob) -> Descriptor {
    serde_json::from_value(blob.descriptor()).expect("a descriptor")
}

fn request_for(blob: &Blob) -> String {
    format!("GET /v2/app/blobs/{}", blob.digest)
}

/// Looks for each of `paths` in turn.
fn look(
    image: &Image,
    liar: &Liar,
    store: Option<Arc<dyn Store>>,
    effort: Effort,
    paths: &[&str],
) -> (Vec<Result<Look, DiagnoseError>>, Cost) {
    let reference: lighterman::core::reference::Reference = liar.reference("app:1").parse().expect("a reference");
    let layers: Vec<Descriptor> = image.manifests[0].layers.iter().map(descriptor).collect();
    let paths: Vec<String> = paths.iter().map(|path| (*path).into()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let looking = async move {
        let mut blobs = Remote::new(fetcher(&reference), reference, store, Handle::current());
        let looking = tokio::task::spawn_blocking(move || {
            let mut layers = Layers::new(&layers, Vec::new(), &mut blobs, effort).expect("nothing is read");
            let looks = paths.iter().map(|path| layers.look(std::slice::from_ref(path))).collect();
            (looks, layers.cost())
        });
        looking.await.expect("no panic")
    };
    runtime.block_on(looking)
}

fn file(look: &Result<Look, DiagnoseError>) -> &File {
    match look {
        Ok(Look::File(file)) => file,
        other => panic!("expected a file, got {other:?}"),
    }
}

fn content(look: &Result<Look, DiagnoseError>) -> &[u8] {
    file(look).content.prefix()
}

#[test]
fn what_lies_at_the_start_costs_less_than_8_kib() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    let (looks, cost) = look(&image, &liar, None, Effort::default(), &["/first", "/app"]);
    assert_eq!((content(&looks[0]), content(&looks[1])), (&b"#!/bin/first\n"[..], &b"#!/bin/second\n"[..]));
    assert!(looks.iter().all(|look| file(look).certain && !file(look).verified));
    let requests = liar.requests_for(&request_for(&image.manifests[0].layers[0]));
    assert!(requests[0].sent < 8 * 1024, "{requests:?}");
    let ranges: Vec<_> = requests.iter().filter_map(|request| request.bounded_range()).collect();
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "no byte twice: {ranges:?}");
    assert_eq!((cost.fetched as usize, cost.requests), (sent(&requests), requests.len()));
}

#[test]
fn a_host_without_ranges_is_asked_once_and_broken_off() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    liar.always("GET /v2/app/blobs/", Reply::IgnoreRange);
    let (looks, cost) = look(&image, &liar, None, Effort::default(), &["/first", "/app"]);
    assert_eq!((content(&looks[0]), content(&looks[1])), (&b"#!/bin/first\n"[..], &b"#!/bin/second\n"[..]));
    assert_eq!(liar.requests_for("/blobs/").len(), 1, "one stream serves all windows");
    assert!(cost.fetched < BEFORE as u64 + CHUNK, "{cost:?}");
    let poor = Effort { per_image: 20_000, ..Effort::default() };
    let (looks, cost) = look(&image, &liar, None, poor, &["/app"]);
    assert!(matches!(looks[0], Ok(Look::NotRead(NotRead::Budget { .. }))), "{looks:?}");
    assert!(cost.fetched < 20_000 + CHUNK, "{cost:?}");
}

#[test]
fn no_more_comes_than_the_budget() {
    let layer = |seed| Tree::new().file("cargo", 0o644, &noise(seed, 1_000_000)).layer();
    let image = image_of(&[layer(1), layer(2), layer(3)]);
    let liar = Liar::serving(&image, "app:1");
    for (per_layer, per_image) in [(0, 1000), (1000, 0), (1, 1), (50_000, 120_000), (50_000, 1_000_000)] {
        let before = sent(&liar.requests_for("/blobs/")) as u64;
        let effort = Effort { per_layer, per_image, ..Effort::default() };
        let (looks, cost) = look(&image, &liar, None, effort, &["/app"]);
        let expected = per_image.min(3 * per_layer);
        let Ok(Look::NotRead(NotRead::Budget { left })) = looks[0] else { panic!("{looks:?}") };
        assert_eq!((cost.fetched, left), (expected, cost.total - expected));
        assert_eq!(sent(&liar.requests_for("/blobs/")) as u64 - before, expected, "the other side counts the same");
    }
}

#[test]
fn a_window_that_breaks_goes_on_where_it_stopped() {
    for breaks in [Reply::CutAfter(3000), Reply::ShorterRange, Reply::status(503)] {
        let image = image();
        let liar = Liar::serving(&image, "app:1");
        let layer = request_for(&image.manifests[0].layers[0]);
        liar.plan(&layer, [breaks.clone()]);
        liar.plan(When::asked(&layer).covering(60_000), [breaks.clone()]);
        let (looks, cost) = look(&image, &liar, None, Effort::default(), &["/first", "/app"]);
        assert_eq!(content(&looks[1]), b"#!/bin/second\n", "{breaks:?}");
        assert_eq!(liar.unused(), 0, "{breaks:?}");
        assert_eq!(cost.fetched as usize, sent(&liar.requests_for(&layer)), "{breaks:?}");
        let bytes = file(&looks[1]);
        assert!(bytes.certain && !bytes.verified);
        let asked: Vec<_> = liar.requests_for(&layer).iter().filter_map(|request| request.bounded_range()).collect();
        assert!(asked.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{breaks:?}: {asked:?}");
    }
}

#[test]
fn a_host_that_answers_with_crumbs_is_not_asked_for_ever() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    liar.always("GET /v2/app/blobs/", Reply::Crumb);
    let (looks, cost) = look(&image, &liar, None, Effort::default(), &["/app"]);
    assert!(matches!(looks[0], Ok(Look::NotRead(NotRead::Budget { .. }))), "{looks:?}");
    assert!((100..400).contains(&cost.requests), "{cost:?}");
}

#[test]
fn who_waits_for_silence_can_be_told_to_stop() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    let layer = request_for(&image.manifests[0].layers[0]);
    liar.always(&layer, Reply::HangAfter(100));
    let reference: lighterman::core::reference::Reference = liar.reference("app:1").parse().expect("a reference");
    let layers = [descriptor(&image.manifests[0].layers[0])];
    let lost = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut blobs = {
        let _entered = runtime.enter();
        Remote::new(fetcher(&reference), reference, None, Interest::until(lost.clone(), Handle::current()))
    };
    let looking = runtime.spawn_blocking(move || {
        let mut layers = Layers::new(&layers, Vec::new(), &mut blobs, Effort::default()).expect("nothing is read");
        layers.look(&["/app".into()])
    });
    liar.wait_for(&layer);
    lost.cancel();
    let error = runtime.block_on(looking).expect("no panic").expect_err("nobody waits");
    assert!(error.to_string().contains("nobody waits"), "{error}");
}

#[test]
fn a_window_that_breaks_for_ever_is_an_error_with_every_attempt() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    liar.always("GET /v2/app/blobs/", Reply::status(404));
    let (looks, _) = look(&image, &liar, None, Effort::default(), &["/app"]);
    let error = looks[0].as_ref().expect_err("it is not there");
    assert_eq!((error.kind(), error.attempts().len()), (Kind::NotFound, 1), "{error}");
}

#[test]
fn wrong_bytes_are_no_evidence_that_counts_as_verified() {
    let small = image_of(&[Tree::new().file("app", 0o755, b"#!/bin/sh\n").layer()]);
    let liar = Liar::serving(&small, "app:1");
    liar.always("GET /v2/app/blobs/", Reply::FlippedInBlob(9));
    let (looks, _) = look(&small, &liar, None, Effort::default(), &["/app"]);
    let error = looks[0].as_ref().expect_err("the digest does not hold");
    assert_eq!(error.kind(), Kind::DigestMismatch, "{error}");

    // One bit in the middle of the program, which gzip stores as it is.
    let program = noise(8, 1_000_000);
    let large = image_of(&[Tree::new().file("app", 0o755, &program).layer()]);
    let liar = Liar::serving(&large, "app:1");
    liar.always("GET /v2/app/blobs/", Reply::FlippedInBlob(3000));
    let (looks, _) = look(&large, &liar, None, Effort::default(), &["/app"]);
    match &looks[0] {
        Ok(Look::File(file)) => assert!(!file.verified && file.content.prefix() != &program[..4096]),
        Err(error) => assert_eq!(error.kind(), Kind::InvalidContent, "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slow_host_is_waited_for() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    liar.always("GET /v2/app/blobs/", Reply::Paced(200_000));
    let (looks, _) = look(&image, &liar, None, Effort::default(), &["/app"]);
    assert_eq!(content(&looks[0]), b"#!/bin/second\n");
}

#[test]
fn storage_behind_the_registry_is_found_once() {
    let image = image();
    let [liar, storage] = [Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1")];
    liar.redirect_blobs_to(&storage);
    let (looks, cost) = look(&image, &liar, None, Effort::default(), &["/app"]);
    assert_eq!(content(&looks[0]), b"#!/bin/second\n");
    assert_eq!(liar.requests_for("/blobs/").len(), 1);
    assert!(cost.requests > 1 && storage.requests_for("/blobs/").len() == cost.requests, "{cost:?}");
}

#[test]
fn what_this_node_has_costs_nothing() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    image.write_layout(folder.path(), "app:1");
    let store: Arc<dyn Store> = Arc::new(Layout::open(folder.path()).expect("a layout"));
    let (looks, cost) = look(&image, &liar, Some(store), Effort::default(), &["/app", "/gone"]);
    assert_eq!(content(&looks[0]), b"#!/bin/second\n");
    assert!(matches!(looks[1], Ok(Look::Absent)));
    assert_eq!((cost.fetched, cost.requests, cost.read), (0, 0, cost.total));
    assert!(liar.requests_for("/blobs/").is_empty());
}
