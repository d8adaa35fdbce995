//! The operator's cap on what all downloads together may take of the link.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much may come at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// A cap in bytes per second, or none.
#[derive(Debug)]
pub(super) struct Bandwidth {
    started: Instant,
    schedule: Option<Mutex<Schedule>>,
}

impl Bandwidth {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        let schedule = rate.map(|rate| Mutex::new(Schedule { rate, paid_until: Duration::ZERO }));
        Self { started: Instant::now(), schedule }
    }

    /// Accounts for bytes that came, and waits until the next ones may. Meanwhile nobody reads
    /// from the connection, and so its sender slows down.
    pub(super) async fn pay(&self, bytes: usize) {
        let Some(schedule) = &self.schedule else { return };
        let wait = schedule.lock().unwrap_or_else(PoisonError::into_inner).book(self.started.elapsed(), bytes as u64);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Who pays when, on a clock that starts at zero.
#[derive(Debug)]
struct Schedule {
    rate: NonZeroU64,
    /// Until when the bytes that came so far take, at this rate.
    paid_until: Duration,
}

impl Schedule {
    /// How long to wait after `bytes` that came at `now`.
    fn book(&mut self, now: Duration, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let start = self.paid_until.max(now.saturating_sub(BURST));
        self.paid_until = start.saturating_add(takes);
        self.paid_until.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(rate: u64) -> Schedule {
        Schedule { rate: NonZeroU64::new(rate).expect("not zero"), paid_until: Duration::ZERO }
    }

    #[test]
    fn bytes_take_their_time_and_pauses_are_not_saved_up() {
        let mut schedule = schedule(1000);
        assert_eq!(schedule.book(Duration::ZERO, 500), Duration::from_millis(500));
        assert_eq!(schedule.book(Duration::ZERO, 500), Duration::from_secs(1), "another connection, at the same time");
        assert_eq!(schedule.book(Duration::from_secs(60), 1000), Duration::from_secs(1) - BURST);
    }

    proptest! {
        #[test]
        fn never_more_than_the_cap_and_a_burst(
            rate in 1_000_u64..1_000_000_000, chunks in prop::collection::vec((1_u64..500_000, 0_u64..50), 1..100),
        ) {
            let mut schedule = schedule(rate);
            let (mut now, mut sum) = (Duration::ZERO, 0_u64);
            for (bytes, pause) in chunks {
                now += Duration::from_millis(pause);
                now += schedule.book(now, bytes);
                sum += bytes;
                let most = (now + BURST).as_secs_f64() * f64::from(u32::try_from(rate).expect("small")) + 2.0;
                prop_assert!(f64::from(u32::try_from(sum).expect("small")) <= most, "{sum} in {now:?}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_cap_nobody_waits() {
        use futures_util::FutureExt as _;
        assert!(Bandwidth::new(None).pay(usize::MAX).now_or_never().is_some());
        assert!(Bandwidth::new(NonZeroU64::new(1)).pay(1000).now_or_never().is_none());
    }
}
