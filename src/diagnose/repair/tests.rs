use super::*;
use crate::core::descriptor::MediaType;
use crate::core::elf;
use crate::diagnose::samples::{Sample, platform};
use crate::diagnose::testing::image::image;

const ARM: Option<&str> = Some("arm");
const AMD64: Option<&str> = Some("amd64");
const ARM64: Option<&str> = Some("arm64");

/// An index of images: what each is declared as, what its config says, and what it starts.
fn sample(images: &[(&str, &str, Option<&str>)]) -> Sample {
    images.iter().fold(Sample::index(), |sample, (declared, config, program)| {
        let sample = sample.with(Some(*declared).filter(|text| !text.is_empty()), config);
        match program {
            Some(program) => sample.holding(program),
            None => sample,
        }
    })
}

fn inside(config: &str, program: Option<&str>) -> Truth {
    truth(&sample(&[("", config, program)]).contents[0])
}

/// What is proposed for one entry; empty for nothing.
fn proposed(declared: &str, config: &str, program: Option<&str>) -> String {
    let sample = sample(&[(declared, config, program)]);
    let proposal = propose(&sample.entries, &sample.contents);
    proposal.map_or_else(String::new, |proposal| proposal.corrections[0].after.to_string())
}

#[test]
fn labels_are_corrected_by_what_the_program_is() {
    let cases = [
        // Declared, config, program, proposed.
        ("arm64", "arm64", ARM, "linux/arm"),
        ("arm64", "amd64", ARM, "linux/arm"),
        ("arm64", "arm/v6", ARM, "linux/arm/v6"),
        ("amd64", "amd64", AMD64, ""),
        ("arm64/v8", "arm64", ARM64, ""),
        ("arm/v6", "arm64", ARM, ""),
        ("amd64/v3", "amd64", AMD64, ""),
        // Without the program, the config is what there is.
        ("arm64", "arm/v7", None, "linux/arm/v7"),
        ("arm64", "arm64", None, ""),
        ("arm64", "", None, ""),
        // Names that nobody knows.
        ("arm/v6l", "arm/v6", ARM, "linux/arm/v6"),
        ("aarch64", "arm64", ARM64, "linux/arm64"),
        ("amd64/3", "amd64", AMD64, "linux/amd64/v3"),
        // No name at all.
        ("", "arm64", ARM64, "linux/arm64"),
        ("", "", AMD64, "linux/amd64"),
        ("", "", None, ""),
    ];
    for (declared, config, machine, expected) in cases {
        assert_eq!(proposed(declared, config, machine), expected, "{declared:?} {config:?} {machine:?}");
    }
}

#[test]
fn an_image_that_contradicts_itself_is_told_from_one_that_says_nothing() {
    assert!(matches!(inside("amd64", ARM), Truth::Contradiction { .. }));
    assert!(matches!(inside("arm64", ARM), Truth::Contradiction { .. }));
    assert_eq!(inside("", None), Truth::Unknown);
    for (config, machine, expected) in [
        ("arm/v6", ARM, "linux/arm/v6"),
        ("", ARM64, "linux/arm64"),
        ("aarch64", ARM64, "linux/arm64"),
        ("amd64", None, "linux/amd64"),
    ] {
        match inside(config, machine) {
            Truth::Known { platform, .. } => assert_eq!(platform.to_string(), expected),
            other => panic!("{config} {machine:?}: {other:?}"),
        }
    }
}

#[test]
fn a_program_that_needs_less_than_was_promised_keeps_the_promise() {
    let arm = |variant| Platform::linux("arm", variant);
    assert!(!contradict(&arm("v7"), &arm("v6")));
    assert!(!contradict(&arm("v7"), &arm("")));
    assert!(!contradict(&arm(""), &arm("v7")), "no variant is v7 to clients");
    assert!(contradict(&arm("v6"), &arm("v7")));
    assert!(contradict(&arm("v7"), &Platform::linux("arm64", "")));
    assert!(contradict(&Platform::linux("amd64", ""), &Platform::linux("386", "")));
}

