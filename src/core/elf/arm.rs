//! Build attributes of 32-bit ARM: which CPU the code of a file was compiled for.
//!
//! A linker merges the attributes of all that it links, so they speak for the most demanding
//! part, which may be one that is only entered where the CPU has what it needs.
//!
//! Specification: Addenda to, and Errata in, the ABI for the Arm Architecture, "Public "aeabi"
//! attribute tags".

use std::ops::Range;

use super::abi::Float;

/// What the attributes of a file say; `None` where a tag is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmAttributes {
    /// `Tag_CPU_arch`.
    pub cpu_arch: Option<u64>,
    /// `Tag_CPU_arch_profile`: `A`, `R`, `M` or `S`.
    pub profile: Option<char>,
    /// `Tag_FP_arch`: 0 none, 1 and 2 VFP, 3 and 4 VFPv3, 5 and 6 VFPv4, 7 and 8 ARMv8's.
    pub fp_arch: Option<u64>,
    /// `Tag_Advanced_SIMD_arch`: 0 none, else NEON.
    pub simd_arch: Option<u64>,
    /// `Tag_ABI_VFP_args`: 0 base convention, 1 VFP registers, 3 compatible with both.
    pub vfp_args: Option<u64>,
    /// Where they lie in the file.
    pub at: Range<u64>,
}

impl ArmAttributes {
    pub(super) fn of(numbers: &[(u64, u64)], at: Range<u64>) -> Self {
        let tag = |wanted: u64| numbers.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
        Self {
            cpu_arch: tag(6),
            profile: tag(7).and_then(|value| char::from_u32(u32::try_from(value).ok()?)).filter(char::is_ascii_graphic),
            fp_arch: tag(10),
            simd_arch: tag(12),
            vfp_args: tag(28),
            at,
        }
    }

    /// The least variant of `linux/arm` that has these instructions; `None` for what is not
    /// known, and for microcontrollers.
    #[must_use]
    pub fn variant(&self) -> Option<&'static str> {
        if self.profile == Some('M') {
            return None;
        }
        Some(match self.cpu_arch? {
            // Below v5 there is no name, and v5 runs it.
            0..=5 => "v5",
            // v6, v6KZ and v6K. The Thumb-2 of v6T2 is in no core that runs Linux before v7.
            6 | 7 | 9 => "v6",
            8 | 10 => "v7",
            14 | 22 => "v8",
            _ => return None,
        })
    }

    /// `Tag_CPU_arch` in words.
    #[must_use]
    pub fn cpu_arch_text(&self) -> Option<&'static str> {
        const NAMES: [&str; 23] = [
            "pre-v4",
            "v4",
            "v4T",
            "v5T",
            "v5TE",
            "v5TEJ",
            "v6",
            "v6KZ",
            "v6T2",
            "v6K",
            "v7",
            "v6-M",
            "v6S-M",
            "v7E-M",
            "v8-A",
            "v8-R",
            "v8-M.baseline",
            "v8-M.mainline",
            "v8.1-A",
            "v8.2-A",
            "v8.3-A",
            "v8.1-M.mainline",
            "v9-A",
        ];
        NAMES.get(usize::try_from(self.cpu_arch?).ok()?).copied()
    }

    /// Where floating-point arguments go.
    pub(super) fn float(&self) -> Option<Float> {
        match self.vfp_args? {
            0 => Some(Float::Soft),
            1 => Some(Float::Hard),
            _ => None,
        }
    }
}
