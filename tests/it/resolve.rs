//! Which manifest a reference stands for on this host, and the reasons.

use serde_json::Value;

use crate::support::fixture::{self, Flavour, Image, tiny};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::odd;
use crate::support::registry::Registry;
use crate::support::sandbox::Sandbox;
use crate::support::{AMD64, ARM64, MACHINES, foreign, host};

/// Pushes an image as `app:1` and returns the registry with its reference.
fn pushed(image: &Image) -> (Registry, String) {
    let registry = Registry::plain();
    let reference = registry.push(image, "app:1");
    (registry, reference)
}

fn verdicts(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = document["entries"].as_array().unwrap_or_else(|| panic!("no entries in {document:#}"));
    entries.iter().map(|entry| (text(&entry["digest"]), text(&entry["verdict"]))).collect()
}

#[test]
fn the_hosts_manifest_is_printed_on_one_line() {
    for image in [fixture::busybox(), fixture::busybox_docker()] {
        let (_registry, reference) = pushed(image);
        let outcome = Lighterman::new().run(&["resolve", &reference]).succeeds();
        assert_eq!(outcome.stdout, format!("{} {}\n", image.of(host()).blob.digest, host().platform));
        assert_eq!(outcome.stderr, "", "resolve is quiet when all is well");
    }
}

#[test]
fn every_platform_of_the_index_can_be_asked_for_by_any_of_its_names() {
    let image = fixture::busybox();
    let (_registry, reference) = pushed(image);
    let user = Lighterman::new();
    let names = [
        ("linux/amd64", AMD64.platform),
        ("x86_64", AMD64.platform),
        ("linux/arm64", ARM64.platform),
        ("linux/arm64/v8", ARM64.platform),
        ("aarch64", ARM64.platform),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm", "linux/arm/v7"),
    ];
    for (asked, platform) in names {
        let outcome = user.run(&["resolve", &reference, "--platform", asked]).succeeds();
        let machine = MACHINES.into_iter().find(|m| m.platform == platform).expect("a machine of the fixture");
        assert_eq!(outcome.stdout, format!("{} {platform}\n", image.of(machine).blob.digest), "--platform {asked}");
    }
}

#[test]
fn json_has_root_manifest_and_platform() {
    let image = fixture::busybox();
    let (_registry, reference) = pushed(image);
    let document = Lighterman::new().run(&["resolve", &reference, "--json"]).succeeds().json();
    let manifest = &image.of(host()).blob;
    assert_eq!(document["reference"], reference.as_str());
    for (key, blob) in [("root", &image.root), ("manifest", manifest)] {
        assert_eq!(document[key]["digest"], blob.digest.as_str());
        assert_eq!(document[key]["mediaType"], blob.media_type.as_str());
        assert_eq!(document[key]["size"], blob.bytes.len());
    }
    assert_eq!(document["platform"], host().platform);
    assert!(document["warnings"].as_array().is_some_and(Vec::is_empty), "{document:#}");
}