#[test]
fn the_blogs_list_is_repaired_and_says_who_will_not_find_it() {
    let Sample { entries, contents, .. } = sample(&[("amd64", "amd64", AMD64), ("arm64", "arm64", ARM)]);
    let proposal = propose(&entries, &contents).expect("something to mend");
    let [correction] = proposal.corrections.as_slice() else { panic!("{proposal:?}") };
    assert_eq!((correction.at, correction.after.to_string()), (1, "linux/arm".into()));
    assert!(correction.reason.contains("ELF 32-bit ARM"), "{}", correction.reason);
    assert!(proposal.notes.iter().any(|note| note.contains("config of entry 1 still says")), "{:?}", proposal.notes);
    assert!(proposal.notes.iter().any(|note| note.contains("arm64 nodes")), "{:?}", proposal.notes);
    let mut draft = Draft::empty(MediaType::DockerManifestList);
    for entry in &entries {
        draft.add(serde_json::json!(entry.descriptor)).expect("an entry");
    }
    proposal.apply(&mut draft).expect("the same index");
    let listed: Vec<String> = draft.entries().iter().map(|e| e.platform.as_ref().expect("one").to_string()).collect();
    assert_eq!(listed, ["linux/amd64", "linux/arm"]);
    let mut other = Draft::empty(MediaType::OciIndex);
    assert!(matches!(proposal.apply(&mut other), Err(DraftError::NoEntry { at: 1 })));
}

#[test]
fn a_child_that_is_listed_rightly_as_well_is_not_listed_twice() {
    let mut twice = sample(&[("arm64", "arm/v7", ARM), ("arm/v7", "arm/v7", ARM)]);
    twice.entries[1].descriptor.digest = twice.entries[0].descriptor.digest.clone();
    let proposal = propose(&twice.entries, &twice.contents);
    assert_eq!(proposal, None, "somebody has listed it for two platforms on purpose");
}

#[test]
fn attestations_and_indexes_have_no_label_to_correct() {
    let odd = sample(&[("amd64", "amd64", AMD64)]).attested().nested(&["arm/v6l"]);
    assert_eq!(propose(&odd.entries, &odd.contents), None);
}

#[test]
fn labels_that_some_clients_do_not_find_are_remarked() {
    let notes = |platforms: &[&str]| reach(&platforms.iter().map(|text| platform(text)).collect::<Vec<_>>());
    assert!(notes(&["amd64", "arm64", "arm/v7"]).is_empty());
    assert!(notes(&["amd64", "arm64"]).is_empty());
    assert!(notes(&["arm64", "arm/v6"])[0].contains("--also linux/arm/v7"));
    assert!(notes(&["arm64", "arm"]).is_empty());
    assert!(notes(&["amd64", "arm/v7"])[0].contains("arm64 nodes"));
}

#[test]
fn the_least_variant_is_the_one_that_a_diagnosis_knows() {
    let arm = || elf::sample::Sample::of("arm");
    let go = |program: elf::sample::Sample, setting: (&str, &str)| program.go("go1.23.1", &[setting]);
    // Tag_CPU_arch 10 is ARMv7.
    let cases = [
        ("arm", arm(), "linux/arm"),
        ("arm", go(arm(), ("GOARM", "6")), "linux/arm/v6"),
        ("arm", arm().arm_attributes(&[(6, 10)]), "linux/arm/v7"),
        ("arm", go(arm().arm_attributes(&[(6, 10)]), ("GOARM", "5")), "linux/arm/v7"),
        ("amd64", go(elf::sample::Sample::of("amd64"), ("GOAMD64", "v3")), "linux/amd64"),
    ];
    for (claimed, program, expected) in cases {
        let contents = image(claimed, &program);
        match truth(&contents) {
            Truth::Known { platform, .. } => assert_eq!(platform.to_string(), expected),
            other => panic!("{expected}: {other:?}"),
        }
        if claimed == "arm" {
            let needs = Needs::of(&contents).expect("a binary");
            assert_eq!(needs.platform.to_string(), expected, "a diagnosis says something else");
        }
    }
}
