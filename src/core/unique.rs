//! Numbers and names that nobody else comes up with: for refs, leases and directories that
//! several processes make in one place, and for waits that a fleet should not share.
//!
//! They are no secrets: nothing may depend on their being hard to guess.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that differs from call to call and from process to process.
#[must_use]
pub fn number() -> u64 {
    // The standard library has the kernel seed every process's hashers, and changes the seed with each.
    RandomState::new().build_hasher().finish()
}

/// Sixteen hex digits that differ from call to call and from process to process.
#[must_use]
pub fn name() -> String {
    format!("{:016x}", number())
}

/// Whether it may be one of those names.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A number in 0..1, to spread by.
#[must_use]
pub fn fraction() -> f64 {
    f64::from(u32::try_from(number() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_within_a_thread_and_between_threads() {
        let make = || (0..1000).map(|_| name()).collect::<Vec<_>>();
        let mut all: HashSet<String> = make().into_iter().collect();
        all.extend(std::thread::spawn(make).join().expect("no panic"));
        assert_eq!(all.len(), 2000);
        assert!(all.iter().all(|name| is_name(name)));
        assert!(
            !["", "lost+found", "0123456789abcde", "0123456789abcdefa", "0123456789ABCDEF"].into_iter().any(is_name)
        );
    }

    #[test]
    fn fractions_are_spread() {
        let numbers: Vec<f64> = (0..50).map(|_| fraction()).collect();
        assert!(numbers.iter().all(|n| (0.0..=1.0).contains(n)));
        assert!(numbers.iter().any(|n| *n < 0.5) && numbers.iter().any(|n| *n > 0.5), "{numbers:?}");
    }
}
