//! Which architecture the kernel is, behind setarch, 32-bit userlands and emulators.

use super::arch;
use super::signals::Signals;

/// What the kernel turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KernelView {
    /// GOARCH.
    pub(super) architecture: String,
    /// The signal that gave it.
    pub(super) signal: String,
    /// This program's own instructions are not the CPU's: it runs under qemu-user or the like.
    pub(super) emulated: bool,
}

/// Decides by the first signal that is conclusive.
pub(super) fn view(signals: &Signals) -> KernelView {
    let process = signals.process.as_str();
    let foreign = |architecture: &str| arch::family(architecture) != arch::family(process);
    let view = |architecture: &str, signal: String| KernelView {
        architecture: architecture.into(),
        signal,
        emulated: foreign(architecture),
    };
    if let Some(name) = &signals.kernel_arch
        && let Some(architecture) = arch::from_machine(name, process)
    {
        return view(architecture, format!("/proc/sys/kernel/arch says {name}"));
    }
    if let Some(architecture) = signals.cpuinfo.architecture().filter(|architecture| foreign(architecture)) {
        return view(
            architecture,
            format!("/proc/cpuinfo describes an {architecture} CPU, and this program is {process}"),
        );
    }
    if let Some((architecture, signal)) = wider_kernel(signals) {
        return view(architecture, signal);
    }
    match arch::from_machine(&signals.uname.machine, process) {
        Some(architecture) if arch::compat_of(process) != Some(architecture) => {
            view(architecture, format!("uname -m says {}", signals.uname.machine))
        }
        _ => view(process, format!("this program is {process} and the kernel runs it")),
    }
}

/// The 64-bit kernel that a 32-bit program betrays.
fn wider_kernel(signals: &Signals) -> Option<(&'static str, String)> {
    let machine = signals.uname.machine.as_str();
    match signals.process.as_str() {
        "arm" if matches!(machine, "aarch64" | "armv8l") => Some(("arm64", format!("uname -m says {machine}"))),
        "arm" if signals.at_platform() == "v8l" => Some(("arm64", "AT_PLATFORM says v8l".into())),
        // 32-bit kernels never print more than 7, whatever the CPU.
        "arm" if signals.cpuinfo.first("CPU architecture") == Some("8") => {
            Some(("arm64", "/proc/cpuinfo says CPU architecture 8, which only 64-bit kernels do".into()))
        }
        "386" if machine == "x86_64" => Some(("amd64", "uname -m says x86_64".into())),
        "386" if signals.linux32 && signals.cpuinfo.architecture() == Some("amd64") => {
            Some(("amd64", "a 64-bit CPU, and the personality is PER_LINUX32".into()))
        }
        _ => None,
    }
}
