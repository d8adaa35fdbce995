//! What to do after a failed attempt: the pure half of the one retry loop.
//!
//! The loop itself is in `fetch/attempts.rs`; it asks here and obeys. Nothing else in the
//! program retries a registry.

use std::time::Duration;

use super::error::Kind;

/// How patient to be with one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Attempts without progress at the last host that is left. Others get one, since the
    /// next host is a better bet than the same one again.
    pub attempts: u32,
    /// Wait before the second attempt; doubles from then on.
    pub first_wait: Duration,
    /// Longest wait of our own.
    pub longest_wait: Duration,
    /// Longest `Retry-After` that is obeyed; a registry that asks for more is left.
    pub longest_retry_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(300),
            longest_wait: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
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
    /// Attempts at this host since the last one that brought bytes, this one included.
    pub fruitless: u32,
    /// Hosts that were not tried yet.
    pub hosts_left: usize,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The same host, after a wait.
    Retry(Duration),
    /// The next host, at once.
    NextHost,
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
        if failure.hosts_left > 0 {
            return Decision::NextHost;
        }
        let again = is_transient(failure.kind) && failure.fruitless < self.attempts;
        match failure.retry_after {
            _ if !again => Decision::GiveUp,
            Some(wait) if wait > self.longest_retry_after => Decision::GiveUp,
            Some(wait) => Decision::Retry(wait),
            None => Decision::Retry(self.wait(failure.fruitless, jitter)),
        }
    }

    /// Doubles with every fruitless attempt, capped, and spread over its upper half.
    fn wait(&self, fruitless: u32, jitter: f64) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << fruitless.saturating_sub(1).min(16));
        doubled.min(self.longest_wait).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Failures that time may heal. A certificate, a wrong digest or a 404 does not change by waiting.
fn is_transient(kind: Kind) -> bool {
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

    fn failure(kind: Kind, fruitless: u32, hosts_left: usize) -> Failure {
        Failure { kind, retry_after: None, fruitless, hosts_left }
    }

    #[test]
    fn goes_on_to_the_next_host_and_is_patient_with_the_last() {
        let policy = Policy::default();
        for kind in
            [Kind::RegistryUnavailable, Kind::NotFound, Kind::TlsUntrusted, Kind::DigestMismatch, Kind::RateLimited]
        {
            assert_eq!(policy.decide(&failure(kind, 1, 1), 0.0), Decision::NextHost, "{kind:?}");
        }
        for kind in
            [Kind::NotFound, Kind::TlsUntrusted, Kind::DigestMismatch, Kind::Unauthenticated, Kind::PermissionDenied]
        {
            assert_eq!(policy.decide(&failure(kind, 1, 0), 0.0), Decision::GiveUp, "{kind:?}");
        }
        for kind in [Kind::RegistryUnavailable, Kind::DeadlineExceeded, Kind::RateLimited] {
            assert!(matches!(policy.decide(&failure(kind, 1, 0), 0.0), Decision::Retry(_)), "{kind:?}");
            assert_eq!(policy.decide(&failure(kind, 5, 0), 0.0), Decision::GiveUp, "{kind:?}");
        }
        assert_eq!(policy.decide(&failure(Kind::StoreFull, 1, 3), 0.0), Decision::GiveUp);
    }

    #[test]
    fn obeys_retry_after_within_reason() {
        let policy = Policy::default();
        let asked =
            |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure(Kind::RateLimited, 1, 0) };
        assert_eq!(policy.decide(&asked(7), 0.9), Decision::Retry(Duration::from_secs(7)));
        assert_eq!(policy.decide(&asked(3600), 0.0), Decision::GiveUp);
    }

    proptest! {
        #[test]
        fn waits_are_bounded(fruitless in 0u32..100, jitter in -1.0f64..2.0) {
            let policy = Policy::default();
            let wait = policy.wait(fruitless, jitter);
            prop_assert!(wait >= policy.first_wait / 2 && wait <= policy.longest_wait);
        }
    }
}
