//! Pulling into an OCI image layout: what is there afterwards, and what is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use crate::support::fixture::{self, Flavour, Image, Manifest, digest, tiny};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;
use crate::support::{MACHINES, files_below, foreign, host};

/// Digests of everything under `blobs/`; each file must be what its name says.
fn blobs(layout: &Path) -> Vec<String> {
    let dir = layout.join("blobs/sha256");
    let names = files_below(&dir);
    for name in &names {
        let bytes = std::fs::read(dir.join(name)).expect("a readable blob");
        assert_eq!(digest(&bytes), format!("sha256:{name}"), "a blob is not what its name says");
    }
    names.into_iter().map(|name| format!("sha256:{name}")).collect()
}

/// The entries of the layout's index.json.
fn entries(layout: &Path) -> Vec<Value> {
    let index = std::fs::read(layout.join("index.json")).expect("the layout has an index.json");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    index["manifests"].as_array().expect("entries").clone()
}

/// A layout is only what the specification says; nothing of ours stays in it.
fn assert_tidy(layout: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(layout)
        .expect("a layout")
        .map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
    let marker = std::fs::read_to_string(layout.join("oci-layout")).expect("the marker file");
    assert!(marker.contains("imageLayoutVersion"), "{marker}");
}

fn sorted(mut digests: Vec<&str>) -> Vec<&str> {
    digests.sort_unstable();
    digests.dedup();
    digests
}

/// A manifest's own digest and those of all that it names.
fn closure(manifest: &Manifest) -> Vec<&str> {
    manifest.blobs().chain([&manifest.blob]).map(|blob| blob.digest.as_str()).collect()
}

#[test]
fn a_pull_brings_this_hosts_image_and_nothing_of_the_others() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let outcome = user.run(&["pull", &reference, "--to", &destination]).succeeds();

    let manifest = image.of(host());
    assert_eq!(outcome.stdout.lines().last(), Some(manifest.blob.digest.as_str()));
    assert_tidy(&layout);
    let expected = closure(manifest).into_iter().chain([image.root.digest.as_str()]).collect();
    assert_eq!(blobs(&layout), sorted(expected));

    let [entry] = &entries(&layout)[..] else { panic!("one name, one entry: {:?}", entries(&layout)) };
    assert_eq!(entry["digest"], manifest.blob.digest.as_str());
    assert_eq!(entry["mediaType"], manifest.blob.media_type.as_str());
    assert_eq!(entry["size"], manifest.blob.bytes.len());
    assert_eq!(entry["platform"]["architecture"], host().arch);
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], reference.as_str());
    assert_eq!(entry["annotations"]["io.containerd.image.name"], reference.as_str());
    assert_eq!(entry["annotations"]["io.lighterman.root"], image.root.digest.as_str());
    assert_eq!(user.left_in_tmp(), [""; 0]);
}

#[test]
fn a_docker_image_keeps_its_bytes_and_is_named_through_an_index_that_other_tools_look_at() {
    let registry = Registry::plain();
    let image = fixture::busybox_docker();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let outcome = user.run(&["pull", &reference, "--to", &destination]).succeeds();

    let manifest = image.of(host());
    assert_eq!(outcome.stdout.lines().last(), Some(manifest.blob.digest.as_str()));
    let found = blobs(&layout);
    assert!(closure(manifest).iter().all(|digest| found.iter().any(|d| d == digest)), "{found:#?}");
    let [entry] = &entries(&layout)[..] else { panic!("one name, one entry: {:?}", entries(&layout)) };
    assert_eq!(entry["mediaType"], Flavour::Oci.index());
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], reference.as_str());
    let hex = entry["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let index = std::fs::read(layout.join("blobs/sha256").join(hex)).expect("the index that the name stands for");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1), "{index:#}");
    assert_eq!(index["manifests"][0]["digest"], manifest.blob.digest.as_str());
    assert_eq!(index["manifests"][0]["mediaType"], manifest.blob.media_type.as_str());
    assert_tidy(&layout);
}

#[test]
fn all_platforms_share_their_blobs_and_the_name_is_the_index() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let outcome = user.run(&["pull", &reference, "--all-platforms", "--to", &destination, "--json"]).succeeds();
    let pulled = outcome.pulled();
    assert_eq!(pulled["root"]["digest"], image.root.digest.as_str());
    let platforms: Vec<&str> =
        pulled["images"].as_array().expect("images").iter().filter_map(|i| i["platform"].as_str()).collect();
    assert_eq!(platforms, MACHINES.map(|machine| machine.platform));

    let all = image.manifests.iter().flat_map(closure).chain([image.root.digest.as_str()]).collect();
    assert_eq!(blobs(&layout), sorted(all));
    let [entry] = &entries(&layout)[..] else { panic!("one name, one entry") };
    assert_eq!(entry["digest"], image.root.digest.as_str());
    assert_tidy(&layout);

    // Every platform has the two layers in common; they came once.
    let log = registry.stop();
    let shared = &image.of(host()).layers[3];
    assert_eq!(log.count("GET", &format!("/blobs/{}", shared.digest)), 1);
}

