//! The CPU pool: hashing, inflating and unpacking, off the threads that serve the network.
//!
//! As many threads as cores, each running whichever ready task has the lowest
//! [`Priority`]. A task is a future, so that one which waits for bytes holds no thread; it
//! may block in the file system, which is why it is not on the runtime of the network.
//! Within the pool there is no tokio context: channels and watches of `tokio::sync` work,
//! timers and sockets do not.

use std::collections::BinaryHeap;
use std::future::Future;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use async_task::Runnable;
pub use async_task::Task;

/// Which of two ready tasks goes first: the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u32);

impl Priority {
    /// Hashing: everything else waits for its verdict in the end, and it costs least.
    pub const HASH: Self = Self(0);
    /// Work before its turn, for a thread that would have nothing to do.
    pub const SPARE: Self = Self(u32::MAX - 1);
    /// Removing what nobody wants any more.
    pub const TIDY: Self = Self(u32::MAX);

    /// Unpacking layer `index`, counted from the bottom, which all others stand on.
    #[must_use]
    pub fn layer(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1).min(Self::SPARE.0 - 1))
    }
}

/// A pool of threads; clones share it. The threads end with the last clone, after what is ready.
#[derive(Debug, Clone)]
pub struct Cpu {
    queue: Arc<Queue>,
    owner: Arc<Owner>,
}

#[derive(Debug, Default)]
struct Queue {
    ready: Mutex<Ready>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Ready {
    tasks: BinaryHeap<Entry>,
    /// Counts what was queued, so that equals go in turn.
    turn: u64,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    priority: Priority,
    turn: u64,
    task: Runnable,
}

/// Closes the queue when the last handle goes, and waits for what the threads are at, so that
/// a process which ends leaves nothing half-removed.
#[derive(Debug)]
struct Owner {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Cpu {
    /// A pool with a thread per core that this process may use.
    #[must_use]
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_threads(cores)
    }

    /// The same with so many threads.
    pub(crate) fn with_threads(count: usize) -> Self {
        let queue = Arc::new(Queue::default());
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let queue = Arc::clone(&queue);
            match thread::Builder::new().name(format!("cpu-{index}")).spawn(move || queue.work()) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Fewer threads are slower and not wrong, unless there is none at all.
                    assert!(index > 0, "cannot start a thread: {error}");
                    tracing::warn!(%error, threads = index, "the CPU pool has fewer threads than cores");
                    break;
                }
            }
        }
        Self { owner: Arc::new(Owner { queue: Arc::clone(&queue), threads }), queue }
    }

    /// Starts a task. Dropping what is returned cancels it at its next wait; awaiting it
    /// gives its output, or its panic.
    #[must_use = "a task that is dropped is cancelled"]
    pub fn spawn<T: Send + 'static>(
        &self,
        priority: Priority,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (runnable, task) = prepare(&self.downgrade(), priority, future);
        runnable.schedule();
        task
    }

    /// How many tasks can run at a time.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.owner.threads.len()
    }

    /// A way to the pool that does not keep it alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakCpu {
        WeakCpu(Arc::downgrade(&self.queue))
    }
}

/// A pool, for as long as others keep it. For what may be dropped within the pool: the last
/// owner waits for its threads, and a thread cannot wait for itself.
#[derive(Debug, Clone)]
pub struct WeakCpu(Weak<Queue>);

impl WeakCpu {
    /// Has `job` done by the pool, which does it before it ends; right here where it has ended.
    pub fn run(&self, priority: Priority, job: impl FnOnce() + Send + 'static) {
        let (runnable, task) = prepare(self, priority, async move { job() });
        task.detach();
        let refused = match self.0.upgrade() {
            Some(queue) => queue.push_open(priority, runnable).err(),
            None => Some(runnable),
        };
        if let Some(runnable) = refused {
            runnable.run();
        }
    }
}

