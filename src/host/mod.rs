//! What this node can run, and how we know.
//!
//! A node answers to several names at once: the architecture of its kernel, that of
//! the program that asks, the one that containerd matches images with, and the level
//! of instructions that its CPU really has. They differ more often than one thinks
//! (a 32-bit userland on a 64-bit kernel, an ARMv6 core whose `/proc/cpuinfo` says 7,
//! a program under an emulator), so every conclusion here carries the signal that
//! gave it, and what contradicts it is named as a [`Finding`] instead of guessed over.
//!
//! Everything that is read comes through one [`Source`]: [`System`] is this machine,
//! [`Recorded`] is any other one, written down. [`detect`] is a pure function of it.
//!
//! This room pulls nothing, prints nothing, spawns no thread, and asks no daemon: what
//! containerd says is told to it ([`HostReport::with_containerd`]). It does start child
//! processes, the tiny programs of [`Program`], because only running one proves that
//! a foreign architecture runs.
//!
//! Specification: OCI image-spec, image-index.md, "platform"; x86-64 psABI, "micro-architecture
//! levels"; Linux `Documentation/admin-guide/binfmt-misc.rst`, `Documentation/arch/arm64/elf_hwcaps.rst`,
//! `Documentation/arch/riscv/hwprobe.rst`; getauxval(3), personality(2).

mod arch;
mod binfmt;
mod cpuinfo;
mod detect;
mod execution;
mod finding;
mod isa;
mod kernel;
pub mod known;
mod level;
mod local;
mod probe;
mod program;
mod recorded;
mod report;
mod runs;
mod signals;
mod source;
mod system;
mod variant;

pub use binfmt::Emulator;
pub use detect::{Depth, detect};
pub use execution::Execution;
pub use finding::{Evidence, Finding, FindingKind};
pub use known::{KnownError, Node};
pub use level::{Fit, fit};
pub use local::LocalHost;
pub use program::Program;
pub use recorded::Recorded;
pub use report::{Binfmt, HostReport, Isa, Kernel, Process, Runs};
pub use source::{Auxv, CpuidRegisters, Hwprobe, Probe, Source, Uname};
pub use system::System;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{boards, kind};
