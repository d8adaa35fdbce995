//! The memory that buffers may take, for the whole process.
//!
//! Three parts, and none borrows from another:
//!
//! - Half is for connections. Who unpacks waits for bytes that a connection brings, so a
//!   connection must never wait for memory that an unpacker holds.
//! - An eighth is for what is remembered of layers until they have landed ([`Memory`]). Nobody
//!   knows beforehand how much that is, so it grows step by step, and nobody waits for more:
//!   layers land in their order, so a lower one could wait for ever for what those above it
//!   hold. Who gets none has to do without.
//! - The rest is for all other buffers. It is given out in the order of asking, and whoever
//!   reserves does so once, for all that it will hold: to wait for more while holding some
//!   could take for ever as well. Layers that still arrive hold at most half of it, for as long as
//!   a stranger likes; what is whole is done with soon, and must not wait for them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes by which [`Memory`] grows and shrinks, so that few names ask the pool.
const STEP: u64 = 64 * 1024;

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    connections: Pool,
    buffers: Pool,
    /// Of `buffers`, for layers that arrive.
    arriving: Pool,
    memories: Pool,
}

#[derive(Debug, Clone)]
struct Pool {
    free: Arc<Semaphore>,
    size: u32,
}

/// A share of the budget, given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    _share: Option<OwnedSemaphorePermit>,
    _arriving: Option<OwnedSemaphorePermit>,
}

/// A share that grows with what somebody remembers, given back when this is dropped.
#[derive(Debug)]
pub struct Memory {
    pool: Pool,
    share: Option<OwnedSemaphorePermit>,
    used: u64,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u32) -> Self {
        let (half, eighth) = (bytes / 2, bytes / 8);
        let buffers = half - eighth;
        Self {
            connections: Pool::new(half),
            buffers: Pool::new(buffers),
            arriving: Pool::new(buffers / 2),
            memories: Pool::new(eighth),
        }
    }

    /// Waits for so many bytes of buffers that are not a connection's. Nobody gets more than
    /// this part of the budget; who asks for more has to make do with it.
    pub async fn reserve(&self, bytes: u32) -> Reservation {
        Reservation::of(self.buffers.wait(bytes).await)
    }

    /// The same for a layer that is not whole. It is never to be had by one that wants more than may be
    /// held by such layers together.
    pub async fn reserve_while_arriving(&self, bytes: u32) -> Reservation {
        if bytes > self.arriving.size {
            std::future::pending::<()>().await;
        }
        let arriving = self.arriving.wait(bytes).await;
        // Those who hold the rest of it are whole and will be done, or are among the arriving ones.
        Reservation { _arriving: arriving, ..Reservation::of(self.buffers.wait(bytes).await) }
    }

    /// The same where it is to be had at once, for who can do without.
    #[must_use]
    pub fn try_reserve(&self, bytes: u32) -> Option<Reservation> {
        Some(Reservation::of(Some(self.buffers.take(bytes)?)))
    }

    /// Memory for what is remembered, of which nothing is taken yet.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory { pool: self.memories.clone(), share: None, used: 0 }
    }

    /// Waits for the buffers of a connection.
    pub(super) async fn reserve_for_connection(&self, bytes: u32) -> Reservation {
        Reservation::of(self.connections.wait(bytes).await)
    }

    /// The buffers of a connection, if nobody has to wait for them.
    pub(super) fn try_for_connection(&self, bytes: u32) -> Option<Reservation> {
        let share = self.connections.take(bytes.min(self.connections.size))?;
        Some(Reservation::of(Some(share)))
    }

    /// Bytes that there are in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pools().map(|pool| u64::from(pool.size)).sum()
    }

    /// Bytes that are given out.
    #[must_use]
    pub fn used(&self) -> u64 {
        let free: u64 = self.pools().map(|pool| pool.free.available_permits() as u64).sum();
        self.bytes().saturating_sub(free)
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        [&self.connections, &self.buffers, &self.memories].into_iter()
    }
}

impl Reservation {
    fn of(share: Option<OwnedSemaphorePermit>) -> Self {
        Self { _share: share, _arriving: None }
    }
}

