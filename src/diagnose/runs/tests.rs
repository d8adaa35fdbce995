use super::*;
use crate::core::elf::sample::Sample;
use crate::diagnose::testing::image::{host, image, on as based_on, then};
use crate::host::{Binfmt, Recorded, boards, kind};

fn runs(claimed: &str, program: &Sample, board: &Recorded) -> &'static str {
    kind(&on(&image(claimed, program), &host(board)))
}

fn go(architecture: &str, name: &str, value: &str) -> Sample {
    Sample::of(architecture).go("go1.23.1", &[(name, value)])
}

#[test]
fn the_program_counts_and_not_the_label() {
    let hosts = [boards::pi_zero(), boards::pi_2(), boards::pi_4(), boards::skylake_server(), boards::z14()];
    let verdicts = |claimed: &str, program: &Sample| hosts.each_ref().map(|board| runs(claimed, program, board));
    assert_eq!(verdicts("arm64", &Sample::of("arm")), ["native", "native", "compat", "no", "no"]);
    assert_eq!(verdicts("arm", &Sample::of("arm64")), ["no", "no", "native", "no", "no"]);
    assert_eq!(verdicts("arm", &Sample::of("386")), ["no", "no", "no", "compat", "no"]);
    assert_eq!(verdicts("amd64", &Sample::of("s390x")), ["no", "no", "no", "no", "native"]);
    // Where nothing was found, the claim is all there is.
    let mut unread = image("arm64", &Sample::of("arm"));
    unread.start = None;
    assert_eq!(kind(&on(&unread, &host(&boards::pi_4()))), "native");
}

#[test]
fn levels_are_held_against_the_cpu() {
    for (program, board, expected) in [
        (go("amd64", "GOAMD64", "v3"), boards::westmere(), "no"),
        (go("amd64", "GOAMD64", "v3"), boards::skylake_server(), "native"),
        (go("amd64", "GOAMD64", "v2"), boards::westmere(), "native"),
        (go("arm", "GOARM", "7"), boards::pi_zero(), "no"),
        (go("arm", "GOARM", "6"), boards::pi_zero(), "native"),
        (go("arm", "GOARM", "5"), boards::arm926(), "native"),
        (go("arm", "GOARM", "7"), boards::pi_4(), "compat"),
        (go("arm64", "GOARM64", "v8.2"), boards::pi_4(), "no"),
        (go("arm64", "GOARM64", "v8.0,lse"), boards::pi_4(), "no"),
        (go("arm64", "GOARM64", "v8.0,lse"), boards::graviton2(), "native"),
        (go("ppc64le", "GOPPC64", "power10"), boards::power9(), "no"),
        (go("riscv64", "GORISCV64", "rva23u64"), boards::spacemit_k1(), "no"),
        (go("riscv64", "GORISCV64", "rva22u64"), boards::spacemit_k1(), "native"),
        // Hints do not settle anything.
        (Sample::of("amd64").x86_note(0b111), boards::westmere(), "unknown"),
        (Sample::of("amd64").x86_note(0b111), boards::skylake_server(), "native"),
    ] {
        let host = host(&board);
        let architecture = host.kernel.platform.architecture.clone();
        assert_eq!(kind(&on(&image(&architecture, &program), &host)), expected, "{program:?} on {architecture}");
    }
    let enterprise =
        based_on(image("amd64", &Sample::of("amd64").interpreter("/lib64/ld-linux-x86-64.so.2")), "rocky", "10.0");
    let Execution::No { reason } = on(&enterprise, &host(&boards::westmere())) else { panic!("v3 on v2") };
    assert_eq!(
        reason,
        "/usr/bin/app needs amd64/v3 (os-release says rocky 10.0, which is built for amd64/v3), and this CPU is amd64/v2"
    );
}

#[test]
fn an_unknown_level_is_told_and_not_guessed() {
    let host = host(&Recorded { cpuid: Default::default(), ..boards::skylake_server() });
    assert_eq!(host.isa.level, None);
    let level = |program: &Sample| on(&image("amd64", program), &host);
    let Execution::Unknown { reason } = level(&go("amd64", "GOAMD64", "v2")) else { panic!("an unknown level") };
    assert!(reason.ends_with("this CPU is of a level that is not known"), "{reason}");
    // As on a CPU that is known to be below, a hint keeps it from being promised.
    assert_eq!(kind(&level(&Sample::of("amd64").x86_note(0b111))), "unknown");
    assert_eq!(kind(&level(&go("amd64", "GOAMD64", "v1"))), "native");
    assert_eq!(kind(&level(&Sample::of("amd64"))), "native");
}

