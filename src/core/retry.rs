//! What to do after a failed attempt: the pure half of the one retry loop.
//!
//! The loop itself is in `fetch/attempts.rs`; it asks here and obeys. Nothing else in the
//! program retries a registry.

use std::time::Duration;

use super::error::Kind;

/// How patient to be with one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Rounds over the hosts without progress. Within a round every host gets one attempt,
    /// since the next host is a better bet than the same one again.
    pub rounds: u32,
    /// Wait before the second round; doubles from then on.
    pub first_wait: Duration,
    /// Longest wait of our own.
    pub longest_wait: Duration,
    /// Longest `Retry-After` that is obeyed; a registry that asks for more is left.
    pub longest_retry_after: Duration,
    /// Longest silence that the last host is allowed. A cache that has to fetch a large blob from
    /// its own upstream before it begins takes about this long.
    pub longest_patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rounds: 5,
            first_wait: Duration::from_millis(300),
            longest_wait: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
            longest_patience: Duration::from_secs(60),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// What the registry asked for.
    pub retry_after: Option<Duration>,
    /// The attempt brought bytes that nobody had brought before.
    pub progressed: bool,
    /// Hosts that were not tried yet in this round.
    pub hosts_left: usize,
    /// Hosts of this round, this one included, that failed in a way that time may heal.
    pub worth_another_round: usize,
    /// Rounds over the hosts since the last attempt that brought bytes, this one included.
    pub round: u32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The same host, after a wait.
    Retry(Duration),
    /// The next host, at once.
    NextHost,
    /// The hosts whose failures time may heal, from the first one on, after a wait.
    NextRound(Duration),
    /// Nothing more can help.
    GiveUp,
}

impl Policy {
    /// Decides after a failure. `jitter` in 0..1 spreads the waits of many nodes.
    #[must_use]
    pub fn decide(&self, failure: &Failure, jitter: f64) -> Decision {
        if failure.kind == Kind::Cancelled || is_local(failure.kind) {
            return Decision::GiveUp;
        }
        // A transfer that breaks off is no reason to leave a host that was delivering, but one
        // that stalls is, and a host that wants to be left alone.
        if failure.progressed && failure.kind == Kind::RegistryUnavailable && failure.retry_after.is_none() {
            return Decision::Retry(self.wait(1, jitter));
        }
        if failure.hosts_left > 0 {
            return Decision::NextHost;
        }
        let again = failure.worth_another_round > 0 && failure.round < self.rounds;
        match failure.retry_after {
            _ if !again => Decision::GiveUp,
            Some(wait) if wait > self.longest_retry_after => Decision::GiveUp,
            Some(wait) => Decision::NextRound(wait),
            None => Decision::NextRound(self.wait(failure.round, jitter)),
        }
    }

    /// How long a host may be silent: as long as another is left, for one `window`. Who is the
    /// last in its round has three times as long with every round, since there is nobody better,
    /// and a host that is slow to begin would be given up in every round at the same place.
    #[must_use]
    pub fn patience(&self, window: Duration, hosts_left: usize, round: u32) -> Duration {
        if hosts_left > 0 {
            return window;
        }
        let factor = 3_u32.saturating_pow(round.saturating_sub(1));
        window.saturating_mul(factor).min(self.longest_patience.max(window))
    }

    /// Doubles with every round, capped, and spread over its upper half.
    fn wait(&self, round: u32, jitter: f64) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << round.saturating_sub(1).min(16));
        doubled.min(self.longest_wait).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Failures that time may heal. A certificate, a wrong digest or a 404 does not change by waiting.
#[must_use]
pub fn is_transient(kind: Kind) -> bool {
    matches!(kind, Kind::RegistryUnavailable | Kind::DeadlineExceeded | Kind::RateLimited)
}