#[test]
fn several_platforms_are_fetched_and_the_rest_is_not() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let args = ["pull", &reference, "--platform", "linux/amd64", "--platform", "linux/arm/v7", "--to", &destination];
    user.run(&args).succeeds();
    let found = blobs(&layout);
    for machine in MACHINES {
        let config = &image.of(machine).config.digest;
        assert_eq!(found.contains(config), machine.platform != "linux/arm64", "{}", machine.platform);
    }
    assert_eq!(entries(&layout)[0]["digest"], image.root.digest.as_str());
}

#[test]
fn a_second_pull_transfers_nothing_and_changes_nothing() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let args = ["pull", &reference, "--to", &destination, "--json"];
    let manifest = image.of(host());
    let total: usize = manifest.blobs().map(|blob| blob.bytes.len()).sum();

    let first = user.run(&args).succeeds().pulled();
    assert_eq!(first["blobsFetched"], manifest.blobs().count());
    assert!(first["bytesFetched"].as_u64() >= Some(total as u64), "{first}");
    let before = snapshot(&layout);

    // A registry that has lost the blobs can only serve those who need none.
    manifest.blobs().for_each(|blob| registry.lose_blob(&blob.digest));
    let second = user.run(&args).succeeds().pulled();
    assert_eq!(second["blobsFetched"], 0, "{second}");
    assert_eq!(second["blobsPresent"], manifest.blobs().count(), "{second}");
    assert!(second["bytesPresent"].as_u64() >= Some(total as u64), "{second}");
    let documents = image.root.bytes.len() + manifest.blob.bytes.len();
    assert!(second["bytesFetched"].as_u64() <= Some(documents as u64), "more than documents came: {second}");
    assert_eq!(snapshot(&layout), before);
}

/// Every blob's time of change.
fn snapshot(layout: &Path) -> BTreeMap<String, SystemTime> {
    let time = |name: &String| std::fs::metadata(layout.join(name)).and_then(|m| m.modified()).expect("a file");
    let files = files_below(layout).into_iter().filter(|name| name.starts_with("blobs/"));
    files.map(|name| (name.clone(), time(&name))).collect()
}

#[test]
fn a_layout_holds_several_names_and_a_name_that_moves_is_replaced() {
    let registry = Registry::plain();
    let (old, new) = (Image::single(tiny(host().arch, "")), fixture::busybox().clone());
    let [app, other] = ["app:1", "other:1"].map(|name| registry.push(&old, name));
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    for reference in [&app, &other] {
        user.run(&["pull", reference, "--to", &destination]).succeeds();
    }
    registry.push(&new, "app:1");
    user.run(&["pull", &app, "--to", &destination]).succeeds();
    let named: BTreeMap<String, String> = entries(&layout)
        .iter()
        .map(|e| (e["annotations"]["org.opencontainers.image.ref.name"].to_string(), e["digest"].to_string()))
        .collect();
    let quoted = |text: &str| format!("{text:?}");
    assert_eq!(entries(&layout).len(), 2);
    assert_eq!(named[&quoted(&app)], quoted(&new.of(host()).blob.digest));
    assert_eq!(named[&quoted(&other)], quoted(&old.root.digest));
}

