//! What else runs: compat and emulators, tried on every kind of board.

use super::boards::{self, QEMU_AARCH64, QEMU_ARM, With};
use super::kind;
use crate::core::platform::Platform;
use crate::host::{Binfmt, Depth, Execution, FindingKind, HostReport, Probe, Recorded, detect};

fn full(board: &Recorded) -> HostReport {
    detect(board, Depth::Full)
}

fn of(report: &HostReport, architecture: &str, variant: &str) -> &'static str {
    kind(&report.execution_of(&Platform::linux(architecture, variant)))
}

#[test]
fn levels_are_held_against_the_cpu() {
    let rows = [
        (boards::westmere(), "amd64", ["", "v1", "v2"].as_slice(), ["v3", "v4"].as_slice()),
        (boards::skylake_server(), "amd64", &["", "v4"], &["v5"]),
        (boards::graviton2(), "arm64", &["", "v8", "v8.1", "v8.2"], &["v8.3", "v9", "v9.1"]),
        (boards::graviton4(), "arm64", &["v8", "v8.5", "v9", "v9.0"], &["v8.6", "v9.1"]),
        (boards::pi_zero(), "arm", &["v5", "v6"], &["", "v7", "v8"]),
        (boards::pi_2(), "arm", &["", "v5", "v6", "v7"], &["v8"]),
        (boards::power9(), "ppc64le", &["", "power8", "power9"], &["power10"]),
        (boards::z14(), "s390x", &["", "z13", "z14", "zEC12"], &["z15", "z16"]),
        (boards::spacemit_k1(), "riscv64", &["", "rva20u64", "rva22u64"], &["rva23u64"]),
    ];
    for (board, architecture, run, do_not) in rows {
        let report = full(&board);
        for variant in run {
            assert_eq!(of(&report, architecture, variant), "native", "{architecture}/{variant}");
        }
        for variant in do_not {
            assert_eq!(of(&report, architecture, variant), "no", "{architecture}/{variant}");
        }
        assert_eq!(of(&report, architecture, "new"), "unknown", "{architecture}/new");
    }
    let Execution::No { reason } = full(&boards::westmere()).execution_of(&Platform::linux("amd64", "v3")) else {
        panic!("v3 does not run on v2");
    };
    assert_eq!(reason, "linux/amd64/v3 needs more than this CPU has, which is amd64/v2");
}

#[test]
fn other_kernels_and_spellings() {
    let report = full(&boards::graviton2());
    let windows = Platform { os: "windows".into(), ..Platform::linux("arm64", "") };
    assert_eq!(kind(&report.execution_of(&windows)), "no");
    assert_eq!(of(&report, "aarch64", "8"), "native");
    assert_eq!(of(&report, "armhf", ""), "compat");
}

#[test]
fn compat_is_what_a_test_program_says() {
    let with = full(&boards::graviton2().binfmt(&[]));
    for variant in ["", "v5", "v6", "v7", "v8"] {
        assert_eq!(of(&with, "arm", variant), "compat");
    }
    assert!(with.findings.is_empty(), "{:?}", with.findings);

    let without = full(&boards::apple_m1().binfmt(&[]));
    assert_eq!(of(&without, "arm", "v7"), "no");
    assert!(without.has(FindingKind::NoCompat));
    assert_eq!(without.page_size, Some(16384));

    let split = full(&boards::pi_4_armhf().binfmt(&[]));
    assert_eq!((of(&split, "arm64", ""), of(&split, "arm", "v7")), ("native", "compat"));
    let i386 = full(&boards::i386_userland().binfmt(&[]));
    assert_eq!((of(&i386, "amd64", "v4"), of(&i386, "386", "")), ("native", "compat"));
    assert_eq!(of(&full(&boards::pi_2().binfmt(&[])), "arm64", ""), "no");
}

#[test]
fn asymmetric_aarch32_is_named() {
    let report = full(&boards::graviton2().file("/sys/devices/system/cpu/aarch32_el0", "4-7\n").binfmt(&[]));
    assert!(report.has(FindingKind::AsymmetricAarch32));
}

#[test]
fn an_enabled_handler_that_works_emulates() {
    let board = boards::westmere()
        .binfmt(&[("qemu-aarch64", QEMU_AARCH64), ("qemu-arm", QEMU_ARM)])
        .probe("arm64", Probe::Ran)
        .probe("arm", Probe::Ran);
    let report = full(&board);
    assert_eq!(report.binfmt, Binfmt::Enabled);
    assert_eq!(
        report.execution_of(&Platform::linux("arm64", "v8")),
        Execution::Emulated {
            handler: Some("qemu-aarch64".into()),
            interpreter: Some("/usr/bin/qemu-aarch64-static".into()),
            flags: "OCF".into(),
            usable_in_containers: true,
        }
    );
    let Execution::Emulated { usable_in_containers, .. } = report.execution_of(&Platform::linux("arm", "v7")) else {
        panic!("arm is emulated");
    };
    assert!(!usable_in_containers);
    let host_only = report.findings.iter().find(|finding| finding.kind == FindingKind::EmulatorNotInContainers);
    assert!(host_only.is_some_and(|finding| finding.message.ends_with(": qemu-arm")), "{:?}", report.findings);
    assert_eq!(of(&report, "riscv64", ""), "no");
}

#[test]
fn a_handler_takes_even_what_the_cpu_could_run() {
    let i386 = QEMU_ARM.replace("02002800", "02000300").replace("qemu-arm", "qemu-i386");
    let report = full(&boards::westmere().binfmt(&[("qemu-i386", &i386)]));
    assert_eq!(of(&report, "386", ""), "emulated");
}

