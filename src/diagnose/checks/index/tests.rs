//! Every finding on indexes, and the many ordinary ones that must give none.

use proptest::prelude::*;

use super::*;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::diagnose::finding::{Id, Severity};
use crate::diagnose::report;
use crate::diagnose::samples::Sample;

use Severity::{Error, Note, Warning};

fn nodes(names: &[&str]) -> Vec<Node> {
    names.iter().map(|name| Node::named(name).expect(name)).collect()
}

fn findings(name: &str, sample: &Sample, hosts: &[&str]) -> Vec<Finding> {
    check(&name.parse().expect(name), sample.image(), &nodes(hosts))
}

/// Code, severity, entry and node of each.
fn told(sample: &Sample, hosts: &[&str]) -> Vec<(Id, Severity, String, String)> {
    let row = |finding: Finding| {
        (finding.id, finding.severity, finding.entry.unwrap_or_default(), finding.node.unwrap_or_default())
    };
    findings("org/app:1", sample, hosts).into_iter().map(row).collect()
}

fn expect(sample: &Sample, hosts: &[&str], expected: &[(Id, Severity, &str, &str)]) {
    let found = told(sample, hosts);
    let found: Vec<_> =
        found.iter().map(|(id, severity, entry, node)| (*id, *severity, entry.as_str(), node.as_str())).collect();
    assert_eq!(found, expected, "{:#?}", findings("org/app:1", sample, hosts));
}

const ORDINARY_HOSTS: [&str; 8] =
    ["amd64", "amd64/v3", "raspberry-pi-4", "linux/arm64", "linux/arm/v7", "raspberry-pi-zero", "power9", "z15"];

