//! x86-64-v1 to v4 by cpuid, and by XCR0 for what the kernel has to save.
//!
//! Specification: x86-64 psABI, section 3.1.1, "Processor Architecture".

use super::Found;
use crate::host::source::{CpuidRegisters, Source};

/// Register of a leaf that a feature's bit is in.
#[derive(Clone, Copy)]
enum Register {
    /// Leaf 1, ECX.
    Basic,
    /// Leaf 7, subleaf 0, EBX.
    Structured,
    /// Leaf 0x8000_0001, ECX.
    Extended,
    /// Leaf 0x8000_0001, EDX.
    ExtendedEdx,
}
use Register::{Basic, Extended, ExtendedEdx, Structured};

/// (name as in /proc/cpuinfo, register, bit, lowest level that needs it or 0).
const FEATURES: [(&str, Register, u32, u8); 29] = [
    ("lm", ExtendedEdx, 29, 1),
    ("cx16", Basic, 13, 2),
    ("lahf_lm", Extended, 0, 2),
    ("popcnt", Basic, 23, 2),
    ("pni", Basic, 0, 2),
    ("ssse3", Basic, 9, 2),
    ("sse4_1", Basic, 19, 2),
    ("sse4_2", Basic, 20, 2),
    ("avx", Basic, 28, 3),
    ("avx2", Structured, 5, 3),
    ("bmi1", Structured, 3, 3),
    ("bmi2", Structured, 8, 3),
    ("f16c", Basic, 29, 3),
    ("fma", Basic, 12, 3),
    ("abm", Extended, 5, 3),
    ("movbe", Basic, 22, 3),
    ("osxsave", Basic, 27, 3),
    ("avx512f", Structured, 16, 4),
    ("avx512bw", Structured, 30, 4),
    ("avx512cd", Structured, 28, 4),
    ("avx512dq", Structured, 17, 4),
    ("avx512vl", Structured, 31, 4),
    ("aes", Basic, 25, 0),
    ("pclmulqdq", Basic, 1, 0),
    ("rdrand", Basic, 30, 0),
    ("rdseed", Structured, 18, 0),
    ("adx", Structured, 19, 0),
    ("sha_ni", Structured, 29, 0),
    ("hypervisor", Basic, 31, 0),
];

/// XMM and YMM state, bits 1 and 2 of XCR0.
const AVX_STATE: u64 = 0b110;

/// Opmask and ZMM state, bits 5 to 7 of XCR0.
const AVX512_STATE: u64 = 0b1110_0000;

struct Leaves {
    basic: CpuidRegisters,
    structured: CpuidRegisters,
    extended: CpuidRegisters,
}

impl Leaves {
    fn read(source: &dyn Source) -> Option<Self> {
        let highest = source.cpuid(0, 0)?.eax;
        let highest_extended = source.cpuid(0x8000_0000, 0)?.eax;
        let leaf =
            |leaf: u32, highest: u32| if leaf <= highest { source.cpuid(leaf, 0) } else { None }.unwrap_or_default();
        Some(Self {
            basic: leaf(1, highest),
            structured: leaf(7, highest),
            extended: leaf(0x8000_0001, highest_extended),
        })
    }

    fn has(&self, register: Register, bit: u32) -> bool {
        let value = match register {
            Basic => self.basic.ecx,
            Structured => self.structured.ebx,
            Extended => self.extended.ecx,
            ExtendedEdx => self.extended.edx,
        };
        value >> bit & 1 == 1
    }
}

pub(super) fn detect(source: &dyn Source, architecture: &str) -> Found {
    let Some(leaves) = Leaves::read(source) else {
        return Found { signal: "no cpuid".into(), ..Found::default() };
    };
    let xcr0 = if leaves.has(Basic, 27) { source.xcr0() } else { None }.unwrap_or(0);
    let present = FEATURES.iter().filter(|(_, register, bit, _)| leaves.has(*register, *bit));
    let features = present.map(|(name, ..)| (*name).to_owned()).collect();
    if architecture == "386" {
        return Found { level: None, features, signal: "cpuid; 386 has no levels".into() };
    }
    let level = level(&leaves, xcr0);
    Found { level: Some(format!("v{level}")), features, signal: format!("cpuid, and XCR0 {xcr0:#x}") }
}

/// What `v3` is made of, the lower levels included.
pub(super) fn implied(level: &str) -> Vec<&'static str> {
    let level = level.strip_prefix('v').and_then(|number| number.parse().ok()).unwrap_or(0);
    FEATURES.iter().filter(|(.., needed_by)| (1..=level).contains(needed_by)).map(|(name, ..)| *name).collect()
}

/// The highest level of which nothing is missing, in it or below it.
fn level(leaves: &Leaves, xcr0: u64) -> u8 {
    let complete = |level: u8| {
        let state = match level {
            3 => AVX_STATE,
            4 => AVX512_STATE,
            _ => 0,
        };
        let needed = FEATURES.iter().filter(|(.., needed_by)| *needed_by == level);
        xcr0 & state == state && needed.into_iter().all(|(_, register, bit, _)| leaves.has(*register, *bit))
    };
    1 + u8::try_from((2..=4).take_while(|level| complete(*level)).count()).unwrap_or(0)
}
