//! The level of instructions that the CPU has, and its features by name.
//!
//! A level is what the kernel shows at least. Where a signal is missing the level is
//! `None` and never a guess.

mod amd64;
mod arm;
mod arm64;
mod power;
mod riscv64;
mod s390x;

use super::report::Isa;
use super::signals::Signals;
use super::source::Source;

/// What was found, and by which signal.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) level: Option<String>,
    pub(super) features: Vec<String>,
    pub(super) signal: String,
}

/// Asks the signals that exist for `architecture`, which is the CPU's, or that of the
/// emulated CPU where this program is emulated.
pub(super) fn detect(source: &dyn Source, signals: &Signals, architecture: &str) -> (Isa, String) {
    let found = match architecture {
        "amd64" | "386" => amd64::detect(source, architecture),
        "arm" => arm::detect(signals),
        "arm64" => arm64::detect(signals),
        "ppc64le" | "ppc64" => power::detect(signals),
        "riscv64" => riscv64::detect(source, signals),
        "s390x" => s390x::detect(signals),
        _ => Found { signal: "levels of this architecture are not known".into(), ..Found::default() },
    };
    (Isa { architecture: architecture.into(), level: found.level, features: found.features }, found.signal)
}

/// Features that every CPU of a level has, as far as a level is made of features.
pub(super) fn implied(architecture: &str, level: &str) -> Vec<String> {
    let names: Vec<&str> = match architecture {
        "amd64" => amd64::implied(level),
        "arm" => arm::implied(level),
        "arm64" => arm64::implied(level),
        "ppc64le" | "ppc64" => power::implied(level),
        "riscv64" => riscv64::implied(level),
        "s390x" => s390x::implied(level),
        _ => Vec::new(),
    };
    names.into_iter().map(str::to_owned).collect()
}

/// The names whose bit is set; bit 0 first, unnamed bits left out.
fn named_bits(bits: u64, names: &[&str]) -> Vec<String> {
    let set = names.iter().enumerate().filter(|(bit, name)| bits >> bit & 1 == 1 && !name.is_empty());
    set.map(|(_, name)| (*name).to_owned()).collect()
}
