//! Text of `/proc`, well formed and not.

use proptest::prelude::*;

use super::boards::{QEMU_AARCH64, QEMU_ARM, With};
use crate::host::binfmt::parse;
use crate::host::{Depth, FindingKind, Program, Recorded, detect};

#[test]
fn a_registration_is_read_whole() {
    let emulator = parse("qemu-aarch64", QEMU_AARCH64).expect("well formed");
    assert!(emulator.enabled && emulator.usable_in_containers());
    assert_eq!((emulator.interpreter.as_str(), emulator.flags.as_str()), ("/usr/bin/qemu-aarch64-static", "OCF"));
    assert_eq!((emulator.offset, emulator.magic.len(), emulator.mask.len()), (0, 20, 20));
    assert_eq!(emulator.architectures, ["arm64"]);
    for (architecture, taken) in [("arm64", true), ("arm", false), ("riscv64", false), ("amd64", false)] {
        let program = Program::of(architecture).expect("has a test program");
        assert_eq!(emulator.matches(&program.bytes()), taken, "{architecture}");
    }
}

#[test]
fn registrations_of_other_shapes() {
    let jar =
        parse("jar", "enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\n").expect("no mask");
    assert!(jar.architectures.is_empty() && jar.matches(b"PK\x03\x04rest") && !jar.matches(b"PK\x03"));
    let shifted = parse("x", "enabled\ninterpreter /x\nflags: P\noffset 18\nmagic b7\n").expect("has an offset");
    assert_eq!(shifted.architectures, ["arm64"]);
    let exe = parse("wine", "disabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n").expect("by name");
    assert!(!exe.enabled && exe.architectures.is_empty() && !exe.matches(b"MZ"));
    let spaces = parse("x", "enabled\ninterpreter /opt/my emulator\nflags: F\noffset 0\nmagic 7f\n").expect("a path");
    assert_eq!(spaces.interpreter, "/opt/my emulator");
}

#[test]
fn malformed_registrations_are_reported_and_skipped() {
    for text in [
        "",
        "maybe\n",
        "enabled\n",
        "enabled\ninterpreter /x\n",
        "enabled\ninterpreter /x\nmagic 7f4\n",
        "enabled\ninterpreter /x\nmagic zz\n",
        "enabled\ninterpreter /x\nmagic 7f\noffset -1\n",
        "enabled\nmagic 7f\n",
    ] {
        assert_eq!(parse("x", text), None, "{text:?}");
        let board = Recorded { process_architecture: "amd64".into(), ..Recorded::default() };
        let report = detect(&board.binfmt(&[("odd", text), ("qemu-arm", QEMU_ARM)]), Depth::Full);
        assert!(report.has(FindingKind::BinfmtMalformed));
        assert_eq!(report.emulators.len(), 1);
    }
}

#[test]
fn every_test_program_is_an_executable_of_its_architecture() {
    for architecture in ["386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x"] {
        let bytes = Program::of(architecture).expect("has a test program").bytes();
        let header = crate::host::arch::elf_headers().find(|(name, _)| *name == architecture).expect("known").1;
        assert_eq!(bytes[..20], header, "{architecture}");
    }
    assert_eq!(Program::of("mips"), None);
}

proptest! {
    #[test]
    fn no_registration_makes_it_panic(text in "(enabled|disabled|.{0,8})\n(interpreter .{0,9}\n)?(offset .{0,22}\n)?(magic [0-9a-f]{0,40}.?\n)?(mask [0-9a-f]{0,40}.?\n)?(flags: .{0,5}\n)?.{0,40}", header in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Some(emulator) = parse("x", &text) {
            let _ = emulator.matches(&header);
        }
    }

    #[test]
    fn no_text_makes_detection_panic(cpuinfo in "((CPU architecture|model name|Features|isa|flags|vendor_id|cpu|CPU implementer)?[\t ]*:?.{0,20}\n){0,6}", machine in "(arm|armv|aarch64|.{0,6}).{0,3}", platform in "(v|power|z|.)?.{0,5}", process in prop::sample::select(vec!["amd64", "386", "arm", "arm64", "ppc64le", "s390x", "riscv64", "mips"])) {
        let mut board = Recorded { process_architecture: process.into(), ..Recorded::default() };
        board.uname.machine = machine;
        board.auxv.platform = Some(platform);
        let report = detect(&board.file("/proc/cpuinfo", &cpuinfo), Depth::Full);
        prop_assert!(!report.kernel.platform.architecture.is_empty());
    }
}
