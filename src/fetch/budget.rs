//! The memory that buffers may take, for the whole process.
//!
//! Half of it is for connections and half for everything else, and neither borrows from the
//! other: who unpacks waits for bytes that a connection brings, so a connection must never
//! wait for memory that an unpacker holds. Each half is given out in the order of asking.
//! Whoever reserves does so once, for all that it will hold: to ask for more while holding
//! some could wait for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    connections: Arc<Semaphore>,
    others: Arc<Semaphore>,
    half: u32,
}

/// A share of the budget, given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    _share: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u32) -> Self {
        let half = bytes / 2;
        let pool = || Arc::new(Semaphore::new(usize::try_from(half).unwrap_or(Semaphore::MAX_PERMITS)));
        Self { connections: pool(), others: pool(), half }
    }

    /// Waits for so many bytes of buffers that are not a connection's. Nobody gets more than
    /// this half of the budget; who asks for more has to make do with it.
    pub async fn reserve(&self, bytes: u32) -> Reservation {
        Self::wait(&self.others, bytes.min(self.half)).await
    }

    /// Waits for the buffers of a connection.
    pub(super) async fn reserve_for_connection(&self, bytes: u32) -> Reservation {
        Self::wait(&self.connections, bytes.min(self.half)).await
    }

    /// The buffers of a connection, if nobody has to wait for them.
    pub(super) fn try_for_connection(&self, bytes: u32) -> Option<Reservation> {
        let share = Arc::clone(&self.connections).try_acquire_many_owned(bytes.min(self.half)).ok()?;
        Some(Reservation { _share: Some(share) })
    }

    async fn wait(pool: &Arc<Semaphore>, bytes: u32) -> Reservation {
        // It fails only for a pool that was closed, and nobody closes these.
        Reservation { _share: Arc::clone(pool).acquire_many_owned(bytes).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_halves_do_not_borrow_and_each_goes_in_turn() {
        let budget = Budget::new(200);
        let large = budget.reserve(70).await;
        let mut second = Box::pin(budget.reserve(60));
        assert!((&mut second).now_or_never().is_none(), "30 are left");
        let mut small = Box::pin(budget.reserve(10));
        assert!((&mut small).now_or_never().is_none(), "it came later");
        let connection = budget.try_for_connection(100).expect("the other half is free");
        assert!(budget.try_for_connection(1).is_none());
        drop(large);
        let held = (second.await, small.await);
        drop((connection, held));
        assert!(budget.try_for_connection(100).is_some());
    }

    #[tokio::test]
    async fn who_asks_for_more_than_there_is_gets_what_there_is() {
        let budget = Budget::new(200);
        let all = budget.reserve(u32::MAX).await;
        assert!(budget.reserve(1).now_or_never().is_none());
        drop(all);
        let all = budget.reserve_for_connection(101).await;
        assert!(budget.reserve_for_connection(1).now_or_never().is_none());
        drop(all);
    }
}
