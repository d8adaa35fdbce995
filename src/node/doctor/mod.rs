//! What is wrong on a node, in order of importance, and what helps.
//!
//! [`Facts::gather`] looks once: at sockets, at files, at disks, and at what others say of
//! themselves. [`examine`] is a pure function from that to [`Finding`]s. Each has an id that
//! stays the same between versions, so that monitoring can go by it.
//!
//! Nothing is repaired here; every finding says what would.

mod checks;
mod facts;
mod probe;

use serde::Serialize;

use crate::core::error::{Classify, Kind};

pub use checks::examine;
pub use facts::{Clock, Disk, Facts, Folder, Runtime, Service, SocketFile};
pub use probe::Answer;

/// How bad a finding is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Pulls through lighterman fail.
    Error,
    /// Pulls work, but slower, unsafely, or not for much longer.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable name.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Which case of the taxonomy it is, for the exit code.
    pub kind: Kind,
    /// One sentence for a person.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// A node on which something is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{count} wrong on this node, first of all: {first}", count = count(*number))]
pub struct Unwell {
    number: usize,
    first: String,
    kind: Kind,
}

impl Unwell {
    /// The worst of the findings decides; notes do not count.
    ///
    /// # Errors
    /// Itself, where anything is wrong.
    pub fn unless_well(findings: &[Finding]) -> Result<(), Self> {
        let wrong = || findings.iter().filter(|finding| finding.severity != Severity::Note);
        wrong().next().map_or(Ok(()), |worst| {
            Err(Self { number: wrong().count(), first: worst.message.clone(), kind: worst.kind })
        })
    }
}

impl Classify for Unwell {
    fn kind(&self) -> Kind {
        self.kind
    }
}

fn count(number: usize) -> String {
    if number == 1 { "1 thing is".into() } else { format!("{number} things are") }
}

#[cfg(test)]
mod tests;
