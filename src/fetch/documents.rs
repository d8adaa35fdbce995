//! The memory for the documents of images: indexes, manifests and configs.
//!
//! What an ordinary image has of them is little beside what its caller costs anyway, and waits
//! for nobody. An image with more of them takes room before they are read, once and for all that
//! one may have, so that nobody waits for more while he holds some. They are read one image at a
//! time, since what a document is parsed into may weigh many times as much as its bytes, and what
//! a pull keeps of them until its end is taken from a pool. So whoever publishes large documents,
//! or sends them slowly, holds up others who do, and nobody else.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::progress::Event;
use super::{Document, FetchError, Fetcher};
use crate::core::limits::Limits;
use crate::core::reference::Reference;

/// The memory for all documents; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Documents {
    reading: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    ordinary: u64,
    most: u32,
}

/// Room for the documents of one image, given back when this is dropped.
#[derive(Debug)]
pub struct Room {
    documents: Documents,
    wide: Option<Wide>,
}

/// Room for more than an ordinary image has.
#[derive(Debug)]
struct Wide {
    reading: Option<OwnedSemaphorePermit>,
    kept: Option<OwnedSemaphorePermit>,
}

impl Documents {
    pub(super) fn new(limits: &Limits) -> Self {
        let most = u32::try_from(limits.documents_bytes).unwrap_or(u32::MAX).min(limits.kept_documents_bytes);
        let kept = usize::try_from(limits.kept_documents_bytes).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            reading: Arc::new(Semaphore::new(1)),
            kept: Arc::new(Semaphore::new(kept)),
            ordinary: limits.ordinary_documents_bytes,
            most,
        }
    }

    /// Room for an ordinary image, which nobody waits for.
    pub(super) fn room(&self) -> Room {
        Room { documents: self.clone(), wide: None }
    }
}

impl Room {
    /// Bytes of documents that fit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        if self.wide.is_some() { u64::from(self.documents.most) } else { self.documents.ordinary }
    }

    pub(super) fn is_ordinary(&self) -> bool {
        self.wide.is_none()
    }

    /// Ends the reading: so many bytes stay for as long as this lives.
    pub fn settle(&mut self, bytes: u64) {
        let Some(wide) = &mut self.wide else { return };
        wide.reading = None;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Some(kept) = &mut wide.kept {
            drop(kept.split(kept.num_permits().saturating_sub(bytes)));
        }
    }

    async fn widen(&mut self) {
        // Always in this order, so that two never wait for each other. Nobody closes either.
        let Documents { reading, kept, most, .. } = &self.documents;
        let reading = Arc::clone(reading).acquire_owned().await.ok();
        let kept = Arc::clone(kept).acquire_many_owned(*most).await.ok();
        self.wide = Some(Wide { reading, kept });
    }
}

#[cfg(test)]
impl Default for Room {
    fn default() -> Self {
        Documents::new(&Limits::default()).room()
    }
}

impl Fetcher {
    /// Room for the documents of an image.
    #[must_use]
    pub fn room(&self) -> Room {
        self.engine.documents().room()
    }

    /// Makes room for `bytes` of documents, as far as an image may have so many. It waits where
    /// that is more than an ordinary image has, and others are at it.
    pub async fn make_room_for(&self, bytes: u64, reference: &Reference, room: &mut Room) {
        if bytes <= room.bytes() || !room.is_ordinary() {
            return;
        }
        let what = reference.familiar();
        self.observer.notify(Event::Held { what: &what });
        room.widen().await;
        self.observer.notify(Event::Asking { what: &what });
    }

    /// Fetches the root document of a reference, whatever it is, into this room.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt.
    pub async fn root_into(&self, reference: &Reference, room: &mut Room) -> Result<Document, FetchError> {
        self.root_within(reference, Some(room)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn documents() -> Documents {
        Documents::new(&Limits {
            ordinary_documents_bytes: 10,
            documents_bytes: 100,
            kept_documents_bytes: 250,
            ..Limits::default()
        })
    }

    #[test]
    fn one_large_image_is_read_at_a_time_and_ordinary_ones_wait_for_nobody() {
        let documents = documents();
        let [mut first, mut second] = [documents.room(), documents.room()];
        assert_eq!(first.bytes(), 10);
        first.widen().now_or_never().expect("nobody else is at it");
        assert_eq!(first.bytes(), 100);
        assert!(second.widen().now_or_never().is_none(), "two are read at once");
        assert_eq!(documents.room().bytes(), 10);
        drop(first);
        second.widen().now_or_never().expect("the other one is gone");
    }

    #[test]
    fn what_is_kept_of_images_is_bounded_in_all() {
        let documents = documents();
        let read = |keeps: u64| {
            let mut room = documents.room();
            room.widen().now_or_never()?;
            room.settle(keeps);
            Some(room)
        };
        let small: Vec<Room> = (0..5).map_while(|_| read(10)).collect();
        let large: Vec<Room> = (0..5).map_while(|_| read(100)).collect();
        assert_eq!((small.len(), large.len()), (5, 2), "50 and 200 of 250 bytes");
        assert!(read(1).is_none(), "it might turn out to need 100");
        drop(large);
        assert!(read(1).is_some());
        drop(small);
        assert!(read(u64::MAX).is_some());
    }
}
