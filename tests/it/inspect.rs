//! `lighterman inspect`: what it says of an image that was pulled is what a diagnosis says.

use serde_json::{Value, json};

use crate::support::fixture::{Blob, Flavour, Image, Layer, Manifest, Tree, busybox_program, platform};
use crate::support::lighterman::Lighterman;
use crate::support::registry::Registry;
use crate::support::{ARMV7, Machine, foreign, host};

/// An image whose program is for this machine.
fn running(machine: Machine) -> Manifest {
    let layer: Layer = Tree::new().file("app", 0o755, &busybox_program(machine)).layer();
    Manifest::new(Flavour::Oci, &platform(machine.arch, machine.variant), &[layer], ("/app", &[]))
}

/// An index of these images, in which each is called what stands behind it.
fn listed(images: &[(Manifest, Value)]) -> Image {
    let entries = images.iter().map(|(manifest, platform)| {
        let mut entry = manifest.entry();
        entry["platform"] = platform.clone();
        entry
    });
    let manifests: Vec<Manifest> = images.iter().map(|(manifest, _)| manifest.clone()).collect();
    Image::index(Flavour::Oci, &manifests, &entries.collect::<Vec<_>>())
}

#[test]
fn what_contradicts_itself_is_told_with_what_shows_it_and_what_helps() {
    let registry = Registry::plain();
    let wrong = running(ARMV7);
    let image = listed(&[(running(foreign()), platform(foreign().arch, "")), (wrong.clone(), platform("arm64", ""))]);
    let image = if foreign().arch == "arm64" {
        listed(&[(running(host()), platform(host().arch, "")), (wrong.clone(), platform("arm64", ""))])
    } else {
        image
    };
    let reference = registry.push(&image, "app:1");
    let user = Lighterman::new();
    let (_, one) = user.layout("one");
    user.run(&["pull", &reference, "--platform", "linux/arm64", "--allow-mismatch", "--to", &one]).succeeds();
    let text = user.run(&["inspect", &reference, "--from", &one]).succeeds().stdout;
    for part in ["PLAT-003", "e_machine", "2800", "manifest annotate", &wrong.blob.digest, "/app: ELF 32-bit ARM"] {
        assert!(text.contains(part), "it does not say {part:?}:\n{text}");
    }
    assert!(!text.contains("unverified"), "{text}");
    let (_, all) = user.layout("all");
    user.run(&["pull", &reference, "--all-platforms", "--to", &all]).succeeds();
    for from in [&one, &all] {
        let seen = user.run(&["inspect", &reference, "--from", from, "--json"]).succeeds().json();
        let findings = seen["findings"].as_array().expect("a list");
        let told: Vec<(&Value, &Value)> = findings.iter().map(|finding| (&finding["id"], &finding["entry"])).collect();
        assert_eq!(told, [(&json!("PLAT-003"), &json!("1"))], "{seen:#}");
        assert!(findings[0]["evidence"].as_array().expect("some").iter().all(|shown| shown["verified"] == true));
        let facts = seen["images"].as_array().expect("images").iter().find(|one| one["entry"] == "1").expect("it");
        assert_eq!(facts["start"]["files"][0]["path"], "/app");
        assert_eq!(facts["start"]["files"][0]["verified"], true);
    }
    // A diagnosis of the same place names the same.
    let diagnosed = user.run(&["diagnose", &reference, "--from", &all, "--all-platforms", "--json"]).json();
    let ids: Vec<&Value> = diagnosed["findings"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert!(ids.contains(&&json!("PLAT-003")), "{ids:?}");
}

#[test]
fn of_what_is_right_nothing_is_said() {
    let registry = Registry::plain();
    let machines = [host(), foreign(), ARMV7];
    let images: Vec<_> =
        machines.map(|machine| (running(machine), platform(machine.arch, machine.variant))).into_iter().collect();
    let reference = registry.push(&listed(&images), "app:1");
    let user = Lighterman::new();
    let (_, all) = user.layout("all");
    user.run(&["pull", &reference, "--all-platforms", "--to", &all]).succeeds();
    let seen = user.run(&["inspect", &reference, "--from", &all, "--json"]).succeeds().json();
    assert_eq!(seen["findings"], json!([]), "{seen:#}");
    assert_eq!(seen["images"].as_array().map(Vec::len), Some(3));
}

#[test]
fn images_of_other_tools_have_names_and_texts_of_any_kind() {
    let user = Lighterman::new();
    let mut odd = running(ARMV7);
    let mut config: Value = serde_json::from_slice(&odd.config.bytes).expect("JSON");
    config["created"] = "2026\u{1b}[31m".into();
    config["config"]["Cmd"] = json!(["a\u{9b}31m", "b\nc"]);
    odd.config = Blob::json(Flavour::Oci.config(), &config);
    let mut manifest: Value = serde_json::from_slice(&odd.blob.bytes).expect("JSON");
    manifest["config"] = odd.config.descriptor();
    odd.blob = Blob::json(Flavour::Oci.manifest(), &manifest);
    let (dir, from) = user.layout("odd");
    listed(&[(odd, platform("arm64", ""))]).write_layout(&dir, "Not A Reference");
    let outcome = user.run(&["inspect", "--from", &from]).succeeds();
    for part in ["Not A Reference", "PLAT-003", "a31m bc"] {
        assert!(outcome.stdout.contains(part), "it does not say {part:?}:\n{}", outcome.stdout);
    }
    let steers = |letter: char| letter.is_control() && letter != '\n';
    assert!(!outcome.stdout.contains(steers), "{:?}", outcome.stdout);
    assert!(!outcome.stdout.contains("manifest annotate"), "a command for some other image:\n{}", outcome.stdout);
}
