//! Indexes at real registries: looked at, made, corrected, pushed, and refused.

mod bringing;
mod drafts;
mod pushing;
mod refusing;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::fixture::{Flavour, Image, Layer, Manifest, Tree, platform};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;

/// The program of an image: the header of an ELF file for a machine, and no more.
fn header(machine: u8) -> Vec<u8> {
    let class = if machine == 40 { 1 } else { 2 };
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
    (file[0x10], file[0x12]) = (2, machine);
    file
}

/// An image as the blog post builds them: a program from scratch, with this in its config.
fn image(flavour: Flavour, arch: &str, variant: &str, machine: u8) -> Manifest {
    let layer: Layer = Tree::new().file("app", 0o755, &header(machine)).layer();
    Manifest::new(flavour, &platform(arch, variant), &[layer], ("/app", &[]))
}

/// The blog post's list: amd64, and a program for arm that is called arm64.
fn mislabelled(flavour: Flavour) -> Image {
    let (amd64, arm) = (image(flavour, "amd64", "", 62), image(flavour, "amd64", "", 40));
    let mut wrong = arm.entry();
    wrong["platform"] = platform("arm64", "");
    Image::index(flavour, &[amd64.clone(), arm], &[amd64.entry(), wrong])
}

/// An index at a registry, and a draft in a file that corrects it.
fn drafted() -> (Registry, Lighterman<'static>, Image, PathBuf) {
    let registry = Registry::plain();
    let index = mislabelled(Flavour::Oci);
    let reference = registry.push(&index, "app:1");
    let user = Lighterman::new();
    let file = user.path("draft.json");
    let name = file.to_str().expect("UTF-8");
    user.run(&["manifest", "annotate", &reference, "--entry", "1", "--arch", "arm", "--out", name]).succeeds();
    (registry, user, index, file)
}

/// The document under a tag or digest, as the registry has it.
fn stored(registry: &Registry, repository: &str, target: &str) -> bytes::Bytes {
    let (status, bytes) = registry.remote().get(&format!("/v2/{repository}/manifests/{target}"));
    assert_eq!(status, 200, "{repository} {target}: {bytes:?}");
    bytes
}

fn stored_json(registry: &Registry, repository: &str, target: &str) -> Value {
    serde_json::from_slice(&stored(registry, repository, target)).expect("JSON")
}

#[test]
fn inspect_shows_entries_configs_sizes_and_what_is_missing() {
    let registry = Registry::plain();
    let index = mislabelled(Flavour::Docker);
    let reference = registry.push(&index, "app:1");
    let user = Lighterman::new();
    let seen = user.run(&["manifest", "inspect", &reference, "--json"]).succeeds().json();
    assert_eq!(seen["root"]["digest"], index.root.digest.as_str());
    assert_eq!(seen["root"]["mediaType"], Flavour::Docker.index());
    let layer = &index.manifests[1].layers[0];
    let expected = json!({
        "digest": index.manifests[1].blob.digest, "mediaType": Flavour::Docker.manifest(),
        "size": index.manifests[1].blob.bytes.len(), "platform": "linux/arm64", "attestation": false,
        "present": true, "config": "linux/amd64", "layersSize": layer.bytes.len(), "problem": null,
    });
    assert_eq!(seen["entries"][1], expected);
    let rows = seen["coverage"].as_array().expect("a table");
    let arm64 = rows.iter().find(|row| row["node"] == "linux/arm64").expect("a node");
    let podman = json!({ "client": "podman", "entries": ["1"], "outcome": "runs", "text": "arm64" });
    assert_eq!(arm64["clients"][3], podman);
    let raw = user.run(&["manifest", "inspect", &reference, "--raw"]).succeeds();
    assert_eq!(raw.stdout.as_bytes(), &index.root.bytes[..]);
    registry.lose_blob(&index.manifests[0].blob.digest);
    let text = user.run(&["manifest", "inspect", &reference]).succeeds().stdout;
    let line = |digest: &str| text.lines().find(|line| line.contains(digest)).unwrap_or_else(|| panic!("{text}"));
    assert!(line(&index.manifests[0].blob.digest).contains("missing"), "{text}");
    assert!(line(&index.manifests[1].blob.digest).contains("there"), "{text}");
}

