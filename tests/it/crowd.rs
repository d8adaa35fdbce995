//! Many callers of one daemon at a time.

use std::sync::Arc;

use lighterman::fetch::progress::Silent;
use lighterman::service::api::client::Client;
use lighterman::service::api::v1::{PullRequest, ResolveRequest};

use crate::faults::image_of;
use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture;
use crate::support::liar::Liar;
use crate::support::registry::Registry;

/// What the whole process may take, in KiB.
const PEAK: u64 = 128 * 1024;

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
