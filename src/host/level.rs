//! Levels of an architecture, compared: does a CPU of one level run code of another?

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It runs.
    Within,
    /// The code needs more than the CPU has.
    Above,
    /// One of the two is unknown.
    Unknown,
}

/// Whether a CPU of `level` runs code for `variant`; an empty variant is the lowest one, and every CPU
/// runs that.
#[must_use]
pub fn fit(architecture: &str, level: Option<&str>, variant: &str) -> Fit {
    if variant.is_empty() {
        return Fit::Within;
    }
    let Some(level) = level else {
        let least = least(architecture).is_some_and(|least| compare(architecture, least, variant) == Fit::Within);
        return if least { Fit::Within } else { Fit::Unknown };
    };
    compare(architecture, level, variant)
}

/// What every CPU of an architecture has that Linux distributions run on.
pub(super) fn least(architecture: &str) -> Option<&'static str> {
    Some(match architecture {
        "amd64" => "v1",
        "arm64" => "v8.0",
        "ppc64le" => "power8",
        "riscv64" => "rva20u64",
        _ => return None,
    })
}

fn compare(architecture: &str, level: &str, variant: &str) -> Fit {
    if architecture == "arm64" {
        return fit_arm64(level, variant);
    }
    match (rank(architecture, level), rank(architecture, variant)) {
        (Some(has), Some(needs)) if needs <= has => Fit::Within,
        (Some(_), Some(_)) => Fit::Above,
        _ => Fit::Unknown,
    }
}

/// Generations of s390x, as AT_PLATFORM and compilers call them.
const S390X: [&str; 11] = ["z900", "z990", "z9-109", "z10", "z196", "zEC12", "z13", "z14", "z15", "z16", "z17"];

fn rank(architecture: &str, level: &str) -> Option<usize> {
    match architecture {
        "amd64" | "arm" => level.strip_prefix('v')?.parse().ok(),
        "ppc64le" | "ppc64" => level.strip_prefix("power")?.parse().ok(),
        "riscv64" => level.strip_prefix("rva")?.strip_suffix("u64")?.parse().ok(),
        "s390x" => S390X.iter().position(|name| name.eq_ignore_ascii_case(level)),
        _ => None,
    }
}

/// arm64 has two lines of descent: v9.N contains v8.(N+5), and nothing of v8 contains v9.
fn fit_arm64(level: &str, variant: &str) -> Fit {
    let (Some((has_major, has)), Some((major, minor))) = (arm64(level), arm64(variant)) else { return Fit::Unknown };
    let within = match (has_major, major) {
        (8, 8) | (9, 9) => minor <= has,
        (9, 8) => minor <= has + 5,
        (8, 9) => false,
        _ => return Fit::Unknown,
    };
    if within { Fit::Within } else { Fit::Above }
}

fn arm64(level: &str) -> Option<(u32, u32)> {
    let number = level.strip_prefix('v')?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok().filter(|minor| *minor < 100)?))
}
