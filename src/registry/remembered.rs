//! What is remembered of hosts: how each wants to be asked, and the tokens that it gave.
//!
//! Everything here was chosen by a stranger: a registry words its challenges and tokens, and
//! whoever sends us requests chooses how many of them there are. So all of it together, whoever
//! asked for it, has one bound in bytes. What has expired goes first, then what was not used for
//! longest. Forgetting something costs a request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What an entry takes beside what it says of itself: keys, places in maps, times.
const OVERHEAD: usize = 512;

/// What all that ask share.
pub(super) struct Remembered<K, V> {
    inner: Mutex<Inner<K, V>>,
    most: usize,
}

struct Inner<K, V> {
    /// By who asked: nobody gets what was granted to somebody else.
    askers: HashMap<u64, HashMap<K, Entry<V>>>,
    bytes: usize,
    /// Counts askers and uses.
    next: u64,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    expires: Option<Instant>,
    used: u64,
}

/// The part of one asker. It is forgotten with this.
pub(super) struct Part<K: Eq + Hash + Clone, V: Clone> {
    all: Arc<Remembered<K, V>>,
    asker: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Remembered<K, V> {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let inner = Inner { askers: HashMap::new(), bytes: 0, next: 0 };
        Arc::new(Self { inner: Mutex::new(inner), most })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        // Whole after any panic: nothing between the changes of a call can fail.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Part<K, V> {
    /// Nothing yet, for somebody new.
    pub(super) fn new(all: &Arc<Remembered<K, V>>) -> Self {
        let asker = all.lock().tick();
        Self { all: Arc::clone(all), asker }
    }

    /// The same for somebody else.
    pub(super) fn another(&self) -> Self {
        Self::new(&self.all)
    }

    /// What is remembered under a key.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.all.lock().find(self.asker, key)
    }

    /// What is remembered under a key, or else this from now on.
    pub(super) fn get_or_put(&self, key: &K, value: impl FnOnce() -> V, bytes: usize) -> V {
        // Two that come at the same moment are to find the same.
        let mut inner = self.all.lock();
        if let Some(found) = inner.find(self.asker, key) {
            return found;
        }
        let value = value();
        inner.put((self.asker, key.clone()), (value.clone(), bytes, None), self.all.most);
        value
    }

    /// Remembers something of `bytes` bytes, until `expires` at the most, in place of what was there.
    pub(super) fn put(&self, key: K, value: V, bytes: usize, expires: Option<Instant>) {
        self.all.lock().put((self.asker, key), (value, bytes, expires), self.all.most);
    }

