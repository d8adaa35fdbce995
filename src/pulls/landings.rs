//! One pull at a time lands an image in a place. Others who want the same wait for it and hear
//! what it hears; when their turn comes, all is there, or they go on where it stopped.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use super::places::Place;
use crate::core::digest::Digest;
use crate::fetch::progress::{Event, Observer};

/// What is the same landing: the same manifests in the same place, from the same registry. One
/// that is slow, or means ill, keeps nobody waiting who comes by another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) registry: String,
    pub(super) manifests: BTreeSet<Digest>,
}

/// Every landing that somebody does or waits for.
#[derive(Debug, Clone, Default)]
pub(super) struct Landings(Arc<Mutex<HashMap<Key, Arc<Landing>>>>);

#[derive(Debug, Default)]
struct Landing {
    turn: Arc<tokio::sync::Mutex<()>>,
    audience: Arc<Audience>,
}

/// Everybody who wants one image, whoever is landing it.
#[derive(Debug, Default)]
struct Audience(Mutex<Vec<Weak<dyn Observer>>>);

/// A caller's part in a landing.
#[derive(Debug)]
pub(super) struct Part {
    landings: Landings,
    key: Key,
    landing: Arc<Landing>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Landings {
    /// Joins whoever lands this already; `observer` hears of it from here on, for as long as it lives.
    pub(super) fn join(&self, key: Key, observer: &Arc<dyn Observer>) -> Part {
        let landing = Arc::clone(self.lock().entry(key.clone()).or_default());
        landing.audience.lock().push(Arc::downgrade(observer));
        Part { landings: self.clone(), key, landing, turn: None }
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
    pub(super) async fn turn(&mut self) {
        if self.turn.is_none() {
            self.turn = Some(Arc::clone(&self.landing.turn).lock_owned().await);
        }
    }

    /// Tells everybody who wants the image.
    pub(super) fn audience(&self) -> Arc<dyn Observer> {
        Arc::<Audience>::clone(&self.landing.audience)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.turn = None;
        let mut landings = self.landings.lock();
        // The map's and ours: nobody else has part in it, and nobody can join meanwhile.
        if Arc::strong_count(&self.landing) == 2 {
            landings.remove(&self.key);
        }
    }
}

impl Audience {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Observer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
