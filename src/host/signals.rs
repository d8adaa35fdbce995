//! Everything cheap that the detector looks at, read once.

use super::cpuinfo::CpuInfo;
use super::source::{Auxv, Source, Uname};

/// Enough for the first cores of any machine; more is slow to produce and says nothing new.
const CPUINFO_LIMIT: usize = 64 * 1024;

/// PER_LINUX32 of personality(2); the low byte is the execution domain.
const PER_LINUX32: u32 = 0x08;
const PER_MASK: u32 = 0xff;

#[derive(Debug)]
pub(super) struct Signals {
    /// GOARCH of this program.
    pub(super) process: String,
    pub(super) uname: Uname,
    pub(super) auxv: Auxv,
    /// This process runs under `setarch linux32` or the like, so that uname bends.
    pub(super) linux32: bool,
    /// `/proc/sys/kernel/arch` (Linux 6.1): the machine name that neither personality nor qemu-user changes.
    pub(super) kernel_arch: Option<String>,
    pub(super) cpuinfo: CpuInfo,
}

impl Signals {
    pub(super) fn read(source: &dyn Source) -> Self {
        let kernel_arch = source.read("/proc/sys/kernel/arch", 64).ok();
        Self {
            process: source.process_architecture().into(),
            uname: source.uname(),
            auxv: source.auxv(),
            linux32: source.personality().is_some_and(|persona| persona & PER_MASK == PER_LINUX32),
            kernel_arch: kernel_arch.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            cpuinfo: source.read("/proc/cpuinfo", CPUINFO_LIMIT).map_or_else(CpuInfo::Unreadable, CpuInfo::Text),
        }
    }

    /// AT_PLATFORM, or nothing.
    pub(super) fn at_platform(&self) -> &str {
        self.auxv.platform.as_deref().unwrap_or_default()
    }
}
