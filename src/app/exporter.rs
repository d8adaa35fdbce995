//! Serving the metrics, and counting for them what the mirror does.

use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::loopback::{self, Site, Unheard};
use crate::service::mirror::{Asked, Meter, Outcome, Source};
use crate::telemetry::metrics::{self, Metrics};

/// Connections at a time: a few scrapers, and a person who looks.
const PLACES: usize = 16;

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
            tracing::info!(address = ?listener.local_addr().ok(), "serving metrics");
            let site = Site { router: metrics::router(metrics), refuse: refusal, places: PLACES };
            serving.spawn(loopback::serve(listener, site, std::future::pending()));
        }
        Self { _serving: serving }
    }
}

fn refusal(unheard: Unheard) -> Response {
    (unheard.status(), format!("{unheard}\n")).into_response()
}

/// Counts for the metrics what the mirror does.
#[derive(Debug)]
pub struct MirrorMeter(Metrics);

impl MirrorMeter {
    /// A meter that shows up in these.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        // A row that is not there yet looks like one that was forgotten.
        Source::ALL.iter().for_each(|source| metrics.mirror_sent(source.name(), 0));
        Self(metrics.clone())
    }
}

impl Meter for MirrorMeter {
    fn answered(&self, asked: Asked, outcome: Outcome) {
        self.0.mirror_answered(asked.name(), outcome.name());
    }

    fn sent(&self, source: Source, bytes: u64) {
        self.0.mirror_sent(source.name(), bytes);
    }
}
