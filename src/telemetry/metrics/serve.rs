//! `/metrics` and `/healthz`, for programs of this machine.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::encoding::text;

use super::Metrics;

/// OpenMetrics 1.0, section "Content type".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the metrics under `/metrics`, and under `/healthz` that there is somebody to ask.
///
/// Requests whose Host header does not name this machine are refused: a page in a browser here
/// could have its own name lead to us (DNS rebinding).
pub fn router(metrics: &Metrics) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::from_fn(only_for_this_machine))
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

async fn only_for_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    match host.map(is_this_machine) {
        Some(true) => next.run(request).await,
        Some(false) => (StatusCode::MISDIRECTED_REQUEST, "this address serves its own machine only\n").into_response(),
        None => (StatusCode::BAD_REQUEST, "a request needs a Host header\n").into_response(),
    }
}

/// Whether a Host header is `localhost` or a loopback address, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (address, port),
        Some(None) => return false,
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    port_fits && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_taken() {
        let good = ["localhost", "LOCALHOST:9465", "127.0.0.1:9465", "127.9.9.9", "[::1]", "[::1]:9465"];
        assert!(good.into_iter().all(is_this_machine));
        let bad = [
            "",
            "evil.example",
            "evil.example:9465",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:9465",
            "0.0.0.0",
            "[::1",
            "[::1]x",
            "[::2]:1",
            "localhost:port",
            "localhost:1:2",
            "user@localhost",
        ];
        for host in bad {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
