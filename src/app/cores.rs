//! A process with passwords and tokens in its memory leaves no core file.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Keeps the memory of this process out of core files, whatever the limits and the handlers of
/// this machine are (prctl(2), `PR_SET_DUMPABLE`). What it starts is not concerned.
pub fn leave_none() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core files of this process may hold credentials");
    }
}
