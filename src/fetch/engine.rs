//! What all downloads of a process share: connections, memory, bandwidth, and what is known of hosts.
//!
//! There is one engine per process. Work belongs to it and not to whoever asked: see `flight`.

use std::sync::Arc;

use crate::core::digest::{self, Digest};
use crate::core::limits::Limits;
use crate::core::retry::Policy;
use crate::cpu::Cpu;
use crate::registry::{Client, Credentials};

use super::bandwidth::Bandwidth;
use super::budget::Budget;
use super::documents::Documents;
use super::flight::Flights;
use super::health::Health;
use super::lanes::Lanes;
use super::ledger::{Account, Ledger};

/// The engine; clones share it.
#[derive(Debug, Clone)]
pub struct Engine {
    client: Client,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cpu: Cpu,
    limits: Limits,
    policy: Policy,
    health: Health,
    budget: Budget,
    documents: Documents,
    bandwidth: Bandwidth,
    lanes: Arc<Lanes>,
    flights: Flights,
    ledger: Ledger,
}

impl Engine {
    /// An engine that asks through `client`, and hashes on `cpu`.
    #[must_use]
    pub fn new(client: Client, cpu: Cpu, limits: Limits) -> Self {
        tracing::info!(sha256 = digest::sha256_instructions().unwrap_or("none"), "CPU instructions for digests");
        let budget = Budget::new(limits.buffer_bytes);
        let shared = Arc::new(Shared {
            cpu,
            limits,
            policy: Policy::default(),
            health: Health::default(),
            bandwidth: Bandwidth::new(limits.bandwidth),
            lanes: Arc::new(Lanes::new(&limits, budget.clone())),
            budget,
            documents: Documents::new(&limits),
            flights: Flights::default(),
            ledger: Ledger::default(),
        });
        Self { client, shared }
    }

    /// The same engine, asking with the credentials of somebody else. Downloads are shared between
    /// them: whoever asks for a blob has to have shown before that he may read it.
    #[must_use]
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        Self { client: self.client.with_credentials(credentials), shared: Arc::clone(&self.shared) }
    }

    /// The same engine, asking with its credentials as they are stored by now: who was let in before
    /// has to show again that he is.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { client: self.client.afresh(), shared: Arc::clone(&self.shared) }
    }

    /// The threads for what costs CPU.
    #[must_use]
    pub fn cpu(&self) -> &Cpu {
        &self.shared.cpu
    }

    /// The memory for buffers.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// Every bound.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// What it has done so far, and what it is at.
    #[must_use]
    pub fn account(&self) -> Account {
        let shared = &self.shared;
        Account {
            downloads: shared.flights.count(),
            connections: shared.lanes.open(),
            buffers: shared.budget.bytes(),
            buffers_used: shared.budget.used(),
            ..shared.ledger.account()
        }
    }

    /// Tells engines with credentials of their own apart, without telling the credentials; `None`
    /// for one that uses what is stored on this node, or nothing.
    #[must_use]
    pub fn asker(&self) -> Option<Digest> {
        self.client.asker()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn documents(&self) -> &Documents {
        &self.shared.documents
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    pub(super) fn health(&self) -> &Health {
        &self.shared.health
    }

    pub(super) fn bandwidth(&self) -> &Bandwidth {
        &self.shared.bandwidth
    }

    pub(super) fn lanes(&self) -> &Arc<Lanes> {
        &self.shared.lanes
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    pub(super) fn flights(&self) -> &Flights {
        &self.shared.flights
    }
}
