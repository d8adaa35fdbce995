//! Which bytes the headers of a request ask for.
//!
//! Specification: RFC 9110, sections 14.1.2 (byte ranges), 14.2 (`Range`), 13.1.5 (`If-Range`).

use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};

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

/// Reads `Range` and `If-Range` for content of `size` bytes with a strong entity tag. One
/// range is honoured; several at once, other units and malformed ranges are ignored, as the
/// specification allows. So is a range on a condition that does not hold: another tag, a weak
/// one, or a date, of which we keep none.
pub(super) fn resolve(headers: &HeaderMap, etag: &str, size: u64) -> Ranged {
    let text = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let mut asked = text(RANGE);
    let (Some(range), None) = (asked.next(), asked.next()) else { return Ranged::Whole };
    if text(IF_RANGE).any(|condition| condition.trim() != etag) {
        return Ranged::Whole;
    }
    parse(range, size)
}

fn parse(header: &str, size: u64) -> Ranged {
    let Some((unit, set)) = header.split_once('=') else { return Ranged::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranged::Whole;
    }
    // A list may have blanks and empty elements.
    let mut ranges = set.split(',').map(|range| range.trim_matches([' ', '\t'])).filter(|range| !range.is_empty());
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Ranged::Whole };
    let Some((from, to)) = range.split_once('-') else { return Ranged::Whole };
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
    use http::HeaderValue;
    use proptest::prelude::*;

    const ETAG: &str = "\"sha256:00\"";

    fn part(first: u64, last: u64) -> Ranged {
        Ranged::Part { first, last }
    }

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).expect("a header's value");
        let mut headers = HeaderMap::new();
        for (name, text) in pairs {
            headers.append(name.clone(), value(text));
        }
        headers
    }

    #[test]
    fn resolves_ranges() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=2-4", 10, part(2, 4)),
            ("bytes=2-", 10, part(2, 9)),
            ("bytes=2-400", 10, part(2, 9)),
            ("bytes=2-99999999999999999999999", 10, part(2, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-30", 10, part(0, 9)),
            ("BYTES=2-4", 10, part(2, 4)),
            ("bytes= 2-4 ,", 10, part(2, 4)),
            ("bytes=10-", 10, Ranged::Unsatisfiable),
            ("bytes=10-12", 10, Ranged::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Ranged::Unsatisfiable),
            ("bytes=-0", 10, Ranged::Unsatisfiable),
            ("bytes=0-", 0, Ranged::Unsatisfiable),
            ("bytes=-5", 0, Ranged::Unsatisfiable),
            ("bytes=4-2", 10, Ranged::Whole),
            ("bytes=0-1,4-5", 10, Ranged::Whole),
            ("bytes=,", 10, Ranged::Whole),
            ("bytes=-", 10, Ranged::Whole),
            ("bytes=2", 10, Ranged::Whole),
            ("bytes=+1-2", 10, Ranged::Whole),
            ("items=0-1", 10, Ranged::Whole),
            ("", 10, Ranged::Whole),
        ] {
            assert_eq!(resolve(&headers(&[(RANGE, header)]), ETAG, size), expected, "{header} of {size}");
        }
        assert_eq!(resolve(&HeaderMap::new(), ETAG, 10), Ranged::Whole);
        let twice = headers(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=4-5")]);
        assert_eq!(resolve(&twice, ETAG, 10), Ranged::Whole);
    }

    #[test]
    fn a_range_on_a_condition_is_one_only_while_the_condition_holds() {
        for (condition, expected) in [
            (ETAG, part(2, 4)),
            ("\"sha256:01\"", Ranged::Whole),
            ("W/\"sha256:00\"", Ranged::Whole),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Ranged::Whole),
            ("", Ranged::Whole),
        ] {
            let headers = headers(&[(RANGE, "bytes=2-4"), (IF_RANGE, condition)]);
            assert_eq!(resolve(&headers, ETAG, 10), expected, "{condition}");
        }
        assert_eq!(resolve(&headers(&[(IF_RANGE, ETAG)]), ETAG, 10), Ranged::Whole, "there is no range");
    }

    proptest! {
        #[test]
        fn parts_lie_inside(header in "bytes=[0-9]{0,22}-[0-9]{0,22}", size in any::<u64>()) {
            if let Ranged::Part { first, last } = parse(&header, size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
