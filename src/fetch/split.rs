//! Which part of a blob a connection fetches next: pure decisions.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::core::limits::Limits;
use crate::core::ranges::Ranges;

/// What one connection is to bring. Its end can be moved while it is under way.
#[derive(Debug)]
pub(super) struct Claim {
    start: u64,
    /// The next byte that is awaited.
    next: AtomicU64,
    end: AtomicU64,
    /// It waits for the network, and not for the disk or a bandwidth cap.
    awaits: AtomicBool,
    given_up: Notify,
}

impl Claim {
    pub(super) fn new(range: Range<u64>) -> Self {
        let (next, end) = (range.start.into(), range.end.into());
        Self { start: range.start, next, end, awaits: true.into(), given_up: Notify::new() }
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

    /// Bytes that came.
    pub(super) fn brought(&self) -> u64 {
        // Where the whole came instead of a part, it began before the claim.
        self.next.load(Ordering::Acquire).saturating_sub(self.start)
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.end().saturating_sub(self.next.load(Ordering::Acquire))
    }

    /// Whether it is the network that is waited for.
    pub(super) fn awaits(&self) -> bool {
        self.awaits.load(Ordering::Acquire)
    }

    pub(super) fn set_awaits(&self, awaits: bool) {
        self.awaits.store(awaits, Ordering::Release);
    }

    /// Gives what is behind the next `keeps` bytes to somebody else. Where it keeps nothing, its
    /// connection is given up.
    pub(super) fn divide(&self, keeps: u64) -> Option<Range<u64>> {
        let (next, end) = (self.next.load(Ordering::Acquire), self.end());
        let middle = next.saturating_add(keeps);
        if middle >= end {
            return None;
        }
        self.end.store(middle, Ordering::Release);
        if keeps == 0 {
            self.given_up.notify_one();
        }
        Some(middle..end)
    }

    /// Waits until it has nothing left to bring because somebody else brings it.
    pub(super) async fn given_up(&self) {
        self.given_up.notified().await;
    }
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
    use futures_util::FutureExt as _;
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
    fn a_claim_is_divided_behind_what_came_and_what_it_keeps() {
        let claim = Claim::new(10 * MIB..14 * MIB);
        claim.reached(11 * MIB);
        assert_eq!((claim.brought(), claim.left()), (MIB, 3 * MIB));
        assert_eq!(claim.divide(MIB), Some(12 * MIB..14 * MIB));
        assert_eq!((claim.range(), claim.left()), (10 * MIB..12 * MIB, MIB));
        assert_eq!(claim.divide(MIB), None, "it keeps all that is left");
        assert_eq!(claim.given_up().now_or_never(), None);
        assert_eq!(claim.divide(0), Some(11 * MIB..12 * MIB));
        assert_eq!((claim.divide(0), claim.left()), (None, 0), "there is nothing left to give");
        assert_eq!(claim.given_up().now_or_never(), Some(()), "also for who asks later");
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
