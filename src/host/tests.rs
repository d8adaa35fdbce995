//! Boards that we do not have, and this machine.

pub(crate) mod boards;
mod decisions;
mod execution;
mod live;
mod parsers;

use super::Execution;

/// How it runs, in a word.
pub(crate) fn kind(execution: &Execution) -> &'static str {
    match execution {
        Execution::Native => "native",
        Execution::Compat => "compat",
        Execution::Emulated { .. } => "emulated",
        Execution::No { .. } => "no",
        Execution::Unknown { .. } => "unknown",
    }
}
