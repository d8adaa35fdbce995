//! Programs for a CPU that has more than the architecture demands, and segments for small pages.

use std::process::Command;

use super::{Surveyor, exec, image_of};
use crate::support::build;
use crate::support::debian;
use crate::support::fixture::{Image, Tree};
use crate::support::{AMD64, host, succeed, tool};

/// A lone image of one static program.
fn image(arch: &str, variant: &str, program: &[u8]) -> Image {
    image_of(arch, variant, &[Tree::new().file("app", 0o755, program).layer()], &exec("/app"))
}

/// What `readelf` says about the notes of a program.
fn notes(program: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("program");
    std::fs::write(&file, program).expect("a writable temporary folder");
    let readelf = tool("readelf", "binutils");
    String::from_utf8_lossy(&succeed(Command::new(readelf).args(["-n", "-W"]).arg(&file)).stdout).into_owned()
}

/// Nodes with each level of x86-64.
const X86_64: [&str; 4] = ["linux/amd64/v1", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"];

#[test]
fn a_go_program_for_a_level_of_x86_64_does_not_run_below_it() {
    let surveyor = Surveyor::new();
    for level in 1..=4usize {
        let program = build::go("amd64", &format!("GOAMD64=v{level}"));
        let diagnosis = surveyor.look(&image("amd64", "", &program), &X86_64);
        assert_eq!(diagnosis.hindered(), X86_64[..level - 1], "v{level}: {:?}", diagnosis.problems());
        for finding in diagnosis.with_id("ISA-001") {
            let said = finding.to_string();
            assert!(said.contains(&format!("v{level}")) && said.contains("GOAMD64"), "{finding:#}");
        }
        assert_eq!(diagnosis.with_id("ISA-001").count() > 0, level > 1, "v{level}: {:?}", diagnosis.problems());
    }
}

#[test]
fn a_level_in_the_note_of_a_program_is_held_against_every_node() {
    let surveyor = Surveyor::new();
    for (level, name) in ["baseline", "v2", "v3", "v4"].into_iter().enumerate() {
        let program = build::x86_64(name);
        assert!(notes(&program).contains(&format!("x86 ISA needed: x86-64-{name}")), "{}", notes(&program));
        let diagnosis = surveyor.look(&image("amd64", "", &program), &X86_64);
        let mut nodes: Vec<&str> = diagnosis.with_id("ISA-001").filter_map(|f| f["node"].as_str()).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, X86_64[..level], "{name}: {:?}", diagnosis.problems());
    }
}

/// A bare `linux/amd64` may be any of them.
#[test]
fn a_node_whose_level_nobody_named_is_asked_for_it() {
    let surveyor = Surveyor::new();
    for level in 1..=3usize {
        let program = build::go("amd64", &format!("GOAMD64=v{level}"));
        let diagnosis = surveyor.look(&image("amd64", "", &program), &["linux/amd64", "linux/amd64/v3"]);
        let outcome = if level == 1 { "runs" } else { "unknown" };
        assert_eq!(diagnosis.outcomes(), [format!("linux/amd64 {outcome}"), "linux/amd64/v3 runs".into()]);
        let found: Vec<_> = diagnosis.with_id("ISA-001").collect();
        assert_eq!(found.len(), usize::from(level > 1), "{found:#?}");
        for finding in found {
            assert_eq!((&finding["severity"], &finding["node"]), (&"warning".into(), &"linux/amd64".into()));
            let said = finding.to_string();
            for part in [&format!("--host linux/amd64/v{level}"), "lighterman host --json > node.json", "not known"] {
                assert!(said.contains(part), "{finding:#} does not say {part}");
            }
        }
    }
    let program = build::go("ppc64le", "GOPPC64=power9");
    let diagnosis = surveyor.look(&image("ppc64le", "", &program), &["linux/ppc64le"]);
    diagnosis.finds(&["ISA-003 warning on linux/ppc64le"]);
    let small = build::arm64_aligned_to(0x1000);
    let diagnosis = surveyor.look(&image("arm64", "", &small), &["linux/arm64"]);
    diagnosis.finds(&["PAGE-001 warning on linux/arm64"]);
}

