//! One pull at a time lands an image in a place. Others who want the same wait for it and hear
//! what it hears; when their turn comes, all is there.
//!
//! Where it failed, those who waited fail with it instead of trying the same again one after the
//! other, and who comes after that starts afresh. Where it was cancelled, the next in line goes
//! on where it stopped. A failure that another caller need not have in common, since he asks for
//! himself with other rights, is not his: he tries.
//!
//! What is done about an image that does not run here is each caller's own affair. Who lands it is
//! judged by his stance, and so is everybody who waited, on finding it there: what is told of a
//! mismatch goes to him alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use super::error::PullsError;
use super::places::Place;
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::core::mismatch::Stance;
use crate::fetch::progress::{Event, Observer};
use crate::pull::Since;

/// What is the same landing: the same manifests in the same place, from the same registry. One
/// that is slow, or means ill, keeps nobody waiting who comes by another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) registry: String,
    pub(super) manifests: BTreeSet<Digest>,
}

/// What of a caller decides whether another one's failure would be his as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The repository that he asks for blobs.
    pub(super) repository: String,
    /// Whose credentials he has, by [`Engine::asker`](crate::fetch::Engine::asker).
    pub(super) asker: Option<Digest>,
    /// He wants it unpacked.
    pub(super) unpacks: bool,
    /// What he wants done where it turns out not to run here.
    pub(super) stance: Stance,
}

/// Every landing that somebody does or waits for.
#[derive(Debug, Clone, Default)]
pub(super) struct Landings(Arc<Mutex<HashMap<Key, Arc<Landing>>>>);

#[derive(Debug, Default)]
struct Landing {
    turn: Arc<tokio::sync::Mutex<()>>,
    audience: Arc<Audience>,
    /// Somebody found that not all of it was here.
    begun: AtomicBool,
    failure: OnceLock<Failure>,
}

/// How a landing ended that nobody can join any more.
#[derive(Debug)]
struct Failure {
    error: PullsError,
    way: Way,
}

/// Everybody who wants one image, whoever is landing it.
#[derive(Debug, Default)]
struct Audience(Mutex<Vec<Weak<dyn Observer>>>);

/// A caller's part in a landing.
#[derive(Debug)]
pub(super) struct Part {
    landings: Landings,
    key: Key,
    way: Way,
    observer: Arc<dyn Observer>,
    landing: Arc<Landing>,
    turn: Option<OwnedMutexGuard<()>>,
}

/// Whoever lands an image tells all who want it how it goes on, and himself what he finds wrong.
#[derive(Debug)]
struct Stage {
    audience: Arc<Audience>,
    own: Arc<dyn Observer>,
}

impl Landings {
    /// Joins whoever lands this already; `observer` hears of it from here on.
    pub(super) fn join(&self, key: Key, way: Way, observer: &Arc<dyn Observer>) -> Part {
        let landing = self.landing(&key, observer);
        Part { landings: self.clone(), key, way, observer: Arc::clone(observer), landing, turn: None }
    }

    fn landing(&self, key: &Key, observer: &Arc<dyn Observer>) -> Arc<Landing> {
        let landing = Arc::clone(self.lock().entry(key.clone()).or_default());
        landing.audience.lock().push(Arc::downgrade(observer));
        landing
    }

    /// Lets later callers start anew.
    fn forget(&self, key: &Key, landing: &Arc<Landing>) {
        let mut landings = self.lock();
        if landings.get(key).is_some_and(|known| Arc::ptr_eq(known, landing)) {
            landings.remove(key);
        }
    }

    /// Gives up a share in a landing. One that nobody has part in is forgotten.
    fn leave(&self, key: &Key, landing: Arc<Landing>) {
        let mut landings = self.lock();
        // Under the lock, so that of several who leave the last one finds that he is.
        drop(landing);
        if landings.get(key).is_some_and(|known| Arc::strong_count(known) == 1) {
            landings.remove(key);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Landing>>> {
        // Whole after any panic: every change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Waits until nobody else lands the image.
    ///
    /// # Errors
    /// The failure of who landed it meanwhile.
    pub(super) async fn turn(&mut self) -> Result<(), PullsError> {
        while self.turn.is_none() {
            let turn = Arc::clone(&self.landing.turn).lock_owned().await;
            match self.landing.failure.get() {
                None => self.turn = Some(turn),
                Some(failure) => {
                    if let Some(error) = failure.of(&self.way) {
                        if let Some(mismatch) = error.mismatch() {
                            self.observer.notify(Event::Mismatch(mismatch));
                        }
                        return Err(error);
                    }
                    self.landing = self.landings.landing(&self.key, &self.observer);
                }
            }
        }
        Ok(())
    }

    /// Since when the image stands, where all of it is here once it is our turn.
    pub(super) fn since(&self) -> Since {
        if self.landing.begun.load(Ordering::Relaxed) { Since::Meanwhile } else { Since::Before }
    }

    /// Not all of it is here: whoever comes next finds what we brought.
    pub(super) fn begins(&self) {
        self.landing.begun.store(true, Ordering::Relaxed);
    }

    /// Tells everybody who wants the image.
    pub(super) fn audience(&self) -> Arc<dyn Observer> {
        Arc::new(Stage { audience: Arc::clone(&self.landing.audience), own: Arc::clone(&self.observer) })
    }

    /// Ends the landing for everybody who waits, unless it was only cancelled. Gives the error back.
    pub(super) fn failed(&self, error: PullsError) -> PullsError {
        if let (Some(shared), Some(_)) = (error.shared(), &self.turn) {
            // Before anybody hears, so that nobody joins a failure.
            self.landings.forget(&self.key, &self.landing);
            // There is no other: only one has the turn, and nobody gets it after a failure.
            let _ = self.landing.failure.set(Failure { error: shared, way: self.way.clone() });
        }
        error
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.turn = None;
        self.landings.leave(&self.key, std::mem::take(&mut self.landing));
    }
}

impl Failure {
    /// The error for another caller, where it is his as well.
    fn of(&self, other: &Way) -> Option<PullsError> {
        let is_about_rights = matches!(
            self.error.kind(),
            Kind::Unauthenticated | Kind::PermissionDenied | Kind::NotFound | Kind::RateLimited
        );
        let same_rights = (&self.way.repository, &self.way.asker) == (&other.repository, &other.asker);
        let same_stance = self.error.kind() != Kind::PlatformMismatch || self.way.stance == other.stance;
        let same_work = same_stance && (other.unpacks || !self.error.is_about_unpacking());
        self.error.shared().filter(|_| same_work && (same_rights || !is_about_rights))
    }
}

impl Audience {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Observer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Stage {
    fn notify(&self, event: Event<'_>) {
        match event {
            Event::Mismatch(_) => self.own.notify(event),
            _ => self.audience.notify(event),
        }
    }
}

impl Observer for Audience {
    fn notify(&self, event: Event<'_>) {
        // Told outside of the lock, since an observer may take its time.
        let listeners: Vec<Arc<dyn Observer>> = {
            let mut listeners = self.lock();
            listeners.retain(|listener| listener.strong_count() > 0);
            listeners.iter().filter_map(Weak::upgrade).collect()
        };
        for listener in listeners {
            listener.notify(event);
        }
    }
}
