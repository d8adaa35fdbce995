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

/// Identifiers, first version that it holds for, architecture, level. The last one that fits counts.
///
/// - Enterprise Linux 9: Red Hat, 9.5 Release Notes, "Architectures": x86-64-v2, POWER9, z14.
/// - Enterprise Linux 10: x86-64-v3 (CentOS Stream 10 and AlmaLinux 10 release notes); the others
///   are at least what 9 has.
/// - Ubuntu: Ubuntu project documentation, "Supported architectures", "Architecture baselines".
/// - Amazon Linux 2023: User Guide, "System requirements": `-march=x86-64-v2`, `-march=armv8.2-a+crypto`.
/// - Wolfi and Chainguard: chainguard-images/images#1658.
const LEVELS: [(&[&str], (u32, u32), &str, &str); 13] = [
    (ENTERPRISE, (9, 0), "amd64", "v2"),
    (ENTERPRISE, (9, 0), "ppc64le", "power9"),
    (ENTERPRISE, (9, 0), "s390x", "z14"),
    (ENTERPRISE, (10, 0), "amd64", "v3"),
    (UBUNTU, (16, 4), "s390x", "zEC12"),
    (UBUNTU, (20, 4), "s390x", "z13"),
    (UBUNTU, (26, 4), "s390x", "z15"),
    (UBUNTU, (22, 4), "ppc64le", "power9"),
    (UBUNTU, (25, 10), "riscv64", "rva23u64"),
    (AMAZON, (2023, 0), "amd64", "v2"),
    (AMAZON, (2023, 0), "arm64", "v8.2"),
    (&["wolfi"], (0, 0), "amd64", "v2"),
    (&["chainguard"], (0, 0), "amd64", "v2"),
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
    let fits = |(ids, from, of, _): &&(&[&str], (u32, u32), &str, &str)| {
        ids.contains(&id) && *from <= version && *of == architecture
    };
    LEVELS.iter().filter(fits).max_by_key(|(_, from, ..)| *from).map(|(.., level)| *level)
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
