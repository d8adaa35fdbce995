//! Our image verifier, called as containerd 2.x calls it: by a link of some name in a folder.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::containerd::ContainerdDaemon;
use crate::support::daemon::Daemon;
use crate::support::fixture::{self, Blob, Flavour, Image, Manifest, elsewhere, tiny};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::sandbox::{Sandbox, with_emulator};
use crate::support::silent::Silent;
use crate::support::{foreign, host};

/// What came of a call.
#[derive(Debug)]
struct Judgement {
    code: Option<i32>,
    reason: String,
    log: String,
}

/// Calls the verifier of a user's folder.
fn judge(user: &Lighterman<'_>, name: &str, root: &Blob) -> Judgement {
    let call = ["-name", name, "-digest", &root.digest, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"];
    let link = user.path("any-name");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_lighterman"), &link).expect("a writable home");
    }
    let mut command = user.command(&call);
    let mut child = relink(&mut command, &link).stdin(Stdio::piped()).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may answer without reading.
    let _ = stdin.write_all(root.descriptor().to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Judgement { code: output.status.code(), reason: text(&output.stdout), log: text(&output.stderr) }
}

/// The same command by another name of the program.
fn relink(command: &mut Command, link: &std::path::Path) -> Command {
    let own =
        |text: &std::ffi::OsStr| if text == env!("CARGO_BIN_EXE_lighterman") { link.into() } else { text.to_owned() };
    let mut linked = Command::new(own(command.get_program()));
    linked.args(command.get_args().map(own)).env_clear();
    linked.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    linked.stdout(Stdio::piped()).stderr(Stdio::piped());
    linked
}

impl Judgement {
    #[track_caller]
    fn allows(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.one_line()
    }

    #[track_caller]
    fn refuses(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:?}");
        for part in parts {
            assert!(self.reason.contains(part), "{part:?} is not in {self:?}");
        }
        self.one_line()
    }

    #[track_caller]
    fn one_line(self) -> Self {
        assert_eq!(self.reason.lines().count(), 1, "{self:?}");
        self
    }
}

/// Images that this node runs, and that it does not.
fn images() -> (Vec<Image>, Vec<Image>) {
    let other = elsewhere();
    let good = vec![fixture::busybox().clone(), Image::single(tiny(host().arch, "")), Image::single(artifact())];
    let bad = vec![Image::single(other.clone()), Image::multi(Flavour::Oci, &[other])];
    (good, bad)
}

/// A manifest that is no image: its config is of another type and names no platform.
fn artifact() -> Manifest {
    let mut manifest = tiny("amd64", "");
    manifest.config = Blob::new("application/vnd.oci.empty.v1+json", "{}");
    manifest.blob = Blob::json(
        Flavour::Oci.manifest(),
        &json!({
            "schemaVersion": 2,
            "mediaType": Flavour::Oci.manifest(),
            "artifactType": "application/vnd.example.thing",
            "config": manifest.config.descriptor(),
            "layers": manifest.layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        }),
    );
    manifest
}

/// An index whose entries are those of such manifests, changed so that less is known of them.
fn index(manifests: &[Manifest], change: impl Fn(&mut Value)) -> Image {
    let mut entries: Vec<Value> = manifests.iter().map(Manifest::entry).collect();
    entries.iter_mut().for_each(change);
    Image::index(Flavour::Oci, manifests, &entries)
}

fn without_platform(entry: &mut Value) {
    entry.as_object_mut().expect("an object").remove("platform");
}

fn as_attestation(entry: &mut Value) {
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
}

fn of_no_known_type(entry: &mut Value) {
    without_platform(entry);
    entry["mediaType"] = "application/vnd.example.thing".into();
}

/// A manifest of which nobody can tell what it is for.
fn unreadable() -> Manifest {
    let mut manifest = tiny(foreign().arch, "");
    manifest.config = Blob::new("application/vnd.oci.image.config.v1+json", "not JSON");
    let mut document: Value = serde_json::from_slice(&manifest.blob.bytes).expect("JSON");
    document["config"] = manifest.config.descriptor();
    manifest.blob = Blob::json(Flavour::Oci.manifest(), &document);
    manifest
}

fn check(user: &Lighterman<'_>) {
    let registry = Registry::plain();
    let (good, bad) = images();
    for (index, image) in good.iter().enumerate() {
        judge(user, &registry.push(image, &format!("good:{index}")), &image.root).allows();
    }
    for (index, image) in bad.iter().enumerate() {
        let reference = registry.push(image, &format!("bad:{index}"));
        judge(user, &reference, &image.root).refuses(&[host().platform, "cannot run", "freebsd/amd64"]);
    }
}

#[test]
fn images_that_cannot_run_here_are_refused() {
    let sandbox = Sandbox::without_emulators();
    check(&Lighterman::inside(&sandbox));
}