impl Pool {
    fn new(size: u32) -> Self {
        let permits = usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), size }
    }

    fn take(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_many_owned(bytes).ok()
    }

    async fn wait(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(self.size);
        // It fails only for a pool that was closed, and nobody closes these.
        Arc::clone(&self.free).acquire_many_owned(bytes).await.ok()
    }
}

impl Memory {
    /// Takes so many bytes more; `false`, and nothing changes, where they are not to be had.
    #[must_use]
    pub fn take(&mut self, bytes: u64) -> bool {
        let used = self.used.saturating_add(bytes);
        let missing = used.saturating_sub(self.held());
        if missing > 0 {
            let Ok(step) = u32::try_from(missing.next_multiple_of(STEP)) else { return false };
            let Some(more) = self.pool.take(step) else { return false };
            match &mut self.share {
                Some(share) => share.merge(more),
                None => self.share = Some(more),
            }
        }
        self.used = used;
        true
    }

    /// Gives so many bytes back that were taken.
    pub fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        let spare = (self.held() - self.used) / STEP * STEP;
        if let (Some(share), Ok(spare)) = (&mut self.share, usize::try_from(spare)) {
            drop(share.split(spare));
        }
    }

    /// Gives all of it back.
    pub fn clear(&mut self) {
        (self.share, self.used) = (None, 0);
    }

    fn held(&self) -> u64 {
        self.share.as_ref().map_or(0, |share| share.num_permits() as u64)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_parts_do_not_borrow_and_each_goes_in_turn() {
        let budget = Budget::new(200);
        let large = budget.reserve(70).await;
        assert_eq!((budget.bytes(), budget.used()), (200, 70));
        let mut second = Box::pin(budget.reserve(60));
        assert!((&mut second).now_or_never().is_none(), "5 are left");
        let mut small = Box::pin(budget.reserve(5));
        assert!((&mut small).now_or_never().is_none(), "it came later");
        assert!(budget.try_reserve(5).is_none(), "others wait for it");
        let connection = budget.try_for_connection(100).expect("the other half is free");
        assert!(budget.try_for_connection(1).is_none());
        drop(large);
        let held = (second.await, small.await);
        let spare = budget.try_reserve(10).expect("nobody waits");
        assert!(budget.try_reserve(1).is_none());
        drop((connection, held, spare));
        assert_eq!(budget.used(), 0);
        assert!(budget.try_for_connection(100).is_some());
    }

    #[tokio::test]
    async fn what_arrives_leaves_half_to_what_is_whole() {
        let budget = Budget::new(400);
        let arriving = [budget.reserve_while_arriving(50).await, budget.reserve_while_arriving(25).await];
        let mut third = Box::pin(budget.reserve_while_arriving(1));
        assert!((&mut third).now_or_never().is_none(), "75 are half of the buffers");
        let whole = budget.reserve(75).now_or_never().expect("the other half");
        assert_eq!(budget.used(), 150);
        drop(arriving);
        assert!((&mut third).now_or_never().is_some());
        assert!(budget.reserve_while_arriving(76).now_or_never().is_none(), "there is no such room");
        drop(whole);
        assert!(budget.reserve_while_arriving(75).now_or_never().is_some());
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

    #[test]
    fn what_is_remembered_grows_until_there_is_no_more_and_is_given_back() {
        let step = u32::try_from(STEP).expect("small");
        let budget = Budget::new(8 * 3 * step);
        let (mut one, mut other) = (budget.memory(), budget.memory());
        assert!(one.take(1) && one.take(STEP - 1) && one.take(1), "two steps");
        assert!(other.take(STEP));
        assert!(!other.take(1), "one holds the rest");
        assert!(one.take(STEP - 1), "which it may use");
        assert!(!one.take(u64::MAX) && !one.take(u64::from(u32::MAX)), "nobody has that");
        one.give_back(STEP);
        assert!(other.take(1), "a whole step came back");
        other.give_back(1);
        drop(one);
        assert!(other.take(2 * STEP));
        other.clear();
        let mut all = budget.memory();
        assert!(all.take(3 * STEP) && !all.take(1));
    }
}