/// Failures of this node, which no other registry mends.
fn is_local(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::StoreUnavailable
            | Kind::StoreInvalid
            | Kind::StoreFull
            | Kind::StoreFailed
            | Kind::Internal
            | Kind::InvalidArgument
            | Kind::InvalidConfiguration
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A failure of the last host of the first round, alone worth another one if time may heal it.
    fn failure(kind: Kind) -> Failure {
        let worth_another_round = usize::from(is_transient(kind));
        Failure { kind, retry_after: None, progressed: false, hosts_left: 0, worth_another_round, round: 1 }
    }

    #[test]
    fn goes_on_to_the_next_host_and_comes_back_to_those_that_may_heal() {
        let policy = Policy::default();
        let passing = [Kind::RegistryUnavailable, Kind::DeadlineExceeded, Kind::RateLimited];
        let lasting = [Kind::NotFound, Kind::TlsUntrusted, Kind::DigestMismatch, Kind::Unauthenticated];
        for kind in passing.into_iter().chain(lasting) {
            let with_others = Failure { hosts_left: 1, ..failure(kind) };
            assert_eq!(policy.decide(&with_others, 0.0), Decision::NextHost, "{kind:?}");
            let another_may_heal = Failure { worth_another_round: 1, ..failure(kind) };
            assert!(matches!(policy.decide(&another_may_heal, 0.0), Decision::NextRound(_)), "{kind:?}");
            let worn_out = Failure { round: policy.rounds, ..another_may_heal };
            assert_eq!(policy.decide(&worn_out, 0.0), Decision::GiveUp, "{kind:?}");
        }
        for kind in lasting {
            assert_eq!(policy.decide(&failure(kind), 0.0), Decision::GiveUp, "{kind:?}");
        }
        assert_eq!(policy.decide(&Failure { hosts_left: 3, ..failure(Kind::StoreFull) }, 0.0), Decision::GiveUp);
    }

    #[test]
    fn stays_with_a_host_that_delivers() {
        let policy = Policy::default();
        let broken_off = |kind| Failure { progressed: true, hosts_left: 1, round: 5, ..failure(kind) };
        assert!(matches!(policy.decide(&broken_off(Kind::RegistryUnavailable), 0.0), Decision::Retry(_)));
        for leaves in [Kind::DigestMismatch, Kind::DeadlineExceeded, Kind::RateLimited] {
            assert_eq!(policy.decide(&broken_off(leaves), 0.0), Decision::NextHost, "{leaves:?}");
        }
        let busy = Failure { retry_after: Some(Duration::from_secs(7)), ..broken_off(Kind::RegistryUnavailable) };
        assert_eq!(policy.decide(&busy, 0.0), Decision::NextHost);
    }

    #[test]
    fn waits_longer_only_where_there_is_nobody_else() {
        let policy = Policy::default();
        let patience = |hosts_left, round| policy.patience(Duration::from_secs(10), hosts_left, round).as_secs();
        assert_eq!([1, 2, 5].map(|round| patience(1, round)), [10, 10, 10]);
        assert_eq!([1, 2, 3, 4, 5, u32::MAX].map(|round| patience(0, round)), [10, 30, 60, 60, 60, 60]);
        let long = Duration::from_secs(90);
        assert_eq!(policy.patience(long, 0, 3), long, "the operator's window is never cut");
    }

    #[test]
    fn obeys_retry_after_within_reason() {
        let policy = Policy::default();
        let asked = |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure(Kind::RateLimited) };
        assert_eq!(policy.decide(&asked(7), 0.9), Decision::NextRound(Duration::from_secs(7)));
        assert_eq!(policy.decide(&asked(3600), 0.0), Decision::GiveUp);
    }

    proptest! {
        #[test]
        fn waits_are_bounded(round in 0u32..100, jitter in -1.0f64..2.0) {
            let policy = Policy::default();
            let wait = policy.wait(round, jitter);
            prop_assert!(wait >= policy.first_wait / 2 && wait <= policy.longest_wait);
        }
    }
}
