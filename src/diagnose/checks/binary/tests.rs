use super::*;
use crate::core::elf::sample::Sample;
use crate::diagnose::testing::image::{alone, configured, host, image, on, then};
use crate::host::{Recorded, boards};

fn node(name: &str, board: &Recorded) -> Node {
    Node { name: name.into(), report: host(board) }
}

fn findings(contents: &Contents, nodes: &[Node]) -> Vec<Finding> {
    let nodes: Vec<&Node> = nodes.iter().collect();
    check(&"registry.example.com/org/app:1".parse().expect("a reference"), contents, &nodes)
}

/// Code and severity of each finding.
fn ids(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings.iter().map(|finding| (finding.id.code(), finding.severity)).collect()
}

fn go(architecture: &str, name: &str, value: &str) -> Sample {
    Sample::of(architecture).go("go1.23.1", &[(name, value)])
}

#[test]
fn a_wrong_label_is_named_with_its_bytes_and_its_remedy() {
    let contents = configured(image("arm64", &go("arm", "GOARM", "6")), "arm/v6");
    let found = findings(&contents, &[]);
    assert_eq!(ids(&found), [("PLAT-003", Severity::Error)]);
    let finding = &found[0];
    assert_eq!(finding.entry.as_deref(), Some("1"));
    assert_eq!(
        finding.message,
        "declared arm64, ELF machine 40 (ARM, EABI5): /usr/bin/app is built for linux/arm, and the config says so too (linux/arm/v6): only the index is wrong"
    );
    let machine = finding.evidence.iter().find(|evidence| evidence.what.starts_with("e_machine")).expect("e_machine");
    assert_eq!((machine.offset, machine.bytes.as_deref()), (Some(0x12), Some("2800")));
    assert_eq!(machine.path.as_deref(), Some("/usr/bin/app"));
    let flags = finding.evidence.iter().find(|evidence| evidence.what.starts_with("e_flags")).expect("e_flags");
    assert_eq!((flags.offset, flags.bytes.as_deref()), (Some(0x24), Some("00000005")));
    let digest = &contents.descriptor.digest;
    assert_eq!(
        finding.remedies[0].commands,
        [format!(
            "lighterman manifest annotate registry.example.com/org/app:1 --entry {digest} --os linux --arch arm --variant v6 --push"
        )]
    );
}

#[test]
fn one_wrong_thing_gives_one_error() {
    use Severity::{Error, Warning};
    let arm = Sample::of("arm");
    for (label, config, expected) in [
        ("arm", "arm", [].as_slice()),
        ("arm/v7", "arm/v7", &[]),
        ("arm64", "arm", &[("PLAT-003", Error)]),
        ("arm64", "arm64", &[("PLAT-004", Error)]),
        ("aarch64", "arm64", &[("PLAT-004", Error)]),
        ("arm64", "amd64", &[("PLAT-003", Error), ("PLAT-004", Warning)]),
        ("arm", "arm64", &[("PLAT-004", Warning)]),
        ("arm64", "", &[("PLAT-003", Error)]),
        ("", "arm64", &[("PLAT-004", Error)]),
        ("", "", &[]),
        ("unknown", "arm", &[("PLAT-003", Error)]),
    ] {
        let contents = configured(image(label, &arm), config);
        assert_eq!(ids(&findings(&contents, &[])), expected, "{label:?} {config:?}");
    }
    assert_eq!(ids(&findings(&alone(image("arm64", &arm)), &[])), [("PLAT-004", Error)]);
    assert_eq!(findings(&alone(image("arm", &arm)), &[]), []);
    // Every kernel for amd64 that matters runs it all the same.
    assert_eq!(ids(&findings(&image("amd64", &Sample::of("386")), &[])), [("PLAT-004", Warning)]);
}

#[test]
fn a_wrong_config_is_corrected_where_it_stands() {
    let listed = findings(&image("arm64", &go("arm", "GOARM", "5")), &[]).remove(0);
    let commands: Vec<&str> =
        listed.remedies.iter().flat_map(|remedy| remedy.commands.iter().map(String::as_str)).collect();
    assert!(commands[0].starts_with("docker buildx build --platform linux/arm64 "), "{commands:?}");
    assert!(commands[2].starts_with("docker buildx build --platform linux/arm/v5 "), "{commands:?}");
    assert!(commands[4].contains("--arch arm --variant v5 --push"), "{commands:?}");
    assert!(
        commands[5].contains("--set-platform linux/arm/v5 --tag registry.example.com/org/app:1-arm"),
        "{commands:?}"
    );
    let lone = findings(&alone(image("arm", &Sample::of("arm64"))), &[]).remove(0);
    let digest = &image("arm", &Sample::of("arm")).descriptor.digest;
    assert_eq!(
        lone.remedies[2].commands,
        [format!(
            "crane mutate registry.example.com/org/app@{digest} --set-platform linux/arm64 --tag registry.example.com/org/app:1"
        )]
    );
    // A variant that nobody knows is proposed with its reason.
    let unsure = findings(&configured(image("arm64", &Sample::of("arm")), "arm"), &[]).remove(0);
    assert!(unsure.remedies[0].commands[0].contains("--variant v7"));
    assert!(unsure.remedies[0].text.contains("does not say which ARM"));
    let cleared = findings(&configured(image("arm/v7", &Sample::of("arm64")), "arm64"), &[]).remove(0);
    assert!(cleared.remedies[0].commands[0].contains("--arch arm64 --clear-variant"));
    assert!(cleared.remedies[1].commands[0].starts_with("docker buildx build --platform linux/arm/v7 "));
}

