//! The listeners of the metrics.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::AppError;
use crate::telemetry::metrics::{self, Metrics};

/// Serves the metrics for as long as it lives.
#[derive(Debug)]
pub struct Exporter {
    _serving: JoinSet<()>,
}

impl Exporter {
    /// Listens at all of these addresses.
    ///
    /// # Errors
    /// [`AppError::Address`]; then nobody listens at any of them.
    pub async fn start(addresses: &[SocketAddr], metrics: &Metrics) -> Result<Self, AppError> {
        let mut serving = JoinSet::new();
        for address in addresses {
            let listening = TcpListener::bind(address).await;
            let listener = listening.map_err(|source| AppError::Address { address: *address, source })?;
            tracing::info!(%address, "serving metrics");
            let router = metrics::router(metrics);
            serving.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "metrics are not served any longer");
                }
            });
        }
        Ok(Self { _serving: serving })
    }
}