#[test]
fn a_daemon_that_runs_is_asked() {
    let sandbox = Sandbox::without_emulators();
    let containerd = ContainerdDaemon::start();
    let daemon = Daemon::start_as(Lighterman::inside(&sandbox), &containerd, "");
    let socket = daemon.socket().to_str().expect("UTF-8").to_owned();
    let caller = Lighterman::inside(&sandbox).with("LIGHTERMAN_ADDRESS", &socket);
    check(&caller);
    // Who names a daemon that is not there gets no other answer than that.
    let image = Image::single(tiny("s390x", ""));
    drop(daemon);
    let judgement = judge(&caller, "localhost:1/a:1", &image.root).allows();
    assert!(judgement.reason.contains("no lighterman daemon"), "{judgement:?}");
}

#[test]
fn what_is_not_declared_is_read() {
    let sandbox = Sandbox::without_emulators();
    let user = Lighterman::inside(&sandbox);
    let registry = Registry::plain();
    let (own, other) = (tiny(host().arch, ""), elsewhere());
    let good = index(&[other.clone(), own.clone()], without_platform);
    judge(&user, &registry.push(&good, "good:1"), &good.root).allows();
    let bad = index(std::slice::from_ref(&other), without_platform);
    judge(&user, &registry.push(&bad, "bad:1"), &bad.root).refuses(&["cannot run", "freebsd/amd64"]);
    // Part of it is of no known type, but the rest runs here.
    let mut entries = [other.entry(), own.entry()];
    of_no_known_type(&mut entries[0]);
    let mixed = Image::index(Flavour::Oci, &[other, own], &entries);
    judge(&user, &registry.push(&mixed, "mixed:1"), &mixed.root).allows();
}

#[test]
fn what_cannot_be_judged_is_for_the_configuration_to_say() {
    let sandbox = Sandbox::without_emulators();
    let registry = Registry::plain();
    let other = || [elsewhere()];
    let cases = [
        ("attestations", index(&other(), as_attestation), "no image in it"),
        ("nothing", index(&[], without_platform), "no image in it"),
        ("unknown-types", index(&other(), of_no_known_type), "application/vnd.example.thing"),
        ("unreadable", index(&[unreadable()], without_platform), "entry 0"),
        ("unreadable-and-other", index(&[elsewhere(), unreadable()], without_platform), "entry 1"),
        ("single", Image::single(unreadable()), "could not be looked at"),
    ];
    let lenient = Lighterman::inside(&sandbox);
    let file = lenient.path("config.toml");
    std::fs::write(&file, "[verify]\non-error = \"refuse\"\n").expect("a writable home");
    let strict = Lighterman::inside(&sandbox).with("LIGHTERMAN_CONFIG", file.to_str().expect("UTF-8"));
    for (name, image, reason) in cases {
        let reference = registry.push(&image, &format!("{name}:1"));
        let judgement = judge(&lenient, &reference, &image.root).allows();
        assert!(judgement.reason.contains(reason) && judgement.log.contains("warning"), "{name}: {judgement:?}");
        judge(&strict, &reference, &image.root).refuses(&["could not be looked at", reason]);
    }
}

#[test]
fn what_runs_under_an_emulator_may_be_asked_for() {
    let Ok(sandbox) = with_emulator(foreign()) else {
        // A kernel that does not let us; the tests of pulls say so where it should.
        return;
    };
    let registry = Registry::plain();
    let user = Lighterman::inside(&sandbox);
    let other = tiny(foreign().arch, "");
    for (tag, image) in [("lone", Image::single(other.clone())), ("index", Image::multi(Flavour::Oci, &[other]))] {
        judge(&user, &registry.push(&image, &format!("app:{tag}")), &image.root).allows();
    }
}

#[test]
fn own_mistakes_refuse_nothing_unless_that_is_wanted() {
    let gone = Image::single(tiny("s390x", ""));
    let user = Lighterman::new();
    let write = |text: &str| {
        let file = user.path("config.toml");
        std::fs::write(&file, text).expect("a writable home");
        file.to_str().expect("UTF-8").to_owned()
    };
    let with = |name: &str, value: &str| Lighterman::new().with(name, value);
    // Nobody listens at port 1.
    for (user, name) in [
        (with("A", ""), "localhost:1/app:1"),
        (with("A", ""), "no//reference"),
        (with("LIGHTERMAN_LOG", "garbage"), "localhost:1/app:1"),
        (with("LIGHTERMAN_CONFIG", &write("[verify]\non-error = \"refus\"\n")), "localhost:1/app:1"),
        (with("LIGHTERMAN_CONFIG", "/no/such/file"), "localhost:1/app:1"),
    ] {
        let judgement = judge(&user, name, &gone.root);
        assert_eq!(judgement.code, Some(0), "{judgement:?}");
        assert!(judgement.log.contains("warning"), "{judgement:?}");
    }
    let strict = with("LIGHTERMAN_CONFIG", &write("[verify]\non-error = \"refuse\"\n"));
    judge(&strict, "localhost:1/app:1", &gone.root).refuses(&["could not be looked at", "localhost:1"]);
    judge(&strict, "no//reference", &gone.root).refuses(&["could not be looked at"]);
}

#[test]
fn a_registry_that_never_answers_is_not_waited_for() {
    let silent = Silent::mute();
    let image = Image::single(tiny("s390x", ""));
    let reference = format!("{}/app:1", silent.address());
    let judgement = judge(&Lighterman::new(), &reference, &image.root).allows();
    assert!(judgement.reason.contains("could not be looked at"), "{judgement:?}");
}
