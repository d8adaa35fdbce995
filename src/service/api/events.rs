//! A pull as a stream of messages, and back.
//!
//! Bytes arrive far more often than anybody wants to hear of: they are added up and told some
//! ten times a second. A client that does not read gets none of the rest either, but a pull never
//! waits for one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::convert::{Unintelligible, count, digest, platform};
use super::failure::{MAX_MESSAGE, RemoteFailure, message_of};
use super::v1;
use super::v1::pull_event::Event as Message;
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::mismatch::{Action, Mismatch};
use crate::core::text::cut;
use crate::fetch::progress::{Event, Observer};
use crate::pull::Planned;
use crate::pulls::Listener;

/// Between two messages that tell of bytes of one blob.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Sends what it hears to one client.
pub(super) struct Telling {
    to: mpsc::Sender<Result<v1::PullEvent, Status>>,
    blobs: Mutex<HashMap<Digest, Untold>>,
}

/// Bytes of a blob that were not told yet, and when some were.
struct Untold {
    bytes: u64,
    told: Instant,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").finish_non_exhaustive()
    }
}

impl Telling {
    pub(super) fn new(to: mpsc::Sender<Result<v1::PullEvent, Status>>) -> Self {
        Self { to, blobs: Mutex::default() }
    }

    fn send(&self, event: Message) {
        // A client that is gone, or does not read, misses it.
        let _ = self.to.try_send(Ok(v1::PullEvent { event: Some(event) }));
    }

    /// Adds up bytes; how many are to be told now.
    fn advanced(&self, digest: &Digest, bytes: u64) -> Option<u64> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let untold = blobs.entry(digest.clone()).or_insert(Untold { bytes: 0, told: now });
        untold.bytes = untold.bytes.saturating_add(bytes);
        if now.duration_since(untold.told) < PROGRESS_EVERY {
            return None;
        }
        untold.told = now;
        Some(std::mem::take(&mut untold.bytes))
    }

    /// What is left to tell of a blob that is over.
    fn rest(&self, digest: &Digest) -> Option<u64> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.remove(digest).map(|untold| untold.bytes).filter(|bytes| *bytes > 0)
    }

    fn progress(&self, digest: &Digest, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.send(Message::BlobProgress(v1::BlobProgress { digest: digest.to_string(), bytes }));
        }
    }
}

impl Listener for Telling {
    fn began(&self, id: u64) {
        self.send(Message::Started(v1::PullStarted { id }));
    }

    fn planned(&self, planned: &Planned) {
        self.send(Message::Resolved(planned.into()));
    }
}

impl Observer for Telling {
    fn notify(&self, event: Event<'_>) {
        match event {
            Event::Advanced { digest, bytes } => self.progress(digest, self.advanced(digest, bytes)),
            Event::Started { blob, .. } => {
                // What was left to tell of an attempt before is void.
                let _ = self.rest(&blob.digest);
                if let Some(message) = message(&event) {
                    self.send(message);
                }
            }
            Event::Finished(blob) => {
                self.progress(&blob.digest, self.rest(&blob.digest));
                let (digest, size) = named(blob);
                self.send(Message::BlobFinished(v1::BlobFinished { digest, size }));
            }
            _ => {
                if let Some(message) = message(&event) {
                    self.send(message);
                }
            }
        }
    }
}

fn named(blob: &Descriptor) -> (String, u64) {
    (blob.digest.to_string(), blob.size)
}

