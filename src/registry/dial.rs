//! Waiting for the head of a reply, and only for that: how long a request spends on reaching
//! its host is the dial timeout's affair.
//!
//! The HTTP library makes connections in the course of requests and tells nobody. A layer
//! around its connector keeps the time for the request that it connects for, so that a host
//! which takes a connection and then says nothing is found out after one patience, and not
//! after that and the longest time that connecting might have taken.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

tokio::task_local! {
    static DIAL: Arc<Dial>;
}

/// What `sending` comes to, unless more than `patience` passes that is not spent on
/// connecting, nor on sending: `sent` grows meanwhile. Then `None`.
pub(super) async fn within<T>(patience: Duration, sent: &AtomicU64, sending: impl Future<Output = T>) -> Option<T> {
    let dial = Arc::<Dial>::default();
    let mut sending = pin!(DIAL.scope(Arc::clone(&dial), sending));
    let mut left = patience;
    let mut before = 0;
    loop {
        if let Ok(done) = tokio::time::timeout(left, &mut sending).await {
            return Some(done);
        }
        let now = sent.load(Ordering::Relaxed);
        left = if now > before { patience } else { dial.take() };
        before = now;
        if left.is_zero() {
            return None;
        }
    }
}

/// The time that one request has spent on name resolution, TCP, proxy and TLS.
#[derive(Debug, Default)]
struct Dial(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    /// Since when a connection is being made.
    since: Option<Instant>,
    /// Before that, and not taken yet.
    before: Duration,
}

impl Dial {
    fn begin(self: &Arc<Self>) -> Dialling {
        self.spent().since.get_or_insert_with(Instant::now);
        Dialling(Arc::clone(self))
    }

    /// What was spent since this was last asked.
    fn take(&self) -> Duration {
        let mut spent = self.spent();
        spent.settle();
        std::mem::take(&mut spent.before)
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        // Whole after any panic: every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    /// Moves what was spent so far to `before`.
    fn settle(&mut self) {
        if let Some(since) = &mut self.since {
            let now = Instant::now();
            self.before += now.duration_since(*since);
            *since = now;
        }
    }
}

/// A connection being made. It may outlive the request, which took one that became free before.
struct Dialling(Arc<Dial>);

impl Drop for Dialling {
    fn drop(&mut self) {
        let mut spent = self.0.spent();
        spent.settle();
        spent.since = None;
    }
}

/// Keeps the time around a connector.
#[derive(Debug, Clone)]
pub(super) struct TimeDials;

impl<S> Layer<S> for TimeDials {
    type Service = TimedDials<S>;

    fn layer(&self, connector: S) -> TimedDials<S> {
        TimedDials(connector)
    }
}

/// A connector that is timed.
#[derive(Debug, Clone)]
pub(super) struct TimedDials<S>(S);

impl<S, R> Service<R> for TimedDials<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        // Called in the course of the request, whoever ends up waiting for the connection.
        let dialling = DIAL.try_with(Dial::begin).ok();
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connected = connecting.await;
            drop(dialling);
            connected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    /// A request that connects for so long, and then waits for so long.
    async fn request(connects: Duration, waits: Duration) {
        let connecting = tower::service_fn(move |()| async move {
            tokio::time::sleep(connects).await;
            Ok::<(), ()>(())
        });
        TimeDials.layer(connecting).call(()).await.expect("connects");
        tokio::time::sleep(waits).await;
    }

    #[tokio::test]
    async fn only_silence_wears_patience_out() {
        let never = Duration::from_secs(3600);
        let within = async |patience, sending| within(patience, &AtomicU64::new(0), sending).await;
        assert_eq!(within(TICK, request(10 * TICK, Duration::ZERO)).await, Some(()), "connecting is no silence");
        assert_eq!(within(TICK, request(Duration::ZERO, never)).await, None);
        let asked = Instant::now();
        assert_eq!(within(TICK, request(5 * TICK, never)).await, None);
        assert!(asked.elapsed() >= 6 * TICK, "silence counts from the connection on");
        assert_eq!(within(never, request(TICK, TICK)).await, Some(()));
    }

    #[tokio::test]
    async fn a_connection_that_goes_on_without_its_request_is_not_waited_for() {
        let waiting = async {
            let connecting = tower::service_fn(|()| std::future::pending::<Result<(), ()>>());
            // The request takes a connection that became free, and drops this one's future.
            drop(TimeDials.layer(connecting).call(()));
            std::future::pending::<()>().await;
        };
        assert_eq!(within(TICK, &AtomicU64::new(0), waiting).await, None);
    }

    #[tokio::test]
    async fn a_body_that_is_taken_is_no_silence() {
        let sent = AtomicU64::new(0);
        let sending = async {
            for _ in 0..40 {
                tokio::time::sleep(TICK / 4).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(within(TICK, &sent, sending).await, Some(()));
    }
}
