//! Taking connections: as many file descriptors as the kernel gives, and patience when there are
//! none left. What is said on a connection is the affair of whoever takes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

/// How long to wait before a connection is taken again after one could not be; doubles up to
/// [`LONGEST_PAUSE`]. Whoever waits in the socket's queue has lost nothing.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two lines in the log that say so.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Raises the soft limit of open files to the hard one. The soft one is for programs that
/// `select`, and there are thousands of files and connections to have open at a time.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(from = limit.current, to = limit.maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is"),
    }
}

/// The connections that come to a socket, as tonic wants them. It would ask again at once, and for
/// ever, where one cannot be taken.
pub fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    let listener = Arc::new(listener);
    patiently(move || {
        let listener = Arc::clone(&listener);
        async move { listener.accept().await.map(|(stream, _)| stream) }
    })
    .map(Ok)
}

/// What `accept` gives, without its failures: after one it pauses, and the log tells of the first,
/// and again after a while.
pub fn patiently<T, A: Future<Output = io::Result<T>>>(accept: impl Fn() -> A) -> impl Stream<Item = T> {
    stream::unfold((accept, None), |(accept, mut told): (_, Option<Instant>)| async move {
        let mut failures = 0;
        loop {
            match accept().await {
                Ok(connection) => return Some((connection, (accept, told))),
                // Whoever it was is gone, and the next one may be there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Whoever leaves makes room for one more, and then there is none again.
                    if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                        tracing::error!(%error, "connections cannot be taken: they wait");
                        told = Some(Instant::now());
                    }
                    failures += 1;
                    tokio::time::sleep(pause(failures)).await;
                }
            }
        }
    })
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_without_descriptors_neither_spins_nor_gives_up() {
        let (began, tries) = (Instant::now(), Cell::new(0_u32));
        let minute = Duration::from_secs(60);
        let accept = || {
            tries.set(tries.get() + 1);
            let full = began.elapsed() < minute;
            ready(if full { Err(rustix::io::Errno::MFILE.into()) } else { Ok("a connection") })
        };
        let taken = std::pin::pin!(patiently(accept)).next().await;
        assert_eq!(taken, Some("a connection"));
        assert!(tries.get() < 70, "it was tried {} times within a minute", tries.get());
        assert!(began.elapsed() <= minute + LONGEST_PAUSE, "nobody was taken for {:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_left_costs_nobody_else_time() {
        let (began, tries) = (Instant::now(), Cell::new(0));
        let accept = || {
            tries.set(tries.get() + 1);
            ready(if tries.get() < 100 { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) })
        };
        assert_eq!(std::pin::pin!(patiently(accept)).next().await, Some(()));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
