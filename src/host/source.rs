//! The one door through which the detector sees a machine.
//!
//! Implementations only fetch; they conclude nothing. What a machine does not have
//! (no cpuid off x86, no `/proc`) is `None` or the error that reading gave.

use std::io;

use super::program::Program;

/// What uname(2) says, as this process sees it: `machine` bends under `setarch`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uname {
    /// `uname -m`.
    pub machine: String,
    /// `uname -r`.
    pub release: String,
}

/// What the kernel passed to this program in its auxiliary vector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auxv {
    /// AT_PLATFORM: `x86_64`, `aarch64`, `v7l`, `power9`, `z14`, …
    pub platform: Option<String>,
    /// AT_HWCAP; the meaning of its bits depends on the architecture of this program.
    pub hwcap: u64,
    /// AT_HWCAP2.
    pub hwcap2: u64,
    /// AT_PAGESZ in bytes.
    pub page_size: u64,
}

/// The four registers that one cpuid leaf fills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuidRegisters {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// What riscv_hwprobe(2) says about all CPUs together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hwprobe {
    /// Key 3: bit 0 is the base IMA.
    pub base_behavior: u64,
    /// Key 4: the extensions on top of it.
    pub ima_extensions: u64,
}

/// How an attempt to run a [`Program`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It ran and exited with 0.
    Ran,
    /// The kernel does not know the format: ENOEXEC.
    NoExec,
    /// execveat(2) failed with another error number.
    Refused(i32),
    /// Something ran, and exited with this code instead of 0.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
    /// It did not end in time and was killed.
    TimedOut,
    /// The attempt could not be made, and why: says nothing about the architecture.
    NotTried(String),
}

/// A machine as the detector sees it.
pub trait Source {
    /// GOARCH of the program that asks; fixed when it was compiled.
    fn process_architecture(&self) -> &str;

    /// uname(2).
    fn uname(&self) -> Uname;

    /// The auxiliary vector of this process.
    fn auxv(&self) -> Auxv;

    /// personality(2) of this process; `None` where asking is not allowed.
    fn personality(&self) -> Option<u32>;

    /// One cpuid leaf; `None` off x86. Callers stay within the maximum leaf.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<CpuidRegisters>;

    /// XCR0: the register states that the kernel saves. Asked only where cpuid says OSXSAVE.
    fn xcr0(&self) -> Option<u64>;

    /// riscv_hwprobe(2) over all CPUs; `None` off riscv64 and before Linux 6.4.
    fn hwprobe(&self) -> Option<Hwprobe>;

    /// The first `limit` bytes of a text file, by its absolute path.
    ///
    /// # Errors
    /// What opening or reading gave.
    fn read(&self, path: &str, limit: usize) -> io::Result<String>;

    /// Names in a directory, in the order in which the kernel lists them.
    ///
    /// # Errors
    /// What opening or reading gave.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Whether a file exists; an emulator's interpreter, for one.
    fn exists(&self, path: &str) -> bool;

    /// Runs a test program in a child process and waits for its end, for a bounded time.
    fn probe(&self, program: &Program) -> Probe;
}
