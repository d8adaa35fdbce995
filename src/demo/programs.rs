//! The programs inside the demo's images: each writes its own GOARCH-style name and exits.
//!
//! They are real static ELF executables of about 150 bytes, assembled here instruction by
//! instruction, so that the demo needs neither a cross compiler nor a network. Every one
//! has the same shape: ELF header, one program header, eight instructions (for arm and
//! arm64), and the message right behind them, addressed relative to the program counter.
//!
//! Specification: System V ABI, chapters 4 and 5; the Linux system call tables.

use crate::core::platform::Platform;

/// Segments are aligned to the largest page size that Linux uses, so that the programs
/// also start on kernels with pages of 64 KiB.
const ALIGNMENT: u64 = 0x1_0000;

/// `write(1, "amd64\n", 6); exit(0)`
#[rustfmt::skip]
const AMD64: &[u8] = &[
    0xbf, 0x01, 0x00, 0x00, 0x00,             // mov  edi, 1              standard output
    0x48, 0x8d, 0x35, 0x15, 0x00, 0x00, 0x00, // lea  rsi, [rip + 0x15]   the message behind the code
    0xba, 0x06, 0x00, 0x00, 0x00,             // mov  edx, 6              its length
    0xb8, 0x01, 0x00, 0x00, 0x00,             // mov  eax, 1              write
    0x0f, 0x05,                               // syscall
    0x31, 0xff,                               // xor  edi, edi            status 0
    0xb8, 0x3c, 0x00, 0x00, 0x00,             // mov  eax, 60             exit
    0x0f, 0x05,                               // syscall
];

/// `write(1, "arm64\n", 6); exit(0)`
#[rustfmt::skip]
const ARM64: &[u32] = &[
    0xd280_0020, // mov  x0, #1     standard output
    0x1000_00e1, // adr  x1, .+28   the message behind the code
    0xd280_00c2, // mov  x2, #6     its length
    0xd280_0808, // mov  x8, #64    write
    0xd400_0001, // svc  #0
    0xd280_0000, // mov  x0, #0     status 0
    0xd280_0ba8, // mov  x8, #93    exit
    0xd400_0001, // svc  #0
];

/// `write(1, "arm\n", 4); exit(0)`, in A32 with the system call numbers of the EABI.
#[rustfmt::skip]
const ARM: &[u32] = &[
    0xe3a0_0001, // mov  r0, #1         standard output
    0xe28f_1014, // add  r1, pc, #20    the message behind the code; pc is two instructions ahead
    0xe3a0_2004, // mov  r2, #4         its length
    0xe3a0_7004, // mov  r7, #4         write
    0xef00_0000, // svc  #0
    0xe3a0_0000, // mov  r0, #0         status 0
    0xe3a0_7001, // mov  r7, #1         exit
    0xef00_0000, // svc  #0
];

/// A program and the platform that it really is for.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// The platform.
    pub(super) platform: Platform,
    /// The whole ELF file.
    pub(super) bytes: Vec<u8>,
}

/// For `linux/amd64`.
pub(super) fn amd64() -> Program {
    let target = Target { width: Width::Bits64, machine: 62, flags: 0, base: 0x40_0000 };
    Program { platform: Platform::linux("amd64", ""), bytes: assemble(&target, AMD64, b"amd64\n") }
}

/// For `linux/arm64`.
pub(super) fn arm64() -> Program {
    let target = Target { width: Width::Bits64, machine: 183, flags: 0, base: 0x40_0000 };
    Program { platform: Platform::linux("arm64", ""), bytes: assemble(&target, &little_endian(ARM64), b"arm64\n") }
}

/// For `linux/arm/v7`: EABI version 5, without floating point.
pub(super) fn arm_v7() -> Program {
    let target = Target { width: Width::Bits32, machine: 40, flags: 0x0500_0000, base: 0x1_0000 };
    Program { platform: Platform::linux("arm", "v7"), bytes: assemble(&target, &little_endian(ARM), b"arm\n") }
}

