//! Many callers of one daemon at a time.

use std::sync::Arc;

use lighterman::fetch::progress::Silent;
use lighterman::service::api::client::Client;
use lighterman::service::api::v1::{PullRequest, ResolveRequest};

use serde_json::{Value, json};

use crate::faults::image_of;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Blob, Image};
use crate::support::liar::{At, Liar, Reply};
use crate::support::registry::Registry;

/// What the whole process may take, in KiB.
const PEAK: u64 = 128 * 1024;

/// Questions about images with an index of almost 4 MiB.
const LARGE: usize = 200;

/// Runs `work` on a runtime of the test's own.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

#[test]
fn a_thousand_questions_at_once_are_answered_within_the_bound_of_memory() {
    let (containerd, registry) = (ContainerdDaemon::start(), Registry::plain());
    let mut daemon = Daemon::start(&containerd);
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let socket = daemon.socket();
    block_on(async {
        let client = Client::connect(&socket).await.expect("connects");
        let ask = || {
            let (client, reference) = (client.clone(), reference.clone());
            tokio::spawn(async move { client.resolve(ResolveRequest { reference, ..Default::default() }).await })
        };
        let asked: Vec<_> = (0..1000).map(|_| ask()).collect();
        for answer in asked {
            let (resolution, refusal) = answer.await.expect("no panic").expect("an answer");
            assert!(resolution.chosen.is_some() && refusal.is_none());
        }
    });
    assert!(daemon.process().proc_value("status", "VmHWM").expect("it runs") < PEAK);
}

/// The same image under an index that is almost as large as one may be: with one annotation, or
/// with as many as fit.
fn padded(image: &Image, pieces: usize) -> Image {
    let mut index: Value = serde_json::from_slice(&image.root.bytes).expect("an index");
    let most = (4 << 20) - image.root.bytes.len() - 1000;
    let padding = "x".repeat((most / pieces).saturating_sub(20));
    let annotations = (0..pieces).map(|number| (format!("{number:07}"), json!(padding)));
    index["manifests"][0]["annotations"] = Value::Object(annotations.collect());
    let root = Blob::new(&image.root.media_type, serde_json::to_vec(&index).expect("a document"));
    assert!((3 << 20..=4 << 20).contains(&root.bytes.len()), "{} bytes", root.bytes.len());
    Image { root, ..image.clone() }
}

#[test]
fn large_indexes_are_read_within_the_bound_of_memory_and_hold_up_no_ordinary_image() {
    let (containerd, honest) = (ContainerdDaemon::start(), Liar::serving(fixture::busybox(), "app:1"));
    let mut daemon = Daemon::start(&containerd);
    let liars: Vec<Liar> =
        [1, 1, 1, 100_000].map(|pieces| Liar::serving(&padded(fixture::busybox(), pieces), "app:1")).into();
    // One that begins to send such an index, and then does not go on for now.
    let slow = Liar::serving(&padded(fixture::busybox(), 1), "app:1");
    slow.always("GET /v2/app/manifests/1", Reply::Gated(At::Half));
    let socket = daemon.socket();
    block_on(async {
        let client = Client::connect(&socket).await.expect("connects");
        let ask = |liar: &Liar| {
            let (client, reference) = (client.clone(), liar.reference("app:1"));
            tokio::spawn(async move { client.resolve(ResolveRequest { reference, ..Default::default() }).await })
        };
        let slowest = ask(&slow);
        // First it was found how large that is.
        while slow.requests_for("GET /v2/app/manifests/1").len() < 2 {
            tokio::task::yield_now().await;
        }
        let asked: Vec<_> = (0..LARGE).map(|number| ask(&liars[number % liars.len()])).collect();
        let answer = ask(&honest).await.expect("no panic").expect("an answer");
        assert!(answer.0.chosen.is_some());
        assert!(!asked.iter().any(|asked| asked.is_finished()), "two large ones were read at a time");
        slow.open_gate();
        for answer in asked.into_iter().chain([slowest]) {
            let (resolution, refusal) = answer.await.expect("no panic").expect("an answer");
            assert!(resolution.chosen.is_some() && refusal.is_none());
        }
    });
    let peak = daemon.process().proc_value("status", "VmHWM").expect("it runs");
    assert!(peak < PEAK, "{peak} KiB");
}

#[test]
fn sixty_four_pulls_at_once_end_well_within_the_bound_of_memory() {
    let containerd = ContainerdDaemon::start();
    let liar = Liar::start();
    // Eight images: small and large ones, which others pull at the same time.
    let images: Vec<_> = (0..8).map(|number| image_of(&[(1 + number % 4) << 20, 10_000 + number])).collect();
    for (number, image) in images.iter().enumerate() {
        liar.add(image, &format!("app{number}:1"));
    }
    let mut daemon = Daemon::start(&containerd);
    let socket = daemon.socket();
    block_on(async {
        let client = Client::connect(&socket).await.expect("connects");
        let pull = |number: usize| {
            let reference = liar.reference(&format!("app{}:1", number % images.len()));
            let client = client.clone();
            let request = PullRequest { reference, ..Default::default() };
            tokio::spawn(async move { client.pull(request, Arc::new(Silent).as_ref(), |_| {}).await })
        };
        let pulls: Vec<_> = (0..64).map(pull).collect();
        for pull in pulls {
            pull.await.expect("no panic").expect("a pull");
        }
    });
    for layer in images.iter().flat_map(|image| &image.manifests[0].layers) {
        // Some are layers of two images.
        let asked = liar.requests_for(&format!("/blobs/{}", layer.digest));
        assert_eq!(asked.len(), 1, "a blob was fetched more than once: {asked:?}");
    }
    assert_eq!(daemon.pulls().len(), 0);
    assert_eq!(containerd.ctr_prints(&["leases", "ls", "-q"]).trim(), "");
    assert!(daemon.process().proc_value("status", "VmHWM").expect("it runs") < PEAK);
}
