//! One blob into a store, for one caller: it may be there, be fetched, or be on its way already.

use std::sync::Arc;

use tokio::sync::watch;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verified};
use crate::core::limits::Limits;
use crate::core::reference::Reference;
use crate::store::staging::{Quota, Staged, Staging};
use crate::store::{Belongs, Lease, Store, StoreError};

use super::Fetcher;
use super::arrival::Arrival;
use super::error::FetchError;
use super::flight::{Key, State, Waiter};
use super::progress::Event;
use super::work::Work;

/// Where fetched blobs go, for whom.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The image they belong to.
    pub reference: &'a Reference,
    /// Where they go.
    pub store: &'a dyn Store,
    /// What keeps them there meanwhile.
    pub lease: &'a Lease,
}

/// How a blob got into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// It was there.
    Present,
    /// It was fetched; bytes that came over the network meanwhile.
    Fetched(u64),
}

/// What came of waiting for a download.
enum Outcome {
    Whole(Arc<Verified<Staged>>),
    Present,
    LookAgain,
}

impl Fetcher {
    /// Makes sure before a pull that what it has to fetch of `blobs` will fit, and removes what
    /// is too old or too much of other pulls' leftovers.
    ///
    /// # Errors
    /// [`FetchError`] of kind [`StoreFull`](crate::core::error::Kind::StoreFull) that says how
    /// much is needed and how much there is.
    pub async fn make_room(&self, job: &Job<'_>, blobs: &[(&Descriptor, Belongs<'_>)]) -> Result<(), FetchError> {
        let what = || format!("the blobs of {}", job.reference.familiar());
        let refused = |error: StoreError| FetchError::refused(what(), error.into());
        let digests: Vec<Digest> = blobs.iter().map(|(blob, _)| blob.digest.clone()).collect();
        let (staging, limits) = (job.store.staging(), *self.engine.limits());
        let sizes: Vec<u64> = blobs.iter().map(|(blob, _)| blob.size).collect();
        let room = tokio::task::spawn_blocking(move || room(&staging, (&digests, &sizes), &limits));
        let (free, mut needs) = room.await.map_err(|error| refused(StoreError::thread(&error)))?;
        if sum(&needs) <= free {
            return Ok(());
        }
        // It matters now which of them the store has.
        for ((blob, belongs), need) in blobs.iter().zip(&mut needs) {
            if job.store.claim(job.lease, blob, *belongs).await.map_err(refused)? {
                *need = 0;
            }
        }
        job.store.staging().require(sum(&needs)).map_err(refused)
    }

    /// Gets a blob into the store, unless it is there; `arrival` tells where it can be read
    /// before that. Dropping this leaves what was downloaded in staging, and lets others who
    /// want the same blob go on.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt. What was downloaded stays in staging.
    pub async fn blob(
        &self,
        job: &Job<'_>,
        blob: &Descriptor,
        belongs: Belongs<'_>,
        arrival: &watch::Sender<Arrival>,
    ) -> Result<Landed, FetchError> {
        let refused = |error: StoreError| FetchError::refused(blob.digest.to_string(), error.into());
        let mut received = 0;
        loop {
            if job.store.claim(job.lease, blob, belongs).await.map_err(refused)? {
                return Ok(self.present(job, blob, arrival));
            }
            let mut waiter = self.join(job.reference, &job.store.staging(), blob);
            let outcome = self.wait(&mut waiter, arrival, || job.store.claim(job.lease, blob, belongs)).await;
            received += waiter.received();
            match outcome? {
                Outcome::Whole(staged) => {
                    job.store.adopt(job.lease, &staged, belongs).await.map_err(refused)?;
                    arrival.send_replace(Arrival::Present);
                    self.observer.notify(Event::Finished(blob));
                    return Ok(Landed::Fetched(received));
                }
                Outcome::Present => {
                    drop(waiter);
                    return Ok(self.present(job, blob, arrival));
                }
                Outcome::LookAgain => {}
            }
        }
    }

    fn present(&self, job: &Job<'_>, blob: &Descriptor, arrival: &watch::Sender<Arrival>) -> Landed {
        job.store.staging().forget(&blob.digest);
        self.observer.notify(Event::Present(blob));
        arrival.send_replace(Arrival::Present);
        Landed::Present
    }

    /// Joins the download of the blob, which starts with the first who wants it.
    pub(super) fn join(&self, reference: &Reference, staging: &Staging, blob: &Descriptor) -> Waiter {
        let key = Key {
            staging: staging.root().to_owned(),
            digest: blob.digest.clone(),
            size: blob.size,
            registry: reference.registry().to_owned(),
            asker: self.engine.asker(),
        };
        let flights = self.engine.flights().clone();
        let started = key.clone();
        self.engine.flights().join(key, (blob, Arc::clone(&self.observer)), |flight| {
            let work = Work {
                engine: self.engine.clone(),
                hosts: Arc::clone(&self.hosts),
                reference: reference.clone(),
                blob: blob.clone(),
                staging: staging.clone(),
                flight,
            };
            tokio::spawn(work.run(flights, started)).abort_handle()
        })
    }

    async fn wait<Claimed>(
        &self,
        waiter: &mut Waiter,
        arrival: &watch::Sender<Arrival>,
        claim: impl Fn() -> Claimed,
    ) -> Result<Outcome, FetchError>
    where
        Claimed: Future<Output = Result<bool, StoreError>>,
    {
        loop {
            match waiter.state() {
                State::Preparing => {}
                // Between looking and locking, another process may have finished the very same blob.
                State::Begun => match claim().await {
                    Ok(true) => return Ok(Outcome::Present),
                    Ok(false) => waiter.confirm(),
                    Err(error) => return Err(FetchError::refused(waiter.digest().to_string(), error.into())),
                },
                State::Arriving(follower) => drop(arrival.send_replace(Arrival::Arriving(follower))),
                State::Whole(staged) => return Ok(Outcome::Whole(staged)),
                State::Elsewhere => return Ok(Outcome::LookAgain),
                State::Failed(error) => return Err(error),
            }
            waiter.changed().await;
        }
    }
}

/// Sweeps, and finds out how much space is free and how much each blob still needs.
fn room(staging: &Staging, (digests, sizes): (&[Digest], &[u64]), limits: &Limits) -> (u64, Vec<u64>) {
    match staging.sweep(digests, &Quota::of(limits)) {
        Ok(swept) if swept.freed.bytes == 0 => {}
        Ok(swept) => tracing::info!(bytes = swept.freed.bytes, "removed what was left of old downloads"),
        // Whether it is in the way is seen next.
        Err(error) => tracing::warn!(%error, "old downloads cannot be removed"),
    }
    let needs = digests.iter().zip(sizes).map(|(digest, size)| size.saturating_sub(staging.held(digest))).collect();
    // A file system that does not say how full it is, is tried.
    (staging.free_space().unwrap_or(u64::MAX), needs)
}

fn sum(needs: &[u64]) -> u64 {
    needs.iter().fold(0, |sum, need| sum.saturating_add(*need))
}