#[test]
fn what_publishers_wrote_does_not_steer_the_terminal_and_adds_up() {
    let registry = Registry::plain();
    // Of layers that are as large as can be written, for one machine by its config and for another by
    // the entry.
    let odd = |own: &str, declared: &str| {
        let mut odd = image(Flavour::Oci, own, "", 62);
        let mut manifest: Value = serde_json::from_slice(&odd.blob.bytes).expect("JSON");
        let mut layer = manifest["layers"][0].clone();
        layer["size"] = json!(i64::MAX);
        manifest["layers"] = json!([layer, layer, layer]);
        odd.blob = crate::support::fixture::Blob::json(Flavour::Oci.manifest(), &manifest);
        let mut entry = odd.entry();
        entry["platform"] = platform(declared, "");
        (Image::index(Flavour::Oci, &[odd.clone()], &[entry]), Image::single(odd))
    };
    let (index, single) = odd("arm\u{1b}[31m\u{9b}31m64\nx", "am\u{1b}]0;x\u{7}d64\u{9b}1m");
    let (reference, part) = (registry.push(&index, "app:1"), registry.push(&single, "app:part"));
    let user = Lighterman::new();
    let out = registry.reference("app:2");
    let cases: [&[&str]; 4] = [
        &["inspect", &reference],
        &["annotate", &reference, "--entry", "0", "--arch", "amd64"],
        &["create", &out, &part],
        &["create", &out, &reference],
    ];
    for args in cases {
        let outcome = user.run(&[&["manifest"], args].concat());
        assert!(outcome.code.is_some_and(|code| code != 101), "{outcome:?}");
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{args:?}: {text:?}");
        }
    }
    user.run(&["manifest", "inspect", &reference]).fails(exit::CONTENT);
    let reference = registry.push(&odd("arm64", "amd64").0, "app:3");
    let seen = user.run(&["manifest", "inspect", &reference, "--json"]).succeeds().json();
    assert_eq!(seen["entries"][0]["layersSize"], json!(u64::MAX));
    let text = user.run(&["manifest", "inspect", &reference]).succeeds().stdout;
    assert!(text.contains("entry 0; lighterman diagnose"), "nothing is said of what contradicts itself:\n{text}");
}

#[test]
fn inspect_shows_a_single_image_too() {
    let registry = Registry::plain();
    let single = Image::single(image(Flavour::Oci, "arm", "v6", 40));
    let reference = registry.push(&single, "app:1");
    let seen = Lighterman::new().run(&["manifest", "inspect", &reference, "--json"]).succeeds().json();
    assert_eq!(seen["entries"][0]["config"], "linux/arm/v6");
    assert_eq!(seen["coverage"], Value::Null);
}

#[test]
fn nothing_is_written_before_it_is_asked_for_and_all_of_it_is_shown() {
    let registry = Registry::plain();
    let index = mislabelled(Flavour::Docker);
    let reference = registry.push(&index, "app:1");
    let user = Lighterman::new();
    let change = ["manifest", "annotate", &reference, "--entry", "linux/arm64", "--arch", "arm", "--variant", "v6"];
    let text = user.run(&change).succeeds().stdout;
    let arm = &index.manifests[1].blob.digest;
    for part in [
        &*format!("--- {}", index.root.digest),
        "-        \"architecture\": \"arm64\"",
        "+        \"architecture\": \"arm\"",
        "+        \"variant\": \"v6\"",
        "CRI from 2.1",
        "linux/arm/v6",
        "--also linux/arm/v7",
        &format!("docker manifest annotate --os linux --arch arm --variant v6 {reference}"),
        "docker buildx imagetools create",
        "crane index append",
        "podman manifest add",
        arm,
        "nothing was written",
    ] {
        assert!(text.contains(part), "it does not show {part:?}:\n{text}");
    }
    let document = user.run(&[&change[..], &["--json"]].concat()).succeeds().json();
    assert_eq!(document["before"], index.root.digest.as_str());
    assert_eq!(document["pushed"], Value::Null);
    assert!(document["difference"].as_str().is_some_and(|text| text.contains("+        \"variant\": \"v6\"")));
    assert_eq!(stored(&registry, "app", "1"), index.root.bytes, "the tag was moved");
    let log = registry.stop();
    assert_eq!(log.count("PUT", "/manifests/"), 3, "only what the test pushed");
}