/// Makes a task that is queued whenever it is woken.
fn prepare<T: Send + 'static>(
    pool: &WeakCpu,
    priority: Priority,
    future: impl Future<Output = T> + Send + 'static,
) -> (Runnable, Task<T>) {
    let queue = Weak::clone(&pool.0);
    let schedule = move |task| {
        if let Some(queue) = queue.upgrade() {
            queue.push(priority, task);
        }
    };
    async_task::Builder::new().propagate_panic(true).spawn(|()| future, schedule)
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets ready tasks of a lower priority value go first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Queue {
    fn push(&self, priority: Priority, task: Runnable) {
        self.lock().push(priority, task);
        self.wake.notify_one();
    }

    /// The same, unless the pool is closed and nobody may come for it.
    fn push_open(&self, priority: Priority, task: Runnable) -> Result<(), Runnable> {
        let mut ready = self.lock();
        if ready.closed {
            return Err(task);
        }
        ready.push(priority, task);
        drop(ready);
        self.wake.notify_one();
        Ok(())
    }

    /// What every thread does until the pool is closed and nothing is ready.
    fn work(&self) {
        loop {
            let mut ready = self.lock();
            let entry = loop {
                if let Some(entry) = ready.tasks.pop() {
                    break entry;
                }
                if ready.closed {
                    return;
                }
                ready = self.wake.wait(ready).unwrap_or_else(PoisonError::into_inner);
            };
            drop(ready);
            entry.task.run();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        // Nothing in the critical sections can panic half-way.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready {
    fn push(&mut self, priority: Priority, task: Runnable) {
        let turn = self.turn;
        self.turn += 1;
        self.tasks.push(Entry { priority, turn, task });
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            // The last handle may have been a task's, and no thread can wait for itself.
            if thread.thread().id() != thread::current().id() {
                // A panic was the task's, and whoever awaits that has it.
                let _ = thread.join();
            }
        }
    }
}

impl Ord for Entry {
    /// The heap gives its greatest: the lowest priority value, and of equals the first queued.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.priority, other.turn).cmp(&(self.priority, self.turn))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn waiting_tasks_hold_no_thread_and_lower_layers_go_first() {
        let cpu = Cpu::with_threads(1);
        let (open, gate) = oneshot::channel::<()>();
        let (order, mut finished) = mpsc::unbounded_channel();
        // The only thread is busy while the others are queued, highest layer first.
        let (started, running) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = cpu.spawn(Priority::HASH, async move {
            let _ = started.send(());
            released.recv().expect("is released");
        });
        running.await.expect("it runs");
        let waiting = cpu.spawn(Priority::HASH, async move { gate.await.is_ok() });
        let layers: Vec<_> = [2, 0, 1]
            .map(|index| {
                let order = order.clone();
                cpu.spawn(Priority::layer(index), async move { order.send(index).is_ok() })
            })
            .into();
        release.send(()).expect("is there");
        busy.await;
        for layer in layers {
            assert!(layer.await);
        }
        let order: Vec<_> = std::iter::from_fn(|| finished.try_recv().ok()).collect();
        assert_eq!(order, [0, 1, 2]);
        open.send(()).expect("it waits");
        assert!(waiting.await);
    }

    #[tokio::test]
    async fn a_dropped_task_is_cancelled() {
        let cpu = Cpu::with_threads(1);
        let (sender, mut receiver) = mpsc::channel::<()>(1);
        let task = cpu.spawn(Priority::HASH, async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        drop(task);
        assert_eq!(receiver.recv().await, None, "the future was dropped with what it held");
    }

    #[test]
    fn the_last_handle_waits_for_what_was_cancelled() {
        struct Slow(Arc<Mutex<bool>>);
        impl Drop for Slow {
            fn drop(&mut self) {
                thread::yield_now();
                *self.0.lock().expect("lives") = true;
            }
        }
        let dropped = Arc::new(Mutex::new(false));
        let held = Slow(Arc::clone(&dropped));
        let cpu = Cpu::with_threads(1);
        let task = cpu.spawn(Priority::HASH, async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(task);
        drop(cpu);
        assert!(*dropped.lock().expect("lives"));
    }

    #[test]
    fn jobs_are_done_by_the_pool_before_it_ends_and_after_that_right_here() {
        let cpu = Cpu::with_threads(1);
        let weak = cpu.downgrade();
        let places = Arc::new(Mutex::new(Vec::new()));
        let note = || {
            let places = Arc::clone(&places);
            move || places.lock().expect("lives").push(thread::current().id())
        };
        let (release, released) = std::sync::mpsc::channel::<()>();
        cpu.spawn(Priority::HASH, async move { released.recv().is_ok() }).detach();
        weak.run(Priority::TIDY, note());
        assert_eq!(places.lock().expect("lives").len(), 0, "the only thread is at something else");
        release.send(()).expect("it waits");
        drop(cpu);
        let here = thread::current().id();
        assert!(matches!(places.lock().expect("lives")[..], [place] if place != here));
        weak.run(Priority::TIDY, note());
        assert!(matches!(places.lock().expect("lives")[..], [_, place] if place == here));
    }

    #[tokio::test]
    async fn yielding_lets_others_go_first() {
        let cpu = Cpu::with_threads(1);
        let turns = Arc::new(Mutex::new(Vec::new()));
        let (started, running) = oneshot::channel();
        let (low, high) = (Arc::clone(&turns), Arc::clone(&turns));
        let (go, mut going) = mpsc::channel::<()>(1);
        let above = cpu.spawn(Priority::layer(1), async move {
            let _ = started.send(());
            going.recv().await;
            yield_now().await;
            low.lock().expect("lives").push("layer 1");
        });
        running.await.expect("it runs");
        let below = cpu.spawn(Priority::layer(0), async move {
            go.send(()).await.expect("is there");
            yield_now().await;
            high.lock().expect("lives").push("layer 0");
        });
        below.await;
        above.await;
        assert_eq!(*turns.lock().expect("lives"), ["layer 0", "layer 1"]);
    }
}
