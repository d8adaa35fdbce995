//! What a program file is, told from its first bytes.
//!
//! An image's labels say what it is for; the ELF header of its entrypoint says what it
//! really is. [`Program::parse`] works on a prefix (the first KiB decides nearly always),
//! so that a caller can stop reading a layer early; what lies beyond the prefix is
//! reported as unknown, never guessed.
//!
//! Specification: System V ABI, chapter 4 "Object Files"; the processor supplements of
//! ARM (`e_flags`) and x86-64 (`GNU_PROPERTY_X86_ISA_1_NEEDED`); Linux `binfmt_script`.

use std::fmt;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use object::{BigEndian, Endian, LittleEndian};

use super::error::{Classify, Kind};
use super::platform::Platform;

/// Linux reads this much of a script to find its interpreter (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: usize = 256;
/// Longest interpreter path that Linux accepts (`PATH_MAX`).
const INTERPRETER_MAX: usize = 4096;
/// A 64-bit ELF header; the 32-bit one is shorter and every real file is longer.
const HEADER: usize = 64;
/// `GNU_PROPERTY_X86_ISA_1_*`: one bit for each of baseline, v2, v3 and v4.
const X86_LEVELS: u32 = 0b1111;

/// What the start of a file says about how it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// An ELF binary.
    Elf(Binary),
    /// `#!`: the rest of the first line without blanks around it, at most what Linux reads of
    /// it. A carriage return at its end is kept, because Linux takes it for a part of the name.
    Script(String),
    /// Neither; Linux refuses to execute it ("exec format error").
    Unknown,
}

/// What an ELF binary needs from the machine that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// `e_machine`.
    pub machine: u16,
    /// Width of addresses.
    pub class: Class,
    /// Order of bytes.
    pub endianness: Endianness,
    /// `EI_OSABI`; 0 is what Linux tool-chains write.
    pub os_abi: u8,
    /// `e_flags`, whose meaning depends on the machine.
    pub flags: u32,
    /// The dynamic loader.
    pub interpreter: Interpreter,
    /// Lowest x86-64 level (1 to 4) that the binary's note demands. Often absent, and at
    /// times inherited from start files: evidence, no proof.
    pub x86_level: Option<u8>,
}

/// Width of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 32-bit.
    Elf32,
    /// 64-bit.
    Elf64,
}

/// Order of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endianness {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// The dynamic loader that a binary asks for (`PT_INTERP`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// None: the binary is static, or is a loader itself.
    None,
    /// Its path.
    Path(String),
    /// There may be one; the program headers or the path lie beyond the prefix.
    BeyondPrefix,
}

/// How a 32-bit ARM binary passes arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArmAbi {
    /// Version of the embedded ABI; 0 is the old one, which 64-bit kernels refuse.
    pub eabi: u8,
    /// Where floating-point arguments go, if the binary says so.
    pub float: Option<Float>,
}

/// Floating-point convention of 32-bit ARM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    /// In integer registers (armel).
    Soft,
    /// In VFP registers (armhf).
    Hard,
}

/// An ELF file that no loader would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The file ends inside its header.
    #[error("the ELF header is cut off after {have} bytes")]
    Truncated {
        /// Bytes there are.
        have: usize,
    },
    /// The magic number is right and what follows is not.
    #[error("malformed ELF header: class {class}, data encoding {encoding}, version {version}")]
    Malformed {
        /// `EI_CLASS`.
        class: u8,
        /// `EI_DATA`.
        encoding: u8,
        /// `EI_VERSION`.
        version: u8,
    },
}

impl Classify for ElfError {
    fn kind(&self) -> Kind {
        Kind::InvalidContent
    }

    fn hint(&self) -> Option<String> {
        Some("the program in the image is damaged: the publisher has to build it again".into())
    }
}