    /// Forgets what is under a key.
    pub(super) fn remove(&self, key: &K) {
        let mut inner = self.all.lock();
        if let Some(old) = inner.askers.get_mut(&self.asker).and_then(|own| own.remove(key)) {
            inner.bytes -= old.bytes;
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Drop for Part<K, V> {
    fn drop(&mut self) {
        let mut inner = self.all.lock();
        let own = inner.askers.remove(&self.asker).unwrap_or_default();
        inner.bytes -= own.values().map(|entry| entry.bytes).sum::<usize>();
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Inner<K, V> {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn find(&mut self, asker: u64, key: &K) -> Option<V> {
        let now = self.tick();
        let entry = self.askers.get_mut(&asker)?.get_mut(key)?;
        entry.used = now;
        Some(entry.value.clone())
    }

    fn put(&mut self, (asker, key): (u64, K), (value, bytes, expires): (V, usize, Option<Instant>), most: usize) {
        let (used, bytes) = (self.tick(), bytes + OVERHEAD);
        self.bytes += bytes;
        let entry = Entry { value, bytes, expires, used };
        if let Some(old) = self.askers.entry(asker).or_default().insert(key, entry) {
            self.bytes -= old.bytes;
        }
        if self.bytes > most {
            self.shrink(most);
        }
    }

    /// Forgets what has expired, and then the oldest until half of `most` is left, so that it does
    /// not come to this with every entry.
    fn shrink(&mut self, most: usize) {
        let now = Instant::now();
        self.retain(|entry| entry.expires.is_none_or(|expires| now < expires));
        if self.bytes <= most / 2 {
            return;
        }
        let entries = self.askers.values().flat_map(HashMap::values);
        let mut ages: Vec<(u64, usize)> = entries.map(|entry| (entry.used, entry.bytes)).collect();
        ages.sort_unstable();
        let mut left = self.bytes;
        let oldest_kept = ages.into_iter().find(|(_, bytes)| {
            let fits = left <= most / 2;
            left -= bytes;
            fits
        });
        let oldest_kept = oldest_kept.map_or(u64::MAX, |(used, _)| used);
        self.retain(|entry| entry.used >= oldest_kept);
    }

    fn retain(&mut self, stays: impl Fn(&Entry<V>) -> bool) {
        for own in self.askers.values_mut() {
            own.retain(|_, entry| stays(entry));
        }
        self.askers.retain(|_, own| !own.is_empty());
        self.bytes = self.askers.values().flat_map(HashMap::values).map(|entry| entry.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn bytes(all: &Remembered<u32, u32>) -> usize {
        all.lock().bytes
    }

    #[test]
    fn each_finds_his_own_and_leaves_nothing_behind() {
        let all = Remembered::new(10 * OVERHEAD);
        let (one, other) = (Part::new(&all), Part::new(&all));
        one.put(1, 10, 100, None);
        assert_eq!((one.get(&1), other.get(&1)), (Some(10), None));
        one.put(1, 11, 50, None);
        assert_eq!((one.get(&1), bytes(&all)), (Some(11), 50 + OVERHEAD));
        assert_eq!((other.get_or_put(&1, || 20, 100), other.get_or_put(&1, || 21, 100)), (20, 20));
        other.remove(&1);
        other.remove(&1);
        assert_eq!((other.get(&1), bytes(&all)), (None, 50 + OVERHEAD));
        drop(one);
        assert_eq!((bytes(&all), all.lock().askers.values().map(HashMap::len).sum::<usize>()), (0, 0));
    }

    #[test]
    fn what_has_expired_goes_first_and_then_the_oldest() {
        let all = Remembered::new(10 * OVERHEAD);
        let (one, other) = (Part::new(&all), Part::new(&all));
        let later = Instant::now() + Duration::from_secs(3600);
        for key in 0..5 {
            one.put(key, key, 0, Some(later));
            other.put(key, key, 0, Some(Instant::now()));
        }
        one.put(5, 5, 0, None);
        let kept = |part: &Part<u32, u32>| (0..20).filter(|key| part.get(key).is_some()).collect::<Vec<_>>();
        assert_eq!(kept(&other), [] as [u32; 0]);
        // Half of the bound is left, and what was used is not old.
        for key in 10..15 {
            one.put(key, key, 0, None);
        }
        assert_eq!(one.get(&1), Some(1));
        one.put(15, 15, 0, None);
        assert_eq!(kept(&one), [1, 12, 13, 14, 15]);
    }

    #[test]
    fn what_is_too_large_for_all_is_not_kept() {
        let all = Remembered::new(10 * OVERHEAD);
        let one = Part::new(&all);
        one.put(1, 1, 20 * OVERHEAD, None);
        assert_eq!((one.get(&1), bytes(&all)), (None, 0));
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_the_count_is_right(
            steps in prop::collection::vec((0..4_usize, 0..50_u32, 0..4000_usize, any::<bool>()), 0..200)
        ) {
            let all = Remembered::new(40 * OVERHEAD);
            let parts: Vec<_> = (0..4).map(|_| Part::new(&all)).collect();
            for (asker, key, size, puts) in steps {
                match puts {
                    true => parts[asker].put(key, key, size, None),
                    false => parts[asker].remove(&key),
                }
                let sum: usize = all.lock().askers.values().flat_map(HashMap::values).map(|entry| entry.bytes).sum();
                prop_assert_eq!(bytes(&all), sum);
                prop_assert!(sum <= 40 * OVERHEAD);
            }
        }
    }
}
