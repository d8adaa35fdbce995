//! Numbers for Prometheus.
//!
//! Pulls are counted as the [`Meter`] that they report to; what the engine and the staging
//! directories are at is asked when somebody looks. The rooms below know nothing of this one.
//!
//! Every label is one of a closed set of names: that is what `&'static str` in `Labels`
//! holds. No image, no registry and no host is ever one, since each would be a row for ever.

mod collect;
mod pulling;
mod serve;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::fetch::Engine;
use crate::fetch::progress::Phase;
use crate::pulls::{Door, Meter, Metered};
use crate::store::staging::Staging;

use collect::Watched;
use pulling::Pulling;
pub use serve::router;

/// Names and values of labels.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Upper ends of the buckets of durations, in seconds: from a HEAD request on a good link to
/// a large image on a bad one.
const BUCKETS: [f64; 16] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];

/// Every door that leads to a pull.
const DOORS: [Door; 2] = [Door::Api, Door::Cri];

/// The phase that stands for all of a pull.
const WHOLE: &str = "whole";

/// The metrics of the process; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    pulls: Family<Labels<2>, Counter>,
    in_flight: Family<Labels<1>, Gauge>,
    phases: Family<Labels<1>, Histogram, fn() -> Histogram>,
    arch_mismatches: Family<Labels<2>, Counter>,
    mirror_requests: Family<Labels<2>, Counter>,
    mirror_bytes: Family<Labels<1>, Counter>,
    watched: Arc<Watched>,
}

impl Default for Metrics {
    fn default() -> Self {
        let pulls = Family::default();
        let in_flight = Family::default();
        let arch_mismatches = Family::default();
        let (mirror_requests, mirror_bytes) = (Family::default(), Family::default());
        let phases: Family<Labels<1>, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let watched = Arc::new(Watched::default());
        // A row that is not there yet looks like one that was forgotten.
        for door in DOORS {
            drop(in_flight.get_or_create(&[("door", door.name())]));
        }
        for phase in Phase::ALL.map(Phase::name).into_iter().chain([WHOLE]) {
            drop(phases.get_or_create(&[("phase", phase)]));
        }
        let mut registry = Registry::with_prefix("lighterman");
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("pulls", "Pulls that ended, by who asked and how it ended", Family::clone(&pulls));
        registry.register("pulls_in_flight", "Pulls that are under way", Family::clone(&in_flight));
        registry.register_with_unit(
            "pull_phase_duration",
            "How long the phases of pulls took; fetch and unpack run side by side",
            Unit::Seconds,
            Family::clone(&phases),
        );
        registry.register(
            "arch_mismatches",
            "Images that do not run on this node, by the finding and what was done",
            Family::clone(&arch_mismatches),
        );
        registry.register(
            "mirror_requests",
            "Requests to the mirror that ended, by what they were for and how they ended",
            Family::clone(&mirror_requests),
        );
        registry.register_with_unit(
            "mirror_content",
            "Content of images that the mirror gave to its clients, by where this node had it from",
            Unit::Bytes,
            Family::clone(&mirror_bytes),
        );
        registry.register_collector(Box::new(Arc::clone(&watched)));
        let inner =
            Inner { registry, pulls, in_flight, phases, arch_mismatches, mirror_requests, mirror_bytes, watched };
        Self(Arc::new(inner))
    }
}

impl Metrics {
    /// Shows what this engine does. There is one per process; its clones are the same one.
    pub fn watch_engine(&self, engine: &Engine) {
        self.0.watched.engine(engine);
    }

    /// A request to the mirror for `kind` of thing has ended with `result`.
    pub fn mirror_answered(&self, kind: &'static str, result: &'static str) {
        self.0.mirror_requests.get_or_create(&[("kind", kind), ("result", result)]).inc();
    }

    /// The mirror gave so many bytes to a client that came from `source`.
    pub fn mirror_sent(&self, source: &'static str, bytes: u64) {
        self.0.mirror_bytes.get_or_create(&[("source", source)]).inc_by(bytes);
    }
}

impl Meter for Metrics {
    fn begin(&self, door: Door) -> Arc<dyn Metered> {
        Arc::new(Pulling::new(self.clone(), door))
    }

    fn stages(&self, staging: &Staging) {
        self.0.watched.staging(staging);
    }
}

#[cfg(test)]
mod tests;
