//! Numbers that others keep, asked for when somebody looks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::runtime::Handle;

use super::Labels;
use crate::core::error::Kind;
use crate::fetch::{Account, Engine, HostClass};
use crate::store::staging::Staging;

/// Whom to ask, and what only the observers of pulls hear.
#[derive(Debug, Default)]
pub(super) struct Watched {
    engine: OnceLock<Engine>,
    stagings: Mutex<BTreeMap<PathBuf, Staging>>,
    local_bytes: AtomicU64,
    platform_mismatches: AtomicU64,
}

impl Watched {
    pub(super) fn engine(&self, engine: &Engine) {
        // A second one would be a mistake of ours; the first goes on being shown.
        let _ = self.engine.set(engine.clone());
    }

    pub(super) fn staging(&self, staging: &Staging) {
        self.stagings().insert(staging.root().into(), staging.clone());
    }

    pub(super) fn local(&self, bytes: u64) {
        self.local_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn platform_mismatch(&self) {
        self.platform_mismatches.fetch_add(1, Ordering::Relaxed);
    }

    fn staged(&self) -> u64 {
        // Directories may be slow; nobody else waits for them meanwhile.
        let stagings: Vec<Staging> = self.stagings().values().cloned().collect();
        stagings.iter().map(Staging::used).sum()
    }

    fn stagings(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Staging>> {
        // Whole after any panic: every change is one insertion.
        self.stagings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Watched {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let account = self.engine.get().map(Engine::account).unwrap_or_default();
        let mut page = Page(encoder);
        page.gauge("downloads_in_flight", "Blobs that are being downloaded", None, account.downloads as u64)?;
        page.gauge("connections_in_flight", "Connections that bring blobs", None, account.connections as u64)?;
        let tasks = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        page.gauge("tasks", "Tasks of the program that have not ended", None, tasks as u64)?;
        let bytes = Some(Unit::Bytes);
        page.gauge("memory_budget", "Memory for buffers in all", bytes.clone(), account.buffers)?;
        page.gauge("memory_used", "Memory for buffers that is given out", bytes.clone(), account.buffers_used)?;
        page.gauge(
            "staging",
            "Disk that partial downloads and what is kept of them take",
            bytes.clone(),
            self.staged(),
        )?;
        let local = self.local_bytes.load(Ordering::Relaxed);
        let sources =
            [("mirror", account.bytes_from_mirrors), ("registry", account.bytes_from_registries), ("local", local)];
        let sources = sources.map(|(source, bytes)| ([("source", source)], bytes));
        page.counters("content", "Content of images by where it came from; local is what was there", bytes, sources)?;
        page.counters("attempts", "How often hosts were asked, by how it ended", None, attempts(&account))?;
        let platform = self.platform_mismatches.load(Ordering::Relaxed);
        let mismatches =
            [("digest", wrong_bytes(&account)), ("platform", platform)].map(|(what, n)| ([("what", what)], n));
        page.counters(
            "mismatches",
            "Bytes that are not those of their digest, images that are not for this node",
            None,
            mismatches,
        )
    }
}

fn attempts(account: &Account) -> Vec<(Labels<2>, u64)> {
    let row = |(&(class, failure), &count): (&(HostClass, Option<Kind>), &u64)| {
        let host = match class {
            HostClass::Mirror => "mirror",
            HostClass::Registry => "registry",
        };
        ([("host", host), ("result", failure.map_or("ok", Kind::name))], count)
    };
    account.attempts.iter().map(row).collect()
}

fn wrong_bytes(account: &Account) -> u64 {
    let wrong = account.attempts.iter().filter(|((_, failure), _)| *failure == Some(Kind::DigestMismatch));
    wrong.map(|(_, count)| count).sum()
}

/// An exposition that is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: u64) -> fmt::Result {
        let metric = ConstGauge::new(value);
        metric.encode(self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = (Labels<N>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in rows {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
