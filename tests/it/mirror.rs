//! The mirror of a real daemon as its clients see it: what it answers, whom it lets read what, and when.

mod arrival;
mod clients;
mod crowd;
mod protocol;
mod reach;
mod reload;
mod rights;

use crate::support::fixture::{Blob, Image, Tree, noise, platform};
use crate::support::fixture::{Flavour, Manifest};

/// An image of one layer of so many bytes of noise and a bit.
fn image(seed: u64, bytes: usize) -> Image {
    let layer = Tree::new().file("cargo.bin", 0o644, &noise(seed, bytes)).layer();
    Image::single(Manifest::new(Flavour::Oci, &platform("amd64", ""), &[layer], ("/cargo", &[])))
}

/// Its layer.
fn layer(image: &Image) -> &Blob {
    &image.manifests[0].layers[0]
}

/// The path of a blob of a repository.
fn blob_path(repository: &str, blob: &Blob, registry: &str) -> String {
    format!("/v2/{repository}/blobs/{}?ns={registry}", blob.digest)
}
