//! Which variants there are of which architecture, and what a wrong one was meant to be.
//!
//! A variant that no client knows is matched by nothing but itself, so that an entry of an index
//! under such a name is as good as not there. What is spelt in a way that containerd alone
//! understands (`arm64/8`) counts as wrong too: podman and others compare names as they stand.
//!
//! Specification: OCI image-spec, image-index.md, "Platform Variants"; containerd/platforms 1.0,
//! `platformVector`, for the revisions of arm64.

use super::{KNOWN_ARCHITECTURES, Platform, is_known_arch, normalize_arch, parse_arch};

/// What is wrong with a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantProblem {
    /// What is wrong, as a clause: `v6l is no variant of arm: there are v5, v6, v7 and v8`.
    pub why: String,
    /// The variant that was meant, where that can be told; empty where there should be none.
    pub right: Option<String>,
}

/// What is wrong with the name of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchitectureProblem {
    /// What is wrong, as a clause.
    pub why: String,
    /// The platform that was meant, its variant with it, where that can be told.
    pub right: Option<Platform>,
}

/// (architecture, its variants, lowest first).
const VARIANTS: [(&str, &[&str]); 5] = [
    // v5 is not in the OCI table; Docker's official images and containerd have it.
    ("arm", &["v5", "v6", "v7", "v8"]),
    (
        "arm64",
        &[
            "v8", "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9", "v9", "v9.1", "v9.2", "v9.3",
            "v9.4", "v9.5", "v9.6", "v9.7",
        ],
    ),
    ("amd64", &["v1", "v2", "v3", "v4"]),
    ("ppc64le", &["power8", "power9", "power10"]),
    ("riscv64", &["rva20u64", "rva22u64", "rva23u64"]),
];

/// What people write in front of a variant's number: names of architectures and CPUs.
const PREFIXES: [&str; 13] =
    ["x86-64", "x86_64", "aarch64", "aarch32", "amd64", "arm64", "armv", "arm", "power", "pwr", "rva", "p", "v"];

/// What is wrong with the variant that a platform declares; `None` where it has none, or a right one.
///
/// The architecture may be spelt in any way that is understood. That a variant exists does not
/// mean that every client picks it: containerd takes `amd64/v3` only where it is asked for.
///
/// ```
/// use lighterman::core::platform::{Platform, variant_problem};
///
/// let problem = variant_problem(&Platform::linux("arm", "v6l")).expect("no such variant");
/// assert_eq!(problem.right.as_deref(), Some("v6"));
/// assert_eq!(variant_problem(&Platform::linux("arm64", "v8.2")), None);
/// ```
#[must_use]
pub fn variant_problem(platform: &Platform) -> Option<VariantProblem> {
    let declared = platform.variant.as_str();
    let (architecture, _) = parse_arch(&platform.architecture, "");
    let known = VARIANTS.iter().find(|(name, _)| *name == architecture).map_or(&[][..], |(_, known)| known);
    if declared.is_empty() || known.contains(&declared) {
        return None;
    }
    if known.is_empty() {
        let why = format!("{declared} is no variant of {architecture}, which has none");
        return is_known_arch(&architecture).then_some(VariantProblem { why, right: Some(String::new()) });
    }
    let right = meant(&architecture, known, &declared.to_lowercase());
    let read_by_containerd = right
        .is_some_and(|right| normalize_arch(&architecture, right) == normalize_arch(&platform.architecture, declared));
    let why = match right {
        Some(right) if read_by_containerd => {
            format!("{declared} is {right} to containerd and nothing to clients that compare names as they stand")
        }
        _ => format!("{declared} is no variant of {architecture}: there are {}", listed(known)),
    };
    Some(VariantProblem { why, right: right.map(str::to_owned) })
}

