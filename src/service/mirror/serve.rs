//! The mirror at a listener.

use axum::response::Response;
use tokio::net::TcpListener;

use super::meter::{Asked, Outcome};
use super::refusal::Refusal;
use super::{Mirror, reply, router};
use crate::loopback::{self, Site, Unheard};

/// Connections at a time; each holds a buffer of [`super::body::CHUNK`] and what HTTP reads ahead.
const PLACES: usize = 256;

/// Serves the mirror on `listener` over HTTP/1.1 until `shutdown` resolves; see [`loopback::serve`].
pub async fn serve(listener: TcpListener, mirror: Mirror, shutdown: impl Future<Output = ()> + Send) {
    let router = router(mirror.clone());
    let refuse = move |unheard| mirror.refuse(unheard);
    loopback::serve(listener, Site { router, refuse, places: PLACES }, shutdown).await;
}

impl Mirror {
    fn refuse(&self, unheard: Unheard) -> Response {
        self.0.home.meter.answered(Asked::Other, Outcome::of(unheard.status()));
        reply::finish(Err(Refusal::from(unheard)))
    }
}
