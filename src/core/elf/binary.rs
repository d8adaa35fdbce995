//! What an ELF binary is, and which platform it is for.

use std::fmt;
use std::ops::Range;

use object::elf;

use super::super::platform::Platform;
use super::abi::{ArmAbi, Float, LoongArchWorld, MipsAbi, RiscvAbi};
use super::arm::ArmAttributes;
use super::go::GoBuild;
use super::interpreter::Interpreter;
use super::load::{self, Load, Misfit};

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
    /// `e_type`.
    pub object_type: ObjectType,
    /// `e_entry`, the address at which it begins to run; 0 is none.
    pub entry: u64,
    /// The dynamic loader.
    pub interpreter: Interpreter,
    /// What the kernel maps (`PT_LOAD`), in the order of the file; `None` where the program
    /// headers were not kept.
    pub loads: Option<Vec<Load>>,
    /// Lowest x86-64 level (1 to 4) that the binary's note demands. Often absent, and at
    /// times inherited from start files: evidence, no proof.
    pub x86_level: Option<u8>,
    /// Where that note has its bits in the file.
    pub x86_note: Option<Range<u64>>,
    /// Build attributes of 32-bit ARM.
    pub arm: Option<ArmAttributes>,
    /// `Tag_RISCV_arch`, as in `rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0`.
    pub riscv_arch: Option<String>,
    /// What Go wrote about the build.
    pub go: Option<GoBuild>,
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

/// What an ELF file is for (`e_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectType {
    /// Input of a linker.
    Relocatable,
    /// A program at a fixed address.
    Executable,
    /// A program that can lie anywhere, or a library.
    Shared,
    /// What is left of a program that crashed.
    Core,
    /// Something that no Linux knows.
    Other(u16),
}

impl From<elf::FileType> for ObjectType {
    fn from(kind: elf::FileType) -> Self {
        match kind {
            elf::ET_REL => Self::Relocatable,
            elf::ET_EXEC => Self::Executable,
            elf::ET_DYN => Self::Shared,
            elf::ET_CORE => Self::Core,
            elf::FileType(other) => Self::Other(other),
        }
    }
}

impl Binary {
    /// The GOARCH name, where Go has one for this machine, width and byte order.
    #[must_use]
    pub fn architecture(&self) -> Option<&'static str> {
        use Class::{Elf32, Elf64};
        use Endianness::{Big, Little};
        let n32 = self.mips_abi() == Some(MipsAbi::N32);
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
            (elf::EM_MIPS, Elf32, Big) if n32 => "mips64p32",
            (elf::EM_MIPS, Elf32, Big) => "mips",
            (elf::EM_MIPS, Elf32, Little) if n32 => "mips64p32le",
            (elf::EM_MIPS, Elf32, Little) => "mipsle",
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
        (elf::Machine(self.machine) == elf::EM_ARM).then(|| {
            let abi = ArmAbi::of(self.flags);
            // Linkers before 2012 left the flags out, and the attributes say the same.
            let float = abi.float.or_else(|| self.arm.as_ref()?.float());
            ArmAbi { float, ..abi }
        })
    }

    /// Calling convention of a MIPS binary.
    #[must_use]
    pub fn mips_abi(&self) -> Option<MipsAbi> {
        (elf::Machine(self.machine) == elf::EM_MIPS).then(|| MipsAbi::of(self.class, self.flags))
    }

    /// Calling convention of a RISC-V binary.
    #[must_use]
    pub fn riscv_abi(&self) -> Option<RiscvAbi> {
        (elf::Machine(self.machine) == elf::EM_RISCV).then(|| RiscvAbi::of(self.flags))
    }

    /// Which of the two Linux ABIs of LoongArch, whose programs do not run on each other's kernels.
    #[must_use]
    pub fn loongarch_world(&self) -> Option<LoongArchWorld> {
        (elf::Machine(self.machine) == elf::EM_LOONGARCH).then(|| LoongArchWorld::of(&self.interpreter, self.flags))
    }

    /// Whether a kernel with pages of this many bytes can map it; `None` where the program
    /// headers were not kept.
    #[must_use]
    pub fn fits_page_size(&self, page: u64) -> Option<bool> {
        self.loads.as_ref().map(|_| self.misfit(page).is_none())
    }

    /// What of it a kernel with such pages cannot map, as far as that is known.
    #[must_use]
    pub fn misfit(&self, page: u64) -> Option<Misfit<'_>> {
        load::misfit(self.loads.as_ref()?, page)
    }

    /// Why Linux does not start it as a program, whatever the machine; `None` where it does, or
    /// where that is not known.
    #[must_use]
    pub fn no_program(&self) -> Option<&'static str> {
        let loads = self.loads.as_ref();
        match self.object_type {
            ObjectType::Relocatable => Some("an object file, which only a linker can use"),
            ObjectType::Core => Some("a memory dump of another program"),
            ObjectType::Other(_) => Some("of an ELF type that no kernel starts"),
            _ if loads.is_some_and(Vec::is_empty) => Some("an ELF file with nothing to load"),
            // The kernel would jump to its first byte. Static programs and loaders have an entry.
            ObjectType::Shared if self.entry == 0 && self.interpreter == Interpreter::None => {
                Some("a shared library, which has nothing to start")
            }
            ObjectType::Shared | ObjectType::Executable => None,
        }
    }

    /// Machine and ABI in words: `ARM, EABI5 hard-float`.
    #[must_use]
    pub fn machine_text(&self) -> String {
        let mut text = match elf::Machine(self.machine) {
            elf::EM_386 => "x86",
            elf::EM_X86_64 => "x86-64",
            elf::EM_ARM | elf::EM_AARCH64 => "ARM",
            elf::EM_RISCV => "RISC-V",
            elf::EM_LOONGARCH => "LoongArch",
            elf::EM_PPC | elf::EM_PPC64 => "PowerPC",
            elf::EM_S390 => "S/390",
            elf::EM_MIPS => "MIPS",
            elf::Machine(other) => return format!("machine {other}"),
        }
        .to_owned();
        if let Some(abi) = self.arm_abi() {
            match abi.eabi {
                0 => text.push_str(", old ABI"),
                eabi => text.push_str(&format!(", EABI{eabi}")),
            }
            match abi.float {
                Some(Float::Hard) => text.push_str(" hard-float"),
                Some(Float::Soft) => text.push_str(" soft-float"),
                None => {}
            }
        }
        if self.loongarch_world() == Some(LoongArchWorld::Old) {
            text.push_str(", old world");
        }
        text
    }
}

impl fmt::Display for Binary {
    /// `ELF 64-bit ARM (arm64)`, `ELF 32-bit ARM, EABI5 hard-float, needs ARMv7 (arm)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.class == Class::Elf64 { "ELF 64-bit " } else { "ELF 32-bit " })?;
        f.write_str(&self.machine_text())?;
        if let Some(variant) = self.arm.as_ref().and_then(ArmAttributes::variant) {
            write!(f, ", needs ARM{variant}")?;
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
