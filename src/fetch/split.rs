//! Which part of a blob a connection fetches next: pure decisions.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::limits::Limits;
use crate::core::ranges::Ranges;

/// Left to do below which a part is not divided any more: about what is on its way already
/// when a connection is cut short, and comes in vain.
const LEAST_DIVIDED: u64 = 1024 * 1024;
/// How much longer than the others a connection may take before another one helps it: a few
/// times what opening a connection costs.
const PATIENCE: Duration = Duration::from_millis(600);

/// What one connection is to bring. Its end can be moved while it is under way.
#[derive(Debug)]
pub(super) struct Claim {
    start: u64,
    /// The next byte that is awaited.
    next: AtomicU64,
    end: AtomicU64,
}

impl Claim {
    pub(super) fn new(range: Range<u64>) -> Self {
        Self { start: range.start, next: range.start.into(), end: range.end.into() }
    }

    /// All of it, whether or not it came.
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// Where it ends by now.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The bytes before `next` came.
    pub(super) fn reached(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }

    /// How long the rest takes, where that is so long that it should be divided. `running` is
    /// how long the connection has been at it.
    pub(super) fn lags(&self, running: Duration) -> Option<Duration> {
        let next = self.next.load(Ordering::Acquire);
        let left = self.end().saturating_sub(next);
        let known = left >= LEAST_DIVIDED && running >= PATIENCE / 2;
        known.then(|| time_left(next - self.start, left, running)).filter(|time| *time >= PATIENCE)
    }

    /// Gives the second half of what is left to somebody else, where this connection lags.
    pub(super) fn divide(&self, running: Duration) -> Option<Range<u64>> {
        self.lags(running)?;
        let (next, end) = (self.next.load(Ordering::Acquire), self.end());
        let middle = next + end.saturating_sub(next) / 2;
        self.end.store(middle, Ordering::Release);
        Some(middle..end)
    }
}

/// How long the rest takes if it goes on like this.
fn time_left(done: u64, left: u64, running: Duration) -> Duration {
    let nanos = running.as_nanos().saturating_mul(u128::from(left)) / u128::from(done.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What is missing and nobody is at: the first stretch of it, and how many bytes in all.
pub(super) fn unclaimed(missing: &[Range<u64>], claims: impl Iterator<Item = Range<u64>>) -> (Option<Range<u64>>, u64) {
    let mut taken = Ranges::default();
    claims.for_each(|claim| taken.insert(claim));
    let free: Vec<Range<u64>> = missing.iter().flat_map(|gap| taken.gaps(gap)).collect();
    let sum = free.iter().map(|gap| gap.end - gap.start).sum();
    (free.into_iter().next(), sum)
}

/// How many bytes to ask for at a time: what takes about as long as it should at the rate of
/// one connection (bytes per second, once known), but so that all `connections` get two more
/// turns, and end at about the same time.
pub(super) fn length(limits: &Limits, rate: Option<u64>, unclaimed: u64, connections: usize) -> u64 {
    let shortest = limits.shortest_range.max(1);
    let turns = 2 * u64::try_from(connections.max(1)).unwrap_or(u64::MAX / 2);
    let Some(rate) = rate else { return shortest };
    let in_time = u128::from(rate) * limits.range_time.as_millis() / 1000;
    let in_time = u64::try_from(in_time).unwrap_or(u64::MAX);
    in_time.min(unclaimed / turns).clamp(shortest, limits.longest_range.max(shortest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn ranges_grow_with_the_rate_and_shrink_towards_the_end() {
        let limits = Limits::default();
        // Rate, unclaimed, connections; expected; all in MiB.
        let cases = [
            (None, 1000, 2, 4),
            (Some(1), 1000, 2, 4),
            (Some(20), 1000, 2, 30),
            (Some(20), 1000, 16, 30),
            (Some(20), 250, 16, 7),
            (Some(20), 100, 16, 4),
            (Some(1000), 10_000, 2, 64),
            (Some(1000), 100, 2, 25),
        ];
        for (rate, unclaimed, connections, expected) in cases {
            let found = length(&limits, rate.map(|rate| rate * MIB), unclaimed * MIB, connections);
            assert_eq!(found / MIB, expected, "{rate:?} {unclaimed} {connections}");
        }
    }

    #[test]
    fn a_connection_that_lags_behind_is_helped() {
        let claim = Claim::new(10 * MIB..14 * MIB);
        claim.reached(10 * MIB + MIB / 2);
        assert_eq!(claim.divide(Duration::from_millis(100)), None, "it has only begun");
        assert_eq!(claim.divide(Duration::from_secs(1)), Some(12 * MIB + MIB / 4..14 * MIB));
        assert_eq!(claim.range(), 10 * MIB..12 * MIB + MIB / 4);
        claim.reached(12 * MIB);
        assert_eq!(claim.divide(Duration::from_secs(1)), None, "it is nearly there");
        let silent = Claim::new(0..MIB);
        assert_eq!(silent.divide(Duration::from_secs(1)), Some(MIB / 2..MIB));
    }

    proptest! {
        #[test]
        fn what_is_free_is_missing_and_nobodys(
            missing in prop::collection::vec((0_u64..100, 1_u64..20), 0..5),
            claims in prop::collection::vec((0_u64..100, 1_u64..20), 0..5),
        ) {
            let set = |ranges: &[(u64, u64)]| {
                let mut set = Ranges::default();
                ranges.iter().for_each(|(start, length)| set.insert(*start..start + length));
                set
            };
            // Gaps of gaps: the ranges themselves, in order.
            let all = 0..200;
            let mut holes = Ranges::default();
            set(&missing).gaps(&all).into_iter().for_each(|hole| holes.insert(hole));
            let missing = holes.gaps(&all);
            let claims: Vec<Range<u64>> = claims.iter().map(|(start, length)| *start..start + length).collect();
            let (first, sum) = unclaimed(&missing, claims.iter().cloned());
            let free: Vec<u64> = all
                .filter(|byte| missing.iter().any(|gap| gap.contains(byte)))
                .filter(|byte| !claims.iter().any(|claim| claim.contains(byte)))
                .collect();
            prop_assert_eq!(sum, free.len() as u64);
            prop_assert_eq!(first.as_ref().map(|range| range.start), free.first().copied());
            prop_assert!(first.is_none_or(|range| range.into_iter().all(|byte| free.contains(&byte))));
        }

        #[test]
        fn lengths_are_within_bounds(rate in prop::option::of(any::<u64>()), unclaimed: u64, connections in 0_usize..1000) {
            let limits = Limits::default();
            let length = length(&limits, rate, unclaimed, connections);
            prop_assert!((limits.shortest_range..=limits.longest_range).contains(&length));
        }
    }
}
