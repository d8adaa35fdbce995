//! Which bytes a `Range` header asks for.
//!
//! Specification: RFC 9110, section 14.1.2.

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranged {
    /// Everything: there is no range, or none that has to be honoured.
    Whole,
    /// From `first` to `last`, both included.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Nothing: the range begins behind the end.
    Unsatisfiable,
}

/// Reads a `Range` header for content of `size` bytes. One range is honoured; several at
/// once, other units and malformed ranges are ignored, as the specification allows.
pub(super) fn resolve(header: &str, size: u64) -> Ranged {
    let Some((from, to)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ranged::Whole;
    };
    let (first, last) = match (number(from), number(to)) {
        (Some(first), Some(last)) if first <= last => (first, last),
        (Some(first), None) if to.is_empty() => (first, u64::MAX),
        (None, Some(0)) if from.is_empty() => return Ranged::Unsatisfiable,
        (None, Some(suffix)) if from.is_empty() => (size.saturating_sub(suffix), u64::MAX),
        _ => return Ranged::Whole,
    };
    if first >= size {
        return Ranged::Unsatisfiable;
    }
    Ranged::Part { first, last: last.min(size - 1) }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Digits that no u64 holds name a byte behind every end.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resolves_ranges() {
        let part = |first, last| Ranged::Part { first, last };
        for (header, size, expected) in [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=2-4", 10, part(2, 4)),
            ("bytes=2-", 10, part(2, 9)),
            ("bytes=2-400", 10, part(2, 9)),
            ("bytes=2-99999999999999999999999", 10, part(2, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-30", 10, part(0, 9)),
            ("bytes=10-", 10, Ranged::Unsatisfiable),
            ("bytes=10-12", 10, Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Ranged::Unsatisfiable),
            ("bytes=-0", 10, Ranged::Unsatisfiable),
            ("bytes=0-", 0, Ranged::Unsatisfiable),
            ("bytes=-5", 0, Ranged::Unsatisfiable),
            ("bytes=4-2", 10, Ranged::Whole),
            ("bytes=0-1,4-5", 10, Ranged::Whole),
            ("bytes=-", 10, Ranged::Whole),
            ("bytes=+1-2", 10, Ranged::Whole),
            ("items=0-1", 10, Ranged::Whole),
            ("", 10, Ranged::Whole),
        ] {
            assert_eq!(resolve(header, size), expected, "{header} of {size}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_inside(header in "bytes=[0-9]{0,22}-[0-9]{0,22}", size in any::<u64>()) {
            if let Ranged::Part { first, last } = resolve(&header, size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
