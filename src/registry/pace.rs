//! Whether a body still comes: its rate over a window of the time that was spent waiting for it.
//!
//! Time in which nobody asked for bytes, because the disk was busy or a bandwidth cap held
//! us back, is not the sender's. There is no clock in here.

use std::collections::VecDeque;
use std::time::Duration;

/// Entries per window; the rate is out by one entry's share at the most.
const RESOLUTION: u32 = 10;

/// The recent arrivals of one body.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    /// Bytes that have to come in every window.
    least: u64,
    /// Time spent waiting so far.
    waited: Duration,
    /// When bytes came, on that clock, and how many.
    arrivals: VecDeque<(Duration, u64)>,
    recent: u64,
}

impl Pace {
    /// At least `rate` bytes per second, over `window`.
    pub(super) fn new(rate: u64, window: Duration) -> Self {
        let least = u128::from(rate) * window.as_millis() / 1000;
        let least = u64::try_from(least).unwrap_or(u64::MAX).max(1);
        Self { window, least, waited: Duration::ZERO, arrivals: VecDeque::new(), recent: 0 }
    }

    /// How long the next bytes may take at the most. Zero where too little came already.
    pub(super) fn patience(&self) -> Duration {
        let mut recent = self.recent;
        let mut until = self.window;
        for (at, bytes) in &self.arrivals {
            if recent < self.least {
                break;
            }
            until = until.max(*at + self.window);
            recent -= bytes;
        }
        until.saturating_sub(self.waited)
    }

    /// Takes note of bytes, and of how long they were waited for.
    pub(super) fn note(&mut self, waited: Duration, bytes: u64) {
        self.waited += waited;
        self.recent += bytes;
        match self.arrivals.back_mut() {
            Some((at, sum)) if *at + self.window / RESOLUTION > self.waited => *sum += bytes,
            _ => self.arrivals.push_back((self.waited, bytes)),
        }
        while let Some((at, bytes)) = self.arrivals.front()
            && *at + self.window <= self.waited
        {
            self.recent -= bytes;
            self.arrivals.pop_front();
        }
    }

    /// What the rate is averaged over.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Bytes per second, lately.
    pub(super) fn rate(&self) -> u64 {
        let millis = self.window.as_millis().max(1);
        u64::try_from(u128::from(self.recent) * 1000 / millis).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A body of which `bytes` come every `every`; after how long it counts as stalled, if ever.
    fn stalls_after(bytes: u64, every: Duration) -> Option<Duration> {
        let mut pace = Pace::new(1024, 10 * SECOND);
        let mut clock = Duration::ZERO;
        while clock < 300 * SECOND {
            let patience = pace.patience();
            if patience < every {
                return Some(clock + patience);
            }
            clock += every;
            pace.note(every, bytes);
        }
        None
    }

    #[test]
    fn too_little_over_the_window_is_a_stall() {
        let cases = [
            (1024 * 1024, SECOND, None),
            (2048, SECOND, None),
            (20 * 1024, 9 * SECOND, None),
            (0, 20 * SECOND, Some(10 * SECOND)),
            (900, SECOND, Some(10 * SECOND)),
            (1, Duration::from_millis(100), Some(10 * SECOND)),
            (1 << 30, 11 * SECOND, Some(10 * SECOND)),
        ];
        for (bytes, every, expected) in cases {
            assert_eq!(stalls_after(bytes, every), expected, "{bytes} bytes every {every:?}");
        }
    }

    #[test]
    fn silence_after_a_flood_is_found_within_a_window() {
        let mut pace = Pace::new(1024, 10 * SECOND);
        (0..1000).for_each(|_| pace.note(SECOND / 10, 1 << 20));
        assert!(pace.patience() <= 10 * SECOND && pace.patience() >= 9 * SECOND, "{:?}", pace.patience());
        assert!(pace.rate() > 9 << 20);
        pace.note(pace.patience(), 0);
        assert_eq!(pace.patience(), Duration::ZERO);
        assert!(pace.rate() < 1024, "{}", pace.rate());
    }

    proptest! {
        #[test]
        fn patience_is_never_longer_than_the_window(
            steps in prop::collection::vec((0_u64..5_000, 0_u64..100_000), 0..200),
        ) {
            let mut pace = Pace::new(1024, 10 * SECOND);
            for (millis, bytes) in steps {
                pace.note(Duration::from_millis(millis).min(pace.patience()), bytes);
                prop_assert!(pace.patience() <= 10 * SECOND);
                prop_assert!(pace.arrivals.len() <= RESOLUTION as usize + 1);
            }
        }
    }
}
