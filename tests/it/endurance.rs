//! One daemon that pulls and fails and is cancelled for a long time, while what it pulled is removed
//! again: in the end it holds as much as it did soon after its start.
//!
//!     cargo test --test it endurance::
//!     LIGHTERMAN_ENDURANCE_PULLS=5000 cargo test --test it endurance::      and what it held

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use containerd_client::services::v1::DeleteImageRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use lighterman::core::error::{Classify as _, Kind};
use lighterman::fetch::progress::Silent;
use lighterman::service::api::client::{Client, ClientError};
use lighterman::service::api::v1::{Phase, PullRequest};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, noise, platform};
use crate::support::liar::{At, Liar, Reply};
use crate::support::lighterman::Lighterman;
use crate::support::mirror::Client as Http;
use crate::support::{asked_for, files_below, free_address, host};

/// Pulls of a run that takes some seconds.
const PULLS: usize = 200;
/// In each round: images that can be had, and three that cannot.
const GOOD: usize = 7;
const ROUND: usize = GOOD + 3;

/// What a daemon holds, and how much more of it may be there in the end. It has a thread for each call
/// to a disk that has not come back, and lets them go after ten idle seconds: how many there are is up to
/// what else the machine is at, and so is some of the memory.
const HELD: [(&str, u64); 4] = [("KiB", 8 * 1024), ("files", 16), ("threads", 24), ("tasks", 4)];

type Pull = JoinHandle<Result<(), ClientError>>;

/// The daemon, those that it asks, and a client of each.
struct Node {
    good: Liar,
    bad: Liar,
    slow: Liar,
    containerd: ContainerdDaemon,
    daemon: Daemon<'static>,
    metrics: SocketAddr,
    runtime: Runtime,
    client: Client,
    images: ImagesClient<Channel>,
}

/// Small images that share a layer; the rest of each is its own.
fn image(number: usize) -> Image {
    let layer = |name: String, size: usize| -> Layer {
        Tree::new().dir("hold").file(&format!("hold/{name}"), 0o644, &noise(size as u64, size)).layer()
    };
    let layers = [layer("shared".into(), 30_000), layer(format!("own-{number}"), 20_000 + 3_000 * number)];
    Image::single(Manifest::new(Flavour::Oci, &platform(host().arch, host().variant), &layers, ("/none", &[])))
}

fn own_layer(image: &Image) -> &str {
    &image.manifests[0].layers[1].digest
}

impl Node {
    fn start() -> Self {
        let [good, bad, slow] = [(); 3].map(|()| Liar::start());
        (0..GOOD).for_each(|number| good.add(&image(number), &format!("app{number}:1")));
        let [wrong, held] = [image(GOOD), image(GOOD + 1)];
        bad.add(&wrong, "app:1");
        bad.always(own_layer(&wrong), Reply::Flipped(7));
        slow.add(&held, "app:1");
        slow.always(own_layer(&held), Reply::Gated(At::Half));
        let (containerd, metrics) = (ContainerdDaemon::start(), free_address());
        // One heap for all threads, so that what is there is not what their number leaves in many.
        let administrator = Lighterman::new().with("MALLOC_ARENA_MAX", "1");
        let daemon = Daemon::start_as(administrator, &containerd, &format!("[metrics]\nlisten = [\"{metrics}\"]"));
        let runtime = Runtime::new().expect("threads");
        let client = runtime.block_on(Client::connect(&daemon.socket())).expect("connects");
        let channel = runtime.block_on(containerd_client::connect(containerd.address())).expect("connects");
        let images = ImagesClient::new(channel);
        Self { good, bad, slow, containerd, daemon, metrics, runtime, client, images }
    }

    fn pull(&self, reference: String) -> Pull {
        let client = self.client.clone();
        let request = PullRequest { reference, ..Default::default() };
        self.runtime.spawn(async move { client.pull(request, Arc::new(Silent).as_ref(), |_| {}).await.map(|_| ()) })
    }

    /// How a pull ended.
    fn end(&self, pull: Pull) -> Option<Kind> {
        let outcome = self.runtime.block_on(pull).expect("no panic");
        outcome.err().map(|error| error.kind())
    }

