//! Who calls: every call runs within a span that names its method and the process behind it, so
//! that whatever is logged on its behalf says so.

use std::task::{Context, Poll};

use tonic::transport::server::UdsConnectInfo;
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

use crate::node::peer::Peer;

/// Puts calls into spans.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameCallers;

impl<S> Layer<S> for NameCallers {
    type Service = Named<S>;

    fn layer(&self, service: S) -> Named<S> {
        Named(service)
    }
}

/// A service whose calls are in spans.
#[derive(Debug, Clone)]
pub(super) struct Named<S>(S);

impl<S, B> Service<http::Request<B>> for Named<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let connection = request.extensions().get::<UdsConnectInfo>();
        let peer = connection.and_then(|connection| connection.peer_cred).map(Peer::from);
        let span = tracing::info_span!("call", method = request.uri().path(), peer = peer.map(display));
        self.0.call(request).instrument(span)
    }
}
