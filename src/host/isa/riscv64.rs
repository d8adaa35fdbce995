//! riscv64: the RVA profile.
//!
//! riscv_hwprobe(2) speaks for all CPUs together. Kernels before 6.4 do not have it;
//! then the ISA string of `/proc/cpuinfo` is read. Of a profile only those extensions
//! are asked for that kernels have shown since it could be asked: a profile's hints,
//! counters and cache block operations that the kernel does not show are taken on trust.
//!
//! Specification: RISC-V Profiles, RVA20U64, RVA22U64, RVA23U64.

use super::Found;
use crate::host::signals::Signals;
use crate::host::source::{Hwprobe, Source};

/// (bit of key 4, name as in an ISA string).
const EXTENSIONS: [(u32, &str); 21] = [
    (2, "v"),
    (3, "zba"),
    (4, "zbb"),
    (5, "zbs"),
    (6, "zicboz"),
    (7, "zbc"),
    (16, "zkt"),
    (17, "zvbb"),
    (26, "zvkt"),
    (27, "zfh"),
    (28, "zfhmin"),
    (29, "zihintntl"),
    (31, "zvfhmin"),
    (32, "zfa"),
    (34, "zacas"),
    (35, "zicond"),
    (36, "zihintpause"),
    (42, "zimop"),
    (44, "zcb"),
    (47, "zcmop"),
    (48, "zawrs"),
];

/// What each profile adds to the one before it.
const PROFILES: [(&str, &[&str]); 3] = [
    ("rva20u64", &["i", "m", "a", "f", "d", "c"]),
    ("rva22u64", &["zba", "zbb", "zbs", "zicboz", "zfhmin", "zkt"]),
    ("rva23u64", &["v", "zvfhmin", "zvbb", "zvkt", "zihintntl", "zicond", "zimop", "zcmop", "zcb", "zfa", "zawrs"]),
];

pub(super) fn detect(source: &dyn Source, signals: &Signals) -> Found {
    if let Some(hwprobe) = source.hwprobe() {
        let features = from_hwprobe(hwprobe);
        return Found { level: profile(&features), features, signal: "riscv_hwprobe".into() };
    }
    match signals.cpuinfo.first("isa") {
        Some(isa) => {
            let features = from_isa_string(isa);
            Found { level: profile(&features), features, signal: "no riscv_hwprobe; isa of /proc/cpuinfo".into() }
        }
        None => Found { signal: "neither riscv_hwprobe nor /proc/cpuinfo says".into(), ..Found::default() },
    }
}

/// What a profile is made of, those before it included.
pub(super) fn implied(level: &str) -> Vec<&'static str> {
    let Some(last) = PROFILES.iter().position(|(name, _)| *name == level) else { return Vec::new() };
    PROFILES[..=last].iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

fn from_hwprobe(hwprobe: Hwprobe) -> Vec<String> {
    let mut features = Vec::new();
    if hwprobe.base_behavior & 1 == 1 {
        features.extend(["i", "m", "a"]);
    }
    if hwprobe.ima_extensions & 1 == 1 {
        features.extend(["f", "d"]);
    }
    if hwprobe.ima_extensions >> 1 & 1 == 1 {
        features.push("c");
    }
    features.extend(EXTENSIONS.iter().filter(|(bit, _)| hwprobe.ima_extensions >> bit & 1 == 1).map(|(_, name)| *name));
    features.into_iter().map(str::to_owned).collect()
}

/// `rv64imafdc_zicbom_zba`: letters, then names.
fn from_isa_string(isa: &str) -> Vec<String> {
    let mut parts = isa.trim_start_matches("rv64").split('_');
    let letters = parts.next().unwrap_or_default().chars().map(String::from);
    letters.chain(parts.map(str::to_owned)).collect()
}

fn profile(features: &[String]) -> Option<String> {
    let complete = |needed: &[&str]| needed.iter().all(|name| features.iter().any(|feature| feature == name));
    let reached = PROFILES.iter().take_while(|(_, needed)| complete(needed)).last();
    reached.map(|(name, _)| (*name).into())
}
