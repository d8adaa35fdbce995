use proptest::prelude::*;

use super::sample::{Sample, go_description, isa_note};
use super::*;
use crate::core::platform::Platform;

/// The tiny binaries that the tables carry, by GOARCH name.
fn probe(name: &str) -> Vec<u8> {
    let tables: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/data/platform-tables.json")).expect("tables are JSON");
    let hex = tables["elf_probes"]["hex"][name].as_str().expect("a probe of this name");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn binary(prefix: &[u8]) -> Binary {
    match Program::parse(prefix) {
        Ok(Program::Elf(binary)) => binary,
        other => panic!("expected an ELF binary, got {other:?}"),
    }
}

#[test]
fn names_the_machine_of_real_binaries() {
    for (name, architecture, text) in [
        ("386", "386", "ELF 32-bit x86 (386)"),
        ("amd64", "amd64", "ELF 64-bit x86-64 (amd64)"),
        ("arm", "arm", "ELF 32-bit ARM, EABI5 (arm)"),
        ("arm_oabi_flags0", "arm", "ELF 32-bit ARM, old ABI (arm)"),
        ("arm64", "arm64", "ELF 64-bit ARM (arm64)"),
        ("riscv64", "riscv64", "ELF 64-bit RISC-V (riscv64)"),
        ("ppc64le", "ppc64le", "ELF 64-bit PowerPC (ppc64le)"),
        ("s390x", "s390x", "ELF 64-bit S/390 (s390x)"),
        ("loong64", "loong64", "ELF 64-bit LoongArch (loong64)"),
    ] {
        let binary = binary(&probe(name));
        assert_eq!(binary.to_string(), text);
        assert_eq!(binary.platform(), Some(Platform::linux(architecture, "")), "{name}");
        assert_eq!(binary.interpreter, Interpreter::None, "{name}");
    }
}

#[test]
fn tells_apart_what_shares_a_machine_number() {
    let with = |name: &str, changes: &[(usize, u8)]| {
        let mut bytes = probe(name);
        for (at, byte) in changes {
            bytes[*at] = *byte;
        }
        binary(&bytes)
    };
    // A 32-bit header with the x86-64 machine is x32, for which Go has no name.
    let x32 = with("386", &[(0x12, 62)]);
    assert_eq!((x32.architecture(), x32.platform(), x32.to_string()), (None, None, "ELF 32-bit x86-64".into()));
    assert_eq!(with("386", &[(0x12, 8)]).architecture(), Some("mipsle"));
    assert_eq!(with("386", &[(0x12, 8), (0x24, 32)]).architecture(), Some("mips64p32le"));
    assert_eq!(with("s390x", &[(0x13, 21)]).architecture(), Some("ppc64"));
    assert_eq!(with("arm", &[(0x25, 2)]).arm_abi(), Some(ArmAbi { eabi: 5, float: Some(Float::Soft) }));
    assert_eq!(with("arm", &[(0x24, 2), (0x25, 0)]).arm_abi(), Some(ArmAbi { eabi: 5, float: None }));
    assert_eq!(with("amd64", &[(7, 9)]).platform().expect("FreeBSD").to_string(), "freebsd/amd64");
    assert_eq!(with("amd64", &[(7, 12)]).platform(), None);
    assert_eq!(with("amd64", &[(0x12, 0), (0x13, 0xfe)]).to_string(), "ELF 64-bit machine 65024");
}

#[test]
fn reads_interpreter_and_isa_level() {
    let file = Sample::of("amd64").interpreter("/lib64/ld-linux-x86-64.so.2").x86_note(0b0111).bytes();
    let whole = binary(&file);
    assert_eq!(whole.interpreter, Interpreter::Path("/lib64/ld-linux-x86-64.so.2".into()));
    assert_eq!(whole.interpreter.libc(), Some(Libc::Glibc));
    assert_eq!(whole.x86_level, Some(3));
    let at = whole.x86_note.clone().expect("a place of the note");
    assert_eq!(file[at.start as usize..at.end as usize], [7, 0, 0, 0]);
    assert_eq!(whole.to_string(), "ELF 64-bit x86-64, needs x86-64-v3 (amd64)");
    // Cut in the notes, in the path, in the program headers, after the header.
    assert_eq!(binary(&file[..at.start as usize]).x86_level, None);
    for length in [64, 100, 232, 250] {
        assert_eq!(binary(&file[..length]).interpreter, Interpreter::BeyondPrefix, "{length} bytes");
    }
    for (levels, expected) in [(0, None), (1, Some(1)), (0b11, Some(2)), (0b1000, Some(4)), (0x100, None)] {
        assert_eq!(binary(&Sample::of("amd64").x86_note(levels).bytes()).x86_level, expected, "{levels:#b}");
    }
}

#[test]
fn knows_loaders_by_their_names() {
    for (path, libc) in [
        ("/lib/ld-linux-armhf.so.3", Some(Libc::Glibc)),
        ("/lib/ld64.so.1", Some(Libc::Glibc)),
        ("/lib64/ld64.so.2", Some(Libc::Glibc)),
        ("/nix/store/x/lib/ld-linux-aarch64.so.1", Some(Libc::Glibc)),
        ("/lib/ld-musl-aarch64.so.1", Some(Libc::Musl)),
        ("/system/bin/linker64", Some(Libc::Bionic)),
        ("/lib/ld-uClibc.so.0", Some(Libc::Uclibc)),
        ("/opt/loader", None),
    ] {
        assert_eq!(Interpreter::Path(path.into()).libc(), libc, "{path}");
    }
    assert_eq!(Interpreter::None.libc(), None);
    let loong = |path: &str| binary(&Sample::of("loong64").interpreter(path).bytes()).loongarch_world();
    assert_eq!(loong("/lib64/ld-linux-loongarch-lp64d.so.1"), Some(LoongArchWorld::New));
    assert_eq!(loong("/lib64/ld.so.1"), Some(LoongArchWorld::Old));
    assert_eq!(binary(&Sample::of("loong64").bytes()).loongarch_world(), Some(LoongArchWorld::New));
    assert_eq!(
        binary(&Sample::of("loong64").flags(3).bytes()).to_string(),
        "ELF 64-bit LoongArch, old world (loong64)"
    );
}

#[test]
fn reads_conventions_from_flags() {
    let riscv = |flags| binary(&Sample::of("riscv64").flags(flags).bytes()).riscv_abi().expect("RISC-V");
    assert_eq!(riscv(5), RiscvAbi { float: RiscvFloat::Double, compressed: true });
    assert_eq!(riscv(2), RiscvAbi { float: RiscvFloat::Single, compressed: false });
    assert_eq!(riscv(0), RiscvAbi { float: RiscvFloat::Soft, compressed: false });
    let mips = binary(&Sample::of("mips64le").bytes());
    assert_eq!((mips.mips_abi(), mips.architecture()), (Some(MipsAbi::N64), Some("mips64le")));
    let amd64 = binary(&Sample::of("amd64").bytes());
    assert_eq!(
        (amd64.riscv_abi(), amd64.mips_abi(), amd64.loongarch_world(), amd64.arm_abi()),
        (None, None, None, None)
    );
}

#[test]
fn reads_the_attributes_of_arm() {
    let file = Sample::of("arm").arm_attributes(&[(6, 10), (7, b'A'), (8, 1), (9, 2), (10, 4), (12, 1), (28, 1)]);
    let hard = binary(&file.bytes());
    let attributes = hard.arm.clone().expect("attributes");
    assert_eq!((attributes.variant(), attributes.cpu_arch_text()), (Some("v7"), Some("v7")));
    assert_eq!((attributes.profile, attributes.fp_arch, attributes.simd_arch), (Some('A'), Some(4), Some(1)));
    assert_eq!(file.bytes()[attributes.at.start as usize], b'A');
    // The header of this one says nothing about floating point.
    assert_eq!(hard.arm_abi(), Some(ArmAbi { eabi: 5, float: Some(Float::Hard) }));
    assert_eq!(hard.to_string(), "ELF 32-bit ARM, EABI5 hard-float, needs ARMv7 (arm)");
    for (arch, profile, variant) in [
        (2, 0, Some("v5")),
        (4, 0, Some("v5")),
        (6, 0, Some("v6")),
        (7, 0, Some("v6")),
        (8, 0, Some("v7")),
        (9, 0, Some("v6")),
        (10, b'A', Some("v7")),
        (10, b'M', None),
        (14, b'A', Some("v8")),
        (22, b'A', Some("v8")),
        (17, b'M', None),
        (99, 0, None),
    ] {
        let arm = binary(&Sample::of("arm").arm_attributes(&[(6, arch), (7, profile)]).bytes()).arm;
        assert_eq!(arm.expect("attributes").variant(), variant, "{arch} {profile}");
    }
    // Sections beyond what was kept are unknown.
    assert_eq!(binary(&file.bytes()[..150]).arm, None);
}

#[test]
fn reads_the_extensions_of_riscv() {
    let arch = "rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0_v1p0";
    assert_eq!(binary(&Sample::of("riscv64").riscv_arch(arch).bytes()).riscv_arch.as_deref(), Some(arch));
    assert_eq!(binary(&Sample::of("arm64").riscv_arch(arch).bytes()).riscv_arch, None);
}

#[test]
fn reads_how_go_built_it() {
    let file = Sample::of("arm").go("go1.19.8", &[("CGO_ENABLED", "0"), ("GOARCH", "arm"), ("GOARM", "6")]).bytes();
    let go = binary(&file).go.expect("built by Go");
    assert_eq!(go.version.as_deref(), Some("go1.19.8"));
    assert_eq!(go.has_c(), Some(false));
    let setting = go.setting("GOARM").expect("GOARM");
    assert_eq!(setting.value, "6");
    assert_eq!(&file[setting.at as usize..][..7], b"GOARM=6");
    assert_eq!(&file[go.at as usize..][1..14], b" Go buildinf:");
    // Nothing else of the build is kept.
    assert_eq!(go.settings.as_ref().map(Vec::len), Some(3));
    // Cut in the settings: the version is there, the rest unknown.
    let cut = binary(&file[..setting.at as usize]).go.expect("built by Go");
    assert_eq!((cut.version.as_deref(), cut.settings.as_ref()), (Some("go1.19.8"), None));
    // Before Go 1.18 there are only pointers.
    let mut old = go_description("go1.17", &[]);
    old[15] = 0;
    let old = binary(&Sample::of("arm").holding(1, 6, 4, &old).bytes()).go.expect("built by Go");
    assert_eq!((old.version, old.settings), (None, None));
    // Not where it is not writable, and not in other data.
    let elsewhere = Sample::of("arm").holding(1, 4, 4, &go_description("go1.20", &[])).bytes();
    assert_eq!(binary(&elsewhere).go, None);
    assert_eq!(binary(&Sample::of("arm").holding(1, 6, 4, &[0; 100]).bytes()).go, None);
}

#[test]
fn compares_segments_with_the_size_of_a_page() {
    let fits = |sample: Sample, page| binary(&sample.bytes()).fits_page_size(page);
    let text_and = |offset, address, permissions| {
        Sample::of("arm64").without_segments().load([0, 0x40_0000, 0x2f00], 5, 0x1000).load(
            [offset, address, 0x100],
            permissions,
            0x1000,
        )
    };
    // Linked for pages of 4 KiB: the offset in the file and the address drift apart.
    let packed = || text_and(0x2f00, 0x40_3f00, 6);
    assert_eq!(
        (fits(packed(), 0x1000), fits(packed(), 0x4000), fits(packed(), 0x1_0000)),
        (Some(true), Some(false), Some(false))
    );
    let wide = || text_and(0x2f00, 0x41_2f00, 6);
    assert_eq!(
        (fits(wide(), 0x1000), fits(wide(), 0x4000), fits(wide(), 0x1_0000)),
        (Some(true), Some(true), Some(true))
    );
    // The same page for code and data: what comes last decides about the permissions.
    let shared = || text_and(0x3000, 0x40_3000, 6);
    assert_eq!((fits(shared(), 0x1000), fits(shared(), 0x4000)), (Some(true), Some(false)));
    assert_eq!(fits(text_and(0x3000, 0x40_3000, 7), 0x4000), Some(true));
    // Nothing is mapped of a segment without bytes; p_align alone says nothing.
    assert_eq!(fits(Sample::of("arm64").load([0x10, 0x50_0000, 0], 6, 0x1000), 0x1_0000), Some(true));
    assert_eq!(fits(Sample::of("arm64").load([0x1_0000, 0x41_0000, 9], 6, 1), 0x1_0000), Some(true));
    // Unknown without program headers, and for what is no size of a page.
    assert_eq!(binary(&packed().bytes()[..64]).fits_page_size(0x4000), None);
    assert_eq!((fits(packed(), 0), fits(packed(), 3)), (Some(true), Some(true)));
    assert!(matches!(binary(&packed().bytes()).misfit(0x4000), Some(Misfit::Shifted(load)) if load.offset == 0x2f00));
    assert!(matches!(binary(&shared().bytes()).misfit(0x4000), Some(Misfit::Shared(..))));
}

#[test]
fn tells_programs_from_other_elf_files() {
    let of = |sample: Sample| binary(&sample.bytes()).no_program();
    assert_eq!(of(Sample::of("amd64")), None);
    assert_eq!(of(Sample::of("amd64").kind(3)), None);
    assert!(of(Sample::of("amd64").kind(1)).is_some());
    assert!(of(Sample::of("amd64").kind(4)).is_some());
    assert!(of(Sample::of("amd64").kind(0xfe00)).is_some());
    assert!(of(Sample::of("amd64").without_segments()).is_some());
    let library = Sample::of("amd64").kind(3).entry(0);
    assert!(of(library.clone()).is_some());
    assert_eq!(of(library.interpreter("/lib/ld.so.1")), None);
    assert_eq!(binary(&Sample::of("amd64").kind(3).bytes()[..64]).no_program(), None);
}

/// What was kept of a file by whoever listens to [`further`].
fn kept(file: &[u8], prefix: usize) -> Extract {
    let prefix = &file[..prefix.min(file.len())];
    let mut extract = Extract::new(file.len() as u64, prefix.to_vec());
    for range in further(prefix, file.len() as u64) {
        extract.add(range.start, file[range.start as usize..range.end as usize].to_vec());
    }
    extract
}

#[test]
fn asks_for_what_decides_and_nothing_else() {
    let far = |sample: Sample| sample.filler(300_000);
    for (what, sample) in [
        ("static amd64", Sample::of("amd64")),
        ("s390x", Sample::of("s390x")),
        ("386", Sample::of("386").interpreter("/lib/ld-linux.so.2")),
        ("amd64 with its notes at the start", Sample::of("amd64").x86_note(7)),
    ] {
        assert_eq!(further(&far(sample).bytes()[..4096], 1 << 30), [], "{what}");
    }
    assert_eq!(further(b"\x7fELF", 1 << 20), []);
    // Of a script the rest, as far as scripts go; not of other text.
    let script = [b"#!/bin/sh\n".as_slice(), &[b'x'; 90]].concat();
    assert_eq!(further(&script, 1 << 20), std::slice::from_ref(&(100..64 * 1024)));
    assert_eq!(further(b"#!/bin/sh\n", 20), std::slice::from_ref(&(10..20)));
    assert_eq!(further(b"text", 1 << 20), []);
    let whole = Sample::of("arm").arm_attributes(&[(6, 6)]).bytes();
    assert_eq!(further(&whole, whole.len() as u64), []);

    let elf = |file: &Extract| match Program::read(file) {
        Ok(Program::Elf(binary)) => binary,
        other => panic!("{other:?}"),
    };
    let arm = far(Sample::of("arm").arm_attributes(&[(6, 6)])).bytes();
    assert_eq!(elf(&kept(&arm, 4096)).arm.and_then(|arm| arm.variant()), Some("v6"));
    assert!(kept(&arm, 4096).get(0..200_000).is_none());

    let note = [&[3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0][..], b"Go\0\0ab"].concat();
    let go = |architecture| {
        let code = vec![0x90; 100_000];
        Sample::of(architecture)
            .holding(4, 4, 4, &note)
            .holding(1, 5, 16, &code)
            .go("go1.22", &[("GOAMD64", "v3")])
            .bytes()
    };
    let amd64 = elf(&kept(&go("amd64"), 4096)).go.expect("built by Go");
    assert_eq!(amd64.setting("GOAMD64").map(|setting| setting.value.as_str()), Some("v3"));
    // There are no levels of it, so nothing that Go wrote decides anything.
    assert_eq!(further(&go("s390x")[..4096], 1 << 30), []);
    // Headers behind the prefix come first; the rest is then unknown.
    let mut moved = Sample::of("amd64").x86_note(7).bytes()[..64].to_vec();
    moved[0x20..0x28].copy_from_slice(&5000u64.to_le_bytes());
    let headers = 5000..5112;
    assert_eq!(further(&moved, 10_000), std::slice::from_ref(&headers));
}

#[test]
fn refuses_what_only_looks_like_elf() {
    let amd64 = probe("amd64");
    assert_eq!(Program::parse(&amd64[..63]), Err(ElfError::Truncated { have: 63 }));
    assert_eq!(Program::parse(&amd64[..6]), Err(ElfError::Truncated { have: 6 }));
    for (at, byte) in [(4, 3), (5, 0), (6, 2)] {
        let mut bytes = amd64.clone();
        bytes[at] = byte;
        assert!(matches!(Program::parse(&bytes), Err(ElfError::Malformed { .. })), "byte {at} = {byte}");
    }
}

#[test]
fn recognises_scripts_and_the_rest() {
    assert_eq!(Program::parse(b"#! /bin/sh -e \necho\n"), Ok(Program::Script("/bin/sh -e".into())));
    assert_eq!(Program::parse(b"#!/bin/sh\r\n"), Ok(Program::Script("/bin/sh\r".into())));
    let long = [b"#!".as_slice(), &[b'x'; 1000]].concat();
    assert_eq!(Program::parse(&long), Ok(Program::Script("x".repeat(254))));
    for bytes in [b"".as_slice(), b"#", b"\x7fEL", b"echo hello\n", b"MZ\x90"] {
        assert_eq!(Program::parse(bytes), Ok(Program::Unknown), "{bytes:?}");
    }
}

#[test]
fn reads_this_very_test_program() {
    let path = std::env::current_exe().expect("a path of this program");
    let bytes = std::fs::read(path).expect("this program can be read");
    let binary = binary(&bytes[..bytes.len().min(4096)]);
    let arch = Platform::parse(std::env::consts::ARCH, &Platform::linux("", "")).expect("a known architecture");
    assert_eq!(binary.platform().map(|platform| platform.architecture), Some(arch.architecture));
}

/// Files with something in each of their corners.
fn rich() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        Sample::of("amd64").interpreter("/lib/ld.so").holding(4, 4, 8, &isa_note(3)).go("go1.22", &[("GOAMD64", "v2")]),
        Sample::of("arm").arm_attributes(&[(6, 10), (32, 1), (28, 1)]).go("go1.22", &[("GOARM", "7")]),
        Sample::of("riscv64").riscv_arch("rv64imafdc").interpreter("/lib/ld-musl-riscv64.so.1"),
        Sample::of("s390x").load([0x1234, 0x5678, 0x9abc], 6, 0x1000),
    ])
    .prop_map(|sample| sample.bytes())
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Program::parse(&bytes);
        let _ = further(&bytes, 1 << 40);
    }

    #[test]
    fn never_panics_on_damaged_binaries(
        bytes in rich(),
        damage in proptest::collection::vec((0usize..1024, any::<u8>()), 0..12),
        length in 0usize..1200,
        size in any::<u64>(),
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        let ranges = further(&bytes, size);
        prop_assert!(ranges.len() <= 4 && ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= 512 * 1024);
        prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= size));
        prop_assert!(ranges.iter().all(|range| range.start >= bytes.len() as u64));
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        bytes.truncate(length);
        if let Ok(Program::Elf(binary)) = Program::parse(&bytes) {
            prop_assert!(binary.to_string().starts_with("ELF "));
            let _ = (binary.fits_page_size(0x4000), binary.no_program());
        }
    }

    /// What was not kept is unknown: less of a file never says anything else, only less.
    #[test]
    fn less_of_a_file_says_less_and_nothing_else(bytes in rich(), prefix in 0usize..1200, tail in 0usize..400) {
        let Ok(Program::Elf(whole)) = Program::parse(&bytes) else { panic!("a whole binary") };
        let prefix = prefix.min(bytes.len());
        let mut extract = Extract::new(bytes.len() as u64, bytes[..prefix].to_vec());
        let from = bytes.len().saturating_sub(tail);
        extract.add(from as u64, bytes[from..].to_vec());
        if let Ok(Program::Elf(part)) = Program::read(&extract) {
            prop_assert_eq!(part.architecture(), whole.architecture());
            prop_assert!(part.interpreter == whole.interpreter || part.interpreter == Interpreter::BeyondPrefix);
            prop_assert!(part.x86_level.is_none_or(|level| Some(level) == whole.x86_level));
            prop_assert!(part.arm.is_none() || part.arm == whole.arm);
            prop_assert!(part.riscv_arch.is_none() || part.riscv_arch == whole.riscv_arch);
            prop_assert!(part.loads.is_none() || part.loads == whole.loads);
            let settings = part.go.and_then(|go| go.settings);
            prop_assert!(settings.is_none() || settings == whole.go.and_then(|go| go.settings));
        }
    }
}
