//! Nodes that are odd, held against images that are not.

use super::*;
use crate::diagnose::samples::Sample;
use crate::host::{Depth, Probe, Recorded, boards, detect};

const QEMU: &str = "enabled\n\
    interpreter /usr/bin/qemu-aarch64-static\n\
    flags: FLAGS\n\
    offset 0\n\
    magic 7f454c460201010000000000000000000200b700\n\
    mask ffffffffffffff00fffffffffffffffffeffffff\n";

fn node(board: &Recorded) -> Node {
    Node { name: "node".into(), report: detect(board, Depth::Full) }
}

/// An x86-64 machine with an emulator of arm64, whose test program ends so.
fn emulating(flags: &str, outcome: Probe) -> Node {
    let mut board = boards::westmere();
    let directory = "/proc/sys/fs/binfmt_misc";
    board.directories.insert(directory.into(), vec!["qemu-aarch64".into(), "status".into()]);
    board.files.insert(format!("{directory}/status"), Ok("enabled\n".into()));
    board.files.insert(format!("{directory}/qemu-aarch64"), Ok(QEMU.replace("FLAGS", flags)));
    board.probes.insert("arm64".into(), outcome);
    node(&board)
}

fn told(sample: &Sample, node: &Node) -> Vec<(Id, Severity)> {
    let findings = check(sample.image(), std::slice::from_ref(node));
    assert!(findings.iter().all(|finding| finding.node.as_deref() == Some("node") && !finding.evidence.is_empty()));
    findings.iter().map(|finding| (finding.id, finding.severity)).collect()
}

#[test]
fn ordinary_nodes_and_images_give_no_finding() {
    let sample = Sample::index().all(&["amd64", "arm64", "arm/v6", "386"]).attested();
    for board in [boards::westmere(), boards::pi_zero(), boards::pi_4(), boards::apple_m1()] {
        assert_eq!(told(&sample, &node(&board)), []);
    }
    // Emulators of what the image is not needed for.
    for (flags, outcome) in [("OCF", Probe::Ran), ("OC", Probe::Ran), ("F", Probe::NoExec)] {
        assert_eq!(told(&sample, &emulating(flags, outcome)), []);
    }
}

#[test]
fn a_32_bit_userland_passes_over_what_the_kernel_is() {
    let split = node(&boards::pi_4_armhf());
    let warning = [(Id::HostUserlandSplit, Severity::Warning)];
    assert_eq!(told(&Sample::index().all(&["arm64", "arm/v7"]), &split), warning);
    assert_eq!(told(&Sample::index().all(&["arm64", "amd64"]), &split), warning);
    // Without anything for arm64, nothing is lost.
    assert_eq!(told(&Sample::index().all(&["arm/v7", "amd64"]), &split), []);
    assert_eq!(told(&Sample::index().all(&["amd64", "386"]), &node(&boards::i386_userland())), warning);
}

#[test]
fn emulators_that_the_image_depends_on() {
    let arm64 = Sample::lone("arm64");
    let rows = [
        ("OCF", Probe::Ran, vec![(Id::Emulated, Severity::Note)]),
        ("OC", Probe::Ran, vec![(Id::BinfmtBroken, Severity::Error)]),
        ("F", Probe::NoExec, vec![(Id::BinfmtBroken, Severity::Error)]),
        ("F", Probe::Refused(2), vec![(Id::BinfmtBroken, Severity::Error)]),
    ];
    for (flags, outcome, expected) in rows {
        assert_eq!(told(&arm64, &emulating(flags, outcome.clone())), expected, "{flags} {outcome:?}");
    }
    let broken = check(arm64.image(), &[emulating("OC", Probe::Ran)]);
    assert!(broken[0].message.contains("/usr/bin/qemu-aarch64-static") && broken[0].message.contains("flag F"));
    assert!(broken[0].remedies[0].commands[1].ends_with("--install arm64"), "{broken:?}");
    // No emulator at all is for the check of indexes.
    assert_eq!(told(&arm64, &node(&boards::westmere())), []);
}

#[test]
fn a_broken_emulator_is_one_cause() {
    let reference = "app".parse().expect("a reference");
    let arm64 = Sample::lone("arm64");
    let all = |node: Node| {
        let nodes = [node];
        let mut findings = super::super::index::check(&reference, arm64.image(), &nodes);
        findings.extend(check(arm64.image(), &nodes));
        findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| finding.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(all(emulating("OC", Probe::Ran)), [Id::BinfmtBroken]);
    assert_eq!(all(emulating("F", Probe::Refused(2))), [Id::BinfmtBroken]);
    assert_eq!(all(emulating("F", Probe::Ran)), []);
    assert_eq!(all(node(&boards::westmere())), [Id::SingleArchMismatch]);
}