/// A node of which only the platform is named.
fn named(platform: &str) -> HostReport {
    Node::named(platform).expect(platform).report
}

#[test]
fn what_a_platform_does_not_name_is_neither_promised_nor_denied() {
    let based = |architecture: &str, id: &str, version: &str| {
        let loader = match architecture {
            "amd64" => "/lib64/ld-linux-x86-64.so.2",
            "riscv64" => "/lib/ld-linux-riscv64-lp64d.so.1",
            _ => "/lib64/ld64.so.2",
        };
        based_on(image(architecture, &Sample::of(architecture).interpreter(loader)), id, version)
    };
    let built = |architecture: &str, name: &str, value: &str| image(architecture, &go(architecture, name, value));
    let level = |contents: Contents, node: &'static str| (contents, node, ObstacleKind::Level);
    let rows = [
        level(built("amd64", "GOAMD64", "v3"), "linux/amd64"),
        level(image("amd64", &Sample::of("amd64").x86_note(0b11)), "linux/amd64"),
        level(based("amd64", "rocky", "9.4"), "linux/amd64"),
        level(image("amd64/v3", &Sample::of("amd64")), "linux/amd64"),
        level(built("arm64", "GOARM64", "v8.2"), "linux/arm64"),
        level(built("ppc64le", "GOPPC64", "power9"), "linux/ppc64le"),
        level(based("ppc64le", "ubuntu", "22.04"), "linux/ppc64le"),
        level(built("riscv64", "GORISCV64", "rva22u64"), "linux/riscv64"),
        level(based("riscv64", "ubuntu", "25.10"), "linux/riscv64"),
        level(based("s390x", "rhel", "9.0"), "linux/s390x"),
        (built("arm64", "GOARM64", "v8.0,lse"), "linux/arm64", ObstacleKind::Feature),
        (built("arm64", "GOARM64", "v8.1,crypto"), "arm64/v8.1", ObstacleKind::Feature),
        (image("arm", &Sample::of("arm").flags(0x0500_0400)), "arm/v5", ObstacleKind::Float),
        (
            image("arm64", &Sample::of("arm64").load([0x2f00, 0x40_3f00, 0x100], 6, 0x1000)),
            "linux/arm64",
            ObstacleKind::PageSize,
        ),
    ];
    for (contents, node, expected) in rows {
        let Execution::Unknown { reason } = on(&contents, &named(node)) else { panic!("{expected:?} on {node}") };
        assert!(reason.contains("not known"), "{reason}");
        let found = obstacles(&contents, &named(node));
        assert!(found.iter().all(|obstacle| obstacle.weight == Weight::Unknown), "{found:?} on {node}");
        assert!(found.iter().any(|obstacle| obstacle.kind == expected), "{found:?} on {node}");
    }
    // What every such machine has.
    let rows = [
        (built("amd64", "GOAMD64", "v1"), "linux/amd64"),
        (built("amd64", "GOAMD64", "v3"), "linux/amd64/v3"),
        (built("arm64", "GOARM64", "v8.0"), "linux/arm64"),
        (built("arm64", "GOARM64", "v8.1"), "arm64/v8.1"),
        (built("ppc64le", "GOPPC64", "power8"), "linux/ppc64le"),
        (built("riscv64", "GORISCV64", "rva20u64"), "linux/riscv64"),
        (image("arm64", &Sample::of("arm64")), "linux/arm64"),
        (image("s390x", &Sample::of("s390x")), "linux/s390x"),
    ];
    for (contents, node) in rows {
        assert_eq!(kind(&on(&contents, &named(node))), "native", "{node}");
        assert_eq!(obstacles(&contents, &named(node)), [], "{node}");
    }
    // Nothing has smaller pages.
    let crooked = image("arm64", &Sample::of("arm64").load([0x2f80, 0x40_3f00, 0x100], 6, 0x1000));
    assert_eq!(kind(&on(&crooked, &named("linux/arm64"))), "no");
}

