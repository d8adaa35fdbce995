//! The detection, from signals to a report.

use super::arch;
use super::binfmt::{self, Registrations};
use super::cpuinfo::CpuInfo;
use super::execution::Execution;
use super::finding::{Evidence, Finding, FindingKind};
use super::isa;
use super::kernel::{self, KernelView};
use super::report::{Binfmt, HostReport, Kernel, Process, Runs};
use super::runs::{self, Context};
use super::signals::Signals;
use super::source::Source;
use super::variant;
use crate::core::platform::Platform;

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What matching needs: kernel, userland, level. Reads a few small files and starts nothing.
    Quick,
    /// Also what else runs: reads binfmt_misc and starts test programs, milliseconds each.
    Full,
}

/// Finds out what the machine behind `source` can run.
///
/// It blocks: [`Depth::Full`] waits for child processes.
#[must_use]
pub fn detect(source: &dyn Source, depth: Depth) -> HostReport {
    let signals = Signals::read(source);
    let mut report = quick(source, &signals);
    if depth == Depth::Full {
        report.look_further(source, &signals.process);
    }
    report
}

impl HostReport {
    /// Makes a quick report a full one, on the machine that it is about. A full one stays as it is.
    pub fn complete(&mut self, source: &dyn Source) {
        if self.binfmt == Binfmt::NotRead {
            self.look_further(source, source.process_architecture());
        }
    }

    fn look_further(&mut self, source: &dyn Source, process: &str) {
        let registrations = binfmt::read(source);
        self.binfmt = match registrations.enabled {
            None => Binfmt::Unavailable,
            Some(false) => Binfmt::Disabled,
            Some(true) => Binfmt::Enabled,
        };
        let kernel = KernelView {
            architecture: self.kernel.platform.architecture.clone(),
            signal: self.runs.first().map(|runs| runs.known_by.clone()).unwrap_or_default(),
            emulated: self.process.emulated,
        };
        let context = Context { process, kernel: &kernel, registrations: &registrations };
        let (runs, findings) = runs::tried(source, &context);
        self.findings.extend(about_binfmt(&registrations));
        self.findings.extend(findings);
        self.findings.extend(about_compat(source, &kernel.architecture, &runs));
        self.runs = runs;
        self.emulators = registrations.emulators;
    }
}

fn quick(source: &dyn Source, signals: &Signals) -> HostReport {
    let kernel = kernel::view(signals);
    // Under an emulator the features that can be seen are those of the emulated CPU.
    let cpu = if kernel.emulated { &signals.process } else { &kernel.architecture };
    let (isa, isa_signal) = isa::detect(source, signals, cpu);
    let (platform, platform_signal) = variant::platform(signals);
    let kernel_variant = if kernel.architecture == "arm" { isa.level.as_deref().unwrap_or_default() } else { "" };
    let evidence = [
        ("kernel", kernel.signal.clone()),
        ("matching", platform_signal),
        ("ISA level", isa_signal),
        ("page size", "AT_PAGESZ".into()),
    ];
    HostReport {
        kernel: Kernel {
            platform: Platform::linux(&kernel.architecture, kernel_variant).normalized(),
            machine: signals.uname.machine.clone(),
            release: signals.uname.release.clone(),
        },
        process: Process { platform, emulated: kernel.emulated, linux32: signals.linux32 },
        isa,
        containerd: None,
        page_size: Some(signals.auxv.page_size).filter(|size| *size > 0),
        runs: runs::known(&signals.process, &kernel),
        binfmt: Binfmt::NotRead,
        emulators: Vec::new(),
        findings: about_signals(signals, &kernel),
        evidence: evidence.map(|(about, signal)| Evidence { about: about.into(), signal }).into(),
    }
}

