//! Architectures hidden in names: `arm32v7/busybox`, `app:1.2-arm64`, `kube-proxy-amd64`.
//!
//! Such names come from the time before multi-arch images. Where one contradicts the
//! host, the reader most likely wants the multi-arch name, so that is what is offered.
//! A name is only ever a hint: nothing is chosen or refused because of it.

use super::platform::Platform;
use super::reference::Reference;

/// An architecture that a name carries, and the name without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchName {
    /// What the name says that it is for.
    pub platform: Platform,
    /// The name under which a multi-arch image usually is.
    pub multi_arch: Reference,
}

/// Repository prefixes of Docker Hub's per-architecture official images
/// (docker-library/official-images, "architectures other than amd64").
const PREFIXES: [(&str, &str, &str); 11] = [
    ("amd64", "amd64", ""),
    ("arm32v5", "arm", "v5"),
    ("arm32v6", "arm", "v6"),
    ("arm32v7", "arm", "v7"),
    ("arm64v8", "arm64", ""),
    ("i386", "386", ""),
    ("loong64", "loong64", ""),
    ("mips64le", "mips64le", ""),
    ("ppc64le", "ppc64le", ""),
    ("riscv64", "riscv64", ""),
    ("s390x", "s390x", ""),
];

/// Suffixes of tags and repositories, as publishers write them.
const SUFFIXES: [(&str, &str, &str); 24] = [
    ("amd64", "amd64", ""),
    ("x86_64", "amd64", ""),
    ("x86-64", "amd64", ""),
    ("386", "386", ""),
    ("i386", "386", ""),
    ("arm64v8", "arm64", ""),
    ("arm64", "arm64", ""),
    ("aarch64", "arm64", ""),
    ("arm32v7", "arm", "v7"),
    ("arm32v6", "arm", "v6"),
    ("arm32v5", "arm", "v5"),
    ("armv7", "arm", "v7"),
    ("armv6", "arm", "v6"),
    ("armv5", "arm", "v5"),
    ("arm-v7", "arm", "v7"),
    ("arm-v6", "arm", "v6"),
    ("armhf", "arm", "v7"),
    ("armel", "arm", "v5"),
    ("arm", "arm", ""),
    ("ppc64le", "ppc64le", ""),
    ("s390x", "s390x", ""),
    ("riscv64", "riscv64", ""),
    ("loong64", "loong64", ""),
    ("mips64le", "mips64le", ""),
];

impl ArchName {
    /// Finds an architecture in a reference; `None` for ordinary names and for digests,
    /// where the name decides nothing.
    #[must_use]
    pub fn find(reference: &Reference) -> Option<Self> {
        if reference.digest().is_some() {
            return None;
        }
        Self::in_prefix(reference).or_else(|| Self::in_tag(reference)).or_else(|| Self::in_repository(reference))
    }

    fn in_prefix(reference: &Reference) -> Option<Self> {
        let (prefix, image) = reference.repository().split_once('/')?;
        let (_, architecture, variant) = PREFIXES.iter().find(|(name, ..)| *name == prefix)?;
        // Mirrors of Docker Hub keep its prefixes, and leave out its "library/".
        let library = if reference.registry() == "docker.io" { "library/" } else { "" };
        let multi_arch = reference.with_repository(&format!("{library}{image}")).ok()?;
        Some(Self { platform: Platform::linux(architecture, variant), multi_arch })
    }

    fn in_tag(reference: &Reference) -> Option<Self> {
        let (rest, platform) = strip_suffix(reference.tag()?)?;
        let tag = if rest.is_empty() { "latest" } else { rest };
        Some(Self { platform, multi_arch: reference.with_tag(tag).ok()? })
    }

    fn in_repository(reference: &Reference) -> Option<Self> {
        let (rest, platform) = strip_suffix(reference.repository())?;
        // A repository that is nothing but an architecture (`debuerreotype/arm64`) has no shorter name.
        if rest.is_empty() || rest.ends_with('/') {
            return None;
        }
        Some(Self { platform, multi_arch: reference.with_repository(rest).ok()? })
    }
}

/// Splits `1.2-arm64` into `1.2` and the platform; the whole text may be the suffix.
fn strip_suffix(text: &str) -> Option<(&str, Platform)> {
    SUFFIXES.iter().find_map(|(suffix, architecture, variant)| {
        let rest = text.strip_suffix(suffix)?;
        let rest = if rest.is_empty() { rest } else { rest.strip_suffix(['-', '_', '.'])? };
        Some((rest, Platform::linux(architecture, variant)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_architectures_in_names() {
        let cases = [
            ("arm32v7/busybox", "linux/arm/v7", "busybox:latest"),
            ("ppc64le/busybox:1.36", "linux/ppc64le", "busybox:1.36"),
            ("i386/debian", "linux/386", "debian:latest"),
            ("mirror.example/arm32v7/busybox", "linux/arm/v7", "mirror.example/busybox:latest"),
            ("app:1.2-arm64", "linux/arm64", "library/app:1.2"),
            ("org/app:arm", "linux/arm", "org/app:latest"),
            ("org/app:linux-arm-v7", "linux/arm/v7", "org/app:linux"),
            ("quay.io/org/kube-proxy-amd64:v1", "linux/amd64", "quay.io/org/kube-proxy:v1"),
            ("ghcr.io/a/b:v2_x86_64", "linux/amd64", "ghcr.io/a/b:v2"),
        ];
        for (text, platform, multi_arch) in cases {
            let found = ArchName::find(&text.parse().expect(text)).expect(text);
            assert_eq!(found.platform.to_string(), platform, "{text}");
            assert_eq!(found.multi_arch, multi_arch.parse().expect("parses"), "{text}");
        }
    }

    #[test]
    fn leaves_ordinary_names_alone() {
        let digest = format!("app-arm64@sha256:{}", "0".repeat(64));
        for text in ["busybox", "org/charm", "org/arm64", "app:alarm", "app:1.2", &digest] {
            assert_eq!(ArchName::find(&text.parse().expect(text)), None, "{text}");
        }
    }
}
