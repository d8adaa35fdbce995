//! lighterman against its peers: the same image, the same registry, in turns.
//!
//! ```text
//! tests/run --install && TMPDIR=/dev/shm cargo bench --bench pull
//! ```
//!
//! Debian's docker-registry and containerd run on loopback. Every pull goes into a fresh
//! place (a new containerd, a new directory), turns alternate, and the median counts. A
//! ratio above 1 says that lighterman is faster. `TMPDIR` names where everything lies: use
//! a memory or a freshly made journaled file system, since one that has just deleted many
//! files creates new ones slowly.
//!
//! containerd is stock: it finds neither igzip nor unpigz. Needs root.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(dead_code, unused_imports, reason = "the test bed has more than a benchmark needs")]

#[path = "../tests/it/support/mod.rs"]
mod support;

#[cfg(not(feature = "containerd"))]
fn main() {
    println!("the benchmark compares with containerd: build it with the feature \"containerd\"");
}

#[cfg(feature = "containerd")]
fn main() {
    against::run();
}

#[cfg(feature = "containerd")]
mod against {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use crate::support::containerd::ContainerdDaemon;
    use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, noise, platform};
    use crate::support::lighterman::Lighterman;
    use crate::support::registry::Registry;
    use crate::support::{host, succeed, tool};

    /// Turns for each side.
    const TURNS: usize = 7;
    const MIB: usize = 1 << 20;

    pub(super) fn run() {
        println!("{:<52} {:>12} {:>12} {:>7}", "median of 7, in turns", "lighterman", "peer", "ratio");
        for (name, image) in
            [("4 layers of 48 MiB", wide()), ("1 layer of 192 MiB", tall()), ("40 small layers", many())]
        {
            let registry = Registry::plain();
            let reference = registry.push(&image, "bench/image:1");
            compare(&format!("{name} into containerd, against ctr"), &into_containerd, &with_ctr, &reference);
            compare(&format!("{name} into a layout, against skopeo"), &into_layout, &with_skopeo, &reference);
            compare(&format!("{name}, present, against ctr"), &again, &again_with_ctr, &reference);
        }
    }

    type Pull = dyn Fn(&str) -> Duration;

    fn compare(name: &str, ours: &Pull, peers: &Pull, reference: &str) {
        let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            our_times.push(ours(reference));
            peer_times.push(peers(reference));
        }
        let (ours, peer) = (median(our_times), median(peer_times));
        let ratio = peer.as_secs_f64() / ours.as_secs_f64();
        println!("{name:<52} {:>9.3} s {:>9.3} s {ratio:>6.1}x", ours.as_secs_f64(), peer.as_secs_f64());
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort_unstable();
        times[times.len() / 2]
    }

    fn timed(command: &mut Command) -> Duration {
        let started = Instant::now();
        succeed(command);
        started.elapsed()
    }

    fn lighterman(daemon: &ContainerdDaemon, reference: &str) -> Duration {
        let user = Lighterman::new();
        let (address, staging) = (daemon.address(), daemon.folder().join("root/staging"));
        let flags = ["--containerd-address", &address.to_string_lossy(), "--staging-dir", &staging.to_string_lossy()];
        timed(&mut user.command(&[&["pull", reference, "--to", "containerd"], &flags[..]].concat()))
    }

    fn ctr(daemon: &ContainerdDaemon, reference: &str) -> Duration {
        let pull = ["images", "pull", "--plain-http", "--platform", host().platform, reference];
        timed(Command::new(tool("ctr", "containerd")).arg("--address").arg(daemon.address()).args(pull))
    }

    fn into_containerd(reference: &str) -> Duration {
        lighterman(&ContainerdDaemon::start(), reference)
    }

    fn with_ctr(reference: &str) -> Duration {
        ctr(&ContainerdDaemon::start(), reference)
    }

    fn again(reference: &str) -> Duration {
        let daemon = ContainerdDaemon::start();
        lighterman(&daemon, reference);
        lighterman(&daemon, reference)
    }

    fn again_with_ctr(reference: &str) -> Duration {
        let daemon = ContainerdDaemon::start();
        ctr(&daemon, reference);
        ctr(&daemon, reference)
    }

    fn into_layout(reference: &str) -> Duration {
        let user = Lighterman::new();
        let (_, destination) = user.layout("layout");
        timed(&mut user.command(&["pull", reference, "--to", &destination]))
    }

    fn with_skopeo(reference: &str) -> Duration {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (format!("docker://{reference}"), format!("oci:{}:bench", folder.path().display()));
        let copy = ["--insecure-policy", "copy", "--src-tls-verify=false", &from, &to];
        timed(Command::new(tool("skopeo", "skopeo")).args(copy))
    }

    fn wide() -> Image {
        image((0..4).map(|seed| files(seed, 48 * MIB)).collect())
    }

    fn tall() -> Image {
        image(vec![files(9, 192 * MIB)])
    }

    fn many() -> Image {
        image((100..140).map(|seed| files(seed, MIB / 5)).collect())
    }

    /// A layer of files from 4 KiB to 1 MiB that compress by about half.
    fn files(seed: u64, length: usize) -> Layer {
        let content = noise(seed, length / 2);
        let mut tree = Tree::new().dir("data");
        let (mut offset, mut size, mut number) = (0, 4096, 0);
        while offset < content.len() {
            let end = (offset + size / 2).min(content.len());
            // Half noise, half zeros.
            let mut file = content[offset..end].to_vec();
            file.resize(2 * (end - offset), 0);
            tree = tree.file(&format!("data/{seed}-{number}"), 0o644, &file);
            (offset, number) = (end, number + 1);
            size = if size >= MIB { 4096 } else { size * 2 };
        }
        tree.layer()
    }

    fn image(layers: Vec<Layer>) -> Image {
        let manifest = Manifest::new(Flavour::Oci, &platform(host().arch, ""), &layers, ("/bin/true", &[]));
        Image::multi(Flavour::Oci, &[manifest])
    }
}
