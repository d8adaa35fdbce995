//! Whether upstream has what a store of this node has.
//!
//! A store tells by labels or names which registries its content is from, and it is told so by pulls.
//! A pull labels what was here already for whoever lists its digest, with no byte of it sent. As
//! who runs a registry can have it grant anything as well, a label and a grant are not enough to be
//! given a store's bytes: upstream has to show that it has them too.
//!
//! It does so by a few bytes of the blob. Where they lie is not known beforehand to anybody, and the
//! same for every registry and repository as long as this process lives, so that who does not
//! know those bytes finds no better ones by asking again or under other names. Of some places it is the
//! one with the most different bytes: padding can be guessed. Small blobs are shown as a whole.
//! Who knows nearly all of a blob can learn the rest of it in this way.
//!
//! What upstream has shown is remembered with what it has granted. Where it shows nothing the blob comes from
//! it, which is slower and as sound: so with hosts that do not serve ranges, beyond the first
//! bytes of a blob, and with those that are out of reach, which then have nothing to give either.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::Inner;
use super::blobs::unreadable;
use super::upstream::Upstream;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::fetch::{Endpoint, FetchError};
use crate::store::{Store, StoreError};

/// Bytes that upstream has to show.
const SHOWN: u64 = 4096;
/// Places in a blob of which one is asked for.
const PLACES: u64 = 4;
/// Bytes that may come for those: a host without ranges sends what is before them too.
const RECEIVED: u64 = 64 * 1024;

/// Chooses places in blobs that nobody can foretell.
// The standard library has the kernel seed it, and SipHash is made for inputs that enemies choose.
#[derive(Debug, Default)]
pub(super) struct Places(RandomState);

impl Places {
    /// Some places in a blob; one, which is all of it, where it is small.
    fn of(&self, blob: &Descriptor) -> impl Iterator<Item = Range<u64>> {
        let last = blob.size.saturating_sub(SHOWN);
        let place = move |start: u64| start..(start + SHOWN).min(blob.size);
        let numbers = if last == 0 { 1 } else { PLACES };
        // Divided by far fewer than 2^64 places, a number leans to none of them.
        (0..numbers).map(move |number| place(self.number(&blob.digest, number) % (last + 1)))
    }

    fn number(&self, digest: &Digest, number: u64) -> u64 {
        self.0.hash_one((digest, number))
    }
}

impl Inner {
    /// Whether upstream has shown to this caller that it has a blob which a store has.
    pub(super) async fn is_shown(&self, upstream: &Upstream, store: &dyn Store, blob: &Descriptor) -> bool {
        let right = upstream.right(Endpoint::Blobs, &blob.digest);
        if self.rights.is_shown(&right) {
            return true;
        }
        let sample = self.sample(store, blob).await.unwrap_or_else(|error| unreadable(store, &error));
        let Some((place, ours)) = sample else { return false };
        let is_shown = upstream.shows(blob, place, &ours).await;
        if is_shown {
            self.rights.note_shown(&right);
        }
        is_shown
    }

    /// What upstream is to show: the place, and what is there.
    async fn sample(&self, store: &dyn Store, blob: &Descriptor) -> Result<Option<(Range<u64>, Vec<u8>)>, StoreError> {
        let mut best: Option<(Range<u64>, Vec<u8>)> = None;
        for place in self.places.of(blob) {
            let Some(reader) = store.open_part(blob, place.clone()).await? else { return Ok(None) };
            let mut bytes = Vec::new();
            let read = reader.take(SHOWN).read_to_end(&mut bytes).await;
            // A file that is torn shows nothing, and is of no use to a client either.
            if read.is_err() || bytes.len() as u64 != place.end - place.start {
                return Ok(None);
            }
            if best.as_ref().is_none_or(|(_, best)| variety(&bytes) > variety(best)) {
                best = Some((place, bytes));
            }
        }
        Ok(best)
    }
}

impl Upstream {
    /// Whether the registry itself sends these bytes of a blob.
    async fn shows(&self, blob: &Descriptor, place: Range<u64>, ours: &[u8]) -> bool {
        let mut windows = self.authority.windows(&self.reference, blob);
        let theirs = self.in_time(Box::pin(windows.read(place, RECEIVED))).await;
        let theirs = theirs.ok().and_then(|shown| {
            let log =
                |error: &FetchError| tracing::debug!(%error, blob = %blob.digest, "upstream shows no part of a blob");
            shown.inspect_err(log).ok()
        });
        theirs.is_some_and(|theirs: Bytes| theirs == ours)
    }
}

/// How many different bytes there are.
fn variety(bytes: &[u8]) -> usize {
    bytes.iter().collect::<HashSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;

    fn blob(size: u64) -> Descriptor {
        Descriptor::new(MediaType::Other(String::new()), Digest::of(&size.to_le_bytes()), size)
    }

    #[test]
    fn places_are_within_the_blob_and_all_of_a_small_one() {
        let places = Places::default();
        for size in [1, 100, SHOWN - 1, SHOWN] {
            assert_eq!(places.of(&blob(size)).collect::<Vec<_>>(), vec![0..size; 1]);
        }
        for size in [SHOWN + 1, 3 * SHOWN, 1 << 30, u64::MAX] {
            let found: Vec<_> = places.of(&blob(size)).collect();
            assert_eq!(found.len() as u64, PLACES);
            assert!(found.iter().all(|place| place.end - place.start == SHOWN && place.end <= size), "{found:?}");
        }
    }

    #[test]
    fn places_stay_for_a_process_and_are_others_in_the_next() {
        let (ours, other) = (Places::default(), Places::default());
        let of = |places: &Places| places.of(&blob(1 << 40)).collect::<Vec<_>>();
        assert_eq!(of(&ours), of(&ours));
        assert_ne!(of(&ours), of(&other));
    }

    #[test]
    fn padding_is_the_last_to_be_asked_for() {
        assert!(variety(b"cargo") > variety(b"aaaaaaaaaaaa"));
        assert_eq!(variety(&[]), 0);
    }
}
