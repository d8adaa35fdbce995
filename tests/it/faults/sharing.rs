//! Several pulls of the same at the same time: every blob once over the wire.

use lighterman::core::reference::Reference;
use lighterman::host::{LocalHost, System};
use lighterman::store::layout::Layout;
use tokio_util::sync::CancellationToken;

use super::journal::journalled;
use super::{LARGE, MIB, Pull, excused, image_of, largest, request_for};
use crate::support::engine::{fetcher, puller, request};
use crate::support::fixture::Image;
use crate::support::liar::{At, Liar, Reply, Request, When, sent};

fn image() -> Image {
    image_of(&[10_000, 3 * MIB, LARGE])
}

/// Every blob was sent once, but for what broke off.
#[track_caller]
fn assert_once(liar: &Liar, image: &Image, told: &str) {
    // The config is read for each plan.
    for layer in &image.manifests[0].layers {
        let (requests, size) = (liar.requests_for(&request_for(layer)), layer.bytes.len());
        let most = size + excused(&requests, size);
        assert!(sent(&requests) <= most, "{told}: {} was sent more than once: {requests:#?}", layer.digest);
    }
}

#[test]
fn what_was_read_to_make_the_plan_is_not_asked_for_again() {
    // A lone manifest does not say for which platform it is; its config does.
    let image = image_of(&[10_000]);
    let liar = Liar::serving(&image, "app:1");
    let pull = Pull::from(&liar);
    pull.run().succeeds();
    pull.assert_whole(&image, "no fault");
    let requests = liar.requests_for(&request_for(&image.manifests[0].config));
    assert_eq!(requests.len(), 1, "{requests:#?}");
}

#[test]
fn two_processes_that_pull_the_same_into_one_layout_fetch_it_once() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    let big = largest(&image);
    liar.always(&request_for(big), Reply::Paced(15_000_000));
    let pull = Pull::from(&liar);
    let runs = [pull.spawn(), pull.spawn(), pull.spawn()];
    for run in runs {
        run.wait().succeeds();
    }
    pull.assert_whole(&image, "three processes");
    assert_once(&liar, &image, "three processes");
}

#[test]
fn when_the_process_that_fetches_is_killed_the_one_that_waits_goes_on() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    let big = largest(&image);
    liar.always(When::from(&request_for(big)).covering(LARGE / 2), Reply::Gated(At::Half));
    let pull = Pull::from(&liar);
    let mut first = pull.spawn();
    let under_way = |requests: &[Request]| {
        requests.iter().filter(|r| r.line().contains(&request_for(big))).map(|r| r.sent).sum::<usize>() > 6 * MIB
    };
    assert!(liar.wait_until(&mut first, under_way), "it ended");
    while journalled(&pull, big).is_empty() {
        assert!(!first.has_ended(), "it ended");
        std::thread::yield_now();
    }
    let manifests = liar.requests_for("/manifests/").len();
    let mut second = pull.spawn();
    // It has read the manifest, so it wants the blob that the other one has.
    assert!(liar.wait_until(&mut second, |all| {
        all.iter().filter(|r| r.line().contains("/manifests/") && r.sent > 0).count() > manifests
    }));
    first.kill();
    liar.open_gate();
    second.wait().succeeds();
    liar.settle();
    pull.assert_whole(&image, "one of two was killed");
    let requests = liar.requests_for(&request_for(big));
    // At the kill two connections may have had a range each in their buffers.
    let most = big.bytes.len() + excused(&requests, big.bytes.len()) + 8 * MIB;
    assert!(sent(&requests) <= most, "{requests:#?}");
}

#[test]
fn of_two_pulls_in_one_process_one_may_leave_and_nothing_is_fetched_twice() {
    let image = image();
    let liar = Liar::serving(&image, "app:1");
    let big = largest(&image);
    liar.always(When::from(&request_for(big)).covering(LARGE / 2), Reply::Gated(At::Half));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let reference: Reference = liar.reference("app:1").parse().expect("a reference");
    let layout = Layout::open_or_create(&folder.path().join("layout")).expect("a layout");
    let host = LocalHost::new(Box::new(System::default()));
    let fetcher = fetcher(&reference);
    let pullers = [(); 2].map(|()| puller(&fetcher, &layout, &host));
    let pulled = runtime.block_on(async {
        let plan = pullers[0].plan(&request(reference)).await.expect("a plan");
        let token = CancellationToken::new();
        let mut leaving = Box::pin(pullers[0].land(&plan, &token));
        let never = CancellationToken::new();
        let mut staying = Box::pin(pullers[1].land(&plan, &never));
        let under_way = async {
            // Asked for, and not there yet: the gate is shut.
            while liar.requests_for(&request_for(big)).len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = &mut leaving => panic!("the gate is shut"),
            _ = &mut staying => panic!("the gate is shut"),
            () = under_way => {}
        }
        drop(leaving);
        liar.open_gate();
        staying.await.expect("the other one goes on")
    });
    assert_eq!(pulled.target.to_string(), image.root.digest);
    assert_once(&liar, &image, "two pulls in one process");
    for blob in image.blobs() {
        let bytes = std::fs::read(folder.path().join("layout/blobs/sha256").join(blob.hex())).expect("it landed");
        assert!(bytes == blob.bytes, "{} has other bytes", blob.digest);
    }
}
