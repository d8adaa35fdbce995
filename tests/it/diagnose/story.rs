//! The story of the blog post that this project starts from, on real parts: a program for two
//! architectures, a list of the two images that gives one of them the wrong label, and what it takes
//! until everybody can run it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Diagnosis, exec};
use crate::support::build;
use crate::support::fixture::{Flavour, Image, Manifest, Tree, platform};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::Registry;

/// The hosts of the story: what `--platform` calls them, a node for `--host`, and the architecture
/// that the program then prints.
const HOSTS: [(&str, &str, &str); 4] = [
    ("linux/amd64", "linux/amd64", "amd64"),
    ("linux/arm64", "raspberry-pi-4", "arm"),
    ("linux/arm/v7", "raspberry-pi-2", "arm"),
    ("linux/arm/v6", "raspberry-pi-zero", "arm"),
];

/// `FROM scratch`, and the program.
fn image(arch: &str, variant: &str, level: &str) -> Manifest {
    let layer = Tree::new().dir("go").dir("go/bin").file("go/bin/app", 0o755, &build::go(arch, level)).layer();
    Manifest::running(Flavour::Docker, &platform(arch, variant), &[layer], &exec("/go/bin/app"))
}

struct Story {
    registry: Registry,
    user: Lighterman<'static>,
    amd64: Manifest,
    arm: Manifest,
    /// The name of the list.
    name: String,
}

impl Story {
    /// Both images are pushed under names of their own, then a list of them, in which the program for
    /// arm is declared as one for arm64.
    fn begin() -> Self {
        let registry = Registry::plain();
        let (amd64, arm) = (image("amd64", "", ""), image("arm", "v6", "GOARM=6"));
        registry.push(&Image::single(amd64.clone()), "app:amd64");
        registry.push(&Image::single(arm.clone()), "app:arm");
        let mut wrong = arm.entry();
        wrong["platform"] = platform("arm64", "");
        let list = Image::index(Flavour::Docker, &[amd64.clone(), arm.clone()], &[amd64.entry(), wrong]);
        let name = registry.push(&list, "app:latest");
        Self { registry, user: Lighterman::new(), amd64, arm, name }
    }

    /// The list, as the registry has it under its name.
    fn published(&self) -> Value {
        let (status, bytes) = self.registry.remote().get("/v2/app/manifests/latest");
        assert_eq!(status, 200);
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn diagnose(&self, more: &[&str]) -> Diagnosis {
        Diagnosis::of(self.user.run(&[&["diagnose", &self.name, "--json"], more].concat()))
    }

    fn diagnose_for_all(&self) -> Diagnosis {
        let hosts: Vec<&str> = HOSTS.iter().flat_map(|(_, node, _)| ["--host", node]).collect();
        self.diagnose(&[&["--all-platforms"], hosts.as_slice()].concat())
    }

    /// Pulls what a host gets, and takes the program out of it.
    fn pulled_program(&self, platform: &str) -> Vec<u8> {
        let (layout, to) = self.user.layout(&platform.replace('/', "-"));
        self.user.run(&["pull", &self.name, "--to", &to, "--platform", platform]).succeeds();
        let index = read_json(&layout.join("index.json"));
        let mut document = blob(&layout, &index["manifests"][0]["digest"]);
        // The name may stand for the list, or for what was chosen from it.
        if let Some(entry) = document["manifests"].get(0) {
            document = blob(&layout, &entry["digest"]);
        }
        let layer = fs::File::open(path(&layout, &document["layers"][0]["digest"])).expect("a layer");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer));
        let mut entries = archive.entries().expect("an archive").map(|entry| entry.expect("an entry"));
        let mut program = entries.find(|entry| entry.path().expect("a path").ends_with("app")).expect("the program");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut program, &mut bytes).expect("its content");
        bytes
    }
}

fn path(layout: &Path, digest: &Value) -> std::path::PathBuf {
    layout.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"))
}

fn blob(layout: &Path, digest: &Value) -> Value {
    read_json(&path(layout, digest))
}

fn read_json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("a file of the layout")).expect("JSON")
}

#[test]
fn a_program_that_was_published_under_the_wrong_architecture_is_found_repaired_and_run() {
    let story = Story::begin();
    let arm = &story.arm.blob.digest;

    // 1. It is found, with the bytes that show it.
    let diagnosis = story.diagnose_for_all();
    let errors = diagnosis.errors();
    assert_eq!(errors.len(), 1, "{:#?}", diagnosis.problems());
    let wrong = errors[0];
    assert_eq!((&wrong["id"], &wrong["entry"]), (&json!("PLAT-003"), &json!("1")), "{wrong:#}");
    let message = wrong["message"].as_str().unwrap_or_default();
    for part in ["arm64", "ELF machine 40 (ARM, EABI5"] {
        assert!(message.contains(part), "it does not say {part:?}: {message}");
    }
    let shown = wrong["evidence"].to_string();
    // e_ident: 32-bit, little-endian; e_machine: ARM.
    for part in ["7f454c46010101", "\"2800\"", "/go/bin/app", &story.arm.layers[0].digest] {
        assert!(shown.contains(part), "{part:?} is not shown: {wrong:#}");
    }
    // The two that have 32-bit CPUs are offered nothing.
    assert_eq!(diagnosis.hindered(), ["raspberry-pi-2", "raspberry-pi-zero"], "{:?}", diagnosis.outcomes());

    // 2. The remedy is taken as it is printed.
    let commands =
        wrong["remedies"].as_array().into_iter().flatten().filter_map(|remedy| remedy["commands"].as_array());
    let command = commands.flatten().filter_map(Value::as_str).find(|c| c.starts_with("lighterman manifest annotate"));
    let command = command.unwrap_or_else(|| panic!("no remedy of ours: {wrong:#}"));
    assert!(command.contains(arm.as_str()) && command.contains("--variant v6"), "{command}");
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    story.user.run(&words).succeeds();

    // 3. What is published is right, and else what it was.
    let list = story.published();
    assert_eq!(list["mediaType"], Flavour::Docker.index());
    assert_eq!(list["manifests"], json!([story.amd64.entry(), story.arm.entry()]));
    let diagnosis = story.diagnose_for_all();
    assert_eq!(diagnosis.errors(), Vec::<&Value>::new());
    let outcomes = ["linux/amd64 runs", "raspberry-pi-4 runs-32-bit", "raspberry-pi-2 runs", "raspberry-pi-zero runs"];
    assert_eq!(diagnosis.outcomes(), outcomes);

    // 4. Every host gets what it can run, and it runs.
    for (platform, _, arch) in HOSTS {
        let manifest = if arch == "amd64" { &story.amd64 } else { &story.arm };
        let resolved = story.user.run(&["resolve", &story.name, "--platform", platform]).succeeds().stdout;
        assert!(resolved.starts_with(&manifest.blob.digest), "{platform}: {resolved}");
        let program = story.pulled_program(platform);
        assert_eq!(build::run(&program, arch, &["app"]), build::greeting(arch), "{platform}");
    }
}

#[test]
fn before_the_repair_hosts_with_arm_get_nothing_and_those_with_arm64_get_what_they_did_not_ask_for() {
    let story = Story::begin();
    for (platform, _, arch) in HOSTS {
        let outcome = story.user.run(&["resolve", &story.name, "--platform", platform]);
        match platform {
            "linux/arm/v7" | "linux/arm/v6" => {
                outcome.fails(exit::PLATFORM);
            }
            _ => {
                outcome.succeeds();
                let said = build::run(&story.pulled_program(platform), arch, &["app"]);
                assert_eq!(said, build::greeting(arch), "{platform}");
            }
        }
    }
}
