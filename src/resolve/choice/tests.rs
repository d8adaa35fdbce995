//! Choices and refusals on boards that we do not have.

use std::collections::BTreeMap;

use super::*;
use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::core::manifest::Manifest;
use crate::fetch::Room;
use crate::host::{Probe, boards};

fn descriptor(id: &str, platform: Option<Platform>) -> Descriptor {
    Descriptor { platform, ..Descriptor::new(MediaType::OciManifest, Digest::of(id.as_bytes()), 1) }
}

fn entry(architecture: &str, variant: &str) -> Entry {
    let platform = Platform::linux(architecture, variant);
    Entry::unread(descriptor(&platform.to_string(), Some(platform)))
}

fn image(reference: &str, content: Root) -> Image {
    let (reference, root) = (reference.parse().expect("parses"), descriptor("root", None));
    Image { reference, root, content, documents: BTreeMap::new(), room: Room::default(), bytes_fetched: 0 }
}

fn index(reference: &str, entries: Vec<Entry>) -> Image {
    image(reference, Root::Index(entries))
}

fn lone(reference: &str, architecture: &str, variant: &str) -> Image {
    let manifest = Manifest { config: descriptor("config", None), layers: Vec::new(), annotations: BTreeMap::new() };
    image(reference, Root::Manifest(manifest, Platform::linux(architecture, variant)))
}

/// An amd64 machine of level v3 without emulators; `runs` is what else test programs show.
fn amd64(runs: &[(&str, Probe)]) -> LocalHost {
    let mut board = boards::skylake_server_without_zmm();
    board.probes.extend(runs.iter().map(|(architecture, outcome)| ((*architecture).to_owned(), outcome.clone())));
    LocalHost::new(Box::new(board))
}

fn asked(platform: &str) -> Wish {
    let platform = Platform::parse(platform, &Platform::linux("amd64", "")).expect("parses");
    Wish { platform: Some(platform), ..Wish::default() }
}

/// This node's own platform, with one word for everything that does not run.
fn on(action: Action) -> Wish {
    Wish { on_mismatch: action.into(), ..Wish::default() }
}

#[test]
fn the_default_is_what_containerd_matches_and_the_cpus_level_is_opt_in() {
    let image = index("app", vec![entry("arm64", ""), entry("amd64", ""), entry("amd64", "v3")]);
    let host = amd64(&[]);
    let choice = choose(&image, &Wish::default(), &host).expect("chooses");
    assert_eq!((choice.path.as_deref(), choice.pin), (Some(&[1][..]), false));
    let explanation = explain(&image, &Wish::default(), &host, Some(&choice));
    assert_eq!(explanation.passed_over, Some(vec![2]));
    let level = Wish { level: Level::Cpu, ..Wish::default() };
    let choice = choose(&image, &level, &host).expect("chooses");
    assert_eq!(
        (choice.path.as_deref(), choice.pin),
        (Some(&[2][..]), true),
        "containerd would go back to the other entry"
    );
}

#[test]
fn no_match_names_what_there_is_and_the_nearest() {
    let host = amd64(&[]);
    let refusal = |image: &Image, wish: &Wish| choose(image, wish, &host).expect_err("refuses");
    let error = refusal(&index("app", vec![entry("arm64", ""), entry("arm", "")]), &Wish::default());
    assert_eq!(error.kind(), Kind::NoMatchingPlatform);
    assert!(error.to_string().ends_with("linux/arm64, linux/arm/v7"), "{error}");
    let error = refusal(&index("app", vec![entry("amd64", "v3")]), &Wish::default());
    assert!(error.hint().expect("advice").contains("--isa-level"), "{:?}", error.hint());
    let error = refusal(&index("app", vec![entry("arm", "v7")]), &asked("linux/arm/v6"));
    assert!(error.hint().expect("advice").contains("nearest is linux/arm/v7"), "{:?}", error.hint());
    let error = refusal(&index("arm32v7/app", vec![entry("arm", "v7")]), &Wish::default());
    assert!(error.hint().expect("advice").ends_with("app:latest"), "{:?}", error.hint());
}

#[test]
fn an_entry_that_fits_and_is_not_tried_is_named() {
    let nil = |id: &str, architecture: &str| Entry {
        descriptor: descriptor(id, None),
        inner: Inner::Config(Platform::linux(architecture, "")),
    };
    let image = index("app", vec![nil("a", "arm64"), nil("b", "amd64")]);
    let error = choose(&image, &Wish::default(), &amd64(&[])).expect_err("containerd tries only the first");
    assert!(error.hint().expect("advice").contains(Digest::of(b"b").hex()), "{:?}", error.hint());
}

