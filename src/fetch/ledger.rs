//! What an engine has done since it began and what it is at, in numbers.
//!
//! No names of hosts or images: whoever shows these numbers needs few rows, and may show them
//! to everybody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::core::error::Kind;
use crate::registry::Host;

/// What a host is to the image that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostClass {
    /// One that stands in for the registry.
    Mirror,
    /// The registry that the reference names.
    Registry,
}

/// The numbers of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// How often hosts were asked, by how it ended; `None` is well.
    pub attempts: HashMap<(HostClass, Option<Kind>), u64>,
    /// Bytes of content that came from mirrors.
    pub bytes_from_mirrors: u64,
    /// Bytes of content that came from registries themselves.
    pub bytes_from_registries: u64,
    /// Blobs that are being downloaded.
    pub downloads: usize,
    /// Connections that bring them.
    pub connections: usize,
    /// Bytes of buffers that there may be.
    pub buffers: u64,
    /// Bytes of them that are given out.
    pub buffers_used: u64,
}

/// What has been counted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    attempts: Mutex<HashMap<(HostClass, Option<Kind>), u64>>,
    from_mirrors: AtomicU64,
    from_registries: AtomicU64,
}

impl HostClass {
    pub(super) fn of(host: &Host) -> Self {
        if host.is_upstream() { Self::Registry } else { Self::Mirror }
    }
}

impl Ledger {
    /// A host was asked, and it failed in this way, or did not.
    pub(super) fn asked(&self, class: HostClass, failure: Option<Kind>) {
        // Whole after any panic: every change is one addition.
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        *attempts.entry((class, failure)).or_default() += 1;
    }

    /// Bytes of content came.
    pub(super) fn received(&self, class: HostClass, bytes: u64) {
        let counter = match class {
            HostClass::Mirror => &self.from_mirrors,
            HostClass::Registry => &self.from_registries,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was counted so far; what the engine is at is left to the engine.
    pub(super) fn account(&self) -> Account {
        Account {
            attempts: self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            bytes_from_mirrors: self.from_mirrors.load(Ordering::Relaxed),
            bytes_from_registries: self.from_registries.load(Ordering::Relaxed),
            ..Account::default()
        }
    }
}
