//! arm64: the revision of the architecture, from the kernel's list of features.
//!
//! The kernel sanitises its hwcaps: a bit is set where every core has the feature, so
//! that big.LITTLE needs no care. No single feature stands for a revision; the level is
//! the last one up to which all that the kernel can show is there. Pointer authentication
//! and BTI are left out, because a kernel may be built without them.
//!
//! Specification: Arm Architecture Reference Manual, A2 "Architecture extensions".

use super::{Found, named_bits};
use crate::host::signals::Signals;

/// AT_HWCAP, bit 0 first.
const HWCAP: [&str; 32] = [
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "cpuid",
    "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve", "asimdfhm", "dit",
    "uscat", "ilrcpc", "flagm", "ssbs", "sb", "paca", "pacg",
];

/// AT_HWCAP2, bit 0 first.
const HWCAP2: [&str; 50] = [
    "dcpodp",
    "sve2",
    "sveaes",
    "svepmull",
    "svebitperm",
    "svesha3",
    "svesm4",
    "flagm2",
    "frint",
    "svei8mm",
    "svef32mm",
    "svef64mm",
    "svebf16",
    "i8mm",
    "bf16",
    "dgh",
    "rng",
    "bti",
    "mte",
    "ecv",
    "afp",
    "rpres",
    "mte3",
    "sme",
    "smei16i64",
    "smef64f64",
    "smei8i32",
    "smef16f32",
    "smeb16f32",
    "smef32f32",
    "smefa64",
    "wfxt",
    "ebf16",
    "sveebf16",
    "cssc",
    "rprfm",
    "sve2p1",
    "sme2",
    "sme2p1",
    "smei16i32",
    "smebi32i32",
    "smeb16b16",
    "smef16f16",
    "mops",
    "hbc",
    "sveb16b16",
    "lrcpc3",
    "lse128",
    "fpmr",
    "lut",
];

/// What v8.1, v8.2, … each add.
const REVISIONS: [&[&str]; 9] = [
    &["atomics", "asimdrdm", "crc32"],
    &["dcpop"],
    &["jscvt", "fcma", "lrcpc"],
    &["asimddp", "dit", "uscat", "ilrcpc", "flagm"],
    &["sb", "ssbs", "flagm2", "frint", "dcpodp"],
    &["bf16", "i8mm", "ecv"],
    &["wfxt", "afp"],
    &["mops", "hbc"],
    &["cssc"],
];

pub(super) fn detect(signals: &Signals) -> Found {
    if signals.process == "arm64" {
        let mut features = named_bits(signals.auxv.hwcap, &HWCAP);
        features.extend(named_bits(signals.auxv.hwcap2, &HWCAP2));
        let level = (!features.is_empty()).then(|| level(&features));
        return Found { level, features, signal: "AT_HWCAP and AT_HWCAP2".into() };
    }
    // A 32-bit program gets 32-bit hwcaps; the 64-bit names are in cpuinfo alone, and under
    // PER_LINUX32 not even there.
    let features: Vec<String> = signals.cpuinfo.common_words("Features").into_iter().map(str::to_owned).collect();
    if features.iter().any(|name| name == "asimd") {
        return Found {
            level: Some(level(&features)),
            features,
            signal: "Features of /proc/cpuinfo, common to all its cores".into(),
        };
    }
    Found { signal: "a 32-bit program is not told what the CPU has in 64-bit mode".into(), ..Found::default() }
}

/// What a revision is made of, the ones before it included.
pub(super) fn implied(level: &str) -> Vec<&'static str> {
    let numbers = level.strip_prefix('v').and_then(|text| text.split_once('.'));
    let (major, minor) =
        numbers.and_then(|(major, minor)| Some((major, minor.parse::<usize>().ok()?))).unwrap_or_default();
    let second = major == "9";
    let revisions = if second { minor.saturating_add(5) } else { minor }.min(REVISIONS.len());
    let added = REVISIONS[..revisions].iter().copied().flatten().copied();
    ["fp", "asimd"].into_iter().chain(added).chain(second.then_some("sve2")).collect()
}

fn level(features: &[String]) -> String {
    let has = |name: &&str| features.iter().any(|feature| feature == name);
    let minor = REVISIONS.iter().take_while(|added| added.iter().all(has)).count();
    // v9.N is v8.(N+5) with SVE2. SVE2 is optional in v9 on paper; without it nothing tells the two apart.
    match minor.checked_sub(5) {
        Some(minor) if has(&"sve2") => format!("v9.{minor}"),
        _ => format!("v8.{minor}"),
    }
}
