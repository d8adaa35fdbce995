//! What a program file is, told from a few of its bytes.
//!
//! An image's labels say what it is for; the ELF header of its entrypoint says what it
//! really is. [`Program::read`] works on an [`Extract`]: the first KiB of a file decides nearly
//! always, and [`further()`] names the few other places that say more. What lies outside of
//! the extract is reported as unknown, never guessed.
//!
//! Everything here comes from strangers: every walk is over bytes that were kept, so their
//! number bounds it, and what is copied out of them has a limit of its own.
//!
//! Specification: System V ABI, chapter 4 "Object Files"; the processor supplements of
//! ARM (`e_flags`, build attributes), x86-64 (`GNU_PROPERTY_X86_ISA_1_NEEDED`), RISC-V and
//! LoongArch; Linux `binfmt_elf` and `binfmt_script`; Go's `debug/buildinfo`.

mod abi;
mod arm;
mod attributes;
mod binary;
mod further;
mod go;
mod interpreter;
mod load;
mod notes;
mod read;

use object::elf::{self, FileHeader32, FileHeader64};
use object::{BigEndian, LittleEndian};

use super::error::{Classify, Kind};
use super::extract::Extract;

pub use abi::{ArmAbi, Float, LoongArchWorld, MipsAbi, RiscvAbi, RiscvFloat};
pub use arm::ArmAttributes;
pub use binary::{Binary, Class, Endianness, ObjectType};
pub use further::further;
pub use go::{GoBuild, GoSetting};
pub use interpreter::{Interpreter, Libc};
pub use load::{Load, Misfit};

/// Linux reads this much of a script to find its interpreter (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: usize = 256;
/// A 64-bit ELF header; the 32-bit one is shorter and every real file is longer.
const HEADER: usize = 64;

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
        Self::read(&Extract::whole(prefix.to_vec()))
    }

    /// Reads a file as far as it was kept.
    ///
    /// # Errors
    /// [`ElfError`] where the file claims to be ELF and is not.
    pub fn read(file: &Extract) -> Result<Self, ElfError> {
        let prefix = file.prefix();
        if let Some(rest) = prefix.strip_prefix(b"#!") {
            let line = rest[..rest.len().min(SCRIPT_LINE - 2)].split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Ok(Self::Script(String::from_utf8_lossy(line).trim_matches([' ', '\t']).to_owned()));
        }
        let Some(layout) = Layout::of(prefix)? else { return Ok(Self::Unknown) };
        let binary = match layout {
            Layout::Little32 => read::binary::<FileHeader32<LittleEndian>>(file, LittleEndian),
            Layout::Big32 => read::binary::<FileHeader32<BigEndian>>(file, BigEndian),
            Layout::Little64 => read::binary::<FileHeader64<LittleEndian>>(file, LittleEndian),
            Layout::Big64 => read::binary::<FileHeader64<BigEndian>>(file, BigEndian),
        };
        binary.map(Self::Elf).ok_or(ElfError::Truncated { have: prefix.len().min(HEADER) })
    }
}

/// The four shapes of an ELF file: width of addresses and order of bytes.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Little32,
    Big32,
    Little64,
    Big64,
}

impl Layout {
    /// `None` where the file does not claim to be ELF.
    fn of(prefix: &[u8]) -> Result<Option<Self>, ElfError> {
        if !prefix.starts_with(&elf::ELFMAG) {
            return Ok(None);
        }
        let &[_, _, _, _, class, encoding, version, ..] = prefix else {
            return Err(ElfError::Truncated { have: prefix.len() });
        };
        Ok(Some(match (class, encoding, version) {
            (1, 1, 1) => Self::Little32,
            (1, 2, 1) => Self::Big32,
            (2, 1, 1) => Self::Little64,
            (2, 2, 1) => Self::Big64,
            _ => return Err(ElfError::Malformed { class, encoding, version }),
        }))
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
