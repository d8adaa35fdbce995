//! The set of bytes that are there of a blob, against a set of single bytes: three bytes of input
//! are one step.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use lighterman::core::ranges::Ranges;

fuzz_target!(|data: &[u8]| {
    let mut ranges = Ranges::default();
    let mut model = BTreeSet::new();
    for step in data.chunks_exact(3).take(256) {
        let range = u64::from(step[1])..u64::from(step[1]).saturating_add(u64::from(step[2]));
        match step[0] % 3 {
            0 => {
                ranges.insert(range.clone());
                model.extend(range);
            }
            1 => {
                ranges.remove(&range);
                model.retain(|byte| !range.contains(byte));
            }
            _ => {
                let missing: Vec<u64> = range.clone().filter(|byte| !model.contains(byte)).collect();
                assert_eq!(ranges.gaps(&range).into_iter().flatten().collect::<Vec<_>>(), missing);
            }
        }
        assert_eq!(ranges.total(), model.len() as u64);
        assert_eq!(ranges.prefix(), (0..).take_while(|byte| model.contains(byte)).count() as u64);
    }
});
