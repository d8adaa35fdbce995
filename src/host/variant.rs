//! The platform that containerd, built for this program's architecture, takes this host for.
//!
//! containerd knows its architecture from its own compilation, and a variant only of
//! arm and arm64, by the rules below. They are kept to the letter where their input
//! can be read; where `/proc/cpuinfo` is hidden from us, containerd outside of our
//! container most likely sees it, so the kernel's other signals stand in for it.

use super::signals::Signals;
use crate::core::platform::Platform;

/// The normalised platform, and the signal that its variant comes from.
pub(super) fn platform(signals: &Signals) -> (Platform, String) {
    let architecture = signals.process.as_str();
    if !matches!(architecture, "arm" | "arm64") {
        return (
            Platform::linux(architecture, ""),
            "architecture of this program; containerd knows no variant of it".into(),
        );
    }
    let (number, signal) = number(signals);
    let platform = Platform::linux(architecture, variant_of(&number)).normalized();
    (platform, format!("architecture of this program; {signal}"))
}

/// What cpuinfo, or what stands in for it, calls the architecture version.
fn number(signals: &Signals) -> (String, String) {
    let cpuinfo = &signals.cpuinfo;
    if let Some(value) = cpuinfo.first("CPU architecture") {
        let model = cpuinfo.first("model name").unwrap_or_default().to_lowercase();
        if signals.process == "arm" && value == "7" && model.starts_with("armv6-compatible") {
            return ("6".into(), "/proc/cpuinfo says CPU architecture 7 of an ARMv6-compatible model".into());
        }
        return (value.into(), format!("/proc/cpuinfo says CPU architecture {value}"));
    }
    if let Some(number) = signals.at_platform().strip_prefix('v').and_then(|text| text.get(..1)) {
        let at_platform = signals.at_platform();
        return (number.into(), format!("/proc/cpuinfo does not say; AT_PLATFORM says {at_platform}"));
    }
    let machine = signals.uname.machine.as_str();
    (from_machine(machine).into(), format!("/proc/cpuinfo does not say; uname -m says {machine}"))
}

fn from_machine(machine: &str) -> &str {
    match machine {
        "aarch64" => "8",
        _ => machine.strip_prefix("armv").and_then(|rest| rest.get(..1)).unwrap_or("unknown"),
    }
}

/// containerd's table of what cpuinfo prints.
fn variant_of(value: &str) -> &'static str {
    match value.to_lowercase().as_str() {
        "8" | "aarch64" => "v8",
        "7" | "7m" | "?(12)" | "?(13)" | "?(14)" | "?(15)" | "?(16)" | "?(17)" => "v7",
        "6" | "6tej" => "v6",
        "5" | "5t" | "5te" | "5tej" => "v5",
        "4" | "4t" => "v4",
        "3" => "v3",
        _ => "unknown",
    }
}
