//! ppc64le and ppc64: the POWER generation.
//!
//! AT_PLATFORM names the generation that the kernel runs in, which under a hypervisor
//! may be older than the chip; where it is missing, the ISA bits of AT_HWCAP2 say it.

use super::Found;
use crate::host::signals::Signals;

/// (bit of AT_HWCAP2, feature, generation that it makes), newest first.
const HWCAP2: [(u64, &str, &str); 3] =
    [(0x0004_0000, "arch_3_1", "power10"), (0x0080_0000, "arch_3_00", "power9"), (0x8000_0000, "arch_2_07", "power8")];

/// What a generation is made of, those before it included.
pub(super) fn implied(level: &str) -> Vec<&'static str> {
    let newer = HWCAP2.iter().take_while(|(.., made)| *made != level).count();
    HWCAP2[newer..].iter().map(|(_, name, _)| *name).collect()
}

pub(super) fn detect(signals: &Signals) -> Found {
    let present = || HWCAP2.iter().filter(|(bit, ..)| signals.auxv.hwcap2 & bit != 0);
    let features = present().map(|(_, name, _)| (*name).to_owned()).collect();
    let platform = signals.at_platform();
    let generation = platform.strip_prefix("power").map(|rest| rest.trim_end_matches('+'));
    if let Some(number) = generation.filter(|number| number.parse::<u8>().is_ok()) {
        let signal = format!("AT_PLATFORM says {platform}");
        return Found { level: Some(format!("power{number}")), features, signal };
    }
    match present().next() {
        Some((_, name, level)) => {
            Found { level: Some((*level).into()), features, signal: format!("AT_HWCAP2 has {name}") }
        }
        None => Found { signal: "neither AT_PLATFORM nor AT_HWCAP2 says".into(), ..Found::default() },
    }
}