#[test]
fn conventions_of_arm() {
    let old = Sample::of("arm").flags(0);
    assert_eq!(runs("arm", &old, &boards::pi_4()), "no");
    assert_eq!(runs("arm", &old, &boards::pi_2()), "native");
    let hard = Sample::of("arm").flags(0x0500_0400);
    assert_eq!(runs("arm", &hard, &boards::arm926()), "no");
    assert_eq!(runs("arm", &hard, &boards::pi_zero()), "native");
    assert_eq!(runs("arm", &hard, &boards::pi_4()), "compat");
    assert_eq!(runs("arm", &Sample::of("arm").flags(0x0500_0200), &boards::arm926()), "native");
}

#[test]
fn pages_have_to_fit() {
    let packed = Sample::of("arm64").load([0x2f00, 0x40_3f00, 0x100], 6, 0x1000);
    assert_eq!(runs("arm64", &packed, &boards::graviton2()), "native");
    assert_eq!(runs("arm64", &packed, &boards::apple_m1()), "no");
    let found = obstacles(&image("arm64", &packed), &host(&boards::apple_m1()));
    assert_eq!(found.iter().map(|obstacle| obstacle.kind).collect::<Vec<_>>(), [ObstacleKind::PageSize]);
    assert!(found[0].evidence[0].what.contains("offset 0x2f00 for address 0x403f00, p_align 0x1000"));
}

#[test]
fn an_emulator_has_the_last_word() {
    let mut emulating = host(&boards::skylake_server());
    let emulated = Execution::Emulated {
        handler: Some("qemu-arm".into()),
        interpreter: None,
        flags: "F".into(),
        usable_in_containers: true,
    };
    emulating.binfmt = Binfmt::Enabled;
    emulating.runs.retain(|runs| runs.architecture != "arm");
    emulating.runs.push(crate::host::Runs {
        architecture: "arm".into(),
        execution: emulated.clone(),
        known_by: "a test program ran".into(),
    });
    for program in [go("arm", "GOARM", "7"), Sample::of("arm").flags(0), Sample::of("arm").flags(0x0500_0400)] {
        let contents = image("arm", &program);
        assert_eq!(on(&contents, &emulating), emulated);
        assert_eq!(obstacles(&contents, &emulating), []);
    }
}

#[test]
fn what_is_no_program_runs_nowhere() {
    assert_eq!(runs("amd64", &Sample::of("amd64").kind(1), &boards::skylake_server()), "no");
    assert_eq!(runs("amd64", &Sample::of("amd64").kind(4), &boards::skylake_server()), "no");
}

#[test]
fn all_programs_that_are_started_have_to_run() {
    let on = |first: &str, second: Sample, board: &Recorded| {
        kind(&on(&then(image("arm64", &Sample::of(first)), "/second", &second), &host(board)))
    };
    assert_eq!(on("arm64", Sample::of("arm64"), &boards::pi_4()), "native");
    assert_eq!(on("arm64", Sample::of("arm"), &boards::pi_4()), "compat");
    assert_eq!(on("arm64", Sample::of("arm"), &boards::apple_m1()), "no");
    assert_eq!(on("arm64", Sample::of("amd64"), &boards::pi_4()), "no");
    assert_eq!(on("arm64", Sample::of("amd64"), &boards::westmere()), "no");
    assert_eq!(on("arm64", go("arm64", "GOARM64", "v8.2"), &boards::pi_4()), "no");
}

#[test]
fn a_bare_arm_that_nobody_looked_into_may_be_any() {
    let unread = |claim: &str| {
        let mut unread = image(claim, &Sample::of("arm"));
        unread.start = None;
        unread
    };
    for (claim, board, expected) in [
        ("arm", boards::pi_zero(), "unknown"),
        ("arm", boards::pi_2(), "native"),
        ("arm", boards::pi_4(), "compat"),
        ("arm", boards::apple_m1(), "no"),
        ("arm", boards::westmere(), "no"),
        // A word of the publisher's.
        ("arm/v7", boards::pi_zero(), "no"),
    ] {
        assert_eq!(kind(&on(&unread(claim), &host(&board))), expected, "{claim}");
    }
}
