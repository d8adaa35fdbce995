//! The list of pulls that are under way, each with how far it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::error::PullsError;
use super::listener::Listener;
use super::places::Place;
use crate::core::mismatch::{Action, Mismatch};
use crate::core::reference::Reference;
use crate::fetch::progress::{Event, Observer};
use crate::pull::{Planned, PullError};

/// The door that a caller came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// Our own gRPC API.
    Api,
    /// CRI's image service.
    Cri,
}

impl Door {
    /// Stable name, used in lists, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cri => "cri",
        }
    }
}

/// What a pull is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is being found out what the reference stands for.
    Resolving,
    /// It waits for its turn at the registry, or for another pull of the same image.
    Queued,
    /// Blobs are fetched, unpacked and named.
    Landing,
}

/// A pull in the list.
#[derive(Debug, Clone)]
pub struct RunningPull {
    /// Counts from 1 in one daemon's life.
    pub id: u64,
    /// The image.
    pub reference: Reference,
    /// Where it goes.
    pub place: Place,
    /// Who asked.
    pub door: Door,
    /// When.
    pub started: SystemTime,
    /// What it is at.
    pub phase: Phase,
    /// Bytes of its blobs that are here.
    pub bytes_done: u64,
    /// Bytes of all its blobs; 0 until they are known.
    pub bytes_total: u64,
    /// Layers that are unpacked.
    pub layers_done: usize,
    /// Layers of the image; 0 until the first is unpacked.
    pub layers_total: usize,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    next: AtomicU64,
    pulls: Mutex<BTreeMap<u64, Arc<Progress>>>,
}

/// One pull, in the list for as long as this lives.
#[derive(Debug)]
pub(super) struct Entry {
    table: Running,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct Progress {
    id: u64,
    reference: Reference,
    place: Place,
    door: Door,
    started: SystemTime,
    cancel: CancellationToken,
    account: Mutex<Account>,
}

/// Keeps the account of a pull, and passes on what is told of it.
#[derive(Debug)]
struct Watched {
    progress: Arc<Progress>,
    listener: Arc<dyn Listener>,
    metered: Arc<dyn Observer>,
}

impl Running {
    pub(super) fn enter(&self, reference: &Reference, place: &Place, door: Door, cancel: CancellationToken) -> Entry {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let progress = Arc::new(Progress {
            id,
            reference: reference.clone(),
            place: place.clone(),
            door,
            started: SystemTime::now(),
            cancel,
            account: Mutex::new(Account::new()),
        });
        self.lock().insert(id, Arc::clone(&progress));
        Entry { table: self.clone(), progress }
    }

    pub(super) fn list(&self) -> Vec<RunningPull> {
        self.lock().values().map(|progress| progress.told()).collect()
    }

    pub(super) fn cancel(&self, id: u64) -> bool {
        let found = self.lock().get(&id).map(|progress| progress.cancel.clone());
        found.inspect(CancellationToken::cancel).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Progress>>> {
        // Whole after any panic: every change is one insertion or removal.
        self.0.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.lock().remove(&self.progress.id);
    }
}

impl Entry {
    pub(super) fn id(&self) -> u64 {
        self.progress.id
    }

    pub(super) fn token(&self) -> CancellationToken {
        self.progress.cancel.clone()
    }

    /// It is being found out what the reference stands for: hosts are asked, unless somebody
    /// says [`Event::Held`] of it.
    pub(super) fn resolving(&self) {
        self.progress.lock().begin(Phase::Resolving, [self.progress.reference.familiar()]);
    }

    /// The manifests are chosen; whatever comes next is waited for.
    pub(super) fn planned(&self, planned: &Planned) {
        let mut account = self.progress.lock();
        account.bytes_total = planned.bytes;
        account.begin(Phase::Queued, []);
    }

    /// It is its own turn to land.
    pub(super) fn landing(&self) {
        self.progress.lock().begin(Phase::Landing, []);
    }

    /// An observer that keeps this entry's account and tells `listener` and `metered`.
    pub(super) fn observe(&self, listener: Arc<dyn Listener>, metered: Arc<dyn Observer>) -> Arc<dyn Observer> {
        Arc::new(Watched { progress: Arc::clone(&self.progress), listener, metered })
    }

    /// Does a part of the pull, and gives it up where nothing comes of it for `timeout`, not
    /// counting the time in which no host was asked.
    pub(super) async fn watched<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, PullError>>,
    ) -> Result<T, PullsError> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return Ok(done?),
            () = self.stuck(timeout) => self.progress.cancel.cancel(),
        }
        match work.await {
            Err(PullError::Cancelled) => Err(PullsError::NoProgress { after: timeout }),
            done => Ok(done?),
        }
    }

    /// Comes back once hosts were asked for `timeout` in all since the pull last came further.
    /// Whoever waits for his turn, for others or for the disk is not stuck.
    pub(super) async fn stuck(&self, timeout: Duration) {
        loop {
            let stands = self.progress.lock().standstill();
            match timeout.saturating_sub(stands) {
                Duration::ZERO => return,
                left => tokio::time::sleep(left).await,
            }
        }
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Account> {
        // Whole after any panic: counts only.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> RunningPull {
        let account = self.lock();
        RunningPull {
            id: self.id,
            reference: self.reference.clone(),
            place: self.place.clone(),
            door: self.door,
            started: self.started,
            phase: account.phase,
            bytes_done: account.bytes_done(),
            bytes_total: account.bytes_total,
            layers_done: account.layers.0,
            layers_total: account.layers.1,
        }
    }
}

impl Observer for Watched {
    fn notify(&self, event: Event<'_>) {
        if let Event::Mismatch(mismatch) = event {
            warn_of(mismatch);
        }
        let news = self.progress.lock().take(&event);
        if news {
            self.metered.notify(event);
            self.listener.notify(event);
        }
    }
}

/// What an operator reads of an image that is not for this node, whoever asked for it.
fn warn_of(mismatch: &Mismatch) {
    let Mismatch { id, action, image, platform, node, message } = mismatch;
    match action {
        Action::Allow => {}
        Action::Warn => tracing::warn!(%image, id, %platform, node, "the image does not run here: {message}"),
        Action::Refuse => tracing::warn!(%image, id, %platform, node, "the image is refused: {message}"),
    }
}