#[test]
fn variants_of_arm_are_held_against_the_program() {
    use Severity::{Error, Warning};
    let debian = Sample::of("arm").flags(0x0500_0400).interpreter("/lib/ld-linux-armhf.so.3");
    for (label, program, expected) in [
        ("arm", go("arm", "GOARM", "5"), [("PLAT-006", Warning)].as_slice()),
        ("arm", go("arm", "GOARM", "6"), &[("PLAT-006", Warning)]),
        ("arm", go("arm", "GOARM", "7"), &[]),
        ("arm/v7", go("arm", "GOARM", "6"), &[]),
        ("arm/v6", go("arm", "GOARM", "6"), &[]),
        ("arm/v6", go("arm", "GOARM", "7"), &[("PLAT-003", Error)]),
        ("arm/v6", debian, &[("PLAT-003", Warning)]),
        ("arm/v6", Sample::of("arm"), &[]),
        // Levels of others are nobody's label.
        ("amd64", go("amd64", "GOAMD64", "v3"), &[]),
    ] {
        let contents = on(image(label, &program), "debian", "12");
        assert_eq!(ids(&findings(&contents, &[])), expected, "{label} {program:?}");
    }
    let lone = alone(image("arm/v5", &go("arm", "GOARM", "7")));
    assert_eq!(ids(&findings(&lone, &[])), [("PLAT-004", Error)]);
    let message = findings(&image("arm", &go("arm", "GOARM", "6")), &[]).remove(0).message;
    assert!(message.contains("runs from v6 on (Go's settings of the build: GOARM=6)"), "{message}");
}

#[test]
fn nodes_that_cannot_give_what_it_needs_are_named() {
    use Severity::{Error, Warning};
    let packed = Sample::of("arm64").load([0x2f00, 0x40_3f00, 0x100], 6, 0x1000);
    for (claimed, program, board, expected) in [
        ("arm/v7", go("arm", "GOARM", "7"), boards::pi_zero(), [("PLAT-008", Error)].as_slice()),
        ("arm/v7", go("arm", "GOARM", "7"), boards::pi_2(), &[]),
        ("arm/v7", Sample::of("arm"), boards::pi_zero(), &[("PLAT-008", Warning)]),
        ("amd64", go("amd64", "GOAMD64", "v3"), boards::westmere(), &[("ISA-001", Error)]),
        ("amd64", Sample::of("amd64").x86_note(7), boards::westmere(), &[("ISA-001", Warning)]),
        ("amd64", go("amd64", "GOAMD64", "v3"), boards::skylake_server(), &[]),
        ("arm64", go("arm64", "GOARM64", "v8.0,lse"), boards::pi_4(), &[("ISA-002", Error)]),
        ("arm64", go("arm64", "GOARM64", "v8.1"), boards::pi_4(), &[("ISA-002", Error)]),
        ("ppc64le", go("ppc64le", "GOPPC64", "power10"), boards::power9(), &[("ISA-003", Error)]),
        ("arm/v5", Sample::of("arm").flags(0x0500_0400), boards::arm926(), &[("ISA-004", Error)]),
        ("arm/v5", Sample::of("arm").flags(0), boards::pi_4(), &[("ISA-004", Error)]),
        ("arm64", packed.clone(), boards::apple_m1(), &[("PAGE-001", Error)]),
        ("arm64", packed, boards::pi_4(), &[]),
        // What is not for this node at all is no matter of levels.
        ("amd64", go("amd64", "GOAMD64", "v3"), boards::pi_4(), &[]),
    ] {
        let found = findings(&image(claimed, &program), &[node("there", &board)]);
        assert_eq!(ids(&found), expected, "{claimed} {program:?}");
        assert!(found.iter().all(|finding| finding.node.as_deref() == Some("there")));
        assert!(found.iter().all(|finding| !finding.remedies.is_empty() && !finding.evidence.is_empty()));
    }
}

#[test]
fn what_is_no_program_is_all_there_is_to_say() {
    let object = image("arm64", &Sample::of("amd64").kind(1));
    let found = findings(&object, &[node("there", &boards::westmere())]);
    assert_eq!(ids(&found), [("ELF-006", Severity::Error)]);
    assert!(found[0].message.contains("an object file"), "{}", found[0].message);
}

