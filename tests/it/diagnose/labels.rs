//! Programs under the label of another architecture.

use serde_json::Value;

use super::{Surveyor, exec};
use crate::support::build;
use crate::support::debian::{PORTS, Port};
use crate::support::fixture::{Flavour, Image, Manifest, Tree, platform};

/// Every port with one of another architecture.
fn pairs() -> impl Iterator<Item = (Port, Port)> {
    (0..PORTS.len()).map(|index| (PORTS[index], PORTS[(index + 2) % PORTS.len()]))
}

/// An image with one port's program and another's config.
fn image(program: &Port, config: &Port) -> Manifest {
    let layer = Tree::new().file("app", 0o755, &program.busybox()).layer();
    Manifest::running(Flavour::Oci, &platform(config.arch, config.variant), &[layer], &exec("/app"))
}

/// The bytes of `e_machine`, as evidence shows them.
fn machine_bytes(port: &Port) -> String {
    let program = port.busybox();
    format!("{:02x}{:02x}", program[18], program[19])
}

#[track_caller]
fn shows_the_machine(finding: &Value, port: &Port) {
    let evidence = finding["evidence"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = evidence.iter().find(|evidence| evidence["path"] == "/app" && evidence["offset"] == 18);
    let shown = shown.unwrap_or_else(|| panic!("{}: the machine is not shown: {finding:#}", port.name));
    assert_eq!(shown["bytes"], machine_bytes(port), "{}: {finding:#}", port.name);
    assert!(shown["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{finding:#}");
    let said = finding["message"].as_str().unwrap_or_default();
    assert!(said.contains(&port.elf.to_string()), "the message does not name machine {}: {said}", port.elf);
}

#[test]
fn a_wrong_label_in_an_index_is_found_with_the_bytes_that_show_it() {
    let surveyor = Surveyor::new();
    for (port, other) in pairs() {
        let mut wrong = image(&port, &port);
        wrong.platform = platform(other.arch, other.variant);
        let diagnosis = surveyor.look(&Image::multi(Flavour::Oci, &[wrong]), &[]);
        let errors = diagnosis.errors();
        assert_eq!(errors.len(), 1, "{} as {}: {:?}", port.name, other.name, diagnosis.problems());
        assert_eq!(errors[0]["id"], "PLAT-003", "{:#}", errors[0]);
        assert_eq!(errors[0]["entry"], "0", "{:#}", errors[0]);
        shows_the_machine(errors[0], &port);
        let said = errors[0]["message"].as_str().unwrap_or_default();
        assert!(said.contains(other.arch), "{said}");
    }
}

#[test]
fn a_wrong_config_is_found_with_and_without_an_index_that_repeats_it() {
    let surveyor = Surveyor::new();
    for (port, other) in pairs() {
        let wrong = image(&port, &other);
        for image in [Image::single(wrong.clone()), Image::multi(Flavour::Oci, &[wrong])] {
            let diagnosis = surveyor.look(&image, &[]);
            let errors = diagnosis.errors();
            assert_eq!(errors.len(), 1, "{} as {}: {:?}", port.name, other.name, diagnosis.problems());
            assert_eq!(errors[0]["id"], "PLAT-004", "{:#}", errors[0]);
            shows_the_machine(errors[0], &port);
        }
    }
}

#[test]
fn an_arm_program_for_an_early_cpu_under_a_bare_label_is_told_its_variant() {
    let surveyor = Surveyor::new();
    for (level, variant) in [("GOARM=5", "v5"), ("GOARM=6", "v6")] {
        let layer = Tree::new().file("app", 0o755, &build::go("arm", level)).layer();
        let bare = Manifest::running(Flavour::Oci, &platform("arm", ""), &[layer], &exec("/app"));
        let diagnosis = surveyor.look(&Image::multi(Flavour::Oci, &[bare]), &[]);
        let finding = diagnosis.with_id("PLAT-006").next();
        let finding = finding.unwrap_or_else(|| panic!("{level}: {:?}", diagnosis.problems()));
        assert_eq!(finding["severity"], "warning", "{finding:#}");
        assert!(finding.to_string().contains(&format!("--variant {variant}")), "{finding:#}");
    }
}
