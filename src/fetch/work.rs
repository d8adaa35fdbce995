//! The work of a flight: one blob from whichever hosts bring it, verified.
//!
//! A host that fails mid-blob is left mid-blob, and the next one continues at the same byte.
//! Bytes whose digest does not hold are put aside, and the blob is fetched once more from one
//! other host alone: where the two differ shows who sent the wrong ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Mismatch, Verified};
use crate::core::reference::Reference;
use crate::cpu::Priority;
use crate::registry::{BlobSource, Host, Operation};
use crate::store::StoreError;
use crate::store::staging::{Partial, PartialError, Staged, Staging, Suspect, Turn};

use super::attempts::Attempts;
use super::engine::Engine;
use super::error::{Cause, FetchError};
use super::flight::{Flight, Flights, Key, State};
use super::progress::{Event, Observer as _};
use super::transfer::{Place, Transfer};

/// How often to look whether another process has finished a blob that both want.
const SHARED_POLL: Duration = Duration::from_millis(100);

/// What has to be done for one blob.
pub(super) struct Work {
    pub(super) engine: Engine,
    pub(super) hosts: Arc<[Host]>,
    pub(super) reference: Reference,
    pub(super) blob: Descriptor,
    pub(super) staging: Staging,
    pub(super) flight: Arc<Flight>,
}

/// A whole blob, or why its bytes are not the ones.
type Verdict = Result<Verified<Staged>, Mismatch>;

impl Work {
    /// Does it, and tells those who wait.
    pub(super) async fn run(self, flights: Flights, key: Key) {
        let guard = Guard { flight: Arc::clone(&self.flight), flights, key };
        let state = match self.bring().await {
            Ok(Some(staged)) => State::Whole(staged),
            Ok(None) => State::Elsewhere,
            Err(error) => State::Failed(error),
        };
        // Only what is whole can be joined late; before anybody hears, so that nobody joins a failure.
        if !matches!(state, State::Whole(_)) {
            guard.flights.forget(&guard.key, &self.flight);
        }
        self.flight.finish(state);
    }

    /// `None` where another process had the blob meanwhile.
    async fn bring(&self) -> Result<Option<Arc<Verified<Staged>>>, FetchError> {
        let able: Vec<&Host> = self.hosts.iter().filter(|host| host.can(Operation::Pull)).collect();
        let mut attempts = Attempts::new(self.blob.digest.to_string(), able, &self.engine, &*self.flight)?;
        let Some(partial) = self.take_turn().await? else { return Ok(None) };
        if partial.written() == 0 {
            self.flight.ask_the_store().await;
        }
        match self.complete(&partial, &mut attempts).await? {
            Ok(staged) => Ok(Some(Arc::new(staged))),
            Err(mismatch) => self.once_more(partial, mismatch, attempts).await.map(Some),
        }
    }

    /// Takes up the staged file; `None` where another process had it and is done with it.
    async fn take_turn(&self) -> Result<Option<Arc<Partial>>, FetchError> {
        let mut taken = false;
        loop {
            match self.begin().await? {
                Turn::Ours(partial) => return Ok(Some(partial).filter(|_| !taken)),
                Turn::Taken if !std::mem::replace(&mut taken, true) => self.flight.notify(Event::Shared(&self.blob)),
                Turn::Taken => {}
            }
            tokio::time::sleep(SHARED_POLL).await;
        }
    }

    async fn begin(&self) -> Result<Turn, FetchError> {
        let (staging, blob) = (self.staging.clone(), self.blob.clone());
        self.on_disk(move || staging.begin(&blob)).await
    }