#[test]
fn a_rust_program_for_a_level_says_so_nowhere_and_nothing_is_made_up() {
    let machine = host();
    let (cpu, port) = if machine == AMD64 { ("x86-64-v3", debian::AMD64) } else { ("neoverse-n1", debian::ARM64) };
    let program = build::rust(machine, cpu);
    assert!(!notes(&program).contains("ISA needed"), "the compiler writes a note: use it\n{}", notes(&program));
    let layers = [port.system().layer(), Tree::new().file("app", 0o755, &program).layer()];
    let platform = port.platform();
    Surveyor::new().look(&image_of(port.arch, "", &layers, &exec("/app")), &[&platform]).finds(&[]);
}

#[test]
fn a_go_program_for_a_later_arm_does_not_run_on_an_earlier_one() {
    let surveyor = Surveyor::new();
    let hosts = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"];
    for (index, level) in ["GOARM=5", "GOARM=6", "GOARM=7"].into_iter().enumerate() {
        // The label promises that it runs everywhere.
        let diagnosis = surveyor.look(&image("arm", "v5", &build::go("arm", level)), &hosts);
        assert_eq!(diagnosis.hindered(), hosts[..index], "{level}: {:?}", diagnosis.problems());
    }
}

#[test]
fn what_is_built_for_registers_that_a_cpu_lacks_does_not_run_on_it() {
    // Debian's armhf, under the label that Raspbian's armhf deserves.
    let program = debian::ARMHF.busybox();
    let diagnosis = Surveyor::new().look(&image("arm", "v6", &program), &["raspberry-pi-zero", "raspberry-pi-2"]);
    assert_eq!(diagnosis.hindered(), ["raspberry-pi-zero"], "{:?}", diagnosis.problems());
    let diagnosis = Surveyor::new().look(&image("arm", "v5", &program), &["linux/arm/v5"]);
    assert_eq!(diagnosis.hindered(), ["linux/arm/v5"], "{:?}", diagnosis.problems());
}

#[test]
fn a_program_for_a_later_power_is_not_taken_by_an_earlier_one() {
    let diagnosis = Surveyor::new()
        .look(&image("ppc64le", "", &build::go("ppc64le", "GOPPC64=power9")), &["power8", "power9", "power10"]);
    assert_eq!(diagnosis.hindered(), ["power8"], "{:?}", diagnosis.problems());
    assert_eq!(diagnosis.with_id("ISA-003").count(), 1, "{:?}", diagnosis.problems());
}

#[test]
fn segments_for_pages_of_4_kib_do_not_fit_a_node_with_larger_ones() {
    let surveyor = Surveyor::new();
    let hosts = ["raspberry-pi-4", "raspberry-pi-5"];
    for (alignment, wrong) in [(0x1000, &hosts[1..]), (0x4000, &[]), (0x10000, &[])] {
        let diagnosis = surveyor.look(&image("arm64", "", &build::arm64_aligned_to(alignment)), &hosts);
        assert_eq!(diagnosis.hindered(), wrong, "{alignment:#x}: {:?}", diagnosis.problems());
        for finding in diagnosis.with_id("PAGE-001") {
            assert!(finding.to_string().contains("max-page-size"), "no remedy: {finding:#}");
        }
    }
    for program in [&debian::ARM64.busybox(), &*build::go("arm64", "")] {
        surveyor.look(&image("arm64", "", program), &hosts).finds(&[]);
    }
}

#[test]
fn what_go_builds_for_every_architecture_runs_on_it() {
    let surveyor = Surveyor::new();
    for arch in ["386", "amd64", "arm64", "ppc64le", "s390x", "riscv64", "mips64le", "loong64"] {
        let program = build::go(arch, "");
        let diagnosis = surveyor.look(&image(arch, "", &program), &[&format!("linux/{arch}")]).finds(&[]);
        let found = diagnosis.programs()[0];
        assert!(found["platform"].as_str().is_some_and(|p| p.starts_with(&format!("linux/{arch}"))), "{found:#}");
    }
}
