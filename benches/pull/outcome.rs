//! Figures of turns, and what they come to.

use std::time::Duration;

use serde_json::{Value, json};

use super::measure::Cost;

/// What one pull cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    /// The client.
    pub(crate) client: Cost,
    /// What a `syncfs` took afterwards.
    pub(crate) sync: Duration,
    /// CPU time of containerd meanwhile.
    pub(crate) daemon_cpu: Duration,
    /// The most memory that containerd had, in bytes.
    pub(crate) daemon_peak: u64,
    /// Bytes over the loopback interface.
    pub(crate) wire: u64,
    /// CPU time of the registry meanwhile. It shares the cores, and bounds what a client can reach.
    pub(crate) registry_cpu: Duration,
    /// Requests that the registry answered.
    pub(crate) requests: usize,
}

/// All turns of one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(pub(crate) Vec<Turn>);

impl Turn {
    pub(crate) fn wall(&self) -> f64 {
        self.client.wall.as_secs_f64()
    }

    /// With everything on the disk.
    pub(crate) fn synced(&self) -> f64 {
        (self.client.wall + self.sync).as_secs_f64()
    }

    pub(crate) fn cpu(&self) -> f64 {
        (self.client.cpu + self.daemon_cpu).as_secs_f64()
    }

    /// What the registry used of the same cores.
    pub(crate) fn registry_cpu(&self) -> f64 {
        self.registry_cpu.as_secs_f64()
    }

    /// MiB.
    pub(crate) fn peak(&self) -> f64 {
        self.client.peak as f64 / f64::from(1 << 20)
    }

    /// MB.
    pub(crate) fn wire(&self) -> f64 {
        self.wire as f64 / 1e6
    }

    fn as_json(&self) -> Value {
        json!({
            "seconds": self.wall(),
            "syncSeconds": self.sync.as_secs_f64(),
            "clientCpuSeconds": self.client.cpu.as_secs_f64(),
            "containerdCpuSeconds": self.daemon_cpu.as_secs_f64(),
            "clientPeakBytes": self.client.peak,
            "registryCpuSeconds": self.registry_cpu.as_secs_f64(),
            "containerdPeakBytes": self.daemon_peak,
            "wireBytes": self.wire,
            "requests": self.requests,
        })
    }
}

impl Turns {
    /// The median of a figure.
    pub(crate) fn median(&self, figure: fn(&Turn) -> f64) -> f64 {
        median(self.0.iter().map(figure).collect())
    }

    /// The greatest of a figure.
    pub(crate) fn greatest(&self, figure: fn(&Turn) -> f64) -> f64 {
        self.0.iter().map(figure).fold(0.0, f64::max)
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({
            "medianSeconds": self.median(Turn::wall),
            "medianSyncedSeconds": self.median(Turn::synced),
            "medianCpuSeconds": self.median(Turn::cpu),
            "medianRegistryCpuSeconds": self.median(Turn::registry_cpu),
            "turns": self.0.iter().map(Turn::as_json).collect::<Vec<_>>(),
        })
    }
}

/// The middle one; of an even number the lower of the two.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
