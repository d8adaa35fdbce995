//! Serving the metrics.

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::telemetry::metrics::{self, Metrics};

/// Serves the metrics for as long as it lives.
#[derive(Debug)]
pub struct Exporter {
    _serving: JoinSet<()>,
}

impl Exporter {
    /// Serves at all of these.
    #[must_use]
    pub fn start(listeners: Vec<TcpListener>, metrics: &Metrics) -> Self {
        let mut serving = JoinSet::new();
        for listener in listeners {
            let router = metrics::router(metrics);
            tracing::info!(address = ?listener.local_addr().ok(), "serving metrics");
            serving.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "metrics are not served any longer");
                }
            });
        }
        Self { _serving: serving }
    }
}
