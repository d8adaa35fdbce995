//! Every board, and every row of the decision table: what is concluded, and from what.

use std::io::ErrorKind;

use super::boards::{self, With};
use crate::core::platform::Platform;
use crate::host::{Depth, FindingKind, HostReport, Recorded, detect};

fn quick(board: &Recorded) -> HostReport {
    detect(board, Depth::Quick)
}

fn kinds(report: &HostReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// (board, kernel, what containerd matches with, level).
fn table() -> Vec<(&'static str, Recorded, &'static str, &'static str, Option<&'static str>)> {
    vec![
        ("Pi Zero", boards::pi_zero(), "linux/arm/v6", "linux/arm/v6", Some("v6")),
        ("Pi 2", boards::pi_2(), "linux/arm/v7", "linux/arm/v7", Some("v7")),
        ("Pi 3, 32-bit", boards::pi_3_32bit(), "linux/arm/v7", "linux/arm/v7", Some("v7")),
        ("ARM926", boards::arm926(), "linux/arm/v5", "linux/arm/v5", Some("v5")),
        ("Pi 4, armhf", boards::pi_4_armhf(), "linux/arm64", "linux/arm/v8", Some("v8.0")),
        ("Pi 4, armhf, linux32", boards::pi_4_linux32(), "linux/arm64", "linux/arm/v8", None),
        ("Pi 4", boards::pi_4(), "linux/arm64", "linux/arm64", Some("v8.0")),
        ("Graviton2", boards::graviton2(), "linux/arm64", "linux/arm64", Some("v8.2")),
        ("Graviton3", boards::graviton3(), "linux/arm64", "linux/arm64", Some("v8.4")),
        ("Graviton4", boards::graviton4(), "linux/arm64", "linux/arm64", Some("v9.0")),
        ("Apple M1", boards::apple_m1(), "linux/arm64", "linux/arm64", Some("v8.5")),
        ("qemu64", boards::qemu64(), "linux/amd64", "linux/amd64", Some("v1")),
        ("Westmere", boards::westmere(), "linux/amd64", "linux/amd64", Some("v2")),
        ("no ZMM", boards::skylake_server_without_zmm(), "linux/amd64", "linux/amd64", Some("v3")),
        ("Skylake", boards::skylake_server(), "linux/amd64", "linux/amd64", Some("v4")),
        ("Skylake, linux32", boards::skylake_server().linux32("i686"), "linux/amd64", "linux/amd64", Some("v4")),
        ("i386 userland", boards::i386_userland(), "linux/amd64", "linux/386", Some("v4")),
        ("i386 userland, linux32", boards::i386_userland().linux32("i686"), "linux/amd64", "linux/386", Some("v4")),
        ("SpacemiT K1", boards::spacemit_k1(), "linux/riscv64", "linux/riscv64", Some("rva22u64")),
        ("VisionFive 2", boards::visionfive2(), "linux/riscv64", "linux/riscv64", Some("rva20u64")),
        ("POWER9", boards::power9(), "linux/ppc64le", "linux/ppc64le", Some("power9")),
        ("z14", boards::z14(), "linux/s390x", "linux/s390x", Some("z14")),
        ("loong64", boards::other("loong64", "loongarch64", "loongarch"), "linux/loong64", "linux/loong64", None),
        ("mips64le", boards::other("mips64le", "mips64", ""), "linux/mips64le", "linux/mips64le", None),
        ("qemu-user", boards::qemu_user(), "linux/amd64", "linux/arm64", Some("v8.5")),
    ]
}

#[test]
fn boards_are_recognised() {
    for (name, board, kernel, matching, level) in table() {
        let report = quick(&board);
        assert_eq!(report.kernel.platform.to_string(), kernel, "kernel of {name}");
        assert_eq!(report.platform().to_string(), matching, "matching on {name}");
        assert_eq!(report.isa.level.as_deref(), level, "level of {name}");
        for about in ["kernel", "matching", "ISA level", "page size"] {
            let signal =
                report.evidence.iter().find(|evidence| evidence.about == about).map(|found| found.signal.as_str());
            assert!(signal.is_some_and(|signal| !signal.is_empty()), "no evidence of {about} on {name}");
        }
    }
}

#[test]
fn the_kernels_own_name_decides_alone() {
    // A board whose other signals are of no use: the kernel speaks for itself since Linux 6.1.
    let bare = |process: &str, arch: &str| {
        let board = boards::other(process, "", "").without("/proc/cpuinfo", ErrorKind::NotFound);
        quick(&board.file("/proc/sys/kernel/arch", &format!("{arch}\n"))).kernel.platform.to_string()
    };
    assert_eq!(bare("arm", "aarch64"), "linux/arm64");
    assert_eq!(bare("386", "x86_64"), "linux/amd64");
    assert_eq!(bare("386", "i686"), "linux/386");
    assert_eq!(bare("arm64", "x86_64"), "linux/amd64");
    assert_eq!(bare("mipsle", "mips"), "linux/mipsle");
    assert_eq!(bare("ppc64le", "something-new"), "linux/ppc64le");
}

#[test]
fn isa_platform_carries_the_level_where_matching_counts_down() {
    let rows = [
        (boards::skylake_server(), "linux/amd64/v4"),
        (boards::qemu64(), "linux/amd64"),
        (boards::graviton2(), "linux/arm64/v8.2"),
        (boards::graviton4(), "linux/arm64/v9"),
        (boards::pi_4(), "linux/arm64"),
        (boards::pi_zero(), "linux/arm/v6"),
        // A 32-bit containerd: the level of the 64-bit mode is not for its images.
        (boards::pi_4_armhf(), "linux/arm/v8"),
        (boards::i386_userland(), "linux/386"),
        // Nothing but themselves would match these with a variant.
        (boards::power9(), "linux/ppc64le"),
        (boards::z14(), "linux/s390x"),
        (boards::spacemit_k1(), "linux/riscv64"),
    ];
    for (board, expected) in rows {
        assert_eq!(quick(&board).isa_platform().to_string(), expected);
    }
}

#[test]
fn oddities_are_named() {
    use FindingKind::{
        Armv6ReportedAs7, CpuinfoIncomplete, CpuinfoMasked, EmulatedProcess, Linux32Personality, UserlandSplit,
    };
    let rows = [
        ("nothing odd", boards::skylake_server(), vec![]),
        ("nothing odd", boards::graviton2(), vec![]),
        ("Pi Zero", boards::pi_zero(), vec![Armv6ReportedAs7]),
        ("armhf on arm64", boards::pi_4_armhf(), vec![UserlandSplit]),
        ("linux32", boards::pi_4_linux32(), vec![UserlandSplit, Linux32Personality]),
        ("linux32 on amd64", boards::skylake_server().linux32("i686"), vec![Linux32Personality]),
        ("i386 on amd64", boards::i386_userland(), vec![UserlandSplit]),
        ("qemu-user", boards::qemu_user(), vec![EmulatedProcess, CpuinfoIncomplete]),
        ("no cpuinfo line", boards::graviton2().file("/proc/cpuinfo", "processor\t: 0\n"), vec![CpuinfoIncomplete]),
        ("masked", boards::pi_zero().file("/proc/cpuinfo", ""), vec![CpuinfoMasked]),
        ("refused", boards::pi_2().without("/proc/cpuinfo", ErrorKind::PermissionDenied), vec![CpuinfoMasked]),
        ("no /proc", boards::skylake_server().without("/proc/cpuinfo", ErrorKind::NotFound), vec![CpuinfoMasked]),
    ];
    for (name, board, expected) in rows {
        assert_eq!(kinds(&quick(&board)), expected, "{name}");
    }
}

#[test]
fn hidden_cpuinfo_does_not_change_the_answer() {
    for (board, expected) in [
        (boards::pi_zero(), "linux/arm/v6"),
        (boards::pi_2(), "linux/arm/v7"),
        (boards::pi_4_armhf(), "linux/arm/v8"),
        (boards::graviton2(), "linux/arm64"),
    ] {
        for hidden in [
            board.clone().file("/proc/cpuinfo", ""),
            board.clone().without("/proc/cpuinfo", ErrorKind::NotFound),
            board.clone().without("/proc/cpuinfo", ErrorKind::PermissionDenied),
        ] {
            assert_eq!(quick(&hidden).platform().to_string(), expected);
        }
    }
}

#[test]
fn arm_levels_fall_back_signal_by_signal() {
    let level = |board: &Recorded| {
        let report = quick(board);
        let signal =
            report.evidence.iter().find(|evidence| evidence.about == "ISA level").map(|found| found.signal.clone());
        (report.isa.level.unwrap_or_default(), signal.unwrap_or_default())
    };
    let mut board = boards::pi_2();
    board.auxv.platform = None;
    assert_eq!(level(&board), ("v7".into(), "AT_HWCAP has neon".into()));
    board.auxv.hwcap = 0;
    assert_eq!(level(&board), ("v7".into(), "/proc/cpuinfo says CPU architecture 7".into()));
    let board = board.file("/proc/cpuinfo", "");
    assert_eq!(level(&board), ("v7".into(), "uname -m says armv7l".into()));

    let mut zero = boards::pi_zero();
    zero.auxv.platform = None;
    assert_eq!(level(&zero).0, "v6");
    assert_eq!(quick(&zero).platform().to_string(), "linux/arm/v6");
}

#[test]
fn big_little_counts_what_all_cores_have() {
    let text = "processor: 0\nFeatures : fp asimd crc32 atomics asimdrdm\nCPU architecture: 8\n\n\
                processor: 1\nFeatures : fp asimd crc32\nCPU architecture: 8\n";
    let report = quick(&boards::pi_4_armhf().file("/proc/cpuinfo", text));
    assert_eq!(report.isa.level.as_deref(), Some("v8.0"));
    assert_eq!(report.isa.features, ["fp", "asimd", "crc32"]);
}

#[test]
fn power_and_s390x_fall_back_to_hwcaps() {
    let mut power = boards::power9();
    power.auxv.platform = None;
    assert_eq!(quick(&power).isa.level.as_deref(), Some("power9"));
    let mut z = boards::z14();
    z.auxv.platform = None;
    assert_eq!(quick(&z).isa.level.as_deref(), Some("z14"));
}

#[test]
fn containerds_own_view_wins_and_a_difference_is_reported() {
    let report = quick(&boards::pi_4()).with_containerd(Platform::linux("arm", "v8"));
    assert_eq!(report.matching_platform().to_string(), "linux/arm/v8");
    assert_eq!(report.platform().to_string(), "linux/arm64");
    assert_eq!(kinds(&report), [FindingKind::ContainerdDiffers]);

    let agreeing = report.with_containerd(Platform::linux("aarch64", "v8"));
    assert_eq!(agreeing.matching_platform().to_string(), "linux/arm64");
    assert!(agreeing.findings.is_empty(), "the second answer replaces the first: {:?}", agreeing.findings);

    // containerd with a masked /proc takes an ARMv6 core for v7.
    let masked = quick(&boards::pi_zero()).with_containerd(Platform::linux("arm", ""));
    assert!(masked.has(FindingKind::ContainerdDiffers));
    // A level is not another view of the kernel.
    let leveled = quick(&boards::skylake_server()).with_containerd(Platform::linux("amd64", "v3"));
    assert!(!leveled.has(FindingKind::ContainerdDiffers));
}
