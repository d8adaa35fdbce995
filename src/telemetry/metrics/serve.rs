//! `/metrics` and `/healthz`, for programs of this machine.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::encoding::text;

use super::Metrics;

/// OpenMetrics 1.0, section "Content type".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the metrics under `/metrics`, and under `/healthz` that there is somebody to ask. Which
/// requests get so far is decided by [`crate::loopback`].
pub fn router(metrics: &Metrics) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(metrics.clone())
}

async fn exposition(State(metrics): State<Metrics>) -> Response {
    // Some numbers are on disks.
    let written = tokio::task::spawn_blocking(move || {
        let mut page = String::new();
        text::encode(&mut page, &metrics.0.registry).map(|()| page)
    });
    match written.await {
        Ok(Ok(page)) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Ok(Err(_)) | Err(_) => {
            tracing::error!("the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