#[test]
fn the_newest_handler_wins() {
    let newer = QEMU_AARCH64.replace("/usr/bin/qemu-aarch64-static", "/opt/fast-arm64");
    let board =
        boards::westmere().binfmt(&[("fast", &newer), ("qemu-aarch64", QEMU_AARCH64)]).probe("arm64", Probe::Ran);
    let Execution::Emulated { handler, .. } = full(&board).execution_of(&Platform::linux("arm64", "")) else {
        panic!("arm64 is emulated");
    };
    assert_eq!(handler.as_deref(), Some("fast"));

    let disabled = newer.replace("enabled", "disabled");
    let board = board.binfmt(&[("fast", &disabled), ("qemu-aarch64", QEMU_AARCH64)]);
    let Execution::Emulated { handler, .. } = full(&board).execution_of(&Platform::linux("arm64", "")) else {
        panic!("arm64 is emulated");
    };
    assert_eq!(handler.as_deref(), Some("qemu-aarch64"));
}

#[test]
fn a_handler_that_does_not_work_is_broken() {
    for (outcome, expected) in [
        (Probe::Refused(nix::libc::ENOENT), "does not exist here (ENOENT)"),
        (Probe::NoExec, "(ENOEXEC)"),
        (Probe::Exited(1), "ended with code 1"),
        (Probe::Killed(nix::libc::SIGSEGV), "killed by SIGSEGV"),
        (Probe::TimedOut, "did not end in time"),
    ] {
        let report = full(&boards::westmere().binfmt(&[("qemu-arm", QEMU_ARM)]).probe("arm", outcome));
        assert_eq!(of(&report, "arm", "v7"), "no");
        let broken = report.findings.iter().find(|finding| finding.kind == FindingKind::EmulatorBroken);
        assert!(broken.is_some_and(|finding| finding.message.contains(expected)), "{expected}: {:?}", report.findings);
    }
}

#[test]
fn what_cannot_be_tried_is_not_concluded() {
    for outcome in [
        Probe::Refused(nix::libc::EPERM),
        Probe::Refused(nix::libc::EACCES),
        Probe::Killed(nix::libc::SIGSYS),
        Probe::NotTried("memfd_create: ENOSYS".into()),
    ] {
        let board = boards::westmere().probe("386", outcome.clone()).probe("arm64", outcome.clone());
        let report = full(&board.binfmt(&[("qemu-aarch64", QEMU_AARCH64)]));
        assert_eq!(of(&report, "386", ""), "unknown", "{outcome:?}");
        assert_eq!(of(&report, "arm64", ""), "emulated", "registered, and nothing speaks against it: {outcome:?}");
        assert!(!report.has(FindingKind::EmulatorBroken) && !report.has(FindingKind::NoCompat));
    }
    assert_eq!(of(&full(&boards::westmere().probe("386", Probe::Killed(nix::libc::SIGILL))), "386", ""), "no");
}

#[test]
fn without_binfmt_misc_all_programs_are_tried() {
    let report = full(&boards::westmere().probe("arm64", Probe::Ran));
    assert_eq!(report.binfmt, Binfmt::Unavailable);
    assert!(report.has(FindingKind::BinfmtUnavailable));
    assert_eq!(of(&report, "arm64", ""), "emulated");
    assert_eq!(of(&report, "s390x", ""), "no");
    assert_eq!(of(&report, "mips64le", ""), "unknown", "there is no test program for it");
}

#[test]
fn binfmt_misc_switched_off() {
    let board = boards::westmere().binfmt(&[("qemu-aarch64", QEMU_AARCH64)]);
    let report = full(&board.file("/proc/sys/fs/binfmt_misc/status", "disabled\n"));
    assert!(report.has(FindingKind::BinfmtDisabled));
    assert_eq!(of(&report, "arm64", ""), "no");
    assert_eq!(report.emulators.len(), 1);
}

#[test]
fn under_an_emulator_the_kernel_runs_its_own() {
    let report = full(&boards::qemu_user());
    assert_eq!((of(&report, "amd64", ""), of(&report, "arm64", "")), ("native", "emulated"));
    assert_eq!(of(&report, "amd64", "v3"), "unknown", "cpuid cannot be asked from here");
    // qemu started by hand: nothing that this program starts is emulated as well.
    let by_hand = full(&boards::qemu_user().binfmt(&[]).probe("arm64", Probe::NoExec));
    assert_eq!(of(&by_hand, "arm64", ""), "no");
}

#[test]
fn a_quick_report_says_what_it_has_not_tried_and_can_be_completed() {
    let board = boards::graviton2().binfmt(&[("qemu-arm", QEMU_ARM)]);
    let mut report = detect(&board, Depth::Quick);
    assert_eq!((of(&report, "arm64", ""), of(&report, "arm", "v7")), ("native", "unknown"));
    report.complete(&board);
    assert_eq!(report, full(&board));
    let again = report.clone();
    report.complete(&board);
    assert_eq!(report, again);
}

#[test]
fn reports_travel_as_json() {
    let board = boards::westmere().binfmt(&[("qemu-arm", QEMU_ARM)]).probe("arm", Probe::Ran);
    let report = full(&board).with_containerd(Platform::linux("amd64", ""));
    let json = serde_json::to_value(&report).expect("serialises");
    assert_eq!(json["kernel"]["platform"]["architecture"], "amd64");
    assert_eq!(json["runs"][2]["execution"]["kind"], "emulated");
    assert_eq!(json["runs"][2]["execution"]["usableInContainers"], false);
    assert_eq!(json["emulators"][0]["magic"], "7f454c4601010100000000000000000002002800");
    assert_eq!(json["findings"][0]["kind"], "emulator-not-in-containers");
    assert_eq!(serde_json::from_value::<HostReport>(json).expect("reads back"), report);
}