fn little_endian(instructions: &[u32]) -> Vec<u8> {
    instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Bits32,
    Bits64,
}

/// What differs between the ELF headers of two machines.
#[derive(Debug, Clone, Copy)]
struct Target {
    width: Width,
    /// `e_machine`.
    machine: u16,
    /// `e_flags`.
    flags: u32,
    /// Where the file is mapped; a multiple of [`ALIGNMENT`].
    base: u64,
}

/// A little-endian ELF file that is mapped whole, readable and executable, and starts at its code.
fn assemble(target: &Target, code: &[u8], message: &[u8]) -> Vec<u8> {
    let (class, file_header, program_header) = match target.width {
        Width::Bits32 => (1, 52, 32),
        Width::Bits64 => (2, 64, 56),
    };
    let start = file_header + program_header;
    let size = start + (code.len() + message.len()) as u64;
    let mut file = Little { width: target.width, bytes: Vec::new() };
    // e_ident: magic, class, little-endian, version 1, System V ABI, padding.
    file.bytes.extend([0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.half(2); // e_type: executable
    file.half(target.machine); // e_machine
    file.word(1); // e_version
    file.address(target.base + start); // e_entry
    file.address(file_header); // e_phoff: right behind this header
    file.address(0); // e_shoff: no sections
    file.word(target.flags); // e_flags
    file.half(file_header as u16); // e_ehsize
    file.half(program_header as u16); // e_phentsize
    file.half(1); // e_phnum
    file.half(0); // e_shentsize
    file.half(0); // e_shnum
    file.half(0); // e_shstrndx

    const READ_EXECUTE: u32 = 4 | 1;
    file.word(1); // p_type: PT_LOAD
    if target.width == Width::Bits64 {
        file.word(READ_EXECUTE); // p_flags
    }
    file.address(0); // p_offset
    file.address(target.base); // p_vaddr
    file.address(target.base); // p_paddr
    file.address(size); // p_filesz
    file.address(size); // p_memsz
    if target.width == Width::Bits32 {
        file.word(READ_EXECUTE); // p_flags
    }
    file.address(ALIGNMENT); // p_align
    file.bytes.extend_from_slice(code);
    file.bytes.extend_from_slice(message);
    file.bytes
}

/// Writes the fields of an ELF header, named as the specification names their types.
struct Little {
    width: Width,
    bytes: Vec<u8>,
}

impl Little {
    fn half(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// `Elf32_Addr` or `Elf64_Addr`; every value here fits both.
    fn address(&mut self, value: u64) {
        match self.width {
            Width::Bits32 => self.word(value as u32),
            Width::Bits64 => self.bytes.extend(value.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::elf::{self, Interpreter};

    #[test]
    fn headers_say_what_the_programs_are() {
        for (program, text) in [
            (amd64(), "ELF 64-bit x86-64 (amd64)"),
            (arm64(), "ELF 64-bit ARM (arm64)"),
            (arm_v7(), "ELF 32-bit ARM, EABI5 (arm)"),
        ] {
            let Ok(elf::Program::Elf(binary)) = elf::Program::parse(&program.bytes) else {
                panic!("{text} is not ELF");
            };
            assert_eq!(binary.to_string(), text);
            assert_eq!(binary.interpreter, Interpreter::None);
            assert_eq!(binary.architecture(), Some(program.platform.architecture.as_str()));
            assert!(program.bytes.ends_with(format!("{}\n", program.platform.architecture).as_bytes()));
        }
    }

    #[test]
    fn message_lies_where_the_code_looks_for_it() {
        // adr at instruction 1 reaches 28 bytes ahead, add r1, pc, #20 likewise (pc is 8 ahead).
        assert_eq!((ARM64.len(), 4 + 28), (8, ARM64.len() * 4));
        assert_eq!((ARM.len(), 4 + 8 + 20), (8, ARM.len() * 4));
        // lea ends at byte 12 of the code.
        assert_eq!(12 + 0x15, AMD64.len());
    }
}
