//! Bad input: for each kind a clear error, its own exit code, and nothing left behind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::fixture::{self, Blob, Flavour, Image, tiny};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, Outcome, exit};
use crate::support::odd;
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{files_below, host};

/// Enough for every retry of one blob.
const ALWAYS: usize = 50;

fn small() -> Image {
    Image::multi(Flavour::Oci, &[tiny(host().arch, "")])
}

/// Nothing that looks like an image, and nothing in the temporary folder.
#[track_caller]
fn assert_nothing_visible(user: &Lighterman<'_>, layout: &Path, reference: &str) {
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap_or_default();
    assert!(!index.contains(reference), "a failed pull left a name: {index}");
    for name in files_below(&layout.join("blobs/sha256")) {
        let bytes = std::fs::read(layout.join("blobs/sha256").join(&name)).expect("a blob");
        assert_eq!(fixture::digest(&bytes), format!("sha256:{name}"), "a failed pull left a wrong blob");
    }
    assert_eq!(user.left_in_tmp(), [""; 0]);
}

#[test]
fn malformed_arguments_are_usage_errors_that_repeat_what_was_wrong() {
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let good = "localhost:1/app:1";
    let cases: [(&[&str], &str); 10] = [
        (&["resolve", "https://quay.io/app"], "https://quay.io/app"),
        (&["resolve", "quay.io/App"], "App"),
        (&["resolve", "app:"], "app:"),
        (&["resolve", "app@sha256:12"], "sha256:12"),
        (&["resolve", "app@md5:d41d8cd98f00b204e9800998ecf8427e"], "md5"),
        (&["resolve", good, "--platform", "linux/amd64/v2/v3"], "linux/amd64/v2/v3"),
        (&["resolve", good, "--platform", "linux/amd 64"], "amd 64"),
        (&["pull", good, "--to", "tar:/x"], "tar:/x"),
        (&["pull", good, "--to", "oci:"], "oci:"),
        (&["pull", "", "--to", &destination], "reference"),
    ];
    for (args, part) in cases {
        let outcome = user.run(args);
        let outcome = outcome.ends(exit::USAGE);
        assert!(outcome.stderr.starts_with("error: "), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(part), "{args:?} does not repeat {part:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
    assert!(!layout.exists());
}

#[test]
fn unknown_tags_and_repositories_are_not_found() {
    let registry = Registry::plain();
    registry.push(&small(), "app:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    for name in ["app:2", "nothing:1"] {
        let reference = registry.reference(name);
        let refused = user.run(&["pull", &reference, "--to", &destination]).fails(exit::NOT_FOUND);
        refused.says(&[registry.address(), name]);
        assert!(!layout.exists(), "a pull of what is not there left {:?}", files_below(&layout));
    }
    let missing = format!("{}@sha256:{}", registry.reference("app"), "0".repeat(64));
    let error = user.run(&["resolve", &missing, "--json"]).ends(exit::NOT_FOUND).error();
    assert_eq!(error["kind"], "not-found");
    assert!(error["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()), "{error:#}");
    assert!(error["message"].is_string() && error["blame"].is_string(), "{error:#}");
}

#[test]
fn no_matching_platform_leaves_nothing() {
    let registry = Registry::plain();
    let reference = registry.push(fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let args = ["pull", &reference, "--platform", "windows/amd64", "--to", &destination];
    user.run(&args).fails(exit::PLATFORM).says(&["windows/amd64", "linux/amd64", "linux/arm/v7"]);
    assert!(!layout.exists());
}

#[test]
fn a_registry_that_is_not_there_is_unavailable() {
    // Bound and dropped again, so that nobody listens on it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("a bound address").to_string();
    drop(free);
    let user = Lighterman::new();
    let refused = user.run(&["resolve", &format!("{address}/app:1")]).fails(exit::UNAVAILABLE);
    refused.says(&[&address, "  attempt: "]);
}

#[test]
fn a_registry_that_stays_busy_is_for_later() {
    let liar = Liar::serving(&small(), "app:1");
    let busy = Reply::Status(429, vec![("retry-after", "0".into())], "");
    liar.plan("/v2/app/", std::iter::repeat_n(busy, ALWAYS));
    Lighterman::new().run(&["resolve", &liar.reference("app:1")]).fails(exit::TRY_LATER).says(&[&liar.address()]);
}

#[test]
fn a_document_is_what_it_was_announced_as_and_what_it_says_itself() {
    let image = Image::single(tiny(host().arch, ""));
    let manifest: &'static str = String::from_utf8(image.root.bytes.to_vec()).expect("text").leak();
    for (announced, good) in [
        (image.root.media_type.as_str(), true),
        ("application/vnd.oci.image.index.v1+json", false),
        ("application/vnd.docker.distribution.manifest.v2+json", false),
        ("application/vnd.docker.distribution.manifest.list.v2+json", false),
    ] {
        let liar = Liar::serving(&image, "app:1");
        liar.always("HEAD /v2/app/manifests/1", Reply::status(405));
        let fields = vec![("content-type", announced.to_owned())];
        liar.always("GET /v2/app/manifests/1", Reply::Status(200, fields, manifest));
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        let outcome = user.run(&["pull", &liar.reference("app:1"), "--to", &destination]);
        match good {
            true => drop(outcome.succeeds()),
            false => {
                outcome.fails(exit::CONTENT).says(&[announced, &image.root.media_type]);
                assert_nothing_visible(&user, &layout, "app:1");
            }
        }
    }
}

#[test]
fn a_tag_that_moves_while_it_is_asked_for_brings_one_whole_image() {
    let (before, after) = (small(), Image::single(tiny(host().arch, "")));
    let liar = Liar::serving(&after, "app:1");
    let fields = [("content-type", &before.root.media_type), ("docker-content-digest", &before.root.digest)];
    let fields = fields.into_iter().map(|(name, value)| (name, value.clone()));
    let size = ("content-length", before.root.bytes.len().to_string());
    liar.always("HEAD /v2/app/manifests/1", Reply::Status(200, fields.chain([size]).collect(), ""));
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&["pull", &liar.reference("app:1"), "--to", &destination]).succeeds();
    let index = std::fs::read_to_string(layout.join("index.json")).expect("a layout");
    assert!(index.contains(&after.root.digest) && !index.contains(&before.root.digest), "{index}");
    for blob in after.manifests[0].blobs() {
        let name = blob.digest.trim_start_matches("sha256:");
        assert!(std::fs::read(layout.join("blobs/sha256").join(name)).is_ok_and(|bytes| bytes == blob.bytes));
    }
}

/// Pulls an image whose documents are bad.
fn pull_document(image: &Image) -> (Outcome, Vec<String>) {
    let liar = Liar::serving(image, "app:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let outcome = user.run(&["pull", &liar.reference("app:1"), "--to", &destination]);
    assert_nothing_visible(&user, &layout, &liar.reference("app:1"));
    (outcome, files_below(&layout))
}

#[test]
fn bad_documents_are_refused_by_what_is_wrong_with_them() {
    let good = tiny(host().arch, "");
    let not_json = odd::document(Flavour::Oci.manifest(), "{\"schemaVersion\": 2,");
    let not_utf8 = odd::document(Flavour::Oci.index(), vec![0xff; 300]);
    let strange = odd::document("text/html", "<html>Sign in to the hotel's network</html>");
    let cases = [
        ("schema 1", odd::schema1(), "schema 1"),
        ("both", odd::ambiguous(), "manifests"),
        ("two cases", odd::two_cases(), "\"Manifests\" is \"manifests\" to some"),
        ("a field twice", odd::repeated(), "\"config\" more than once"),
        ("4 MiB", odd::oversized(&good), "4 MiB"),
        ("too small a size", odd::lying_about_size(&good, -1), &good.blob.digest),
        ("too big a size", odd::lying_about_size(&good, 1), &good.blob.digest),
        ("not JSON", not_json, "app:1"),
        ("not UTF-8", not_utf8, "app:1"),
        ("a login page", strange, "text/html"),
    ];
    for (what, image, part) in cases {
        let (outcome, left) = pull_document(&image);
        assert_eq!(outcome.code, Some(exit::CONTENT), "{what}: {outcome:#?}");
        outcome.fails(exit::CONTENT).says(&[part]);
        assert_eq!(left, [""; 0], "{what} left files behind");
    }
}

/// Clears a screen, names a window, turns text around and forges a line of a log.
const STEERING: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}\nINFO forged: all is well\u{7f}";

#[track_caller]
fn assert_steers_nothing(what: &str, outcome: &Outcome) {
    for said in [&outcome.stdout, &outcome.stderr] {
        let steering = said.chars().find(|letter| *letter != '\n' && lighterman::core::text::steers(*letter));
        assert_eq!(steering, None, "{what}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("INFO forged")), "{what}: {said}");
    }
}

#[test]
fn nothing_that_an_image_says_steers_a_terminal() {
    for place in ["root", "mediaType", "os", "architecture", "variant", "os.version", "os.features"] {
        let liar = Liar::serving(&odd::saying(STEERING, place), "app:1");
        for command in [&["resolve"][..], &["resolve", "--explain"], &["diagnose"], &["manifest", "inspect"]] {
            let outcome = Lighterman::new().run(&[command, &[&liar.reference("app:1")]].concat());
            assert_steers_nothing(&format!("{place}: {command:?}"), &outcome);
            outcome.fails(exit::CONTENT);
        }
    }
    let liar = Liar::serving(&odd::talkative(STEERING, host().arch), "app:1");
    let reference = liar.reference("app:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    for json in [&[][..], &["--json"]] {
        let pulled = user.run(&[&["pull", &reference, "--to", &destination], json].concat()).succeeds();
        assert_steers_nothing("pull", &pulled);
        let inspected = user.run(&[&["inspect", &reference, "--from", &destination], json].concat()).succeeds();
        assert_steers_nothing("inspect", &inspected);
        assert!(inspected.stdout.contains("INFO forged"), "it is not shown at all: {}", inspected.stdout);
        for command in [&["resolve"][..], &["resolve", "--explain"], &["diagnose"], &["manifest", "inspect"]] {
            let outcome = user.run(&[command, &[&reference], json].concat());
            assert_steers_nothing(&format!("{command:?}"), &outcome);
        }
    }
}

#[test]
fn what_descriptors_say_beside_digest_and_size_is_not_believed() {
    let elsewhere = Liar::serving(&small(), "app:1");
    let mut manifest = tiny(host().arch, "");
    let mut document: serde_json::Value = serde_json::from_slice(&manifest.blob.bytes).expect("JSON of ours");
    let layer = &mut document["layers"][0];
    let address = format!("http://{}/v2/app/blobs/{}", elsewhere.address(), manifest.layers[0].digest);
    layer["urls"] = serde_json::json!([address]);
    layer["data"] = fixture::base64("other bytes").into();
    layer["annotations"] = serde_json::json!({
        "org.opencontainers.image.title": "../../etc/passwd",
        "vnd.docker.reference.type": "attestation-manifest",
        "containerd.io/distribution.source.registry.example": "team/secret",
        "containerd.io/uncompressed": format!("sha256:{}", "0".repeat(64)),
    });
    manifest.blob = Blob::json(&manifest.blob.media_type, &document);
    let liar = Liar::serving(&Image::single(manifest.clone()), "app:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&["pull", &liar.reference("app:1"), "--to", &destination]).succeeds();
    let blob = std::fs::read(layout.join("blobs/sha256").join(manifest.layers[0].hex())).expect("the layer");
    assert_eq!(blob, manifest.layers[0].bytes);
    assert_eq!(elsewhere.requests_for("").len(), 0, "it was asked where the image said");
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let image = small();
    let liar = Liar::serving(&image, "app:1");
    liar.plan("GET /v2/app/manifests/sha256:", std::iter::repeat_n(Reply::Flipped(40), ALWAYS));
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    let reference = liar.reference("app:1");
    user.run(&["pull", &reference, "--to", &destination]).fails(exit::CONTENT).says(&[&liar.address()]);
    assert_nothing_visible(&user, &layout, &reference);
}

#[test]
fn bad_blobs_are_refused_and_never_become_visible() {
    let manifest = fixture::busybox().of(host()).clone();
    let big = manifest.layers[2].clone();
    let image = Image::single(manifest);
    let cases = [
        (Reply::CutAfter(1 << 20), exit::UNAVAILABLE),
        (Reply::ResetAfter(1 << 20), exit::UNAVAILABLE),
        (Reply::TooMuch(1), exit::CONTENT),
        (Reply::Flipped(1 << 20), exit::CONTENT),
        (Reply::Status(404, vec![], "{}"), exit::NOT_FOUND),
        (Reply::Status(500, vec![], "{}"), exit::UNAVAILABLE),
        (Reply::Status(403, vec![], "{}"), exit::CREDENTIALS),
    ];
    for (reply, code) in cases {
        let liar = Liar::serving(&image, "app:1");
        // A cut that always comes a little later still brings bytes, so cut where nothing new arrives.
        let replies = match &reply {
            Reply::CutAfter(_) => vec![reply.clone(), Reply::CutAfter(0)],
            Reply::ResetAfter(_) => vec![reply.clone(), Reply::ResetAfter(0)],
            other => vec![other.clone()],
        };
        let last = replies.last().cloned().expect("a reply");
        let planned = replies.into_iter().chain(std::iter::repeat_n(last, ALWAYS));
        liar.plan(&format!("GET /v2/app/blobs/{}", big.digest), planned);
        let user = Lighterman::new();
        let (layout, destination) = user.layout("layout");
        let reference = liar.reference("app:1");
        let outcome = user.run(&["pull", &reference, "--to", &destination]);
        assert_eq!(outcome.code, Some(code), "{reply:?}: {outcome:#?}");
        outcome.fails(code).says(&[&liar.address(), big.hex()]);
        assert!(!layout.join("blobs/sha256").join(big.hex()).exists());
        assert_nothing_visible(&user, &layout, &reference);
    }
}

#[test]
fn a_config_that_is_not_one_is_refused() {
    let mut manifest = tiny(host().arch, "");
    let config = Blob::new("application/vnd.oci.image.config.v1+json", "[]");
    let mut document: serde_json::Value = serde_json::from_slice(&manifest.blob.bytes).expect("JSON of ours");
    document["config"] = config.descriptor();
    manifest.blob = Blob::json(Flavour::Oci.manifest(), &document);
    manifest.config = config;
    let (outcome, _) = pull_document(&Image::single(manifest));
    outcome.fails(exit::CONTENT);
}

#[test]
fn a_directory_that_is_something_else_is_left_alone() {
    let registry = Registry::plain();
    let reference = registry.push(&small(), "app:1");
    let user = Lighterman::new();
    let (folder, destination) = user.layout("documents");
    std::fs::create_dir(&folder).expect("a writable home");
    std::fs::write(folder.join("letter.txt"), "dear skipper").expect("a writable home");
    let pull = ["pull", &reference, "--to", &destination];
    user.run(&pull).fails(exit::DESTINATION).says(&[destination.trim_start_matches("oci:"), "OCI image layout"]);
    assert_eq!(files_below(&folder), ["letter.txt"]);

    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"9.0.0"}"#).expect("a writable home");
    user.run(&pull).fails(exit::DESTINATION);
    assert_eq!(files_below(&folder), ["letter.txt", "oci-layout"]);

    let (file, destination) = user.layout("file");
    std::fs::write(&file, "not a directory").expect("a writable home");
    user.run(&["pull", &reference, "--to", &destination]).fails(exit::DESTINATION);
    assert_eq!(std::fs::read(&file).expect("still there"), b"not a directory");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let registry = Registry::plain();
    let reference = registry.push(&small(), "app:1");
    let outside = tempfile::tempdir().expect("a temporary folder");
    let frozen = Sandbox::read_only(outside.path());
    let user = Lighterman::inside(&frozen);
    for dir in [outside.path().to_path_buf(), outside.path().join("new")] {
        let text = dir.to_str().expect("UTF-8");
        let destination = format!("oci:{text}");
        user.run(&["pull", &reference, "--to", &destination]).fails(exit::DESTINATION).says(&[text]);
    }
    assert_eq!(files_below(outside.path()), [""; 0]);
}

#[test]
fn a_full_disk_is_told_and_the_pull_goes_on_when_there_is_room() {
    let registry = Registry::plain();
    let image = fixture::busybox();
    let reference = registry.push(image, "library/busybox:1");
    let outside = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder of ours");
    let disk = Sandbox::small_disk(outside.path(), 4 << 10);
    let user = Lighterman::inside(&disk);
    let layout = outside.path().join("layout");
    let destination = format!("oci:{}", layout.display());
    let args = ["pull", &reference, "--to", &destination];
    let full = user.run(&args).fails(exit::LOCAL_IO);
    assert!(full.stderr.to_lowercase().contains("space"), "{}", full.stderr);
    full.says(&["hint: "]);
    let inside = disk.path(&layout);
    assert_nothing_visible(&user, &inside, &reference);
    assert!(!inside.join("blobs/sha256").join(image.of(host()).layers[2].hex()).exists());

    let mount = crate::support::tool("mount", "mount");
    let bigger = format!("remount,size={}k", 64 << 10);
    crate::support::succeed(disk.command(&mount).args(["-o", &bigger]).arg(outside.path()));
    user.run(&args).succeeds();
    assert!(inside.join("blobs/sha256").join(image.of(host()).layers[2].hex()).exists());
}

#[test]
fn without_a_destination_and_without_containerd_the_layout_is_offered() {
    let registry = Registry::plain();
    let reference = registry.push(&small(), "app:1");
    let user = Lighterman::new();
    let refused = user.run(&["pull", &reference]);
    if cfg!(feature = "containerd") {
        refused.fails(exit::UNAVAILABLE).says(&["no-containerd.sock", "--to oci:"]);
    } else {
        refused.fails(exit::USAGE).says(&["built without containerd", "--to oci:"]);
    }
}

#[cfg(feature = "containerd")]
#[test]
fn a_socket_without_containerd_is_unavailable() {
    let registry = Registry::plain();
    let reference = registry.push(&small(), "app:1");
    let user = Lighterman::new();
    let socket = user.path("nobody.sock");
    // A socket that nobody answers on.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let path = socket.to_str().expect("UTF-8");
    let args = ["pull", &reference, "--to", "containerd", "--containerd-address", path];
    user.run(&args).fails(exit::UNAVAILABLE).says(&[path, "--containerd-address"]);
}