#[test]
fn ordinary_images_give_no_finding() {
    let official = ["amd64", "arm/v5", "arm/v6", "arm/v7", "arm64/v8", "386", "ppc64le", "riscv64", "s390x"];
    let buildx = || Sample::index().all(&["amd64", "arm64", "arm/v6", "arm/v7", "ppc64le", "s390x"]);
    let samples = [
        ("official image", Sample::index().all(&official)),
        (
            "buildx with attestations",
            official.iter().fold(Sample::index(), |sample, platform| sample.of(platform).attested()),
        ),
        ("attestations at the end", buildx().attested().attested()),
        (
            "configs without variants",
            official.iter().fold(Sample::index(), |sample, platform| {
                sample.with(Some(platform), platform.split('/').next().expect("a name"))
            }),
        ),
        (
            "arm64 and v8 are the same",
            Sample::index().with(Some("arm64"), "arm64/v8").all(&["amd64", "arm/v5", "ppc64le", "s390x"]),
        ),
        ("levels", Sample::index().all(&["amd64", "amd64/v2", "amd64/v3", "arm64", "arm/v5", "ppc64le", "s390x"])),
        ("with Windows", buildx().of("windows:amd64").of("windows:arm64")),
        (
            "programs looked into",
            Sample::index()
                .of("amd64")
                .holding("amd64")
                .of("arm64")
                .holding("arm64")
                .of("s390x")
                .holding("s390x")
                .all(&["arm/v5", "ppc64le"]),
        ),
        ("WebAssembly beside", buildx().of("wasi:wasm32")),
    ];
    for (name, sample) in samples {
        let found = findings("org/app:1", &sample, &ORDINARY_HOSTS);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
    let lone = Sample::lone("amd64").holding("amd64");
    for name in ["app", "amd64/busybox", "org/app:1.2-amd64", "org/app-x86_64"] {
        assert!(findings(name, &lone, &["amd64", "amd64/v4"]).is_empty(), "{name}");
    }
    let arm = Sample::index().of("arm/v7");
    assert!(findings("arm32v7/busybox", &arm, &["linux/arm/v7"]).is_empty());
}

#[test]
fn nodes_without_a_match_are_told_what_there_is() {
    let sample = Sample::index().all(&["amd64", "arm64"]).attested();
    expect(&sample, &["amd64", "z14"], &[(Id::NoMatch, Error, "", "z14")]);
    let found = &findings("org/app:1", &sample, &["z14"])[0];
    assert_eq!(found.message, "nothing in the image is for linux/s390x; it has linux/amd64, linux/arm64");
    let commands: Vec<&str> = found.remedies.iter().flat_map(|remedy| &remedy.commands).map(String::as_str).collect();
    assert_eq!(
        commands,
        [
            "docker buildx build --platform linux/amd64,linux/arm64,linux/s390x -t org/app:1 --push .",
            "docker run --privileged --rm tonistiigi/binfmt --install amd64",
        ]
    );
    // What runs and is taken by nobody is offered first.
    let v3 = Sample::index().of("amd64/v3");
    expect(&v3, &["x86-64-v3"], &[(Id::NoMatch, Error, "", "x86-64-v3")]);
    let found = &findings("org/app:1", &v3, &["x86-64-v3"])[0];
    assert_eq!(found.remedies[0].commands, ["lighterman pull org/app:1 --platform linux/amd64/v3"]);
    // An entry without platform that is not the first is named by its digest.
    let nil = Sample::index().with(None, "arm64").with(None, "amd64");
    let found = findings("org/app:1", &nil, &["amd64"]);
    let none = found.iter().find(|finding| finding.id == Id::NoMatch).expect("no match");
    let digest = &nil.entries[1].descriptor.digest;
    assert_eq!(none.remedies[0].commands, [format!("lighterman pull org/app@{digest}")]);
    // A name for another architecture has a sister for all.
    let arm = Sample::index().of("arm/v7");
    let found = &findings("arm32v7/busybox", &arm, &["amd64"])[0];
    assert_eq!((found.id, found.remedies[0].commands[0].as_str()), (Id::NoMatch, "lighterman diagnose busybox:latest"));
}

#[test]
fn the_seed_has_one_cause() {
    // The label is wrong: binaries are checked elsewhere, and say so with an error.
    let mut sample = Sample::index().of("amd64").holding("amd64").with(Some("arm64"), "arm/v6").holding("arm");
    expect(
        &sample,
        &["amd64", "raspberry-pi-4", "linux/arm/v7"],
        &[(Id::LabelVsConfig, Warning, "1", ""), (Id::NoMatch, Warning, "", "linux/arm/v7")],
    );
    let found = findings("org/app:1", &sample, &[]);
    let digest = &sample.entries[1].descriptor.digest;
    assert_eq!(
        found[0].remedies[0].commands,
        [format!("lighterman manifest annotate org/app:1 --entry {digest} --os linux --arch arm --variant v6 --push")]
    );
    assert!(found[0].evidence.len() == 2 && found[0].evidence.iter().all(|evidence| evidence.verified));
    assert_eq!(found[0].evidence[0].digest.as_ref(), Some(&sample.root.digest));
    // Its config too, as in the blog post.
    sample.contents[1].config.platform = crate::diagnose::samples::platform("arm64");
    expect(&sample, &["amd64"], &[]);
    // Repaired in the index alone.
    let repaired = Sample::index().of("amd64").with(Some("arm/v6"), "arm64").holding("arm");
    expect(&repaired, &["amd64", "raspberry-pi-zero"], &[(Id::AnnotateOnly, Note, "1", "")]);
}

#[test]
fn labels_against_configs() {
    let rows = [
        (Some("arm64"), "amd64", Some((Id::LabelVsConfig, Warning))),
        (Some("windows:amd64"), "amd64", Some((Id::LabelVsConfig, Warning))),
        (Some("arm/v6"), "arm/v7", Some((Id::LabelVsConfig, Warning))),
        (Some("arm/v7"), "arm/v6", Some((Id::LabelVsConfig, Note))),
        (Some("arm/v6"), "arm", None),
        (Some("arm64"), "", None),
        (Some("arm64/v8"), "aarch64", None),
        (Some("arm"), "arm/v6", Some((Id::VariantMissing, Warning))),
        (Some("arm"), "arm", Some((Id::VariantMissing, Note))),
        (Some("arm"), "arm/v7", None),
        (None, "arm64", Some((Id::NoPlatform, Warning))),
        (Some("arm/v6l"), "arm", Some((Id::VariantUnknown, Warning))),
        (Some("amd64/3"), "amd64", Some((Id::VariantUnknown, Warning))),
        (Some("armv7l"), "armv7l", Some((Id::VariantUnknown, Warning))),
        (Some("armv7l"), "arm/v7", Some((Id::VariantUnknown, Warning))),
        (Some("x86_64"), "amd64", Some((Id::VariantUnknown, Warning))),
        (Some("vax"), "vax", Some((Id::VariantUnknown, Warning))),
        (Some("arm64/v8.10"), "arm64", Some((Id::VariantUnknown, Warning))),
    ];
    for (declared, config, expected) in rows {
        let sample = Sample::index().with(declared, config);
        let found = told(&sample, &[]);
        assert!(found.len() <= 1, "{found:?}");
        let found = found.first().map(|(id, severity, entry, _)| {
            assert_eq!(entry, "0");
            (*id, *severity)
        });
        assert_eq!(found, expected, "{declared:?} with {config}: {:#?}", findings("app", &sample, &[]));
    }
    let sample = Sample::index().of("arm/v6l");
    let found = &findings("app", &sample, &[])[0];
    assert_eq!(
        found.message,
        "entry 0 is for linux/arm/v6l, and v6l is no variant of arm: there are v5, v6, v7 and v8"
    );
    assert!(found.remedies[0].commands[0].contains("--arch arm --variant v6 --push"), "{found:?}");
}

#[test]
fn a_bare_arm_is_told_unless_the_program_says_which_it_is() {
    // A program without build attributes says nothing.
    let bare = |config: &str| Sample::index().with(Some("arm"), config).holding("arm");
    expect(&bare("arm"), &[], &[(Id::VariantMissing, Note, "0", "")]);
    expect(&bare("arm/v6"), &[], &[(Id::VariantMissing, Warning, "0", "")]);
    expect(&bare("arm/v7"), &[], &[]);
    let mut told = bare("arm");
    let go = crate::core::elf::sample::Sample::of("arm").go("go1.23.1", &[("GOARM", "7")]);
    told.contents[0].start = Some(crate::diagnose::testing::image::starting("/app", "/app", go.bytes()));
    expect(&told, &[], &[]);
}

#[test]
fn images_that_cannot_be_had_are_one_finding() {
    let sample = Sample::index().all(&["amd64", "arm64", "s390x"]);
    let lost = |positions: &[usize]| {
        let spoilt =
            positions.iter().map(|at| report::Image::spoilt(&vec![*at], &sample.entries[*at].descriptor, "404".into()));
        let reference = "org/app:1".parse().expect("a reference");
        missing(&reference, sample.image(), &spoilt.collect::<Vec<_>>())
    };
    assert_eq!(lost(&[]), None);
    let one = lost(&[1]).expect("a finding");
    assert_eq!((one.id, one.severity, one.entry.as_deref()), (Id::ImageMissing, Error, Some("1")));
    assert_eq!(one.message, "entry 1 (linux/arm64) is listed and cannot be had: 404");
    assert_eq!(one.remedies[1].commands[0].matches("@sha256:").count(), 2);
    let two = lost(&[0, 2]).expect("a finding");
    assert_eq!((two.entry.as_deref(), two.evidence.len()), (None, 2));
    assert_eq!(lost(&[0, 1, 2]).expect("a finding").remedies.len(), 1);
    let mut nested = Sample::index().of("amd64").nested(&["arm64"]);
    nested.entries[1].inner = crate::core::select::Inner::Unusable("404".into());
    let reference = "org/app:1".parse().expect("a reference");
    assert_eq!(missing(&reference, nested.image(), &[]).expect("a finding").entry.as_deref(), Some("1"));
    // Nothing is left to choose from, and that is not known to be all.
    nested.entries.remove(0);
    expect(&nested, &["amd64"], &[(Id::NestedIndex, Warning, "0", "")]);
}

#[test]
fn what_is_listed_twice() {
    let twice = Sample::index().all(&["arm64", "amd64", "arm64/v8"]);
    expect(&twice, &["amd64"], &[(Id::DuplicatePlatform, Warning, "2", "")]);
    let command = &findings("org/app:1", &twice, &[])[0].remedies[0].commands[0];
    let digest = |at: usize| format!("docker.io/org/app@{}", twice.entries[at].descriptor.digest);
    assert_eq!(*command, format!("lighterman manifest create org/app:1 {} {} --push", digest(0), digest(1)));

    let mut same = twice.clone();
    same.entries[2].descriptor.digest = same.entries[0].descriptor.digest.clone();
    expect(&same, &[], &[(Id::DuplicatePlatform, Note, "2", "")]);

    let mut packed = twice;
    let layer = |kind: &str| {
        Descriptor::new(MediaType::Other(format!("application/vnd.oci.image.layer.v1.tar+{kind}")), Digest::of(b"l"), 1)
    };
    packed.contents[0].manifest.layers.push(layer("gzip"));
    packed.contents[2].manifest.layers.push(layer("zstd"));
    expect(&packed, &[], &[(Id::DuplicatePlatform, Note, "2", "")]);

    let mut windows = Sample::index().all(&["windows:amd64", "windows:amd64"]);
    for (entry, version) in windows.entries.iter_mut().zip(["10.0.17763.1", "10.0.20348.1"]) {
        entry.descriptor.platform.as_mut().expect("a platform").os_version = version.into();
    }
    expect(&windows, &[], &[]);
}

#[test]
fn how_indexes_are_put_together() {
    let nested = Sample::index().nested(&["amd64", "arm64"]).of("s390x");
    expect(&nested, &["amd64", "z14"], &[(Id::NestedIndex, Warning, "0", "")]);
    let command = &findings("org/app:1", &nested, &[])[0].remedies[0].commands[0];
    assert_eq!(command.matches("docker.io/org/app@sha256:").count(), 3, "{command}");

    let inside = Sample::index().nested(&["arm/v6l"]);
    expect(&inside, &[], &[(Id::NestedIndex, Warning, "0", ""), (Id::VariantUnknown, Warning, "0.0", "")]);

    let nil = Sample::index().with(None, "arm64").with(None, "amd64");
    expect(
        &nil,
        &["arm64", "amd64"],
        &[
            (Id::NoPlatform, Warning, "0", ""),
            (Id::NoPlatform, Warning, "1", ""),
            (Id::NoMatch, Error, "", "linux/amd64"),
        ],
    );

    // Nothing left to run: said once, and not for every node.
    let left = Sample::index().attested().attested();
    expect(&left, &["amd64", "arm64"], &[(Id::AttestationOnly, Error, "", "")]);
    expect(&Sample::index(), &["amd64", "arm64"], &[(Id::EmptyIndex, Error, "", "")]);
    expect(
        &Sample::index().nested(&[]),
        &["amd64"],
        &[(Id::EmptyIndex, Error, "", ""), (Id::NestedIndex, Warning, "0", "")],
    );
    let docker = Sample::index().of("amd64").attested();
    expect(&docker, &["amd64"], &[]);
}

#[test]
fn an_absurd_index_is_told_in_few_words() {
    let names: Vec<String> = (0..1000).map(|at| format!("arch{at}/{}", "x".repeat(200))).collect();
    let sample = names.iter().fold(Sample::index(), |sample, name| sample.of(name));
    let found = findings("org/app:1", &sample, &["amd64", "arm64"]);
    assert_eq!(found.iter().filter(|finding| finding.id == Id::NoMatch).count(), 2);
    let same = (0..1000).fold(Sample::index(), |sample, _| sample.of("amd64"));
    for finding in found.iter().chain(&findings("org/app:1", &same, &["amd64"])) {
        let commands = finding.remedies.iter().flat_map(|remedy| &remedy.commands).map(String::len).sum::<usize>();
        assert!(
            finding.message.len() < 8000 && finding.evidence.len() <= MOST && commands < 20_000,
            "{}",
            finding.id.code()
        );
    }
    let nodes = nodes(&ORDINARY_HOSTS);
    assert_eq!(crate::diagnose::fleet::Fleet::of(sample.image(), &nodes).images.len(), 1000);
}

#[test]
fn lone_manifests() {
    let lone = Sample::lone("amd64").holding("amd64");
    expect(&lone, &["amd64", "power9"], &[(Id::SingleArchMismatch, Error, "", "power9")]);
    // The config lies and the program would run: that is an error of its own, elsewhere.
    let cross = Sample::lone("amd64").holding("arm64");
    expect(&cross, &["raspberry-pi-4"], &[(Id::SingleArchMismatch, Warning, "", "raspberry-pi-4")]);
    let artifact = Sample::lone("");
    let found = findings("app", &artifact, &["power9"]);
    assert!(found[0].message.contains("names no platform at all"), "{found:?}");
    let found = findings("ppc64le/busybox:1.36", &Sample::lone("ppc64le"), &["raspberry-pi-4"]);
    assert_eq!(found[0].remedies[0].commands, ["lighterman diagnose busybox:1.36"]);
}

#[test]
fn fall_backs_to_32_bits() {
    let arm = Sample::index().all(&["s390x", "arm/v7"]);
    let hosts = ["raspberry-pi-4", "apple-silicon", "graviton4"];
    expect(
        &arm,
        &hosts,
        &[
            (Id::Fallback32Bit, Warning, "1", "raspberry-pi-4"),
            (Id::Fallback32Bit, Error, "1", "apple-silicon"),
            (Id::Fallback32Bit, Warning, "1", "graviton4"),
        ],
    );
    let i386 = Sample::index().of("386").holding("386");
    expect(&i386, &["x86-64-v2"], &[(Id::Fallback32Bit, Warning, "0", "x86-64-v2")]);
    let lone = Sample::lone("arm/v7");
    expect(&lone, &["apple-silicon"], &[(Id::Fallback32Bit, Error, "", "apple-silicon")]);
    // Listed as arm, and an arm64 program: the label is wrong, and it runs.
    let mislabelled = Sample::index().of("arm/v7").holding("arm64");
    expect(&mislabelled, &["apple-silicon"], &[(Id::Fallback32Bit, Warning, "0", "apple-silicon")]);
}

#[test]
fn names_that_speak_of_another_architecture() {
    let rows = [
        ("org/app:1-arm64", Sample::lone("amd64"), true),
        ("arm32v7/busybox", Sample::index().of("arm64"), true),
        ("org/app-amd64", Sample::index().all(&["arm64", "s390x"]), true),
        ("org/app:arm64", Sample::index().all(&["amd64", "arm64"]), false),
        ("org/app:armhf", Sample::lone("arm/v6"), false),
        ("org/app:1", Sample::lone("amd64"), false),
        // The label is wrong, and the name is right.
        ("org/app:1-arm", Sample::lone("arm64").holding("arm"), false),
    ];
    for (name, sample, expected) in rows {
        let found = findings(name, &sample, &[]);
        assert_eq!(found.iter().any(|finding| finding.id == Id::ArchSuffixName), expected, "{name}: {found:#?}");
        assert!(found.iter().all(|finding| finding.severity < Error));
    }
}

fn any_platform() -> impl Strategy<Value = String> {
    "(amd64|arm64|arm|386|s390x|x86_64|armv7l|unknown|[a-z0-9;' ]{0,6})(/v?[0-9.]{1,4})?"
}

proptest! {
    #[test]
    fn every_finding_is_whole(
        entries in prop::collection::vec((prop::option::of(any_platform()), any_platform()), 0..5),
        host in prop::sample::select(crate::host::known::names().collect::<Vec<_>>()),
    ) {
        let sample = entries.iter().fold(Sample::index(), |sample, (declared, config)| sample.with(declared.as_deref(), config));
        let found = findings("org/app-arm64:1", &sample, &[host, "linux/arm64"]);
        // One cause, one error for a node.
        for node in [host, "linux/arm64"] {
            let errors = found.iter().filter(|finding| finding.severity == Error && finding.node.as_deref() == Some(node));
            prop_assert!(errors.count() <= 1);
        }
        for finding in found {
            prop_assert!(!finding.message.is_empty() && !finding.message.contains(char::is_control));
            prop_assert!(!finding.evidence.is_empty() || finding.id == Id::NoMatch, "{:?}", finding);
            prop_assert!(finding.evidence.iter().all(|evidence| evidence.digest.is_some() && evidence.what.len() < 400));
        }
    }
}