#[test]
fn explain_gives_every_entry_a_verdict_and_predicts_other_clients() {
    let manifests = fixture::busybox().manifests.clone();
    let image = odd::attested(&manifests);
    let (_registry, reference) = pushed(&image);
    let user = Lighterman::new();
    let document = user.run(&["resolve", &reference, "--explain", "--json"]).succeeds().json();
    let verdicts = verdicts(&document);
    assert_eq!(verdicts.len(), 6, "{document:#}");
    let chosen = &image.of(host()).blob.digest;
    let verdict = |digest: &str| verdicts.iter().find(|(d, _)| d == digest).map(|(_, verdict)| verdict.as_str());
    let others = verdicts.iter().filter(|(d, _)| d != chosen);
    assert!(others.clone().all(|(_, v)| Some(v.as_str()) != verdict(chosen)), "{verdicts:?}");
    for entry in document["entries"].as_array().expect("entries") {
        assert!(entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{entry:#}");
    }
    let clients: Vec<&str> =
        document["predictions"].as_array().expect("predictions").iter().filter_map(|p| p["client"].as_str()).collect();
    for client in ["ctr", "docker", "podman"] {
        assert!(clients.iter().any(|name| name.contains(client)), "{clients:?}");
    }
    let text = user.run(&["resolve", &reference, "--explain"]).succeeds();
    for part in ["linux/amd64", "linux/arm64", "linux/arm/v7", "attestation", "podman"] {
        assert!(text.stdout.contains(part), "--explain does not show {part:?}:\n{}", text.stdout);
    }
}

#[test]
fn odd_indexes_are_read_as_containerd_reads_them() {
    let manifests = fixture::busybox().manifests.clone();
    for (what, image) in [
        ("nested", odd::nested(&manifests)),
        ("without platforms", odd::without_platforms(&manifests)),
        ("attested", odd::attested(&manifests)),
    ] {
        let (_registry, reference) = pushed(&image);
        let outcome = Lighterman::new().run(&["resolve", &reference]).succeeds();
        assert!(outcome.stdout.starts_with(&image.of(host()).blob.digest), "{what}: {outcome:?}");
    }
}

#[test]
fn of_two_equal_entries_the_first_is_chosen_and_the_second_called_a_duplicate() {
    let first = tiny(host().arch, "");
    let second = fixture::busybox().of(host()).clone();
    let mut entry = second.entry();
    entry["platform"] = first.platform.clone();
    let image = Image::index(Flavour::Oci, &[first.clone(), second], &[first.entry(), entry]);
    let (_registry, reference) = pushed(&image);
    let document = Lighterman::new().run(&["resolve", &reference, "--explain", "--json"]).succeeds().json();
    assert_eq!(document["manifest"]["digest"], first.blob.digest.as_str());
    assert!(document["entries"][1].to_string().contains("duplicate"), "{document:#}");
}

#[test]
fn a_cpus_level_counts_only_when_it_is_asked_for() {
    let image = odd::isa_levels();
    let (_registry, reference) = pushed(&image);
    let user = Lighterman::new();
    let digest_of = |args: &[&str]| {
        let outcome = user.run(&[&["resolve", &reference], args].concat()).succeeds();
        outcome.stdout.split(' ').next().unwrap_or_default().to_owned()
    };
    let [plain, v2, v3] = [0, 1, 2].map(|at| image.manifests[at].blob.digest.clone());
    assert_eq!(digest_of(&["--platform", "linux/amd64"]), plain);
    assert_eq!(digest_of(&["--platform", "linux/amd64/v2"]), v2);
    assert_eq!(digest_of(&["--platform", "linux/amd64/v3"]), v3);
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(digest_of(&[]), plain);
        let avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2");
        if avx2 {
            assert_eq!(digest_of(&["--isa-level"]), v3);
            let explained = user.run(&["resolve", &reference, "--explain"]).succeeds();
            assert!(
                explained.stdout.contains("--isa-level"),
                "the better entry is not mentioned: {}",
                explained.stdout
            );
        }
    }
}

#[test]
fn no_matching_platform_lists_what_there_is() {
    let (_registry, reference) = pushed(fixture::busybox());
    let user = Lighterman::new();
    let refused = user.run(&["resolve", &reference, "--platform", "linux/riscv64"]);
    refused.fails(exit::PLATFORM).says(&["linux/riscv64", "linux/amd64", "linux/arm64", "linux/arm/v7"]);
    // arm/v6 cannot run arm/v7 programs; that is the nearest that the image has.
    let nearest = user.run(&["resolve", &reference, "--platform", "linux/arm/v6"]).fails(exit::PLATFORM);
    assert!(nearest.stderr.contains("linux/arm/v7"), "{}", nearest.stderr);
    let error = user.run(&["resolve", &reference, "--platform", "linux/s390x", "--json"]).ends(exit::PLATFORM).error();
    assert_eq!(error["kind"], "no-matching-platform");
}

#[test]
fn a_single_manifest_for_another_machine_is_refused_unless_allowed() {
    let foreign = foreign();
    let image = Image::single(tiny(foreign.arch, ""));
    let (_registry, reference) = pushed(&image);
    let plain_node = Sandbox::without_emulators();
    let user = Lighterman::inside(&plain_node);
    let refused = user.run(&["resolve", &reference]).fails(exit::PLATFORM);
    refused.says(&[foreign.platform, host().platform, "--allow-mismatch"]);
    let error = user.run(&["resolve", &reference, "--json"]).ends(exit::PLATFORM).error();
    assert_eq!(error["kind"], "platform-mismatch");
    let allowed = user.run(&["resolve", &reference, "--allow-mismatch"]).succeeds();
    assert_eq!(allowed.stdout, format!("{} {}\n", image.root.digest, foreign.platform));
    assert!(!allowed.stderr.contains("warning"), "it was said already: {}", allowed.stderr);
    // Who asks for that platform by name knows what they get.
    user.run(&["resolve", &reference, "--platform", foreign.platform]).succeeds();
}

#[test]
fn a_single_manifest_is_matched_by_its_config() {
    let image = Image::single(tiny("arm", "v7"));
    let (_registry, reference) = pushed(&image);
    let user = Lighterman::new();
    user.run(&["resolve", &reference, "--platform", "linux/arm/v7"]).succeeds();
    user.run(&["resolve", &reference, "--platform", "linux/arm/v6"]).fails(exit::PLATFORM).says(&["linux/arm/v7"]);
}

#[test]
fn a_name_that_contradicts_the_host_is_pointed_out_with_the_multi_arch_name() {
    let foreign = foreign();
    let prefix = if foreign == ARM64 { "arm64v8" } else { "amd64" };
    let image = Image::single(tiny(foreign.arch, ""));
    let registry = Registry::plain();
    let plain_node = Sandbox::without_emulators();
    let user = Lighterman::inside(&plain_node);
    let prefixed = registry.push(&image, &format!("{prefix}/busybox:1"));
    let refused = user.run(&["resolve", &prefixed]).fails(exit::PLATFORM);
    assert!(refused.stderr.replace(&prefixed, "").contains("busybox:1"), "{}", refused.stderr);
    let suffixed = registry.push(&image, &format!("app:1-{}", foreign.arch));
    let refused = user.run(&["resolve", &suffixed]).fails(exit::PLATFORM);
    let offered = refused.stderr.split_whitespace().map(|word| word.trim_matches(['`', '"', ',', '.', ';', ')', '(']));
    assert!(offered.into_iter().any(|word| word == registry.reference("app:1")), "{}", refused.stderr);
}

#[test]
fn an_index_that_declares_a_platform_wrongly_is_taken_at_its_word_by_resolve() {
    let arm = fixture::busybox().manifests[2].clone();
    let entry = odd::declared_as(&arm, host().arch, "");
    let image = Image::index(Flavour::Oci, std::slice::from_ref(&arm), &[entry]);
    let (_registry, reference) = pushed(&image);
    let document = Lighterman::new().run(&["resolve", &reference, "--explain", "--json"]).succeeds().json();
    assert_eq!(document["manifest"]["digest"], arm.blob.digest.as_str());
    assert_eq!(document["entries"][0]["declared"], host().platform);
}
