//! What is done about programs on machines that we do not have.

use super::*;
use crate::core::descriptor::{Annotations, Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::manifest::Manifest;
use crate::diagnose::testing::image::starting;
use crate::host::{Depth, Probe, Program, Recorded, boards, detect};

fn descriptor(text: &str) -> Descriptor {
    Descriptor::new(MediaType::OciManifest, Digest::of(text.as_bytes()), 1)
}

/// An image whose config names one architecture, and whose program is for another.
fn contents(claimed: &str, program: &str) -> Contents {
    let bytes = Program::of(program).expect("a test program").bytes();
    Contents {
        path: Vec::new(),
        descriptor: descriptor("manifest"),
        manifest: Manifest { config: descriptor("config"), layers: Vec::new(), annotations: Annotations::new() },
        config: ImageConfig { platform: Platform::linux(claimed, ""), ..ImageConfig::default() },
        start: Some(starting("/app", "/app", bytes)),
    }
}

fn actions(contents: &Contents, board: &Recorded, stance: Stance) -> Vec<(Id, Action)> {
    let report = detect(board, Depth::Full);
    let reference = "app:1".parse().expect("well formed");
    verdicts(&reference, contents, (&report, stance))
        .into_iter()
        .map(|(finding, action)| (finding.id, action))
        .collect()
}

#[test]
fn only_what_the_claims_had_promised_is_refused() {
    use Action::{Allow, Refuse, Warn};
    let usual = Stance::default();
    let (pc, pi) = (boards::skylake_server_without_zmm(), boards::pi_4());
    let mut emulating = pc.clone();
    emulating.probes.insert("arm64".into(), Probe::Ran);
    let cases = [
        // As it should be.
        ("amd64", "amd64", &pc, Refuse.into(), None),
        ("386", "386", &pc, Refuse.into(), None),
        // The claims are right, the program is not.
        ("amd64", "arm64", &pc, usual, Some(Warn)),
        ("amd64", "arm64", &pc, Refuse.into(), Some(Refuse)),
        ("amd64", "arm64", &pc, Warn.into(), Some(Warn)),
        ("amd64", "arm64", &pc, Allow.into(), Some(Allow)),
        ("arm64", "amd64", &pi, Refuse.into(), Some(Refuse)),
        // It was said before that this does not run here.
        ("arm64", "arm64", &pc, Refuse.into(), None),
        // It runs, by an emulator.
        ("arm64", "arm64", &emulating, Refuse.into(), None),
    ];
    for (claimed, program, board, stance, expected) in cases {
        let found = actions(&contents(claimed, program), board, stance);
        let worst = found.iter().map(|(_, action)| *action).max();
        assert_eq!(worst, expected, "{claimed} {program} {stance:?}: {found:?}");
    }
}

#[test]
fn what_runs_all_the_same_is_never_refused() {
    let pc = boards::skylake_server_without_zmm();
    let mut emulating = pc.clone();
    emulating.probes.insert("arm64".into(), Probe::Ran);
    for (claimed, program, board) in [("amd64", "386", &pc), ("amd64", "arm64", &emulating), ("arm64", "amd64", &pc)] {
        let found = actions(&contents(claimed, program), board, Action::Refuse.into());
        assert!(found.iter().all(|(_, action)| *action < Action::Refuse), "{claimed} {program}: {found:?}");
    }
}

#[test]
fn an_image_that_starts_nothing_that_was_found_is_taken_at_its_word() {
    let mut contents = contents("amd64", "arm64");
    if let Some(start) = &mut contents.start {
        start.first.steps.clear();
    }
    assert_eq!(actions(&contents, &boards::skylake_server(), Action::Refuse.into()), []);
}
