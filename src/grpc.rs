//! What everybody here who speaks gRPC has in common, as a client or as a server: the way to a
//! Unix socket, and the bound of a message.
//!
//! Nothing of any protocol is in here; those are [`crate::store`]'s and [`crate::service`]'s.

use std::io;
use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Largest message in either direction, in bytes: the bound of containerd and of kubelet. tonic's
/// own, for what it takes, is a quarter of that.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// A channel to whoever listens at `socket`. It connects when it is first used, and again whenever
/// it has to, and calls `connected` each time.
pub fn channel(socket: &Path, connected: impl Fn() + Clone + Send + 'static) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let (socket, connected) = (socket.clone(), connected.clone());
        async move {
            let stream = UnixStream::connect(socket).await?;
            connected();
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // HTTP/2 wants a name; this is kubelet's for whoever is behind a socket.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}