    /// Pulls all at once, some in vain, and removes what came.
    fn round(&self) {
        let good: Vec<String> = (0..GOOD).map(|number| self.good.reference(&format!("app{number}:1"))).collect();
        let pulls: Vec<Pull> = good.iter().map(|reference| self.pull(reference.clone())).collect();
        let (wrong, missing) = (self.pull(self.bad.reference("app:1")), self.pull(self.good.reference("none:1")));
        self.cancel_one(self.slow.reference("app:1"));
        for pull in pulls {
            assert_eq!(self.end(pull), None);
        }
        assert_eq!(self.end(wrong), Some(Kind::DigestMismatch));
        assert_eq!(self.end(missing), Some(Kind::NotFound));
        for (number, name) in good.into_iter().enumerate() {
            // The collector comes with the last one.
            let request = DeleteImageRequest { name, sync: number + 1 == GOOD, ..Default::default() };
            let mut request = Request::new(request);
            request.metadata_mut().insert("containerd-namespace", "default".parse().expect("a header"));
            self.runtime.block_on(self.images.clone().delete(request)).expect("it was named");
        }
    }

    /// Begins a pull and cancels it in the middle of a layer.
    fn cancel_one(&self, reference: String) {
        let pull = self.pull(reference.clone());
        let id = self.runtime.block_on(async {
            loop {
                let pulls = self.client.pulls().await.expect("it answers");
                let lands = |phase: i32| phase == i32::from(Phase::Landing);
                if let Some(found) = pulls.iter().find(|pull| pull.reference == reference && lands(pull.phase)) {
                    return found.id;
                }
                tokio::task::yield_now().await;
            }
        });
        self.runtime.block_on(self.client.cancel(id)).expect("it is there");
        assert_eq!(self.end(pull), Some(Kind::Cancelled));
    }

    /// How much it holds, now that nothing is under way.
    fn held(&mut self) -> [u64; 4] {
        while !self.runtime.block_on(self.client.pulls()).expect("it answers").is_empty() {
            std::thread::yield_now();
        }
        let tasks = self.tasks();
        let process = self.daemon.process();
        let count = |what: &str| {
            let listed = std::fs::read_dir(format!("/proc/{}/{what}", process.id()));
            listed.expect("it runs").count() as u64
        };
        let resident = process.proc_value("status", "VmRSS").expect("it runs");
        [resident, count("fd"), count("task"), tasks]
    }

    /// Tasks of its runtime, by its own word.
    fn tasks(&self) -> u64 {
        let page = String::from_utf8(Http::of(self.metrics).get("/metrics", &[]).body).expect("UTF-8");
        let value = page.lines().find_map(|line| line.strip_prefix("lighterman_tasks "));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no tasks: {page}"))
    }

    /// Nothing is left of what was removed, and of what never came only what one pull can go on from.
    fn assert_tidy(&self) {
        self.containerd.collect("default");
        let lines = |args: &[&str]| self.containerd.ctr_prints(args).lines().count();
        for (args, heading) in [
            (&["images", "ls", "-q"][..], 0),
            (&["leases", "ls", "-q"], 0),
            (&["content", "ls", "-q"], 0),
            (&["content", "active"], 1),
            (&["snapshots", "ls"], 1),
        ] {
            assert_eq!(lines(args), heading, "{args:?}");
        }
        let staged = files_below(&self.daemon.staging());
        assert!(staged.len() <= 2 && staged.iter().all(|name| name.starts_with("sha256-")), "{staged:?}");
    }
}

/// The one in the middle, of each of the four.
fn medians(looks: &[[u64; 4]]) -> [u64; 4] {
    [0, 1, 2, 3].map(|what| {
        let mut values: Vec<u64> = looks.iter().map(|held| held[what]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    })
}

#[test]
fn a_daemon_holds_no_more_after_many_pulls_than_after_few() {
    let named = asked_for("LIGHTERMAN_ENDURANCE_PULLS");
    let pulls = named.unwrap_or(PULLS);
    let (mut node, mut looks) = (Node::start(), Vec::new());
    for _ in 0..(pulls / ROUND).max(10) {
        node.round();
        looks.push(node.held());
    }
    node.assert_tidy();
    let tenths: Vec<[u64; 4]> = looks.chunks_exact(looks.len() / 10).map(medians).take(10).collect();
    let told: Vec<String> = tenths.iter().map(|held| format!("{held:?}")).collect();
    let told = format!(
        "{:?} in each tenth of {} pulls:\n{}",
        HELD.map(|(what, _)| what),
        looks.len() * ROUND,
        told.join("\n")
    );
    if named.is_some() {
        let _ = writeln!(std::io::stderr(), "{told}");
    }
    // The first tenth fills caches and pools.
    for (((what, more), early), late) in HELD.iter().zip(tenths[1]).zip(tenths[9]) {
        assert!(late <= early + more, "{what} grow: {told}");
    }
}