/// What is wrong with the architecture that a platform declares; `None` where it is one of Go's
/// names, which are those of the OCI specification, or where the platform is BuildKit's `unknown`.
#[must_use]
pub fn architecture_problem(platform: &Platform) -> Option<ArchitectureProblem> {
    let declared = platform.architecture.as_str();
    if platform.is_unknown() || is_known_arch(declared) {
        return None;
    }
    if declared.is_empty() {
        return Some(ArchitectureProblem { why: "no architecture is named".into(), right: None });
    }
    let (architecture, variant) = parse_arch(declared, &platform.variant);
    let with = |architecture: &str, variant: &str| Platform {
        architecture: architecture.into(),
        variant: variant.into(),
        ..platform.clone()
    };
    if !is_known_arch(&architecture) {
        let like = |name: &&str| strsim::normalized_damerau_levenshtein(&declared.to_lowercase(), name);
        let nearest = KNOWN_ARCHITECTURES.iter().copied().max_by(|a, b| like(a).total_cmp(&like(b)));
        let right = nearest.filter(|name| like(name) >= 0.75).map(|name| with(name, &platform.variant));
        return Some(ArchitectureProblem { why: format!("{declared} is no architecture"), right });
    }
    let to_containerd = normalize_arch(declared, &platform.variant);
    let why = if to_containerd.0 == architecture {
        format!("{declared} is {architecture} to containerd and nothing to clients that compare names as they stand")
    } else {
        format!("{declared} is what some systems call {architecture}, and no client knows it")
    };
    let variant = if architecture == "arm64" && variant.is_empty() { &platform.variant } else { &variant };
    Some(ArchitectureProblem { why, right: Some(with(&architecture, variant)) })
}

/// The variant among `known` that a person or a tool had in mind.
fn meant<'a>(architecture: &str, known: &[&'a str], declared: &str) -> Option<&'a str> {
    if let Some(same) = known.iter().find(|known| **known == declared) {
        return Some(same);
    }
    // The OCI name of ARMv8.0 and ARMv9.0 leaves the zero out.
    let (major, minor) = number(declared)?;
    let name = match (architecture, minor) {
        ("arm64", Some(minor)) if minor > 0 => format!("v{major}.{minor}"),
        ("ppc64le", _) => format!("power{major}"),
        ("riscv64", _) => format!("rva{major}u64"),
        _ => format!("v{major}"),
    };
    known.iter().copied().find(|known| **known == name)
}