#[test]
fn strangers_do_not_write_on_the_terminal() {
    let mut contents = configured(image("arm64", &Sample::of("arm")), "amd64");
    contents.descriptor.platform = Some(crate::core::platform::Platform::linux("arm64\u{1b}[2J\nx", "$(reboot)"));
    contents.config.platform.variant = "\r`id`".into();
    if let Some(step) = contents.start.as_mut().and_then(|start| start.first.steps.last_mut()) {
        step.file.path = "/a\u{1b}[2J\nb".into();
    }
    let found = findings(&contents, &[]);
    assert!(!found.is_empty());
    for finding in &found {
        assert!(!finding.message.contains(char::is_control), "{:?}", finding.message);
        assert!(finding.evidence.iter().all(|evidence| !evidence.what.contains(char::is_control)));
        for command in finding.remedies.iter().flat_map(|remedy| &remedy.commands) {
            // What strangers named is one word in quotes.
            let outside: String = command.split('\'').step_by(2).collect();
            assert!(!outside.contains(['`', '(', '$']) && !command.contains(char::is_control), "{command}");
        }
    }
}

#[test]
fn a_program_that_another_one_starts_is_checked_like_the_first() {
    use Severity::{Error, Note};
    let (arm64, amd64) = (Sample::of("arm64"), Sample::of("amd64"));
    for (claimed, first, second, expected) in [
        ("arm64", arm64.clone(), arm64.clone(), [].as_slice()),
        // The base is right, or the program is: one thing is wrong all the same.
        ("arm64", arm64.clone(), amd64.clone(), &[("ELF-007", Error)]),
        ("amd64", arm64.clone(), amd64.clone(), &[("ELF-007", Error)]),
        ("s390x", arm64.clone(), arm64.clone(), &[("PLAT-004", Error)]),
        ("s390x", arm64.clone(), amd64.clone(), &[("ELF-007", Error), ("PLAT-004", Error)]),
        ("amd64", amd64.clone(), Sample::of("386"), &[("ELF-007", Note)]),
        ("amd64", amd64.clone(), amd64.clone().kind(1), &[("ELF-006", Error)]),
        ("arm/v6", go("arm", "GOARM", "6"), go("arm", "GOARM", "7"), &[("PLAT-003", Error)]),
        ("arm/v6", go("arm", "GOARM", "7"), go("arm", "GOARM", "6"), &[("PLAT-003", Error)]),
        ("arm", go("arm", "GOARM", "7"), go("arm", "GOARM", "6"), &[]),
    ] {
        let found = findings(&then(image(claimed, &first), "/srv/second", &second), &[]);
        assert_eq!(ids(&found), expected, "{claimed} {first:?} {second:?}");
    }
    let mixed = findings(&then(image("arm64", &arm64), "/srv/second", &amd64), &[]).remove(0);
    assert!(
        mixed
            .message
            .starts_with("/srv/second is ELF 64-bit x86-64 (amd64), and what starts it (app -> /srv/second) is")
    );
    // Of several that lack the same the first is named.
    let v3 = || go("amd64", "GOAMD64", "v3");
    for contents in [then(image("amd64", &amd64), "/b", &v3()), then(image("amd64", &v3()), "/b", &v3())] {
        let found = findings(&contents, &[node("there", &boards::westmere())]);
        assert_eq!(ids(&found), [("ISA-001", Error)]);
    }
    // What only may be started is a warning.
    let mut may = then(image("arm64", &arm64), "/srv/second", &amd64);
    may.start.as_mut().expect("a program").next[0].certain = false;
    assert_eq!(ids(&findings(&may, &[])), [("ELF-007", Severity::Warning)]);
}

#[test]
fn the_worlds_of_loongarch_do_not_run_each_others_programs() {
    let old = Sample::of("loong64").flags(0x3).interpreter("/lib64/ld.so.1");
    let new = Sample::of("loong64").interpreter("/lib64/ld-linux-loongarch-lp64d.so.1");
    let go = Sample::of("loong64").flags(0x3);
    for (release, program, expected) in [
        // Older Go wrote such flags for the new world.
        ("", &go, [].as_slice()),
        ("", &old, &[("ISA-003", Severity::Error)]),
        ("6.12.9", &old, &[("ISA-003", Severity::Error)]),
        ("4.19.0-19-loongson-3", &old, &[]),
        ("4.19.0-19-loongson-3", &new, &[("ISA-003", Severity::Error)]),
        ("6.12.9", &new, &[]),
        ("", &new, &[]),
    ] {
        let mut node = Node::named("linux/loong64").expect("a node");
        node.report.kernel.release = release.into();
        let found = findings(&image("loong64", program), &[node]);
        assert_eq!(ids(&found), expected, "{release} {program:?}");
        for finding in &found {
            assert!(finding.evidence.len() == 2 && !finding.remedies.is_empty(), "{finding:?}");
        }
    }
}
