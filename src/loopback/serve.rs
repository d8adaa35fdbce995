//! Connections: how many there are, and how much each may send and for how long.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use http::header::{HeaderValue, RETRY_AFTER};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::guard::{self, Unheard};
use super::patient::Patient;
use crate::accept;

/// Bytes of a request's line and headers: several times what clients send.
const HEAD: usize = 32 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bound on the wait for a whole request, on a fresh connection and between two requests. Clients
/// send a request at once, and open another connection where an idle one has ended.
const REQUEST: Duration = Duration::from_secs(30);
/// Bound on the waits for a client to take what is sent to it, beside what it takes.
const STALL: Duration = Duration::from_secs(60);
/// Bytes that the kernel keeps for a client that is slow to take them: its own bound is megabytes,
/// which every client could have for nothing.
const SEND_BUFFER: usize = 256 * 1024;
/// Clients that are being told to come later; more than these are hung up on.
const LOBBY: usize = 64;
/// How long telling them may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// When they are to come again, in seconds: by then those who stall may have been given up.
const LATER: HeaderValue = HeaderValue::from_static("30");
/// How long requests under way may take to end after we were told to stop: clients go on with the
/// rest elsewhere.
const DRAIN: Duration = Duration::from_secs(30);

/// What is served at an address.
#[derive(Debug, Clone)]
pub struct Site<R> {
    /// The answers.
    pub router: Router,
    /// The words for requests that are not heard.
    pub refuse: R,
    /// Connections at a time.
    pub places: usize,
}

/// Serves a site on `listener` over HTTP/1.1 until `shutdown` resolves. Requests under way may
/// then end, for a while. Who finds no place is refused with [`Unheard::Busy`] and told when to
/// come again.
pub async fn serve<R>(listener: TcpListener, site: Site<R>, shutdown: impl Future<Output = ()> + Send)
where
    R: Fn(Unheard) -> Response + Clone + Send + Sync + 'static,
{
    let (places, lobby) = (Arc::new(Semaphore::new(site.places)), Arc::new(Semaphore::new(LOBBY)));
    let graceful = GracefulShutdown::new();
    let mut connections = Box::pin(connections(listener).take_until(shutdown));
    while let Some((stream, own)) = connections.next().await {
        // Everybody is accepted at once: in the kernel's line one could only wait.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let site = site.clone();
            let answer = service_fn(move |request| respond(site.clone(), own.ip(), request));
            let connection = graceful.watch(http().serve_connection(stream, answer));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, %own, "a client's connection ended");
                }
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&lobby).try_acquire_owned() {
            let refuse = site.refuse.clone();
            let answer = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(farewell(&refuse))));
            let connection = http().keep_alive(false).serve_connection(stream, answer);
            tokio::spawn(async move {
                // Who does not even listen to that is hung up on.
                let _ = tokio::time::timeout(FAREWELL, connection).await;
                drop(place);
            });
        }
    }
    // Nobody is to wait in the kernel's line any more.
    drop(connections);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("clients were left in the middle of an answer");
    }
}

/// How HTTP is spoken.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(HEAD).max_headers(HEADERS);
    http
}

/// The answer to a request that came to an address of ours.
async fn respond<R: Fn(Unheard) -> Response>(
    site: Site<R>,
    own: IpAddr,
    request: http::Request<Incoming>,
) -> Result<Response, Infallible> {
    match guard::check(request.uri(), request.headers(), own) {
        Ok(()) => site.router.oneshot(request.map(Body::new)).await,
        Err(unheard) => Ok((site.refuse)(unheard)),
    }
}

fn farewell(refuse: impl Fn(Unheard) -> Response) -> Response {
    let mut response = refuse(Unheard::Busy);
    response.headers_mut().insert(RETRY_AFTER, LATER);
    response
}

/// The connections that come, each with our side's address.
fn connections(listener: TcpListener) -> impl Stream<Item = (TokioIo<Patient<TcpStream>>, SocketAddr)> {
    let listener = Arc::new(listener);
    let accepted = accept::patiently(move || {
        let listener = Arc::clone(&listener);
        async move { listener.accept().await }
    });
    accepted.map(|(stream, _)| {
        // Small replies are not to wait for each other.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let own = stream.local_addr().unwrap_or(nobody);
        (TokioIo::new(Patient::new(stream, STALL)), own)
    })
}