/// The number in `v6l`, `ARMv8.2-A`, `x86-64-v3`, `POWER9`: major, and minor where there is one.
fn number(text: &str) -> Option<(u32, Option<u32>)> {
    let mut rest = text;
    while let Some(stripped) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = stripped.trim_start_matches(['-', '_', '/']);
    }
    let (major, rest) = leading_number(rest)?;
    let minor = rest.strip_prefix('.').and_then(leading_number);
    Some((major, minor.map(|(minor, _)| minor)))
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// `v5, v6, v7 and v8`; a long list is cut in its middle.
fn listed(known: &[&str]) -> String {
    match known {
        [] => String::new(),
        [only] => (*only).into(),
        [first, second, .., last] if known.len() > 6 => format!("{first}, {second} and so on up to {last}"),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Matcher;
    use super::*;

    #[test]
    fn wrong_variants_and_what_they_were_meant_to_be() {
        let rows = [
            ("arm", "v6l", Some("v6")),
            ("arm", "7", Some("v7")),
            ("arm", "V7", Some("v7")),
            ("arm", "armv7l", Some("v7")),
            ("arm", "v7-a", Some("v7")),
            ("arm", "v7hf", Some("v7")),
            ("armhf", "6", Some("v6")),
            ("arm", "v9", None),
            ("arm", "hf", None),
            ("arm64", "8", Some("v8")),
            ("arm64", "v8.0", Some("v8")),
            ("arm64", "9.0", Some("v9")),
            ("arm64", "armv8.2-a", Some("v8.2")),
            ("aarch64", "v8a", Some("v8")),
            ("arm64", "v8.10", None),
            ("arm64", "v10", None),
            ("arm64", "v7", None),
            ("amd64", "3", Some("v3")),
            ("amd64", "x86-64-v3", Some("v3")),
            ("x86_64", "x86_64_v2", Some("v2")),
            ("amd64", "v5", None),
            ("amd64", "haswell", None),
            ("ppc64le", "POWER9", Some("power9")),
            ("ppc64le", "p10", Some("power10")),
            ("riscv64", "rva22", Some("rva22u64")),
            ("riscv64", "gc", None),
            ("386", "sse2", Some("")),
            ("s390x", "z14", Some("")),
        ];
        for (architecture, variant, right) in rows {
            let problem = variant_problem(&Platform::linux(architecture, variant));
            let found = problem.as_ref().map(|problem| problem.right.as_deref());
            assert_eq!(found, Some(right), "{architecture}/{variant}: {problem:?}");
        }
    }

    #[test]
    fn reasons_say_who_understands_it() {
        let why =
            |architecture, variant| variant_problem(&Platform::linux(architecture, variant)).expect("a problem").why;
        assert_eq!(why("arm", "v6l"), "v6l is no variant of arm: there are v5, v6, v7 and v8");
        assert_eq!(why("arm64", "v8.10"), "v8.10 is no variant of arm64: there are v8, v8.1 and so on up to v9.7");
        assert_eq!(why("arm", "7"), "7 is v7 to containerd and nothing to clients that compare names as they stand");
        assert_eq!(why("386", "sse2"), "sse2 is no variant of 386, which has none");
        // containerd lowers letters, and does not know that 3 is v3.
        assert!(why("arm", "V7").contains("to containerd"));
        assert!(why("amd64", "3").contains("no variant"));
    }

    #[test]
    fn right_variants_are_left_alone() {
        for (architecture, known) in VARIANTS {
            for variant in known.iter().chain(&[""]) {
                assert_eq!(variant_problem(&Platform::linux(architecture, variant)), None, "{architecture}/{variant}");
            }
        }
        for architecture in ["386", "s390x", "unknown", "vax", ""] {
            assert_eq!(variant_problem(&Platform::linux(architecture, "")), None, "{architecture}");
        }
    }

    #[test]
    fn names_of_architectures() {
        let rows = [
            ("aarch64", "", Some("linux/arm64"), "to containerd"),
            ("aarch64", "v8", Some("linux/arm64/v8"), "to containerd"),
            ("x86_64", "v3", Some("linux/amd64/v3"), "to containerd"),
            ("AMD64", "", Some("linux/amd64"), "to containerd"),
            ("armhf", "", Some("linux/arm/v7"), "to containerd"),
            ("armv6l", "", Some("linux/arm/v6"), "no client knows"),
            ("ppc64el", "", Some("linux/ppc64le"), "no client knows"),
            ("i686", "", Some("linux/386"), "no client knows"),
            ("amd46", "", Some("linux/amd64"), "no architecture"),
            ("vax", "", None, "no architecture"),
            ("", "", None, "no architecture is named"),
        ];
        for (architecture, variant, right, why) in rows {
            let problem = architecture_problem(&Platform::linux(architecture, variant)).expect(architecture);
            assert_eq!(problem.right.map(|right| right.to_string()).as_deref(), right, "{architecture}");
            assert!(problem.why.contains(why), "{architecture}: {}", problem.why);
        }
        let unknown = Platform { os: "unknown".into(), ..Platform::linux("unknown", "") };
        for platform in [Platform::linux("arm", "v6l"), Platform::linux("loong64", ""), unknown] {
            assert_eq!(architecture_problem(&platform), None, "{platform}");
        }
    }

    proptest! {
        #[test]
        fn the_right_one_is_right(architecture in "(arm|arm64|amd64|ppc64le|riscv64|386|[a-z0-9]{0,6})", variant in "\\PC{0,10}|(armv|v|power|rva)[0-9]{1,3}(\\.[0-9]{1,2})?[a-z]{0,2}") {
            let platform = Platform::linux(&architecture, &variant);
            if let Some(VariantProblem { right: Some(right), .. }) = variant_problem(&platform) {
                prop_assert_ne!(&right, &variant);
                let mended = Platform { variant: right, ..platform };
                prop_assert_eq!(variant_problem(&mended), None);
                prop_assert!(!Matcher::only(&mended).slots().is_empty());
            }
        }

        #[test]
        fn the_right_architecture_is_right(architecture in "\\PC{0,10}|(arm|x86|ppc|aarch|mips)[a-z0-9_]{0,4}", variant in "(v[5-9])?") {
            let platform = Platform::linux(&architecture, &variant);
            if let Some(ArchitectureProblem { right: Some(right), .. }) = architecture_problem(&platform) {
                prop_assert_eq!(architecture_problem(&right), None);
            }
        }
    }
}