#[test]
fn a_lone_manifest_is_held_to_its_config() {
    let host = amd64(&[]);
    assert!(choose(&lone("app", "amd64", ""), &Wish::default(), &host).expect("matches").warnings.is_empty());
    let error = choose(&lone("app", "arm64", ""), &Wish::default(), &host).expect_err("refuses");
    assert_eq!(error.kind(), Kind::PlatformMismatch);
    assert_eq!(choose(&lone("app", "arm64", ""), &on(Action::Warn), &host).expect("is taken").warnings.len(), 1);
    let allowed = choose(&lone("app", "arm64", ""), &on(Action::Allow), &host).expect("is allowed");
    assert!(allowed.warnings.is_empty(), "{allowed:?}");
    assert_eq!(allowed.mismatch.map(|ruled_out| ruled_out.action), Some(Action::Allow));
    assert!(choose(&lone("app", "arm64", "v8"), &asked("linux/arm64"), &host).is_ok(), "what was asked for");
    assert!(choose(&lone("app", "amd64", ""), &asked("linux/arm64"), &host).is_err(), "not what was asked for");
}

#[test]
fn what_the_rule_falls_back_to_has_to_run() {
    let image = index("app", vec![entry("386", "")]);
    let with = amd64(&[("386", Probe::Ran)]);
    assert!(choose(&image, &Wish::default(), &with).is_ok());
    let without = amd64(&[("386", Probe::NoExec)]);
    let error = choose(&image, &Wish::default(), &without).expect_err("refuses");
    assert!(matches!(error, ResolveError::CannotRun { .. }), "{error}");
    assert_eq!(choose(&image, &on(Action::Warn), &without).expect("is taken").warnings.len(), 1);
    let allowed = choose(&image, &on(Action::Allow), &without).expect("is allowed");
    assert_eq!((allowed.warnings.len(), allowed.mismatch.map(|ruled_out| ruled_out.action)), (0, Some(Action::Allow)));
}

#[test]
fn a_foreign_platform_that_is_asked_for_is_pinned() {
    let image = index("app", vec![entry("amd64", ""), entry("arm64", "")]);
    let choice = choose(&image, &asked("linux/arm64"), &amd64(&[])).expect("chooses");
    assert!(choice.pin);
    assert!(matches!(choice.execution, Execution::No { .. }), "{:?}", choice.execution);
    assert!(choice.warnings.is_empty(), "it was asked for: {:?}", choice.warnings);
}

#[test]
fn what_was_asked_for_by_name_is_refused_only_where_somebody_says_so() {
    let image = index("app", vec![entry("amd64", ""), entry("arm64", "")]);
    let host = amd64(&[]);
    let asked = |stance: Stance| {
        let mut choice = choose(&image, &Wish { on_mismatch: stance, ..asked("linux/arm64") }, &host).expect("chooses");
        choice.judge_asked(&image, stance).map(|()| choice.warnings.len())
    };
    assert_eq!(asked(Stance::default()).expect("is taken"), 1);
    assert_eq!(asked(Action::Warn.into()).expect("is taken"), 1);
    assert_eq!(asked(Action::Allow.into()).expect("is taken"), 0);
    assert!(matches!(asked(Action::Refuse.into()), Err(ResolveError::CannotRun { .. })));
}

#[test]
fn another_answer_than_was_asked_for_is_never_taken_without_a_word() {
    let (image, host) = (lone("app", "amd64", ""), amd64(&[]));
    let asked = |action: Action| choose(&image, &Wish { on_mismatch: action.into(), ..asked("linux/arm64") }, &host);
    for action in [Action::Warn, Action::Allow] {
        let choice = asked(action).expect("is taken");
        assert_eq!((choice.warnings.len(), choice.mismatch), (1, None), "{action}");
    }
    assert!(asked(Action::Refuse).is_err());
}

#[test]
fn a_lone_image_that_runs_is_taken_whatever_the_node_matches_with() {
    let host = amd64(&[("arm64", Probe::Ran)]);
    let emulated = choose(&lone("app", "arm64", ""), &on(Action::Refuse), &host).expect("runs under an emulator");
    assert_eq!((emulated.warnings.len(), emulated.mismatch), (1, None));
    let native = choose(&lone("app", "amd64", "v3"), &on(Action::Refuse), &host).expect("is the CPU's own");
    assert_eq!((native.warnings.len(), native.mismatch), (0, None));
    let above = choose(&lone("app", "amd64", "v4"), &on(Action::Refuse), &host).expect_err("needs another CPU");
    assert_eq!(above.kind(), Kind::PlatformMismatch);
    let unknown = amd64(&[("arm64", Probe::Killed(31))]);
    let taken = choose(&lone("app", "arm64", ""), &on(Action::Refuse), &unknown).expect("nobody knows");
    assert_eq!((taken.warnings.len(), taken.mismatch), (1, None), "{:?}", taken.execution);
}

#[test]
fn a_name_that_contradicts_is_pointed_out_even_when_the_image_fits() {
    let choice = choose(&lone("arm64v8/app", "amd64", ""), &Wish::default(), &amd64(&[])).expect("fits");
    assert!(choice.warnings[0].contains("app:latest"), "{:?}", choice.warnings);
}
