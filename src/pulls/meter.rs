//! Who counts the pulls of a daemon, beside whoever asked for each. What is made of the numbers
//! is decided above.

use std::fmt;
use std::sync::Arc;

use super::running::Door;
use crate::core::error::Kind;
use crate::fetch::progress::Observer;
use crate::store::staging::Staging;

/// Counts the pulls of a daemon.
pub trait Meter: fmt::Debug + Send + Sync {
    /// A pull begins.
    fn begin(&self, door: Door) -> Arc<dyn Metered>;

    /// Something is staged here; said before every pull.
    fn stages(&self, staging: &Staging);
}

/// Counts one pull, and hears what its caller hears. Where it is dropped without an end, the
/// pull was cancelled.
pub trait Metered: Observer {
    /// It has ended: well, or with such a failure.
    fn end(&self, failure: Option<Kind>);
}
