//! What is pulled: images that share layers, of which each can say whether it is whole.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, busybox_program, digest, noise, platform};
use crate::support::host;

pub(super) const IMAGES: usize = 6;
/// An image that nobody else asks for. A pull of it tidies up after a daemon that was killed.
pub(super) const TIDY: &str = "tidy:1";

/// What an image's name is at a registry.
pub(super) fn name(image: usize) -> String {
    format!("app{image}:1")
}

/// Images of one program, some files that several have, and some of their own; each can say whether
/// all of its files are what they were. The last is [`TIDY`].
pub(super) fn images() -> Vec<Image> {
    let program = Tree::new().dir("bin").file("bin/busybox", 0o755, &busybox_program(host())).layer();
    let shared: Vec<(String, Layer)> = (0..3).map(|group| files(&format!("shared{group}"), 40, 20_000)).collect();
    let build = |image: usize| {
        let (own_sums, own) = files(&format!("own{image}"), 5 + 30 * image, 4_000 * (image + 1));
        let (shared_sums, shared) = &shared[image % shared.len()];
        let mut sums = format!("{own_sums}{shared_sums}");
        let mut layers = vec![program.clone(), shared.clone(), own];
        if image == 0 {
            // Large enough to come in ranges.
            let (large_sums, large) = files("large", 1, 9 << 20);
            sums.push_str(&large_sums);
            layers.push(large);
        }
        layers.push(Tree::new().dir("etc").file("etc/sums", 0o644, sums.as_bytes()).layer());
        let platform = platform(host().arch, host().variant);
        let run = ["sh", "-c", "cd / && /bin/busybox sha256sum -s -c /etc/sums && echo whole"];
        let manifest = Manifest::new(Flavour::Oci, &platform, &layers, ("/bin/busybox", &run));
        if image.is_multiple_of(2) { Image::multi(Flavour::Oci, &[manifest]) } else { Image::single(manifest) }
    };
    (0..=IMAGES).map(build).collect()
}

/// A layer of files, and the lines by which sha256sum knows them.
fn files(folder: &str, count: usize, size: usize) -> (String, Layer) {
    let mut tree = Tree::new().dir(folder);
    let mut sums = String::new();
    for index in 0..count {
        let content = noise((folder.len() * 7919 + index * 31 + size) as u64, size);
        let path = format!("{folder}/{index}");
        let sum = digest(&content);
        let _ = writeln!(sums, "{}  {path}", sum.trim_start_matches("sha256:"));
        tree = tree.file(&path, 0o644, &content);
    }
    (sums, tree.layer())
}

/// What tells the stacks of an image's layers, from the lowest to the top, from those of others.
pub(super) fn stacks(image: &Image) -> BTreeSet<String> {
    let layers = image.manifests[0].layers.iter();
    layers
        .scan(String::new(), |below, layer| {
            below.push_str(&layer.digest);
            Some(below.clone())
        })
        .collect()
}
