//! 32-bit arm on a 32-bit kernel: v5, v6 or v7.
//!
//! AT_PLATFORM is the kernel's own word, then come features that only v7 has, then
//! `/proc/cpuinfo`, which calls the ARMv6 core of the first Raspberry Pis a 7.

use super::{Found, named_bits};
use crate::host::signals::Signals;

/// AT_HWCAP, bit 0 first.
const HWCAP: [&str; 22] = [
    "swp", "half", "thumb", "26bit", "fastmult", "fpa", "vfp", "edsp", "java", "iwmmxt", "crunch", "thumbee", "neon",
    "vfpv3", "vfpv3d16", "tls", "vfpv4", "idiva", "idivt", "vfpd32", "lpae", "evtstrm",
];

/// AT_HWCAP2, bit 0 first.
const HWCAP2: [&str; 5] = ["aes", "pmull", "sha1", "sha2", "crc32"];

/// What no core before ARMv7 has.
const SINCE_V7: [&str; 7] = ["thumbee", "neon", "vfpv3", "vfpv3d16", "vfpv4", "idivt", "lpae"];

pub(super) fn detect(signals: &Signals) -> Found {
    let mut features = named_bits(signals.auxv.hwcap, &HWCAP);
    features.extend(named_bits(signals.auxv.hwcap2, &HWCAP2));
    let (level, signal) = level(signals, &features);
    Found { level, features, signal }
}

fn level(signals: &Signals, features: &[String]) -> (Option<String>, String) {
    let from = |digit: &str| Some(format!("v{digit}"));
    let platform = signals.at_platform();
    if let Some(digit) = digit_after(platform, "v") {
        return (from(digit), format!("AT_PLATFORM says {platform}"));
    }
    if let Some(feature) = features.iter().find(|feature| SINCE_V7.contains(&feature.as_str())) {
        return (from("7"), format!("AT_HWCAP has {feature}"));
    }
    let cpuinfo = &signals.cpuinfo;
    if let Some(value) = cpuinfo.first("CPU architecture") {
        let model = cpuinfo.first("model name").unwrap_or_default().to_lowercase();
        if value == "7" && model.starts_with("armv6-compatible") {
            return (from("6"), "/proc/cpuinfo says CPU architecture 7, of an ARMv6-compatible model".into());
        }
        if let Some(digit) = digit_after(value, "") {
            return (from(digit), format!("/proc/cpuinfo says CPU architecture {value}"));
        }
    }
    let machine = signals.uname.machine.as_str();
    match digit_after(machine, "armv") {
        Some(digit) => (from(digit), format!("uname -m says {machine}")),
        None => (None, "neither AT_PLATFORM, AT_HWCAP, /proc/cpuinfo nor uname says".into()),
    }
}

/// What cores of a version have at the least. v5 says nothing of floating point, which hardly any
/// of them have; the v6 ones that run Linux (ARM1176) have VFPv2; v7 has VFPv3 with 16 registers
/// wherever an armhf distribution runs, and NEON not everywhere (Tegra 2, Armada XP).
pub(super) fn implied(level: &str) -> Vec<&'static str> {
    let mut names = vec!["half", "thumb", "fastmult", "edsp"];
    match level {
        "v6" => names.extend(["vfp", "tls"]),
        "v7" => names.extend(["vfp", "vfpv3", "vfpv3d16", "tls"]),
        _ => {}
    }
    names
}

/// The one digit of an architecture version, 3 to 8, that follows a prefix.
fn digit_after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.get(..1).filter(|digit| ("3"..="8").contains(digit))
}
