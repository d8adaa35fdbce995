//! Where the bytes of a blob can be read while, and after, it is fetched.

use crate::store::staging::Follower;

/// How a blob is getting into its store.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// Nothing is known of it yet.
    Awaited,
    /// It is being downloaded, and can be followed. Another one of these means that the bytes
    /// were wrong and come again.
    Arriving(Follower),
    /// It is in the store, under the lease.
    Present,
}
