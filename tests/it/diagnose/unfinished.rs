//! Indexes from which something is missing: images, variants, everything.

use serde_json::json;

use super::{Diagnosis, Surveyor, exec, image_of};
use crate::support::debian::{AMD64, ARM64};
use crate::support::fixture::{Blob, Flavour, Image, Manifest, Tree, platform};
use crate::support::liar::{Liar, Reply, When};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::odd;

fn manifest(port: &crate::support::debian::Port) -> Manifest {
    let layer = Tree::new().file("app", 0o755, &port.busybox()).layer();
    Manifest::running(Flavour::Oci, &platform(port.arch, port.variant), &[layer], &exec("/app"))
}

#[test]
fn an_index_without_images_is_told_with_a_remedy() {
    let empty = Image::index(Flavour::Oci, &[], &[]);
    let mut attested = odd::attested(&[manifest(&AMD64)]);
    let index: serde_json::Value = serde_json::from_slice(&attested.root.bytes).expect("JSON");
    let entries = index["manifests"].as_array().expect("entries").iter();
    let left: Vec<_> = entries.filter(|entry| entry["platform"]["os"] == "unknown").cloned().collect();
    assert!(!left.is_empty(), "an attestation is left");
    attested.root = Blob::json(
        Flavour::Oci.index(),
        &json!({ "schemaVersion": 2, "mediaType": Flavour::Oci.index(), "manifests": left }),
    );
    for (image, id) in [(empty, "PLAT-023"), (attested, "PLAT-016")] {
        let liar = Liar::serving(&image, "app:1");
        let outcome = Lighterman::new().run(&["diagnose", &liar.reference("app:1"), "--json"]);
        let found = Diagnosis::of(outcome.ends(exit::PLATFORM));
        let errors = found.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        assert_eq!(errors[0]["id"], id, "{errors:#?}");
        assert!(errors[0]["remedies"][0]["commands"][0].is_string(), "{errors:#?}");
    }
}

#[test]
fn a_manifest_that_the_registry_lost_is_an_error_of_its_own() {
    let (amd64, arm64) = (manifest(&AMD64), manifest(&ARM64));
    let liar = Liar::serving(&Image::multi(Flavour::Oci, &[amd64.clone(), arm64.clone()]), "app:1");
    let lost = format!("GET /v2/app/manifests/{}", arm64.blob.digest);
    liar.always(When::asked(&lost), Reply::Status(404, vec![], "{}"));
    let look = |host: &str| {
        let args = ["diagnose", &liar.reference("app:1"), "--json", "--host", host];
        Diagnosis::of(Lighterman::new().run(&args))
    };
    let found = look("linux/arm64");
    assert_eq!(found.outcomes(), ["linux/arm64 fails"]);
    let finding = found.with_id("PLAT-024").next().unwrap_or_else(|| panic!("{:?}", found.problems()));
    assert_eq!(finding["entry"], "1", "{finding:#}");
    assert!(finding["message"].as_str().is_some_and(|text| text.contains("linux/arm64")), "{finding:#}");
    let anew = finding["remedies"][1]["commands"][0].as_str().unwrap_or_default();
    assert!(anew.contains(&amd64.blob.digest) && !anew.contains(&arm64.blob.digest), "{anew}");
}

#[test]
fn a_bare_arm_that_is_not_looked_into_is_not_said_to_fail() {
    let bare = |level: &str| {
        let layer = Tree::new().file("app", 0o755, &crate::support::build::go("arm", level)).layer();
        Manifest::running(Flavour::Oci, &platform("arm", ""), &[layer], &exec("/app"))
    };
    let image = Image::multi(Flavour::Oci, &[manifest(&AMD64), bare("GOARM=5")]);
    // podman takes it on a Pi Zero; lighterman does not, and so does not look into it.
    let found = Surveyor::new().look_with(&image, &["raspberry-pi-zero"], &[]);
    let podman = found.list("clients").find(|row| row["client"] == "podman").expect("podman");
    assert_eq!(podman["cells"][0]["takes"], json!(["1"]), "{podman:#}");
    assert_eq!(podman["cells"][0]["outcome"], "unknown", "{podman:#}");
    assert!(podman["cells"][0]["reason"].as_str().is_some_and(|text| text.contains("not looked into")), "{podman:#}");
    assert_eq!(found.with_id("PLAT-006").count(), 1, "{:?}", found.document);
}

#[test]
fn a_program_of_loongarchs_old_world_does_not_run_on_a_node_of_the_new_one() {
    // No port of Debian 12: its header is put over that of another 64-bit program, whose segments fit
    // the pages of its kernels.
    let of_loongarch = |mut program: Vec<u8>, flags: u8| {
        program[18..20].copy_from_slice(&258u16.to_le_bytes());
        program[48] = flags;
        program
    };
    let surveyor = Surveyor::new();
    let look = |program: &[u8]| {
        let loader = of_loongarch(ARM64.busybox(), 0x03);
        let layer = Tree::new().file("app", 0o755, program).file("lib64/ld.so.1", 0o755, &loader).layer();
        surveyor.look(&image_of("loong64", "", &[layer], &exec("/app")), &["linux/loong64"])
    };
    for flags in [0x43, 0x03] {
        let fine = look(&of_loongarch(ARM64.busybox(), flags)).finds(&[]);
        assert_eq!(fine.outcomes(), ["linux/loong64 runs"], "a static program may be of either world");
    }
    let mut old = of_loongarch(ARM64.hello(), 0x03);
    let at = old.windows(ARM64.loader.len()).position(|bytes| bytes == ARM64.loader.as_bytes());
    let at = at.expect("a dynamic program");
    old[at..at + ARM64.loader.len()].fill(0);
    old[at..at + 14].copy_from_slice(b"/lib64/ld.so.1");
    let old = look(&old).finds(&["ISA-003 error on linux/loong64"]);
    assert_eq!(old.outcomes(), ["linux/loong64 fails"]);
}
