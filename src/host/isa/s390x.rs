//! s390x: the machine generation.

use super::{Found, named_bits};
use crate::host::signals::Signals;

/// AT_HWCAP, bit 0 first.
const HWCAP: [&str; 23] = [
    "esan3", "zarch", "stfle", "msa", "ldisp", "eimm", "dfp", "edat", "etf3eh", "highgprs", "te", "vx", "vxd", "vxe",
    "gs", "vxe2", "vxp", "sort", "dflt", "vxp2", "nnpa", "pcimio", "sie",
];

/// What a generation was the first to have, newest first.
const FIRST_IN: [(&str, &str); 4] = [("nnpa", "z16"), ("vxe2", "z15"), ("vxe", "z14"), ("vx", "z13")];

/// What a generation is made of, those before it included, as far as it is known by a feature.
pub(super) fn implied(level: &str) -> Vec<&'static str> {
    let newer = FIRST_IN.iter().take_while(|(_, made)| *made != level).count();
    FIRST_IN[newer..].iter().map(|(name, _)| *name).collect()
}

pub(super) fn detect(signals: &Signals) -> Found {
    let features = named_bits(signals.auxv.hwcap, &HWCAP);
    let platform = signals.at_platform();
    if platform.starts_with('z') {
        return Found { level: Some(platform.into()), features, signal: format!("AT_PLATFORM says {platform}") };
    }
    let newest = FIRST_IN.iter().find(|(name, _)| features.iter().any(|feature| feature == name));
    match newest {
        Some((name, level)) => Found { level: Some((*level).into()), features, signal: format!("AT_HWCAP has {name}") },
        None => Found { level: None, features, signal: "neither AT_PLATFORM nor AT_HWCAP says".into() },
    }
}
