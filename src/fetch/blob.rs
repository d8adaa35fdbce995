//! One blob: from whichever host brings it, through a staged file, into the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Mismatch, Verified};
use crate::core::reference::Reference;
use crate::cpu::Priority;
use crate::registry::{BlobStream, Host, Operation, RegistryError};
use crate::store::staging::{Partial, PartialError, Staged, Turn};
use crate::store::{Belongs, Lease, Store, StoreError};

use super::Fetcher;
use super::attempts::Attempts;
use super::error::{Cause, FetchError};
use super::progress::Event;

/// How often to look whether another process has finished a blob that both want.
const SHARED_POLL: Duration = Duration::from_millis(100);

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
    /// It was fetched; bytes that came over the network this time.
    Fetched(u64),
}

impl Fetcher {
    /// Gets a blob into the store, unless it is there.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt. What was downloaded stays in staging.
    pub async fn blob(&self, job: &Job<'_>, blob: &Descriptor, belongs: Belongs<'_>) -> Result<Landed, FetchError> {
        let refused = |error: StoreError| FetchError::refused(blob.digest.to_string(), error.into());
        let mut attempts = self.attempts(blob.digest.to_string(), Operation::Pull)?;
        let mut received = 0;
        let mut waiting = false;
        loop {
            if job.store.claim(job.lease, blob, belongs).await.map_err(refused)? {
                job.store.staging().forget(&blob.digest);
                self.observer.notify(Event::Present(blob));
                return Ok(Landed::Present);
            }
            let Some(partial) = begin(job.store, blob).await.map_err(refused)? else {
                if !std::mem::replace(&mut waiting, true) {
                    self.observer.notify(Event::Shared(blob));
                }
                tokio::time::sleep(SHARED_POLL).await;
                continue;
            };
            // Between looking and locking, another pull may have finished the very same blob.
            if partial.written() == 0 && job.store.claim(job.lease, blob, belongs).await.map_err(refused)? {
                partial.discard();
                continue;
            }
            let source = Source { reference: job.reference, blob };
            if let Some(staged) = self.complete(&source, &mut attempts, &partial, &mut received).await? {
                job.store.adopt(job.lease, &staged, belongs).await.map_err(refused)?;
                self.observer.notify(Event::Finished(blob));
                return Ok(Landed::Fetched(received));
            }
        }
    }

    /// Downloads what is missing of a partial blob. `None` where its bytes turned out wrong
    /// and were removed, so that it has to be begun again.
    async fn complete(
        &self,
        source: &Source<'_>,
        attempts: &mut Attempts<'_>,
        partial: &Arc<Partial>,
        received: &mut u64,
    ) -> Result<Option<Verified<Staged>>, FetchError> {
        self.observer.notify(Event::Started { blob: source.blob, offset: partial.frontier() });
        let mut verdict = self.cpu.spawn(Priority::HASH, partial.verify());
        loop {
            attempts.start_at(partial.frontier());
            let outcome = self.attempt(source, attempts.host(), partial, received).await;
            let outcome = outcome.map_err(|error| source.refused(error))?;
            attempts.ended_at(partial.frontier());
            let cause = match outcome {
                Ok(()) if partial.missing().is_empty() => match (&mut verdict).await {
                    Ok(staged) => return Ok(Some(staged)),
                    Err(error) => error.into(),
                },
                Ok(()) => source.too_short(partial.frontier()).into(),
                Err(cause) => cause,
            };
            // Too many bytes or wrong ones: the right ones cannot be told from the others.
            let spoilt = cause.spoils_what_came();
            if spoilt {
                partial.discard();
            }
            // A torn write of an earlier run costs one more download, and blames nobody.
            if !spoilt || partial.inherited() == 0 {
                attempts.failed(cause).await?;
            }
            if spoilt {
                return Ok(None);
            }
        }
    }

    /// One request to one host: streams into the partial blob until the body ends, and tells
    /// how that went.
    async fn attempt(
        &self,
        source: &Source<'_>,
        host: &Host,
        partial: &Arc<Partial>,
        received: &mut u64,
    ) -> Result<Result<(), Cause>, StoreError> {
        let frontier = partial.frontier();
        if frontier == source.blob.size {
            return Ok(Ok(()));
        }
        let rest = (frontier > 0).then_some(frontier..source.blob.size);
        let stream = match self.client.source(host, source.reference, source.blob).open(rest).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error.into())),
        };
        // A server that ignores ranges starts again from the first byte; what is here is not taken twice.
        let start = frontier.max(stream.range().start);
        let (sender, receiver) = mpsc::channel(16);
        let skip = start - stream.range().start;
        // Its own task, so that TLS of several blobs runs on several cores; it ends with us.
        let network = AbortOnDropHandle::new(tokio::spawn(pump(stream, skip, sender)));
        let (observer, digest) = (Arc::clone(&self.observer), source.blob.digest.clone());
        let (partial, host) = (Arc::clone(partial), host.to_string());
        let disk = tokio::task::spawn_blocking(move || {
            let advanced = |bytes| observer.notify(Event::Advanced { digest: &digest, bytes });
            drain(receiver, advanced, |at, chunk| partial.write_at(start + at, chunk, &host))
        });
        let written = disk.await.map_err(|error| StoreError::thread(&error))?;
        let (bytes, brought) = network.await.map_err(|error| StoreError::thread(&error))?;
        *received += bytes;
        Ok(written.map_err(Cause::from).and(brought.map_err(Cause::from)))
    }
}

/// A blob and where it comes from.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    reference: &'a Reference,
    blob: &'a Descriptor,
}

impl Source<'_> {
    fn too_short(&self, actual: u64) -> Mismatch {
        Mismatch::TooShort { digest: self.blob.digest.clone(), expected: self.blob.size, actual }
    }

    fn refused(&self, error: StoreError) -> FetchError {
        FetchError::refused(self.blob.digest.to_string(), error.into())
    }
}

/// Takes up or starts the staged file; `None` while another process writes it.
async fn begin(store: &dyn Store, blob: &Descriptor) -> Result<Option<Arc<Partial>>, StoreError> {
    let (staging, descriptor) = (store.staging().clone(), blob.clone());
    let turn = tokio::task::spawn_blocking(move || staging.begin(&descriptor)).await;
    match turn.map_err(|error| StoreError::thread(&error))?? {
        Turn::Ours(partial) => Ok(Some(partial)),
        Turn::Taken => Ok(None),
    }
}

/// Network to channel, without the first `skip` bytes; how many bytes came, and how it ended.
/// The channel's bound is what slows a fast registry down to the disk.
async fn pump(mut stream: BlobStream, mut skip: u64, sender: mpsc::Sender<Bytes>) -> (u64, Result<(), RegistryError>) {
    let mut received = 0;
    loop {
        let mut chunk = match stream.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return (received, Ok(())),
            Err(error) => return (received, Err(error)),
        };
        received += chunk.len() as u64;
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= skipped as u64;
        let wanted = chunk.split_off(skipped);
        // A writer that failed says itself why.
        if !wanted.is_empty() && sender.send(wanted).await.is_err() {
            return (received, Ok(()));
        }
    }
}

/// Channel to disk; `write` is told where in the stream each chunk stands.
fn drain(
    mut chunks: mpsc::Receiver<Bytes>,
    advanced: impl Fn(u64),
    write: impl Fn(u64, &[u8]) -> Result<(), PartialError>,
) -> Result<(), PartialError> {
    let mut at = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        write(at, &chunk)?;
        at += chunk.len() as u64;
        advanced(chunk.len() as u64);
    }
    Ok(())
}
