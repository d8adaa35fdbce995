//! Which bytes of a blob are there: a set of byte ranges.

use std::ops::Range;

/// A set of bytes, kept as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    sorted: Vec<Range<u64>>,
}

impl Ranges {
    /// Adds the bytes of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.sorted.partition_point(|known| known.end < range.start);
        let last = self.sorted.partition_point(|known| known.start <= range.end);
        let joined = self.sorted[first..last]
            .iter()
            .fold(range, |joined, known| joined.start.min(known.start)..joined.end.max(known.end));
        self.sorted.splice(first..last, [joined]);
    }

    /// Takes the bytes of `range` away.
    pub fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.sorted.partition_point(|known| known.end <= range.start);
        let last = self.sorted.partition_point(|known| known.start < range.end);
        let rests = self.sorted[first..last]
            .iter()
            .flat_map(|known| [known.start..known.end.min(range.start), known.start.max(range.end)..known.end]);
        let rests: Vec<_> = rests.filter(|rest| !rest.is_empty()).collect();
        self.sorted.splice(first..last, rests);
    }

    /// How many bytes are there from byte 0 on without a gap.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.sorted.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    /// How many bytes are there in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sorted.iter().map(|range| range.end - range.start).sum()
    }

    /// What is not there of `within`, in order.
    #[must_use]
    pub fn gaps(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        let first = self.sorted.partition_point(|known| known.end <= within.start);
        let mut gaps = Vec::new();
        let mut at = within.start;
        for known in self.sorted[first..].iter().take_while(|known| known.start < within.end) {
            if at < known.start {
                gaps.push(at..known.start);
            }
            at = known.end;
        }
        if at < within.end {
            gaps.push(at..within.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes below this are tried; enough for every way in which ranges meet.
    const BYTES: u64 = 24;

    fn bytes(ranges: &Ranges) -> Vec<u64> {
        ranges.sorted.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn is_a_set_of_bytes(steps in prop::collection::vec((any::<bool>(), 0..BYTES, 0..BYTES), 0..24), at in 0..BYTES) {
            let mut ranges = Ranges::default();
            let mut model = std::collections::BTreeSet::new();
            for (adds, start, length) in steps {
                let range = start..(start + length).min(BYTES);
                if adds {
                    model.extend(range.clone());
                    ranges.insert(range);
                } else {
                    model.retain(|byte| !range.contains(byte));
                    ranges.remove(&range);
                }
            }
            prop_assert_eq!(bytes(&ranges), model.iter().copied().collect::<Vec<_>>());
            prop_assert!(ranges.sorted.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", ranges);
            prop_assert_eq!(ranges.total(), model.len() as u64);
            prop_assert_eq!(ranges.prefix(), (0..).take_while(|byte| model.contains(byte)).count() as u64);
            let missing: Vec<u64> = ranges.gaps(&(at..BYTES)).into_iter().flatten().collect();
            prop_assert_eq!(missing, (at..BYTES).filter(|byte| !model.contains(byte)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn gaps_lie_between_what_is_there() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.gaps(&(0..10)), vec![0..10; 1]);
        ranges.insert(2..4);
        ranges.insert(6..8);
        assert_eq!(ranges.gaps(&(0..10)), [0..2, 4..6, 8..10]);
        assert_eq!(ranges.gaps(&(3..7)), vec![4..6; 1]);
        assert_eq!((ranges.prefix(), ranges.total()), (0, 4));
        ranges.insert(0..2);
        assert_eq!(ranges.prefix(), 4);
        ranges.insert(4..6);
        assert_eq!((ranges.prefix(), ranges.gaps(&(0..8))), (8, vec![]));
    }
}