#[test]
fn a_digest_pulls_exactly_that_manifest() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    registry.push(image, "library/busybox:1");
    let wanted = &image.of(foreign()).blob.digest;
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let reference = registry.reference(&format!("library/busybox@{wanted}"));
    user.run(&["pull", &reference, "--allow-mismatch", "--to", &destination]).succeeds();
    assert_eq!(entries(&layout)[0]["digest"], wanted.as_str());
}

#[test]
fn a_pipe_gets_events_with_json_and_plain_words_without() {
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let (_, first) = user.layout("first");
    let events = user.run(&["pull", &reference, "--to", &first, "--json"]).succeeds();
    assert!(events.events().len() > 1, "only the last event came: {}", events.stdout);
    assert!(events.events().iter().all(|event| event["event"].is_string()), "{}", events.stdout);
    let pulled = events.pulled();
    assert_eq!(pulled["reference"], reference.as_str());
    assert!(pulled["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{pulled}");
    assert!(pulled["destination"].as_str().is_some_and(|to| to.contains("first")), "{pulled}");

    let (_, second) = user.layout("second");
    let plain = user.run(&["pull", &reference, "--to", &second]).succeeds();
    for output in [&plain.stdout, &plain.stderr] {
        assert!(!output.contains('\x1b') && !output.contains('\r'), "bars or colours in a pipe: {output:?}");
    }
    assert_eq!(plain.stdout.lines().count(), 1, "{}", plain.stdout);
    assert!(plain.stderr.contains(host().platform), "no summary: {}", plain.stderr);
}

#[test]
fn inspect_verifies_what_was_pulled_and_knows_the_program() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let foreign = foreign();
    user.run(&["pull", &reference, "--platform", foreign.platform, "--to", &destination]).succeeds();
    let shown = user.run(&["inspect", &reference, "--from", &destination]).succeeds();
    for part in [foreign.platform, "/bin/sh", "ELF", &image.of(foreign).layers[0].digest] {
        assert!(shown.stdout.contains(part), "inspect does not show {part:?}:\n{}", shown.stdout);
    }
    assert!(user.run(&["inspect", &reference, "--from", &destination, "--json"]).succeeds().json().is_object());

    let damaged = layout.join("blobs/sha256").join(image.of(foreign).layers[2].hex());
    make_writable(&damaged);
    let mut bytes = std::fs::read(&damaged).expect("a blob");
    bytes[1000] ^= 1;
    std::fs::write(&damaged, bytes).expect("a writable blob");
    let refused = user.run(&["inspect", &reference, "--from", &destination]);
    let bad = refused.code.is_some_and(|code| [exit::CONTENT, exit::LOCAL_IO].contains(&code));
    assert!(bad && refused.stderr.contains(image.of(foreign).layers[2].hex()), "{refused:?}");
}

fn make_writable(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("a file of ours");
}

#[test]
fn a_damaged_layout_is_noticed_when_it_is_pulled_into_again() {
    let registry = Registry::plain();
    let image = Image::multi(Flavour::Oci, &[tiny(host().arch, "")]);
    let reference = registry.push(&image, "app:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&["pull", &reference, "--to", &destination]).succeeds();
    let layer = layout.join("blobs/sha256").join(image.manifests[0].layers[0].hex());
    make_writable(&layer);
    std::fs::write(&layer, b"short").expect("a writable blob");
    let again = user.run(&["pull", &reference, "--to", &destination]);
    // Either it is mended or it is reported; a success that leaves it broken is neither.
    if again.code == Some(exit::OK) {
        blobs(&layout);
    } else {
        again.fails(exit::LOCAL_IO).says(&[image.manifests[0].layers[0].hex()]);
    }
}