impl Program {
    /// Reads the start of a file. A prefix of at least 1 KiB (or the whole file, where it is
    /// shorter) tells everything about most binaries.
    ///
    /// # Errors
    /// [`ElfError`] where the file claims to be ELF and is not.
    pub fn parse(prefix: &[u8]) -> Result<Self, ElfError> {
        if let Some(rest) = prefix.strip_prefix(b"#!") {
            let line = rest[..rest.len().min(SCRIPT_LINE - 2)].split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Ok(Self::Script(String::from_utf8_lossy(line).trim_matches([' ', '\t']).to_owned()));
        }
        if !prefix.starts_with(&elf::ELFMAG) {
            return Ok(Self::Unknown);
        }
        let &[_, _, _, _, class, encoding, version, ..] = prefix else {
            return Err(ElfError::Truncated { have: prefix.len() });
        };
        let binary = match (class, encoding, version) {
            (1, 1, 1) => read::<FileHeader32<LittleEndian>>(prefix, LittleEndian),
            (1, 2, 1) => read::<FileHeader32<BigEndian>>(prefix, BigEndian),
            (2, 1, 1) => read::<FileHeader64<LittleEndian>>(prefix, LittleEndian),
            (2, 2, 1) => read::<FileHeader64<BigEndian>>(prefix, BigEndian),
            _ => return Err(ElfError::Malformed { class, encoding, version }),
        };
        binary.map(Self::Elf).ok_or(ElfError::Truncated { have: prefix.len().min(HEADER) })
    }
}

/// `None` where the header is cut off.
fn read<H: FileHeader>(prefix: &[u8], endian: H::Endian) -> Option<Binary> {
    let header = H::parse(prefix).ok()?;
    let machine = header.e_machine(endian).0;
    let segments = header.program_headers(endian, prefix).ok();
    Some(Binary {
        machine,
        class: if header.is_type_64() { Class::Elf64 } else { Class::Elf32 },
        endianness: if endian.is_big_endian() { Endianness::Big } else { Endianness::Little },
        os_abi: header.e_ident().os_abi.0,
        flags: header.e_flags(endian).0,
        interpreter: segments.map_or(Interpreter::BeyondPrefix, |segments| interpreter(segments, endian, prefix)),
        x86_level: segments
            .filter(|_| machine == elf::EM_X86_64.0)
            .and_then(|segments| segments.iter().find_map(|segment| x86_level(segment, endian, prefix))),
    })
}

fn interpreter<P: ProgramHeader>(segments: &[P], endian: P::Endian, prefix: &[u8]) -> Interpreter {
    let Some(segment) = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_INTERP) else {
        return Interpreter::None;
    };
    match segment.interpreter(endian, prefix) {
        Ok(Some(path)) if path.len() < INTERPRETER_MAX => Interpreter::Path(String::from_utf8_lossy(path).into_owned()),
        _ => Interpreter::BeyondPrefix,
    }
}

fn x86_level<P: ProgramHeader>(segment: &P, endian: P::Endian, prefix: &[u8]) -> Option<u8> {
    if !matches!(segment.p_type(endian), elf::PT_NOTE | elf::PT_GNU_PROPERTY) {
        return None;
    }
    let data = segment.data(endian, prefix).ok()?;
    let notes = NoteIterator::<P::Elf>::new(endian, segment.p_align(endian), data).ok()?;
    let needed = notes
        .map_while(Result::ok)
        .filter_map(|note| note.gnu_properties(endian))
        .flat_map(|properties| properties.map_while(Result::ok))
        .find(|property| property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED)?;
    match needed.data_u32(endian).ok()? & X86_LEVELS {
        0 => None,
        bits => Some(bits.ilog2() as u8 + 1),
    }
}

