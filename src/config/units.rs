//! Numbers with units.

use std::num::NonZeroU64;

use bytesize::ByteSize;

use crate::core::limits::Limits;

/// What [`rate`] reads, for messages.
pub(crate) const RATE: &str = "a number of bytes per second of at least 1, as in 20MB or 16MiB";

/// Reads a number of bytes per second, with or without a unit.
pub(crate) fn rate(text: &str) -> Option<NonZeroU64> {
    NonZeroU64::new(text.parse::<ByteSize>().ok()?.as_u64())
}

/// What [`memory`] reads, for messages.
pub(crate) const MEMORY: &str = "a number of bytes from 32MiB to less than 4GiB, as in 64MiB";

/// Reads how much memory may be taken, with or without a unit.
pub(crate) fn memory(text: &str) -> Option<u32> {
    within_memory(text.parse::<ByteSize>().ok()?.as_u64())
}

/// So many bytes of memory, if that is enough and not too much.
pub(super) fn within_memory(bytes: u64) -> Option<u32> {
    u32::try_from(bytes).ok().filter(|bytes| *bytes >= Limits::LEAST_BUFFER_BYTES)
}

/// Writes a number of bytes as [`rate`] reads it, in the largest unit that it is a whole number of.
pub(super) fn size(bytes: u64) -> String {
    let units =
        [("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1000)];
    let whole = units.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_have_units_and_are_not_nothing() {
        let cases =
            [("1", Some(1)), ("20MB", Some(20_000_000)), ("16 MiB", Some(16 << 20)), ("0", None), ("fast", None)];
        for (text, expected) in cases {
            assert_eq!(rate(text).map(NonZeroU64::get), expected, "{text}");
        }
    }

    #[test]
    fn memory_has_a_least_and_a_most() {
        let cases = [
            ("32MiB", Some(32 << 20)),
            ("33554432", Some(32 << 20)),
            ("1 GB", Some(1_000_000_000)),
            ("32MB", None),
            ("4GiB", None),
            ("much", None),
        ];
        for (text, expected) in cases {
            assert_eq!(memory(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_whole_unit() {
        for (bytes, text) in [(1, "1B"), (20_000_000, "20MB"), (16 << 20, "16MiB"), (1500, "1500B"), (3 << 30, "3GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 1_u64..1 << 40, unit in prop::sample::select(vec![1_u64, 1000, 1 << 10, 1_000_000, 1 << 20])) {
            // Beyond 2^53 bytesize computes with rounding, and no link is so fast.
            prop_assume!(number * unit < 1 << 53);
            prop_assert_eq!(rate(&size(number * unit)).map(NonZeroU64::get), Some(number * unit));
        }
    }
}