/// What the cheap signals give away besides their answer.
fn about_signals(signals: &Signals, kernel: &KernelView) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |kind, message: String| findings.push(Finding { kind, message });
    let process = signals.process.as_str();
    let host = kernel.architecture.as_str();
    if kernel.emulated {
        find(
            FindingKind::EmulatedProcess,
            format!(
                "this program is {process} and runs under an emulator on an {host} kernel ({}): the level and features are those of the emulated CPU",
                kernel.signal
            ),
        );
    } else if arch::compat_of(host) == Some(process) {
        find(
            FindingKind::UserlandSplit,
            format!(
                "32-bit userland on a 64-bit kernel: this program is {process} and the kernel is {host}. A containerd like it matches {process} images only; {host} images run as well, with --platform linux/{host}"
            ),
        );
    }
    if signals.linux32 {
        let machine = &signals.uname.machine;
        find(
            FindingKind::Linux32Personality,
            format!(
                "this process runs under PER_LINUX32 (setarch, linux32): uname -m says {machine}; the kernel is {host}"
            ),
        );
    }
    findings.extend(about_cpuinfo(signals));
    findings
}

/// `/proc/cpuinfo` matters where containerd reads it: on arm and arm64.
fn about_cpuinfo(signals: &Signals) -> Option<Finding> {
    let process = signals.process.as_str();
    let read_by_containerd = matches!(process, "arm" | "arm64");
    let cpuinfo = &signals.cpuinfo;
    let (kind, message) = match cpuinfo {
        CpuInfo::Unreadable(error) => {
            let consequence = if read_by_containerd {
                "a containerd that sees no more would take any arm CPU for v7"
            } else {
                "nothing here depends on it"
            };
            (FindingKind::CpuinfoMasked, format!("/proc/cpuinfo cannot be read ({error}): {consequence}"))
        }
        _ if cpuinfo.is_empty() => {
            (FindingKind::CpuinfoMasked, "/proc/cpuinfo is empty, most likely masked by a container runtime".into())
        }
        _ if !read_by_containerd => return None,
        _ => match cpuinfo.first("CPU architecture") {
            None => (
                FindingKind::CpuinfoIncomplete,
                "/proc/cpuinfo has no line \"CPU architecture\", as under emulators: containerd falls back to uname"
                    .into(),
            ),
            Some("7") if signals.at_platform() == "v6l" || is_armv6(cpuinfo) => (
                FindingKind::Armv6ReportedAs7,
                "/proc/cpuinfo says CPU architecture 7 and the core is an ARMv6 one: images for arm/v7 crash here"
                    .into(),
            ),
            Some(_) => return None,
        },
    };
    Some(Finding { kind, message })
}

fn is_armv6(cpuinfo: &CpuInfo) -> bool {
    cpuinfo.first("model name").is_some_and(|model| model.to_lowercase().starts_with("armv6-compatible"))
}

fn about_binfmt(registrations: &Registrations) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |kind, message: String| findings.push(Finding { kind, message });
    match registrations.enabled {
        None => find(
            FindingKind::BinfmtUnavailable,
            format!(
                "binfmt_misc is not mounted at {} or hidden here, so registered emulators cannot be listed",
                binfmt::DIRECTORY
            ),
        ),
        Some(false) => {
            find(FindingKind::BinfmtDisabled, "binfmt_misc is switched off: no registered emulator is used".into())
        }
        Some(true) => {}
    }
    if !registrations.malformed.is_empty() {
        find(
            FindingKind::BinfmtMalformed,
            format!("entries of binfmt_misc that make no sense: {}", registrations.malformed.join(", ")),
        );
    }
    findings
}

fn about_compat(source: &dyn Source, kernel: &str, runs: &[Runs]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(compat) = arch::compat_of(kernel) else { return findings };
    let is_missing = |runs: &Runs| runs.architecture == compat && matches!(runs.execution, Execution::No { .. });
    if runs.iter().any(is_missing) {
        let message = format!(
            "{compat} programs do not run on this {kernel} node, though containerd falls back to {compat} images where an image has nothing for {kernel}"
        );
        findings.push(Finding { kind: FindingKind::NoCompat, message });
    }
    if kernel == "arm64"
        && let Ok(cpus) = source.read("/sys/devices/system/cpu/aarch32_el0", 1024)
    {
        let message = format!("only CPUs {} run 32-bit arm programs", cpus.trim());
        findings.push(Finding { kind: FindingKind::AsymmetricAarch32, message });
    }
    findings
}
