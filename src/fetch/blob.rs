//! One blob: from whichever host brings it, through a staged file, into the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::core::descriptor::Descriptor;
use crate::core::digest::Verified;
use crate::core::reference::Reference;
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
            if partial.offset() == 0 && job.store.claim(job.lease, blob, belongs).await.map_err(refused)? {
                partial.discard();
                continue;
            }
            let source = Source { reference: job.reference, blob };
            if let Some(staged) = self.complete(&source, &mut attempts, partial, &mut received).await? {
                job.store.adopt(job.lease, staged, belongs).await.map_err(refused)?;
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
        mut partial: Box<Partial>,
        received: &mut u64,
    ) -> Result<Option<Verified<Staged>>, FetchError> {
        let inherited = partial.offset() > 0;
        self.observer.notify(Event::Started { blob: source.blob, offset: partial.offset() });
        loop {
            attempts.start_at(partial.offset());
            let outcome;
            (partial, outcome) = self
                .attempt(source, attempts.host(), partial, received)
                .await
                .map_err(|error| source.refused(error))?;
            attempts.ended_at(partial.offset());
            match outcome {
                Ok(()) => match partial.finish() {
                    Ok(staged) => return Ok(Some(staged)),
                    // A torn write of an earlier run costs one more download, and blames nobody.
                    Err(_) if inherited => return Ok(None),
                    Err(mismatch) => {
                        attempts.failed(mismatch.into()).await?;
                        return Ok(None);
                    }
                },
                // Too many bytes: the right ones cannot be told from the wrong ones.
                Err(cause) if cause.spoils_what_came() => {
                    partial.discard();
                    attempts.failed(cause).await?;
                    return Ok(None);
                }
                Err(cause) => attempts.failed(cause).await?,
            }
        }
    }

    /// One request to one host: streams into the partial blob until the body ends. The
    /// partial blob comes back with how it went; only a broken thread loses it.
    async fn attempt(
        &self,
        source: &Source<'_>,
        host: &Host,
        mut partial: Box<Partial>,
        received: &mut u64,
    ) -> Result<(Box<Partial>, Result<(), Cause>), StoreError> {
        if partial.offset() == source.blob.size {
            return Ok((partial, Ok(())));
        }
        let rest = (partial.offset() > 0).then(|| partial.offset()..source.blob.size);
        let stream = match self.client.source(host, source.reference, source.blob).open(rest).await {
            Ok(stream) => stream,
            Err(error) => return Ok((partial, Err(error.into()))),
        };
        // A server that ignores ranges starts again from the first byte; what is here is not taken twice.
        let skip = partial.offset().saturating_sub(stream.range().start);
        let (sender, receiver) = mpsc::channel(16);
        // Its own task, so that TLS of several blobs runs on several cores; it ends with us.
        let network = AbortOnDropHandle::new(tokio::spawn(pump(stream, skip, sender)));
        let (observer, digest) = (Arc::clone(&self.observer), source.blob.digest.clone());
        let disk = tokio::task::spawn_blocking(move || {
            let advanced = |bytes| observer.notify(Event::Advanced { digest: &digest, bytes });
            let written = drain(&mut partial, receiver, advanced);
            (partial, written)
        });
        let (partial, written) = disk.await.map_err(|error| StoreError::thread(&error))?;
        let (bytes, brought) = network.await.map_err(|error| StoreError::thread(&error))?;
        *received += bytes;
        Ok((partial, written.map_err(Cause::from).and(brought.map_err(Cause::from))))
    }
}

/// A blob and where it comes from.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    reference: &'a Reference,
    blob: &'a Descriptor,
}

impl Source<'_> {
    fn refused(&self, error: StoreError) -> FetchError {
        FetchError::refused(self.blob.digest.to_string(), error.into())
    }
}

/// Takes up or starts the staged file; `None` while another process writes it.
async fn begin(store: &dyn Store, blob: &Descriptor) -> Result<Option<Box<Partial>>, StoreError> {
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

/// Channel to disk, hashing on the way.
fn drain(partial: &mut Partial, mut chunks: mpsc::Receiver<Bytes>, advanced: impl Fn(u64)) -> Result<(), PartialError> {
    while let Some(chunk) = chunks.blocking_recv() {
        partial.write(&chunk)?;
        advanced(chunk.len() as u64);
    }
    Ok(())
}
