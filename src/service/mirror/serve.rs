//! Connections to the mirror: how many, and how much each may send and for how long.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Mirror, router};

/// Bytes of a request's line and headers: several times what clients send.
const HEAD: usize = 32 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bound on the wait for a whole request, on a fresh connection and between two requests.
const REQUEST: Duration = Duration::from_secs(60);
/// Pause after a connection that could not be accepted, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may take to end after the mirror was told to stop: clients go on
/// with the rest of a blob where they like.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves the mirror on `listener` over HTTP/1.1 until `shutdown` resolves. Requests under way
/// may then end, for a while. Of more connections than the settings allow, the last ones wait.
pub async fn serve(listener: TcpListener, mirror: Mirror, shutdown: impl Future<Output = ()> + Send) {
    let places = Arc::new(Semaphore::new(mirror.0.settings.connections));
    let service = TowerToHyperService::new(router(mirror));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST)
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the mirror ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("clients of the mirror were left in the middle of a blob");
    }
}

/// The next connection and its place; `None` where it went before it was accepted.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // It fails only where the semaphore was closed, and nobody closes this one.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Small replies are not to wait for each other.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "the mirror cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
