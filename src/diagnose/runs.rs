//! Whether what an image starts runs on a node: its claims, corrected by what its program is.

use crate::host::{Execution, HostReport};

use super::contents::Contents;

/// A node that images are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What people call it: its host name, a board's name, `linux/arm/v6`.
    pub name: String,
    /// What it runs.
    pub report: HostReport,
}

/// Whether and how the image's program runs on a host.
#[must_use]
pub fn on(contents: &Contents, host: &HostReport) -> Execution {
    let built_for = contents.binary().and_then(|(_, binary)| binary.platform());
    host.execution_of(&built_for.unwrap_or_else(|| contents.claimed()))
}
