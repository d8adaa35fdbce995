use super::*;
use crate::core::elf::Binary;
use crate::core::elf::sample::Sample;
use crate::diagnose::checks::{binary, files};
use crate::diagnose::contents::{Loader, OtherLoader};
use crate::diagnose::finding::Severity;
use crate::diagnose::testing::image::{alone, configured, image, starting, then};

const ARM64: &str = "/lib/ld-linux-aarch64.so.1";
const AMD64: &str = "/lib64/ld-linux-x86-64.so.2";

fn dynamic() -> Sample {
    Sample::of("amd64").interpreter(AMD64)
}

/// In an image with these loaders in the place of the program's own.
fn among(mut contents: Contents, others: &[(&str, &'static str)]) -> Contents {
    let start = contents.start.as_mut().expect("a program");
    let others = others
        .iter()
        .map(|(path, architecture)| OtherLoader { path: (*path).into(), architecture: Some(*architecture) });
    let found = LoaderFound::Absent { others: others.collect() };
    let chain = start.next.last_mut().map_or(&mut start.first, |next| &mut next.chain);
    chain.loader = Some(Loader { asked: AMD64.into(), found });
    contents
}

fn all(contents: &Contents) -> Vec<Finding> {
    let reference = "registry.example/app:1".parse().expect("a reference");
    let mut findings = binary::check(&reference, contents, &[]);
    findings.extend(files::check(contents));
    folded(contents, findings)
}

fn told(contents: &Contents) -> Vec<(&'static str, Severity)> {
    all(contents).iter().map(|finding| (finding.id.code(), finding.severity)).collect()
}

#[test]
fn a_foreign_program_in_a_right_image_is_one_error() {
    let arm64 = [(ARM64, "arm64")];
    for contents in [
        image("arm64", &dynamic()),
        alone(image("arm64", &dynamic())),
        configured(image("arm64", &dynamic()), "amd64"),
        // The index is wrong too, and the config right.
        configured(image("amd64", &dynamic()), "arm64"),
    ] {
        let contents = among(contents, &arm64);
        assert_eq!(told(&contents), [("ELF-001", Severity::Error)], "{contents:?}");
        let finding = all(&contents).remove(0);
        assert!(finding.message.contains("says linux/arm64, as what is around the program"), "{}", finding.message);
        // What the other findings saw is in it: the header, and the document.
        assert!(finding.evidence.iter().any(|evidence| evidence.what.starts_with("e_machine")), "{finding:?}");
        assert!(finding.evidence.iter().any(|evidence| evidence.what.contains("linux/arm64")), "{finding:?}");
    }
}

#[test]
fn two_causes_stay_two() {
    use Severity::Error;
    // No C library at all: the right label would not help.
    assert_eq!(told(&among(image("arm64", &dynamic()), &[])), [("PLAT-004", Error), ("ELF-001", Error)]);
    // The label is of neither.
    assert_eq!(
        told(&among(image("s390x", &dynamic()), &[(ARM64, "arm64")])),
        [("PLAT-004", Error), ("ELF-001", Error)]
    );
    // The label is right.
    assert_eq!(told(&among(image("amd64", &dynamic()), &[(ARM64, "arm64")])), [("ELF-001", Error)]);
    // Another library of the right architecture says nothing of the label.
    let musl = [("/lib/ld-musl-x86_64.so.1", "amd64"), (ARM64, "arm64")];
    assert_eq!(told(&among(image("arm64", &dynamic()), &musl)), [("PLAT-004", Error), ("ELF-001", Error)]);
}

#[test]
fn a_loader_of_another_architecture_is_one_error() {
    let its = starting(AMD64, AMD64, Sample::of("arm64").bytes());
    let loader = |file: &crate::diagnose::rootfs::File, binary: &Binary| Loader {
        asked: AMD64.into(),
        found: LoaderFound::Elf(file.clone(), Box::new(binary.clone())),
    };
    let (file, binary) = its.first.binary().expect("a binary");
    let mut contents = image("arm64", &dynamic());
    contents.start.as_mut().expect("a program").first.loader = Some(loader(file, binary));
    assert_eq!(told(&contents), [("ELF-002", Severity::Error)]);
}

#[test]
fn behind_an_init_too() {
    let contents = then(image("arm64", &Sample::of("arm64")), "/app", &dynamic());
    let contents = among(contents, &[(ARM64, "arm64")]);
    assert_eq!(told(&contents), [("ELF-007", Severity::Error)]);
    assert!(all(&contents)[0].evidence.iter().any(|evidence| evidence.what.starts_with("PT_INTERP")));
}
