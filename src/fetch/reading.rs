//! A blob for somebody who reads it where it is staged, while it arrives and without a store.

use crate::core::descriptor::Descriptor;
use crate::core::reference::Reference;
use crate::store::staging::{Follower, Staging};

use super::Fetcher;
use super::error::FetchError;
use super::flight::{State, Waiter};

/// A reader's part in the download of a blob. Dropping it drops its interest only: the last
/// who goes ends the download, and what is staged stays.
#[derive(Debug)]
pub struct Reading {
    fetcher: Fetcher,
    reference: Reference,
    blob: Descriptor,
    staging: Staging,
    waiter: Waiter,
    /// The waiter's present state has been looked at.
    seen: bool,
}

impl Fetcher {
    /// Brings a blob into `staging`, or takes up what is there of it; joins whoever is at it.
    #[must_use]
    pub fn read(&self, reference: &Reference, blob: &Descriptor, staging: &Staging) -> Reading {
        Reading {
            fetcher: self.clone(),
            reference: reference.clone(),
            blob: blob.clone(),
            staging: staging.clone(),
            waiter: self.join(reference, staging, blob),
            seen: false,
        }
    }
}

impl Reading {
    /// Waits until there is something to follow from the first byte on. Asked again, it waits
    /// for what comes in place of that: bytes that were wrong are fetched once more, elsewhere.
    /// Cancelling loses nothing.
    ///
    /// # Errors
    /// [`FetchError`] with every attempt. What was downloaded stays in staging.
    pub async fn follow(&mut self) -> Result<Follower, FetchError> {
        loop {
            if self.seen {
                self.waiter.changed().await;
            }
            self.seen = true;
            match self.waiter.state() {
                State::Preparing => {}
                // There is no store that another process could have brought it to.
                State::Begun => self.waiter.confirm(),
                State::Arriving(follower) => return Ok(follower),
                State::Whole(staged) => return Ok(staged.content().follow()),
                State::Elsewhere => {
                    self.waiter = self.fetcher.join(&self.reference, &self.staging, &self.blob);
                    self.seen = false;
                }
                State::Failed(error) => return Err(error),
            }
        }
    }
}
