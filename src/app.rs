//! The daemon, from what is set to bound sockets, until it is told to stop.
//!
//! [`run`] is its life on one screen. It owns nothing but the order of things: sockets first, so
//! that clients can connect as soon as the process is there; then the doors; on the first signal
//! no new work, and what is under way gets its time; on the second the end.

mod calls;
pub mod cores;
mod error;
mod exporter;
mod health;
mod listen;
mod signals;
mod tcp;

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::accept;
use crate::node::systemd::Notify;
use crate::pulls::Pulls;
use crate::service::mirror::{self, Mirror};
use crate::service::{api, cri, diff};
use health::Need;

pub use error::AppError;
pub use exporter::{Exporter, MirrorMeter};
pub use listen::ApiSocket;
pub use signals::Signals;
pub use tcp::listeners;

/// How long pulls that are under way may go on after the first signal to stop. What is cancelled
/// then goes on from there next time, so there is little to lose.
const DRAIN: Duration = Duration::from_secs(20);
/// How long pulls that were cancelled may take to let go of containerd.
const LAST: Duration = Duration::from_secs(10);
/// Calls of one connection that are served at a time; HTTP/2 has the client hold back the others. A
/// pull that waits takes some 50 KB, so that one caller cannot fill the memory with them.
const CALLS: u32 = 1000;
/// How long clients may keep connections open after the last pull.
const HANG_UP: Duration = Duration::from_secs(1);

/// What is served, and where.
#[derive(Debug)]
pub struct Doors {
    /// What answers the API, and CRI's pulls.
    pub pulls: Pulls,
    /// Where.
    pub socket: ApiSocket,
    /// containerd's socket.
    pub containerd: PathBuf,
    /// The socket of containerd's CRI, to which its other calls are passed on.
    pub cri: PathBuf,
    /// The registry on loopback, and its listeners; none where there is no mirror.
    pub mirror: (Mirror, Vec<TcpListener>),
}

/// Serves until a signal says stop, and `reload`s when one says so.
///
/// # Errors
/// [`AppError`] where the socket fails.
pub async fn run(
    Doors { pulls, socket, containerd, cri, mirror }: Doors,
    notify: Notify,
    mut signals: Signals,
    mut reload: impl FnMut(),
) -> Result<(), AppError> {
    let stop = CancellationToken::new();
    let needing = vec![(cri::SERVICE, Need::cri(cri.clone())), (diff::SERVICE, Need::containerd(containerd))];
    let (health, _reporting) = health::report(vec![api::SERVICE], needing, stop.clone()).await;
    let api = serve_api(pulls.clone(), cri, health, socket.listener()?, stop.clone());
    let mut serving = tokio::spawn(api);
    let mut mirrors = serve_mirror(mirror, &stop);
    let watched = tokio::spawn(keep_alive(notify));
    tracing::info!(socket = %socket.path().display(), "ready");
    notify.ready("serving");
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                signals::Signal::Reload => {
                    notify.reloading();
                    reload();
                    notify.ready("serving");
                }
                signals::Signal::Stop => break,
            },
            // Nobody can be served any more; who supervises us is to know.
            ended = &mut serving => return ended.unwrap_or(Err(AppError::Ended)),
        }
    }
    tracing::info!("stopping: pulls that are under way have {} s", DRAIN.as_secs());
    notify.stopping("waiting for pulls that are under way");
    stop.cancel();
    // Who comes now is to find nobody, and not to wait.
    drop(socket);
    tokio::select! {
        () = wind_down(&pulls, &mut mirrors) => {}
        () = signals.stop() => tracing::info!("stopping at once"),
    }
    watched.abort();
    drop(mirrors);
    // Who still listens to health or to nothing is hung up on.
    match tokio::time::timeout(HANG_UP, serving).await {
        Ok(Ok(served)) => served,
        _ => Ok(()),
    }
}

/// Serves the mirror at every listener until it is told to stop; ended hard when this is dropped.
fn serve_mirror((mirror, listeners): (Mirror, Vec<TcpListener>), stop: &CancellationToken) -> JoinSet<()> {
    let mut serving = JoinSet::new();
    for listener in listeners {
        tracing::info!(address = ?listener.local_addr().ok(), "serving the mirror");
        let (mirror, stopped) = (mirror.clone(), stop.clone().cancelled_owned());
        serving.spawn(mirror::serve(listener, mirror, stopped));
    }
    serving
}

/// Tells the watchdog that tasks still get their turn.
async fn keep_alive(notify: Notify) {
    let Some(interval) = notify.watchdog() else { return };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        notify.alive();
    }
}

/// Lets pulls and the mirror's answers come to their end, and cancels those that take too long.
async fn wind_down(pulls: &Pulls, mirrors: &mut JoinSet<()>) {
    let answered = async { while mirrors.join_next().await.is_some() {} };
    let drained = async { tokio::join!(pulls.drained(), answered) };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::info!("cancelling what is still under way");
        pulls.cancel_all();
        if tokio::time::timeout(LAST, pulls.drained()).await.is_err() {
            tracing::warn!("some pulls cannot be ended: containerd does not answer them");
        }
    }
}

async fn serve_api(
    pulls: Pulls,
    cri: PathBuf,
    health: HealthServer<impl Health>,
    listener: UnixListener,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(api::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(AppError::Reflection)?;
    Server::builder()
        .max_concurrent_streams(CALLS)
        .layer(calls::NameCallers)
        .add_service(api::server::server(pulls.clone()))
        .add_service(diff::server(pulls.clone()))
        .add_service(cri::server(pulls, cri))
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(accept::connections(listener), stop.cancelled_owned())
        .await
        .map_err(AppError::Serve)
}
