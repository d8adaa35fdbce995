//! Which platforms a host accepts, and which it likes better.
//!
//! A [`Matcher`] is an ordered list of acceptable platforms, its slots. containerd
//! calls the same thing a `MatchComparer`; `Only`, `OnlyStrict` and `Ordered` are the
//! constructors here.

use super::{Platform, windows};

/// Highest variant number that is counted down from; containerd has no bound, and an
/// image that declares `amd64/v4000000000` must not cost four billion slots.
const HIGHEST_VARIANT: u32 = 64;

/// An ordered list of acceptable platforms; earlier slots are preferred.
///
/// ```
/// use lighterman::core::platform::{Matcher, Platform};
///
/// let pi = Matcher::only(&Platform::linux("arm", "v7"));
/// assert_eq!(pi.slot(&Platform::linux("arm", "v6")), Some(1));
/// assert_eq!(pi.slot(&Platform::linux("arm64", "")), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    slots: Vec<Platform>,
}

impl Matcher {
    /// containerd's `Only`: the host and everything below it that it is assumed to run
    /// (lower variants, 386 on amd64, 32-bit arm on arm64).
    #[must_use]
    pub fn only(host: &Platform) -> Self {
        Self { slots: vector(&host.normalized()) }
    }

    /// containerd's `OnlyStrict`: the host itself, in any spelling.
    #[must_use]
    pub fn strict(host: &Platform) -> Self {
        Self { slots: vec![host.normalized()] }
    }

    /// The acceptable platforms, normalised, best first. Empty where containerd's rules
    /// leave nothing, not even the host itself (`arm64/v8.10`).
    #[must_use]
    pub fn slots(&self) -> &[Platform] {
        &self.slots
    }

    /// The first slot that accepts `candidate`, counted from 0.
    #[must_use]
    pub fn slot(&self, candidate: &Platform) -> Option<usize> {
        let normal = candidate.normalized();
        self.slots.iter().position(|slot| accepts(slot, &normal))
    }

    /// Sort key: lower is better; among equals the entry that comes first in the index wins
    /// (containerd's `Less` is no total order, so sorting has to be stable).
    #[must_use]
    pub fn rank(&self, candidate: &Platform) -> Option<(usize, std::cmp::Reverse<usize>)> {
        Some((self.slot(candidate)?, std::cmp::Reverse(candidate.os_features.len())))
    }
}

fn accepts(slot: &Platform, candidate: &Platform) -> bool {
    if slot.os != candidate.os || slot.architecture != candidate.architecture || slot.variant != candidate.variant {
        return false;
    }
    let windows = slot.os == "windows";
    if windows && !windows::version_accepted(&slot.os_version, &candidate.os_version) {
        return false;
    }
    candidate.os_features.iter().all(|need| slot.os_features.contains(need) || (windows && need == "win32k"))
}

/// containerd's `platformVector` of a normalised host.
fn vector(host: &Platform) -> Vec<Platform> {
    let with = |architecture: &str, variant: String| {
        Platform { architecture: architecture.into(), variant, ..host.clone() }.normalized()
    };
    match host.architecture.as_str() {
        "amd64" => {
            let lower = count_down(&host.variant, 1).map(|n| with("amd64", format!("v{n}")));
            std::iter::once(host.clone()).chain(lower).chain([with("386", String::new())]).collect()
        }
        "arm" => arm_vector(host, &host.variant),
        "arm64" => {
            let Some(levels) = arm64_levels(&host.variant) else { return Vec::new() };
            let own = levels.into_iter().map(|(major, minor)| match minor {
                0 => with("arm64", format!("v{major}")),
                _ => with("arm64", format!("v{major}.{minor}")),
            });
            // arm64/v9 and every v8.x run 32-bit code of arm/v8 at the most.
            own.chain(arm_vector(host, "v8")).collect()
        }
        _ => vec![host.clone()],
    }
}

fn arm_vector(host: &Platform, variant: &str) -> Vec<Platform> {
    let arm = |variant: String| Platform { architecture: "arm".into(), variant, ..host.clone() };
    std::iter::once(arm(variant.into())).chain(count_down(variant, 5).map(|n| arm(format!("v{n}")))).collect()
}

/// The variants below `variant`, down to `lowest`.
fn count_down(variant: &str, lowest: u32) -> impl Iterator<Item = u32> + use<> {
    let number = variant.strip_prefix('v').unwrap_or(variant).parse().ok().filter(|n| *n <= HIGHEST_VARIANT);
    (lowest..number.unwrap_or(lowest)).rev()
}

/// (major, minor) that an arm64 variant includes, best first; v9.N includes v8.(N+5).
/// `None` for a variant that containerd's table does not have.
fn arm64_levels(variant: &str) -> Option<Vec<(u32, u32)>> {
    let (major, minor) = match variant {
        "" => (8, 0),
        "v9" => (9, 0),
        other => {
            let (major, minor) = other.strip_prefix('v')?.split_once('.')?;
            // One digit: "v8.01" is no variant, and both majors end at one digit.
            let minor = minor.parse().ok().filter(|_| minor.len() == 1)?;
            (major.parse().ok().filter(|_| major.len() == 1)?, minor)
        }
    };
    let down_from = |major: u32, minor: u32| (0..=minor).rev().map(move |n| (major, n));
    match (major, minor) {
        (8, 0..=9) => Some(down_from(8, minor).collect()),
        (9, 0..=7) => Some(down_from(9, minor).chain(down_from(8, (minor + 5).min(9))).collect()),
        _ => None,
    }
}
