//! Other tools read what lighterman writes.

use std::process::Command;

use crate::support::fixture::{self, Image};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::{host, succeed, tool};

/// Copies `reference` out of a layout into a second one and returns what skopeo wrote for it.
fn copy_out(image: &Image, more: &[&str], skopeo_more: &[&str]) -> (String, Vec<String>) {
    let registry = Registry::plain();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&[&["pull", &reference, "--to", &destination], more].concat()).succeeds();
    let copy = user.path("copy");
    succeed(
        Command::new(tool("skopeo", "skopeo"))
            .args(["--insecure-policy", "copy", "--preserve-digests"])
            .args(skopeo_more)
            .arg(format!("oci:{}:{reference}", layout.display()))
            .arg(format!("oci:{}:copy", copy.display())),
    );
    let index = std::fs::read(copy.join("index.json")).expect("skopeo wrote a layout");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    let blobs = crate::support::files_below(&copy.join("blobs/sha256"));
    (digest, blobs)
}

#[test]
fn skopeo_copies_one_platform_back_out_with_the_same_digests() {
    let image = fixture::busybox();
    let (digest, blobs) = copy_out(image, &[], &[]);
    let manifest = image.of(host());
    assert_eq!(digest, manifest.blob.digest);
    let mut expected: Vec<&str> = manifest.blobs().chain([&manifest.blob]).map(|blob| blob.hex()).collect();
    expected.sort_unstable();
    assert_eq!(blobs, expected);
}

#[test]
fn skopeo_copies_all_platforms_back_out_with_the_same_digests() {
    let image = fixture::busybox();
    let (digest, blobs) = copy_out(image, &["--all-platforms"], &["--all"]);
    assert_eq!(digest, image.root.digest);
    assert!(image.blobs().iter().all(|blob| blobs.iter().any(|found| found == blob.hex())));
}

#[test]
fn skopeo_reads_a_docker_image_from_our_layout() {
    let image = fixture::busybox_docker();
    let (digest, _) = copy_out(image, &[], &[]);
    assert_eq!(digest, image.of(host()).blob.digest);
}
