//! Levels that whole distributions are built for.
//!
//! They hold for programs that use the distribution's C library, which is to say for those that
//! ask for a loader: it refuses to start on a lower CPU ("Fatal glibc error: CPU does not
//! support x86-64-v2"), or runs into an illegal instruction.

use super::{Certainty, Demand, Need};
use crate::core::elf::{Binary, Float, Libc};
use crate::core::text;
use crate::diagnose::contents::{Contents, Distribution};
use crate::diagnose::finding::Evidence;

/// Bytes of a distribution's name.
const NAME: usize = 80;
/// Red Hat Enterprise Linux and what is built from its sources.
const ENTERPRISE: &[&str] = &["rhel", "centos", "almalinux", "rocky", "ol"];
const UBUNTU: &[&str] = &["ubuntu"];
const AMAZON: &[&str] = &["amzn"];
/// What SUSE builds from one code base.
const SUSE: &[&str] = &["sles", "opensuse-leap"];

/// What a distribution is built for from some version on.
struct Base {
    /// `ID` of os-release.
    ids: &'static [&'static str],
    since: (u32, u32),
    architecture: &'static str,
    level: &'static str,
}

const fn base(
    ids: &'static [&'static str],
    since: (u32, u32),
    architecture: &'static str,
    level: &'static str,
) -> Base {
    Base { ids, since, architecture, level }
}

/// Of those that fit, the one with the latest version counts.
///
/// - Enterprise Linux 9: Red Hat, 9.5 Release Notes, "Architectures": x86-64-v2, POWER9, z14.
/// - Enterprise Linux 10: x86-64-v3 (AlmaLinux 10 release notes on what Red Hat's requires); the
///   others are at least what 9 has.
/// - Ubuntu: Ubuntu project documentation, "Supported architectures", "Architecture baselines".
/// - Amazon Linux 2023: User Guide, "System requirements": `-march=x86-64-v2`, `-march=armv8.2-a+crypto`.
/// - SUSE Linux Enterprise and openSUSE Leap 16: openSUSE, release announcement of Leap 16.0: x86-64-v2.
/// - Wolfi and Chainguard: chainguard-images/images#1658.
const BASES: [Base; 14] = [
    base(ENTERPRISE, (9, 0), "amd64", "v2"),
    base(ENTERPRISE, (9, 0), "ppc64le", "power9"),
    base(ENTERPRISE, (9, 0), "s390x", "z14"),
    base(ENTERPRISE, (10, 0), "amd64", "v3"),
    base(UBUNTU, (16, 4), "s390x", "zEC12"),
    base(UBUNTU, (20, 4), "s390x", "z13"),
    base(UBUNTU, (26, 4), "s390x", "z15"),
    base(UBUNTU, (22, 4), "ppc64le", "power9"),
    base(UBUNTU, (25, 10), "riscv64", "rva23u64"),
    base(AMAZON, (2023, 0), "amd64", "v2"),
    base(AMAZON, (2023, 0), "arm64", "v8.2"),
    base(SUSE, (16, 0), "amd64", "v2"),
    base(&["wolfi"], (0, 0), "amd64", "v2"),
    base(&["chainguard"], (0, 0), "amd64", "v2"),
];

pub(super) fn need(contents: &Contents, binary: &Binary) -> Option<Need> {
    let distribution = contents.start.as_ref()?.distribution.as_ref()?;
    if binary.interpreter.libc() != Some(Libc::Glibc) {
        return None;
    }
    let level = level(distribution, binary, &contents.claimed().variant)?;
    let architecture = binary.architecture()?;
    let evidence = Evidence {
        what: format!(
            "os-release says {}, which is built for {architecture}/{level}",
            text::one_line(&distribution.name, NAME)
        ),
        digest: Some(distribution.layer.clone()),
        path: Some("/etc/os-release".into()),
        verified: distribution.verified,
        ..Evidence::default()
    };
    Some(Need { demand: Demand::Level(level.into()), certainty: Certainty::Likely, evidence })
}

fn level(distribution: &Distribution, binary: &Binary, claimed: &str) -> Option<&'static str> {
    let (id, architecture) = (distribution.id.as_str(), binary.architecture()?);
    if architecture == "arm" {
        return hard_float(id, binary);
    }
    let version = version(&distribution.version);
    // AlmaLinux 10 has a second build for older CPUs, whose images are declared amd64/v2.
    if (id, version.0, architecture, claimed) == ("almalinux", 10, "amd64", "v2") {
        return Some("v2");
    }
    let fits = |base: &&Base| base.ids.contains(&id) && base.since <= version && base.architecture == architecture;
    BASES.iter().filter(fits).max_by_key(|base| base.since).map(|base| base.level)
}

/// Debian's armhf and Ubuntu's are ARMv7 with VFPv3-D16 (Debian wiki, "ArmHardFloatPort");
/// Raspbian's is ARMv6 with VFPv2.
fn hard_float(id: &str, binary: &Binary) -> Option<&'static str> {
    if binary.arm_abi()?.float != Some(Float::Hard) {
        return None;
    }
    match id {
        "debian" | "ubuntu" => Some("v7"),
        "raspbian" => Some("v6"),
        _ => None,
    }
}

/// `9.4`, `22.04`, `2023`; what is no number is 0.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