impl Binary {
    /// The GOARCH name, where Go has one for this machine, width and byte order.
    #[must_use]
    pub fn architecture(&self) -> Option<&'static str> {
        use Class::{Elf32, Elf64};
        use Endianness::{Big, Little};
        let n32 = self.flags & elf::EF_MIPS_ABI2.0 != 0;
        Some(match (elf::Machine(self.machine), self.class, self.endianness) {
            (elf::EM_386, Elf32, Little) => "386",
            (elf::EM_X86_64, Elf64, Little) => "amd64",
            (elf::EM_ARM, Elf32, Little) => "arm",
            (elf::EM_ARM, Elf32, Big) => "armbe",
            (elf::EM_AARCH64, Elf64, Little) => "arm64",
            (elf::EM_AARCH64, Elf64, Big) => "arm64be",
            (elf::EM_RISCV, Elf64, Little) => "riscv64",
            (elf::EM_RISCV, Elf32, Little) => "riscv",
            (elf::EM_LOONGARCH, Elf64, Little) => "loong64",
            (elf::EM_PPC64, Elf64, Little) => "ppc64le",
            (elf::EM_PPC64, Elf64, Big) => "ppc64",
            (elf::EM_PPC, Elf32, Big) => "ppc",
            (elf::EM_S390, Elf64, Big) => "s390x",
            (elf::EM_S390, Elf32, Big) => "s390",
            (elf::EM_MIPS, Elf32, Big) => {
                if n32 {
                    "mips64p32"
                } else {
                    "mips"
                }
            }
            (elf::EM_MIPS, Elf32, Little) => {
                if n32 {
                    "mips64p32le"
                } else {
                    "mipsle"
                }
            }
            (elf::EM_MIPS, Elf64, Big) => "mips64",
            (elf::EM_MIPS, Elf64, Little) => "mips64le",
            _ => return None,
        })
    }

    /// The platform whose kernels load this binary, as far as the header tells: 32-bit ARM
    /// comes without a variant, x86-64 without a level.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let os = match elf::OsAbi(self.os_abi) {
            elf::ELFOSABI_NONE | elf::ELFOSABI_LINUX | elf::ELFOSABI_ARM | elf::ELFOSABI_ARM_AEABI => "linux",
            elf::ELFOSABI_FREEBSD => "freebsd",
            _ => return None,
        };
        let architecture = self.architecture()?;
        Some(Platform { os: os.into(), architecture: architecture.into(), ..Platform::default() })
    }

    /// Calling convention of a 32-bit ARM binary; `None` for every other machine.
    #[must_use]
    pub fn arm_abi(&self) -> Option<ArmAbi> {
        (elf::Machine(self.machine) == elf::EM_ARM).then(|| ArmAbi {
            eabi: self.flags.to_be_bytes()[0],
            float: match (self.flags & elf::EF_ARM_ABI_FLOAT_HARD, self.flags & elf::EF_ARM_ABI_FLOAT_SOFT) {
                (0, 0) => None,
                (0, _) => Some(Float::Soft),
                _ => Some(Float::Hard),
            },
        })
    }
}

impl fmt::Display for Binary {
    /// `ELF 64-bit ARM (arm64)`, `ELF 32-bit ARM, EABI5 hard-float (arm)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.class == Class::Elf64 { "ELF 64-bit " } else { "ELF 32-bit " })?;
        match elf::Machine(self.machine) {
            elf::EM_386 => f.write_str("x86")?,
            elf::EM_X86_64 => f.write_str("x86-64")?,
            elf::EM_ARM | elf::EM_AARCH64 => f.write_str("ARM")?,
            elf::EM_RISCV => f.write_str("RISC-V")?,
            elf::EM_LOONGARCH => f.write_str("LoongArch")?,
            elf::EM_PPC | elf::EM_PPC64 => f.write_str("PowerPC")?,
            elf::EM_S390 => f.write_str("S/390")?,
            elf::EM_MIPS => f.write_str("MIPS")?,
            elf::Machine(other) => write!(f, "machine {other}")?,
        }
        if let Some(abi) = self.arm_abi() {
            match abi.eabi {
                0 => f.write_str(", old ABI")?,
                eabi => write!(f, ", EABI{eabi}")?,
            }
            match abi.float {
                Some(Float::Hard) => f.write_str(" hard-float")?,
                Some(Float::Soft) => f.write_str(" soft-float")?,
                None => {}
            }
        }
        if let Some(level) = self.x86_level.filter(|level| *level > 1) {
            write!(f, ", needs x86-64-v{level}")?;
        }
        match self.architecture() {
            Some(architecture) => write!(f, " ({architecture})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
