//! Programs of every architecture, held against nodes of every kind.

use super::{Surveyor, exec, image_of};
use crate::support::debian::{self, PORTS, Port};
use crate::support::fixture::{Flavour, Image, Manifest, Tree, platform};

/// Nodes by the names that `--host` takes.
const HOSTS: [&str; 16] = [
    "linux/386",
    "linux/amd64",
    "linux/amd64/v3",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/mips64le",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "linux/loong64",
    "raspberry-pi-zero",
    "raspberry-pi-2",
    "raspberry-pi-4",
    "apple-silicon",
];

/// The nodes of [`HOSTS`] whose kernel and CPU take a port's programs. Debian's armhf needs ARMv7 with
/// VFPv3, its armel any ARMv5T.
fn homes(port: &Port) -> &'static [&'static str] {
    match port.name {
        "amd64" => &["linux/amd64", "linux/amd64/v3"],
        "i386" => &["linux/386", "linux/amd64", "linux/amd64/v3"],
        "arm64" => &["linux/arm64", "raspberry-pi-4", "apple-silicon"],
        "armhf" => &["linux/arm/v7", "linux/arm64", "raspberry-pi-2", "raspberry-pi-4"],
        "armel" => &[
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64",
            "raspberry-pi-zero",
            "raspberry-pi-2",
            "raspberry-pi-4",
        ],
        "ppc64el" => &["linux/ppc64le"],
        "s390x" => &["linux/s390x"],
        "mips64el" => &["linux/mips64le"],
        "riscv64" => &["linux/riscv64"],
        other => panic!("{other} is no port of the fixture"),
    }
}

/// An image of Debian's static program.
fn static_image(port: &Port) -> Manifest {
    let layer = Tree::new().dir("bin").file("bin/busybox", 0o755, &port.busybox()).layer();
    Manifest::running(Flavour::Oci, &platform(port.arch, port.variant), &[layer], &exec("/bin/busybox"))
}

#[test]
fn every_node_takes_the_program_that_is_built_for_it_and_nothing_is_wrong() {
    let image = Image::multi(Flavour::Oci, &PORTS.map(|port| static_image(&port)));
    let platforms = PORTS.map(|port| port.platform());
    let hosts: Vec<&str> = platforms.iter().map(String::as_str).collect();
    let diagnosis = Surveyor::new().look(&image, &hosts).finds(&[]);
    assert_eq!(diagnosis.outcomes(), platforms.map(|platform| format!("{platform} runs")));
    assert_eq!(diagnosis.programs().len(), PORTS.len());
    for (port, program) in PORTS.iter().zip(diagnosis.programs()) {
        assert_eq!(program["path"], "/bin/busybox", "{program:#}");
        let built_for = program["platform"].as_str().unwrap_or_default();
        assert!(built_for.starts_with(&format!("linux/{}", port.arch)), "{}: {program:#}", port.name);
    }
}

#[test]
fn what_a_program_is_built_for_is_said_in_words() {
    let words = [
        (debian::AMD64, "ELF 64-bit x86-64"),
        (debian::I386, "ELF 32-bit x86"),
        (debian::ARM64, "ELF 64-bit ARM"),
        (debian::ARMHF, "ELF 32-bit ARM, EABI5 hard-float"),
        (debian::ARMEL, "ELF 32-bit ARM, EABI5 soft-float"),
        (debian::PPC64EL, "ELF 64-bit PowerPC"),
        (debian::S390X, "ELF 64-bit S/390"),
        (debian::MIPS64EL, "ELF 64-bit MIPS"),
        (debian::RISCV64, "ELF 64-bit RISC-V"),
    ];
    let image = Image::multi(Flavour::Oci, &PORTS.map(|port| static_image(&port)));
    let diagnosis = Surveyor::new().look(&image, &[]);
    assert_eq!(diagnosis.programs().len(), words.len());
    for ((port, words), program) in words.iter().zip(diagnosis.programs()) {
        let description = program["description"].as_str().unwrap_or_default();
        assert!(description.starts_with(words), "{}: {program:#}", port.name);
    }
}

#[test]
fn a_lone_image_runs_on_the_nodes_of_its_architecture_and_on_no_others() {
    let surveyor = Surveyor::new();
    for port in PORTS {
        let run = exec("/usr/bin/hello");
        let image = image_of(port.arch, port.variant, &[port.system().layer()], &run);
        let diagnosis = surveyor.look(&image, &HOSTS);
        let strangers: Vec<&str> = HOSTS.into_iter().filter(|host| !homes(&port).contains(host)).collect();
        assert_eq!(diagnosis.hindered(), strangers, "{}: {:#?}", port.name, diagnosis.outcomes());
        let of_itself = diagnosis.problems().into_iter().filter(|problem| !problem.contains(" on "));
        assert_eq!(of_itself.collect::<Vec<_>>(), Vec::<String>::new(), "{}", port.name);
    }
}

#[test]
fn a_loader_that_is_not_in_the_image_is_missed() {
    let surveyor = Surveyor::new();
    for port in PORTS {
        let layer = port.system_without_loader().layer();
        let image = image_of(port.arch, port.variant, &[layer], &exec("/usr/bin/hello"));
        let diagnosis = surveyor.look(&image, &[&port.platform()]);
        let finding = diagnosis.with_id("ELF-001").next().unwrap_or_else(|| panic!("{}", port.name));
        assert_eq!(finding["severity"], "error", "{finding:#}");
        assert!(finding["message"].as_str().is_some_and(|text| text.contains(port.loader)), "{finding:#}");
    }
}

#[test]
fn a_loader_of_another_architecture_is_found_out() {
    let surveyor = Surveyor::new();
    for (index, port) in PORTS.iter().enumerate() {
        let other = PORTS[(index + 2) % PORTS.len()];
        let program = Tree::new().file("hello", 0o755, &port.hello());
        let layer = program.file(&port.loader[1..], 0o755, &other.loader_program()).layer();
        let image = image_of(port.arch, port.variant, &[layer], &exec("/hello"));
        let diagnosis = surveyor.look(&image, &[&port.platform()]);
        let finding = diagnosis.with_id("ELF-002").next();
        let finding = finding.unwrap_or_else(|| panic!("{}: {:?}", port.name, diagnosis.problems()));
        assert_eq!(finding["severity"], "error", "{finding:#}");
        assert_eq!(finding["evidence"].as_array().map(Vec::len), Some(2), "{finding:#}");
    }
}
