use proptest::prelude::*;

use super::*;

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

/// An x86-64 header with these segments: type, alignment, content.
fn with_segments(segments: &[(u32, u64, &[u8])]) -> Vec<u8> {
    let mut file = probe("amd64")[..64].to_vec();
    file[0x38] = segments.len() as u8;
    let mut at = 64 + 56 * segments.len() as u64;
    for (kind, align, data) in segments {
        file.extend(kind.to_le_bytes());
        file.extend(4u32.to_le_bytes());
        for field in [at, 0, 0, data.len() as u64, data.len() as u64, *align] {
            file.extend(field.to_le_bytes());
        }
        at += data.len() as u64;
    }
    for (_, _, data) in segments {
        file.extend_from_slice(data);
    }
    file
}

fn isa_note(levels: u32) -> Vec<u8> {
    let words = [4, 16, 5, u32::from_le_bytes(*b"GNU\0"), 0xc000_8002, 4, levels, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn reads_interpreter_and_isa_level() {
    let file = with_segments(&[(3, 1, b"/lib64/ld-linux-x86-64.so.2\0"), (0x6474_e553, 8, &isa_note(0b0111))]);
    let whole = binary(&file);
    assert_eq!(whole.interpreter, Interpreter::Path("/lib64/ld-linux-x86-64.so.2".into()));
    assert_eq!(whole.x86_level, Some(3));
    assert_eq!(whole.to_string(), "ELF 64-bit x86-64, needs x86-64-v3 (amd64)");
    // Cut before the notes, in the path, in the program headers, after the header.
    assert_eq!(binary(&file[..file.len() - 1]).x86_level, None);
    for length in [64, 100, 180] {
        assert_eq!(binary(&file[..length]).interpreter, Interpreter::BeyondPrefix, "{length} bytes");
    }
    for (levels, expected) in [(0, None), (1, Some(1)), (0b11, Some(2)), (0b1000, Some(4)), (0x100, None)] {
        assert_eq!(binary(&with_segments(&[(4, 8, &isa_note(levels))])).x86_level, expected, "{levels:#b}");
    }
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

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Program::parse(&bytes);
    }

    #[test]
    fn never_panics_on_damaged_binaries(
        name in prop::sample::select(vec!["386", "amd64", "arm", "s390x"]),
        damage in proptest::collection::vec((0usize..256, any::<u8>()), 0..12),
        length in 0usize..300,
    ) {
        let mut bytes = if name == "amd64" {
            with_segments(&[(3, 1, b"/lib/ld.so\0"), (4, 8, &isa_note(3))])
        } else {
            probe(name)
        };
        for (at, byte) in damage {
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        bytes.truncate(length);
        if let Ok(Program::Elf(binary)) = Program::parse(&bytes) {
            prop_assert!(binary.to_string().starts_with("ELF "));
        }
    }
}