    /// Brings what is missing, whoever has it, while what is there is hashed.
    async fn complete(&self, partial: &Arc<Partial>, attempts: &mut Attempts<'_>) -> Result<Verdict, FetchError> {
        self.flight.arriving(partial.follow(), partial.written());
        // Dropped with a failure, which ends it: the bytes that it waits for do not come.
        let verdict = self.engine.cpu().spawn(Priority::HASH, partial.verify());
        let mut sources: HashMap<String, Arc<BlobSource>> = HashMap::new();
        // What each host had brought, for whichever blob, when it last refused this one.
        let mut brought: HashMap<String, u64> = HashMap::new();
        while !partial.missing().is_empty() {
            let host = attempts.host();
            let source = sources
                .entry(host.to_string())
                .or_insert_with(|| Arc::new(self.engine.client().source(host, &self.reference, &self.blob)));
            let place = Place { host, source: Arc::clone(source), patience: attempts.patience() };
            attempts.start_at(partial.written());
            let outcome = Transfer::new(&self.engine, &self.flight, partial, place).run().await;
            attempts.ended_at(partial.written());
            if let Err(cause) = outcome {
                let now = self.engine.lanes().brought(host);
                let before = brought.insert(host.to_string(), now);
                if cause.is_overload() && before.is_some_and(|before| before != now) {
                    attempts.excuse();
                }
                attempts.failed(cause).await?;
            } else {
                attempts.succeeded();
            }
        }
        self.flight.asks(false);
        match verdict.await {
            Ok(staged) => Ok(Ok(staged)),
            Err(PartialError::Mismatch(mismatch)) => Ok(Err(mismatch)),
            Err(PartialError::Store(error)) => Err(self.refused(error)),
        }
    }

    /// The digest did not hold: asks one other host, and finds out who is to blame.
    async fn once_more(
        &self,
        partial: Arc<Partial>,
        mismatch: Mismatch,
        mut attempts: Attempts<'_>,
    ) -> Result<Arc<Verified<Staged>>, FetchError> {
        let suspect = self.on_disk(move || Ok(partial.suspect())).await?;
        let hosts = suspect.hosts();
        let Some(other) = self.other_host(&suspect) else {
            // Everything came from one host just now: nobody else can have done it.
            hosts.iter().for_each(|host| self.blame(host));
            return Err(attempts.wrong(&hosts, mismatch.into()));
        };
        attempts.only(other, &hosts, &mismatch.into());
        let again = match self.begin().await? {
            Turn::Ours(partial) => partial,
            Turn::Taken => return Err(self.refused(StoreError::Discarded { digest: self.blob.digest.clone() })),
        };
        match self.complete(&again, &mut attempts).await? {
            Ok(staged) => {
                let good = Arc::new(staged);
                let compared = Arc::clone(&good);
                let culprits = self.on_disk(move || suspect.blame(&compared)).await?;
                culprits.iter().filter(|culprit| !culprit.inherited).for_each(|culprit| self.blame(&culprit.host));
                Ok(good)
            }
            Err(mismatch) => {
                again.discard();
                Err(attempts.wrong(&[other.to_string()], mismatch.into()))
            }
        }
    }

    /// Whom to ask alone after a digest did not hold. Preferably who had no part in it; else,
    /// where it may have been one of several or an earlier run, the registry itself.
    fn other_host(&self, suspect: &Suspect) -> Option<&Host> {
        let hosts = suspect.hosts();
        let able: Vec<&Host> = self.hosts.iter().filter(|host| host.can(Operation::Pull)).collect();
        let able = self.engine.health().order(able);
        let uninvolved = able.iter().find(|host| !hosts.contains(&host.to_string()));
        let doubtful = || suspect.is_inherited() || hosts.len() > 1;
        uninvolved.or_else(|| able.last().filter(|_| doubtful())).copied()
    }

    fn blame(&self, name: &str) {
        let Some(host) = self.hosts.iter().find(|host| host.to_string() == name) else { return };
        tracing::warn!(host = %name, digest = %self.blob.digest, "the host sent bytes that are not the blob's");
        self.engine.health().note_liar(host);
        self.flight.notify(Event::Blamed { digest: &self.blob.digest, host: name });
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(StoreError::thread(&error)));
        done.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: StoreError) -> FetchError {
        FetchError::refused(self.blob.digest.to_string(), Cause::from(error))
    }
}

/// Lets nobody wait for work that ended without a word.
struct Guard {
    flight: Arc<Flight>,
    flights: Flights,
    key: Key,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.flight.abandon() {
            self.flights.forget(&self.key, &self.flight);
        }
    }
}
