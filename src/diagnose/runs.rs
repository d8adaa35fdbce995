//! Whether what an image starts runs on a node: its claims, corrected by what its program is.

use crate::host::{Execution, HostReport};

pub use crate::host::Node;

use super::contents::Contents;

/// Whether and how the image's program runs on a host.
#[must_use]
pub fn on(contents: &Contents, host: &HostReport) -> Execution {
    let built_for = contents.binary().and_then(|(_, binary)| binary.platform());
    host.execution_of(&built_for.unwrap_or_else(|| contents.claimed()))
}
