//! How few bytes of an image decide what it starts.
//!
//! ```text
//! cargo bench --bench diagnose                     every image: some minutes and 2 GB in TMPDIR
//! cargo bench --bench diagnose -- seed busybox     those whose names have one of these in them
//! ```
//!
//! Images are made of this machine's own `/usr` and served by a registry on loopback. For each,
//! the program is looked for along PATH as a diagnosis does ("program"), and then all that
//! decides how it starts: interpreters, the loader, what the distribution is ("all"). Bytes are
//! those of layers that came over the network, with the default budget. Figures do not depend on
//! the machine's speed, and little on what is below its `/usr`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod corpus;
mod layer;
mod server;

use std::sync::Arc;
use std::time::Instant;

use lighterman::core::limits::Limits;
use lighterman::core::manifest::ImageConfig;
use lighterman::core::reference::Reference;
use lighterman::cpu::Cpu;
use lighterman::diagnose::rootfs::blobs::Remote;
use lighterman::diagnose::rootfs::layers::{Effort, Layers};
use lighterman::diagnose::rootfs::{Cost, Look, RootFs as _};
use lighterman::diagnose::{entrypoint, start};
use lighterman::fetch::progress::Silent;
use lighterman::fetch::{Engine, Fetcher};
use lighterman::registry::{Client, Credentials, HostOptions, hosts_for};
use tokio::runtime::Handle;

use corpus::{Corpus, Image};
use server::Server;

/// What a seed-like image may cost, and the median of large ones.
const SEED_BYTES: u64 = 8 * 1024;
const LARGE_SHARE: f64 = 5.0;

/// What came of one image.
struct Row {
    is_seed: bool,
    is_large: bool,
    share: f64,
    cost: Cost,
}

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let folder = tempfile::tempdir().expect("a folder in TMPDIR");
    let corpus = Corpus::make(folder.path(), &wanted);
    let server = Server::start(corpus.blobs());
    println!(
        "{:<44} {:>8} | {:>10} {:>7} {:>4} {:>6}  {:<20} | {:>10} {:>7} {:>4}",
        "image", "MB", "program B", "%", "req", "ms", "found", "all B", "%", "req"
    );
    let mut rows = Vec::new();
    for image in &corpus.images {
        rows.push(measure(image, &server).await);
    }
    summary(&rows);
}

async fn measure(image: &Image, server: &Server) -> Row {
    let reference: Reference = format!("{}/bench:1", server.address()).parse().expect("a reference");
    let config = ImageConfig::parse(image.config().as_bytes(), &Limits::default()).expect("a config");
    let descriptors: Vec<_> = image.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let mut blobs = Remote::new(fetcher(&reference), reference, None, Handle::current());
    let effort = Effort { beyond_start: image.beyond_start, ..Effort::default() };
    let started = Instant::now();
    let looking = tokio::task::spawn_blocking(move || {
        let commands = config.layer_commands();
        let mut layers = Layers::new(&descriptors, commands, &mut blobs, effort).expect("nothing is read");
        let look = layers.look(&entrypoint::candidates(&config)).expect("layers that can be read");
        let (program, took) = (layers.cost(), started.elapsed());
        start::examine(&mut layers, &config).expect("layers that can be read");
        (look, program, took, layers.cost())
    });
    let (look, program, took, all) = looking.await.expect("no panic");
    let share = |cost: Cost| 100.0 * cost.fetched as f64 / cost.total as f64;
    println!(
        "{:<44} {:>8.1} | {:>10} {:>6.2}% {:>4} {:>6}  {:<20} | {:>10} {:>6.2}% {:>4}",
        image.name,
        program.total as f64 / 1e6,
        program.fetched,
        share(program),
        program.requests,
        took.as_millis(),
        found(&look),
        all.fetched,
        share(all),
        all.requests,
    );
    Row {
        is_seed: image.name.starts_with("seed"),
        is_large: program.total > 400_000_000,
        share: share(program),
        cost: program,
    }
}

fn found(look: &Look) -> &'static str {
    match look {
        Look::File(file) if file.certain && file.verified => "certain, verified",
        Look::File(file) if file.certain => "certain",
        Look::File(_) => "with doubt",
        Look::NotRead(_) => "no: budget",
        Look::Absent | Look::Other { .. } | Look::Loop { .. } => "no",
    }
}

fn summary(rows: &[Row]) {
    for row in rows.iter().filter(|row| row.is_seed) {
        let verdict = if row.cost.fetched < SEED_BYTES { "reached" } else { "MISSED" };
        println!("seed: {} bytes; target: less than {SEED_BYTES}: {verdict}", row.cost.fetched);
    }
    let mut shares: Vec<f64> = rows.iter().filter(|row| row.is_large).map(|row| row.share).collect();
    shares.sort_by(f64::total_cmp);
    if let Some(median) = shares.get(shares.len() / 2) {
        let verdict = if *median < LARGE_SHARE { "reached" } else { "MISSED" };
        println!("500 MB images, median: {median:.2} %; target: less than {LARGE_SHARE} %: {verdict}");
    }
}

fn fetcher(reference: &Reference) -> Fetcher {
    let limits = Limits::default();
    let client = Client::new(Credentials::anonymous(), limits).expect("a client");
    let hosts = hosts_for(reference, &HostOptions::default()).expect("hosts");
    Fetcher::new(Engine::new(client, Cpu::new(), limits), hosts, Arc::new(Silent))
}
