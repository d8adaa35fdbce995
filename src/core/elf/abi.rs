//! Calling conventions, as `e_flags` tells them.

use object::elf;

use super::binary::Class;
use super::interpreter::Interpreter;

/// `EF_LOONGARCH_OBJABI_V1`, which every tool-chain since 2022 sets.
const LOONGARCH_V1: u32 = 0x40;

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

/// How a RISC-V binary passes arguments, and whether it needs compressed instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiscvAbi {
    /// Where floating-point arguments go.
    pub float: RiscvFloat,
    /// It has 16-bit instructions (extension C).
    pub compressed: bool,
}

/// Floating-point convention of RISC-V.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RiscvFloat {
    /// In integer registers.
    Soft,
    /// `float` in registers.
    Single,
    /// `float` and `double` in registers, as every distribution has it.
    Double,
    /// Quadruple precision too.
    Quad,
}

/// Convention of MIPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MipsAbi {
    /// 32-bit.
    O32,
    /// 32-bit addresses on 64-bit registers.
    N32,
    /// 64-bit.
    N64,
}

/// The two Linux ABIs of LoongArch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoongArchWorld {
    /// Vendors' systems from before upstream had the architecture.
    Old,
    /// Upstream's.
    New,
}

impl ArmAbi {
    pub(super) fn of(flags: u32) -> Self {
        let float = match (flags & elf::EF_ARM_ABI_FLOAT_HARD, flags & elf::EF_ARM_ABI_FLOAT_SOFT) {
            (0, 0) => None,
            (0, _) => Some(Float::Soft),
            _ => Some(Float::Hard),
        };
        Self { eabi: flags.to_be_bytes()[0], float }
    }
}

impl RiscvAbi {
    pub(super) fn of(flags: u32) -> Self {
        let float = match elf::FileFlags(flags & elf::EF_RISCV_FLOAT_ABI) {
            elf::EF_RISCV_FLOAT_ABI_SINGLE => RiscvFloat::Single,
            elf::EF_RISCV_FLOAT_ABI_DOUBLE => RiscvFloat::Double,
            elf::EF_RISCV_FLOAT_ABI_QUAD => RiscvFloat::Quad,
            _ => RiscvFloat::Soft,
        };
        Self { float, compressed: flags & elf::EF_RISCV_RVC.0 != 0 }
    }
}

impl MipsAbi {
    pub(super) fn of(class: Class, flags: u32) -> Self {
        match class {
            Class::Elf64 => Self::N64,
            Class::Elf32 if flags & elf::EF_MIPS_ABI2.0 != 0 => Self::N32,
            Class::Elf32 => Self::O32,
        }
    }
}

impl LoongArchWorld {
    /// The loader's path tells them apart; a static program has only its flags.
    pub(super) fn of(interpreter: &Interpreter, flags: u32) -> Self {
        let old = match interpreter {
            Interpreter::Path(path) => path == "/lib64/ld.so.1",
            _ => flags & LOONGARCH_V1 == 0,
        };
        if old { Self::Old } else { Self::New }
    }
}
