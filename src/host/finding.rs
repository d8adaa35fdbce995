//! What is worth knowing about a node, and where each conclusion comes from.

use serde::{Deserialize, Serialize};

/// Why the report says something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What was concluded, `kernel` or `ISA level` for one.
    pub about: String,
    /// The signal that gave it.
    pub signal: String,
}

/// Something that is not as one would expect, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stable name.
    pub kind: FindingKind,
    /// What it means here, one sentence or two.
    pub message: String,
}

/// The names of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// 32-bit programs on a 64-bit kernel.
    UserlandSplit,
    /// The personality is PER_LINUX32, so that uname shows a 32-bit machine.
    Linux32Personality,
    /// `/proc/cpuinfo` cannot be read, or is masked by an empty file.
    CpuinfoMasked,
    /// `/proc/cpuinfo` does not have the line that containerd looks for.
    CpuinfoIncomplete,
    /// An ARMv6 core whose `/proc/cpuinfo` says 7.
    Armv6ReportedAs7,
    /// This program runs under an emulator (qemu-user, Rosetta).
    EmulatedProcess,
    /// The 32-bit sibling of this kernel's architecture does not run.
    NoCompat,
    /// Only some CPUs run 32-bit arm programs.
    AsymmetricAarch32,
    /// binfmt_misc cannot be seen from here.
    BinfmtUnavailable,
    /// binfmt_misc is switched off as a whole.
    BinfmtDisabled,
    /// A registration of binfmt_misc that makes no sense.
    BinfmtMalformed,
    /// An emulator is registered and enabled, and does not work.
    EmulatorBroken,
    /// An emulator works here and not in containers: it lacks flag F.
    EmulatorNotInContainers,
    /// containerd matches with another platform than the kernel's.
    ContainerdDiffers,
}
