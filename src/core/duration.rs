//! Durations as Go writes them, which is how hosts.toml and kubelet have them.

use std::fmt::Write as _;
use std::time::Duration;

/// Nanoseconds in each unit, longest first.
const UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `300ms`, `1.5h`, `1m30s`; `None` where it is not one or is negative.
///
/// Grammar: Go's `time.ParseDuration`.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..number_end].parse().ok()?;
        rest = &rest[number_end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number * unit(&rest[..unit_end])?;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// Writes `1h30m` or `300ms`, in whole numbers, as [`parse`] reads it.
#[must_use]
pub fn format(duration: Duration) -> String {
    let (mut rest, mut text) = (duration.as_nanos(), String::new());
    for (unit, nanos) in UNITS {
        if rest >= nanos {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{unit}", rest / nanos);
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Seconds in a unit.
fn unit(text: &str) -> Option<f64> {
    Some(match text {
        "ns" => 1e-9,
        // Go accepts the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_durations() {
        let cases = [
            ("0", Some(0)),
            ("3s", Some(3000)),
            ("300ms", Some(300)),
            ("1.5h", Some(5_400_000)),
            ("1m30s", Some(90_000)),
            ("+2s", Some(2000)),
            (".5s", Some(500)),
            ("5000us", Some(5)),
            ("5000µs", Some(5)),
            ("", None),
            ("3", None),
            ("-1s", None),
            ("s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("999999999999999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
    #[test]
    fn writes_what_it_reads() {
        let cases = [(0, "0s"), (300, "300ms"), (90_000, "1m30s"), (300_000, "5m"), (5_400_500, "1h30m500ms")];
        for (millis, text) in cases {
            let duration = Duration::from_millis(millis);
            assert_eq!(format(duration), text);
            assert_eq!(parse(text), Some(duration), "{text}");
        }
    }
}
