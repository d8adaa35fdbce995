//! The three ways in which tar archives write numbers, with the rules of Go's readers.
//!
//! Every function answers `None` for what Go refuses and nothing else: a field that one
//! reader takes and another refuses is a layer that unpacks on one node only.

use super::Time;

const NANOS_DIGITS: usize = 9;
const NANOS_PER_SECOND: u32 = 1_000_000_000;
/// Seconds from the year 1, at which Go's clock starts, to the Unix epoch.
const GO_EPOCH: i64 = 62_135_596_800;

/// A numeric header field: base-256 where its first bit is set, else octal.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
}

/// Octal digits, padded with spaces and NULs on either side and ended by the first NUL
/// within; an empty field is zero.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !padding(byte)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !padding(byte))? + 1;
    let mut value: u64 = 0;
    for digit in until_nul(&field[start..end]) {
        if !(b'0'..=b'7').contains(digit) || value >> 61 != 0 {
            return None;
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Some(value.cast_signed())
}

/// Two's complement, most significant byte first; the first bit only marks the format.
fn base256(field: &[u8]) -> Option<i64> {
    let inverted = if field[0] & 0x40 != 0 { 0xff } else { 0 };
    let mut value: u64 = 0;
    for (at, byte) in field.iter().enumerate() {
        let mask = if at == 0 { 0x7f } else { 0xff };
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from((byte ^ inverted) & mask);
    }
    let magnitude = i64::try_from(value).ok()?;
    Some(if inverted == 0 { magnitude } else { !magnitude })
}

/// Decimal digits behind an optional sign, as pax records and sparse maps hold them.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `SECONDS[.FRACTION]` of a pax record; digits beyond the nanosecond are cut off, and the
/// fraction of a negative time counts downwards.
pub(super) fn pax_time(text: &[u8]) -> Option<Time> {
    let dot = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = dot.map_or((text, &b""[..]), |dot| (&text[..dot], &text[dot + 1..]));
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(NANOS_DIGITS);
    let nanos = digits.fold(0, |nanos: u32, digit| nanos * 10 + u32::from(digit - b'0'));
    Some(match nanos {
        0 => unix(seconds),
        nanos if whole.starts_with(b"-") => {
            Time { seconds: unix(seconds.wrapping_sub(1)).seconds, nanos: NANOS_PER_SECOND - nanos }
        }
        nanos => Time { seconds: unix(seconds).seconds, nanos },
    })
}

/// A time as Go understands it: its clock counts from the year 1 and wraps around, so
/// seconds near the end of the range lie before all others.
pub(super) fn unix(seconds: i64) -> Time {
    let wraps = seconds.checked_add(GO_EPOCH).is_none();
    Time { seconds: if wraps { i64::MIN } else { seconds }, nanos: 0 }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|byte| *byte == 0).map_or(bytes, |end| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_fields_as_go_does() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"\0\0 644\0", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"12\x003456", Some(0o12)),
            (b"12\x00zzzz", Some(0o12)),
            (b"6 44", None),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"+000644\0", None),
            (b"0x644", None),
            (b"6_44", None),
            (b"1777777777777777777777", Some(-1)),
            (b"3777777777777777777777", None),
        ];
        for (field, expected) in cases {
            assert_eq!(octal(field), *expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn reads_base_256_fields_as_go_does() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000644\0", Some(0o644)),
        ];
        for (field, expected) in cases {
            assert_eq!(numeric(field), *expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn reads_decimals_as_go_does() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0", Some(0)),
            (b"+7", Some(7)),
            (b"-7", Some(-7)),
            (b"007", Some(7)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"9223372036854775808", None),
            (b"", None),
            (b"-", None),
            (b" 7", None),
            (b"7\0", None),
            (b"1_0", None),
            (b"0x1", None),
            (b"\xff", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text), *expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn reads_pax_times_as_go_does() {
        let at = |seconds, nanos| Some(Time { seconds, nanos });
        let cases: &[(&[u8], Option<Time>)] = &[
            (b"1", at(1, 0)),
            (b"1.", at(1, 0)),
            (b"1.5", at(1, 500_000_000)),
            (b"1.000000001999", at(1, 1)),
            (b"1.0000000009", at(1, 0)),
            (b"-1.5", at(-2, 500_000_000)),
            (b"-1", at(-1, 0)),
            (b"-0.5", at(-1, 500_000_000)),
            (b"+1.5", at(1, 500_000_000)),
            (b"9223372036854775807", at(i64::MIN, 0)),
            (b"-9223372036854775808.5", at(i64::MIN, 500_000_000)),
            (b".5", None),
            (b"-.5", None),
            (b"1.-5", None),
            (b"1.5.5", None),
            (b"1e3", None),
            (b"", None),
        ];
        for (text, expected) in cases {
            assert_eq!(pax_time(text), *expected, "{}", text.escape_ascii());
        }
    }
}