/// The message for an event that clients are told of.
fn message(event: &Event<'_>) -> Option<Message> {
    Some(match event {
        Event::Began(_) | Event::Ended { .. } | Event::Asking { .. } | Event::Held { .. } => return None,
        Event::Present(blob) => {
            let (digest, size) = named(blob);
            Message::BlobPresent(v1::BlobPresent { digest, size })
        }
        Event::Started { blob, offset } => {
            let (digest, size) = named(blob);
            Message::BlobStarted(v1::BlobStarted { digest, size, offset: *offset })
        }
        Event::Advanced { digest, bytes } => {
            Message::BlobProgress(v1::BlobProgress { digest: digest.to_string(), bytes: *bytes })
        }
        Event::Finished(blob) => {
            let (digest, size) = named(blob);
            Message::BlobFinished(v1::BlobFinished { digest, size })
        }
        Event::Shared(blob) => {
            let (digest, size) = named(blob);
            Message::BlobShared(v1::BlobShared { digest, size })
        }
        Event::NextHost { what, left, cause } => Message::HostLeft(v1::HostLeft {
            what: (*what).into(),
            host: (*left).into(),
            cause: Some(message_of(*cause)),
        }),
        Event::Waiting { what, wait, cause } => Message::Waiting(v1::Waiting {
            what: (*what).into(),
            wait: (*wait).try_into().ok(),
            cause: Some(message_of(*cause)),
        }),
        Event::Blamed { digest, host } => {
            Message::HostBlamed(v1::HostBlamed { digest: digest.to_string(), host: (*host).into() })
        }
        Event::Unpacked { done, total } => Message::LayerUnpacked(v1::LayerUnpacked {
            done: u32::try_from(*done).unwrap_or(u32::MAX),
            total: u32::try_from(*total).unwrap_or(u32::MAX),
        }),
        Event::Mismatch(mismatch) if mismatch.action == Action::Allow => return None,
        Event::Mismatch(mismatch) => Message::ArchMismatch(v1::ArchMismatch {
            id: mismatch.id.clone(),
            action: mismatch.action.name().into(),
            image: mismatch.image.clone(),
            platform: mismatch.platform.to_string(),
            node: mismatch.node.clone(),
            message: cut(&mismatch.message, MAX_MESSAGE),
        }),
    })
}

/// Tells an observer what a message says; one that is no event of an observer is left out.
pub(super) fn retell(message: Message, observer: &dyn Observer) -> Result<(), Unintelligible> {
    // Its type is not told, and nobody who observes asks for it.
    let blob = |text: &str, size| Ok(Descriptor::new(MediaType::Other(String::new()), digest(text)?, size));
    let cause = |failure: Option<v1::Failure>| RemoteFailure::from(failure.unwrap_or_default());
    match message {
        Message::BlobPresent(told) => observer.notify(Event::Present(&blob(&told.digest, told.size)?)),
        Message::BlobStarted(told) => {
            observer.notify(Event::Started { blob: &blob(&told.digest, told.size)?, offset: told.offset });
        }
        Message::BlobProgress(told) => {
            observer.notify(Event::Advanced { digest: &digest(&told.digest)?, bytes: told.bytes });
        }
        Message::BlobFinished(told) => observer.notify(Event::Finished(&blob(&told.digest, told.size)?)),
        Message::BlobShared(told) => observer.notify(Event::Shared(&blob(&told.digest, told.size)?)),
        Message::HostLeft(told) => {
            observer.notify(Event::NextHost { what: &told.what, left: &told.host, cause: &cause(told.cause) });
        }
        Message::Waiting(told) => {
            let wait = told.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
            observer.notify(Event::Waiting { what: &told.what, wait, cause: &cause(told.cause) });
        }
        Message::HostBlamed(told) => {
            observer.notify(Event::Blamed { digest: &digest(&told.digest)?, host: &told.host });
        }
        Message::LayerUnpacked(told) => {
            observer.notify(Event::Unpacked { done: count(told.done.into()), total: count(told.total.into()) });
        }
        Message::ArchMismatch(told) => observer.notify(Event::Mismatch(&Mismatch {
            id: told.id,
            // A daemon tells of nothing that is allowed.
            action: Action::from_name(&told.action).unwrap_or(Action::Warn),
            image: told.image,
            platform: platform(&told.platform),
            node: told.node,
            message: told.message,
        })),
        Message::Started(_) | Message::Resolved(_) | Message::Pulled(_) => {}
    }
    Ok(())
}
