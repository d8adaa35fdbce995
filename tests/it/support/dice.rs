//! Random moments that can be had again.

use std::io::Write as _;

/// Says which seed to use, for one run.
const SEED: &str = "LIGHTERMAN_TEST_SEED";

/// Numbers that follow from a seed: that of an earlier run where one is named, else of the clock.
pub(crate) struct Dice {
    state: u64,
    /// Told when it is dropped.
    #[cfg_attr(not(feature = "containerd"), expect(dead_code, reason = "only its end matters there"))]
    told: Told,
}

/// Says how to have a failure again.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "to have it again: {SEED}={}", self.0);
        }
    }
}

impl Dice {
    pub(crate) fn new() -> Self {
        let named = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
        let seed = named.unwrap_or(now.as_nanos() as u64) | 1;
        Self { state: seed, told: Told(seed) }
    }

    /// What they follow from.
    #[cfg(feature = "containerd")]
    pub(crate) fn seed(&self) -> u64 {
        self.told.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % limit
    }

    /// So many times of a hundred.
    #[cfg(feature = "containerd")]
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    #[cfg(feature = "containerd")]
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
