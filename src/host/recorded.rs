//! A machine that was written down: every signal is a plain value.

use std::collections::BTreeMap;
use std::io;

use super::program::Program;
use super::source::{Auxv, CpuidRegisters, Hwprobe, Probe, Source, Uname};

/// A recorded machine. What is left out is not there: no cpuid, no files, and every
/// test program ends in ENOEXEC.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// GOARCH of the program that asks.
    pub process_architecture: String,
    /// uname(2).
    pub uname: Uname,
    /// The auxiliary vector.
    pub auxv: Auxv,
    /// personality(2).
    pub personality: Option<u32>,
    /// (leaf, subleaf) of cpuid.
    pub cpuid: BTreeMap<(u32, u32), CpuidRegisters>,
    /// XCR0.
    pub xcr0: Option<u64>,
    /// riscv_hwprobe(2).
    pub hwprobe: Option<Hwprobe>,
    /// Text files by absolute path; an error is what opening gives.
    pub files: BTreeMap<String, Result<String, io::ErrorKind>>,
    /// Directories by absolute path, with their names in listing order.
    pub directories: BTreeMap<String, Vec<String>>,
    /// Files that exist and are not read.
    pub existing: Vec<String>,
    /// How the test program of an architecture ends.
    pub probes: BTreeMap<String, Probe>,
}

impl Source for Recorded {
    fn process_architecture(&self) -> &str {
        &self.process_architecture
    }

    fn uname(&self) -> Uname {
        self.uname.clone()
    }

    fn auxv(&self) -> Auxv {
        self.auxv.clone()
    }

    fn personality(&self) -> Option<u32> {
        self.personality
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<CpuidRegisters> {
        if self.cpuid.is_empty() {
            return None;
        }
        Some(self.cpuid.get(&(leaf, subleaf)).copied().unwrap_or_default())
    }

    fn xcr0(&self) -> Option<u64> {
        self.xcr0
    }

    fn hwprobe(&self) -> Option<Hwprobe> {
        self.hwprobe
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<String> {
        match self.files.get(path) {
            Some(Ok(text)) => Ok(text.get(..text.floor_char_boundary(limit)).unwrap_or_default().into()),
            Some(Err(kind)) => Err((*kind).into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.directories.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.existing.iter().any(|existing| existing == path)
    }

    fn probe(&self, program: &Program) -> Probe {
        self.probes.get(program.architecture).cloned().unwrap_or(Probe::NoExec)
    }
}
