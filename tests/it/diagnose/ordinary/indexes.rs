//! Ways to publish images of several platforms under one name.

use serde_json::json;

use crate::diagnose::{Surveyor, exec};
use crate::support::debian::{AMD64, ARM64, ARMEL, ARMHF, I386, PORTS, PPC64EL, Port, RISCV64, S390X};
use crate::support::fixture::{Flavour, Image, Manifest, Tree, platform};
use crate::support::{build, odd};

fn manifest(flavour: Flavour, port: &Port, variant: &str) -> Manifest {
    let layer = Tree::new().dir("bin").file("bin/app", 0o755, &port.busybox()).layer();
    Manifest::running(flavour, &platform(port.arch, variant), &[layer], &exec("/bin/app"))
}

fn truthful(port: &Port) -> Manifest {
    manifest(Flavour::Oci, port, port.variant)
}

#[test]
fn indexes_of_every_builder() {
    let surveyor = Surveyor::new();
    let four = [AMD64, ARM64, ARMHF, ARMEL].map(|port| truthful(&port));
    let official = [AMD64, ARMEL, ARMHF, ARM64, I386, PPC64EL, RISCV64, S390X].map(|port| truthful(&port));
    let lists = [AMD64, ARM64, ARMHF].map(|port| manifest(Flavour::Docker, &port, port.variant));
    let v8 = [truthful(&AMD64), manifest(Flavour::Oci, &ARM64, "v8")];
    // buildx writes v8 into the config and leaves it out of the index.
    let mut half = manifest(Flavour::Oci, &ARM64, "v8");
    half.platform = platform("arm64", "");
    for (what, image) in [
        ("buildx with attestations", odd::attested(&four)),
        ("buildx without them", Image::multi(Flavour::Oci, &four)),
        ("official images", odd::attested(&official)),
        ("a list of Docker's", Image::multi(Flavour::Docker, &lists)),
        ("arm64/v8", Image::multi(Flavour::Oci, &v8)),
        ("arm64/v8 in the config only", Image::multi(Flavour::Oci, &[truthful(&AMD64), half])),
        ("one platform in an index", Image::multi(Flavour::Oci, &[truthful(&AMD64)])),
        ("one platform with its attestation", odd::attested(&[truthful(&AMD64)])),
        ("a lone manifest", Image::single(truthful(&AMD64))),
        ("a lone manifest of Docker's", Image::single(manifest(Flavour::Docker, &AMD64, ""))),
    ] {
        let diagnosis = surveyor.look(&image, &["linux/amd64"]);
        assert!(diagnosis.problems().is_empty(), "{what}: {:#}", diagnosis.document);
        assert_eq!(diagnosis.code, Some(0), "{what}: {:#}", diagnosis.document);
    }
}

#[test]
fn an_index_for_all_ports_fits_a_fleet_of_all_of_them() {
    let image = Image::multi(Flavour::Oci, &PORTS.map(|port| truthful(&port)));
    let platforms = PORTS.map(|port| port.platform());
    Surveyor::new().look(&image, &platforms.each_ref().map(String::as_str)).finds(&[]);
}

#[test]
fn levels_of_one_architecture_side_by_side() {
    let of = |level: &str| {
        let layer = Tree::new().file("app", 0o755, &build::go("amd64", &format!("GOAMD64={level}"))).layer();
        let variant = if level == "v1" { "" } else { level };
        Manifest::running(Flavour::Oci, &platform("amd64", variant), &[layer], &exec("/app"))
    };
    let image = Image::multi(Flavour::Oci, &["v1", "v2", "v3"].map(of));
    Surveyor::new().look(&image, &["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"]).finds(&[]);
}

#[test]
fn windows_beside_linux() {
    let linux = truthful(&AMD64);
    let platform = json!({ "os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2113" });
    let files = Tree::new().dir("Files").dir("Hives").file("Files/app.exe", 0o644, b"MZ\x90\0\x03\0\0\0");
    let run = json!({ "Entrypoint": ["C:\\app.exe"], "Env": ["PATH=C:\\Windows"], "WorkingDir": "C:\\" });
    let windows = Manifest::running(Flavour::Oci, &platform, &[files.layer()], &run);
    let image = Image::multi(Flavour::Oci, &[linux, windows]);
    Surveyor::new().look(&image, &["linux/amd64"]).finds(&[]);
}

#[test]
fn images_that_start_nothing() {
    let surveyor = Surveyor::new();
    let data = Tree::new().dir("charts").file("charts/app.yaml", 0o644, b"replicas: 1\n").layer();
    for run in [json!({}), json!(null), json!({ "Entrypoint": null, "Cmd": null }), json!({ "Cmd": [] })] {
        let manifest = Manifest::running(Flavour::Oci, &platform("amd64", ""), std::slice::from_ref(&data), &run);
        surveyor.look(&Image::single(manifest), &["linux/amd64"]).finds(&[]);
    }
}
