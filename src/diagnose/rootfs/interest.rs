//! Layers for somebody who may lose interest. The thread that looks into an image cannot be
//! stopped from outside; it ends at the next bytes that it asks for.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::blobs::{Blob, Blobs};
use crate::core::descriptor::Descriptor;

/// Layers that can be read until the token is cancelled.
pub(in crate::diagnose) struct WhileWanted {
    /// The layers.
    pub(in crate::diagnose) blobs: Box<dyn Blobs>,
    /// Cancelled once nobody wants them any more.
    pub(in crate::diagnose) lost: CancellationToken,
}

impl Blobs for WhileWanted {
    fn open(&mut self, layer: &Descriptor) -> io::Result<Box<dyn Blob>> {
        check(&self.lost)?;
        Ok(Box::new(Wanted { blob: self.blobs.open(layer)?, lost: self.lost.clone() }))
    }
}

struct Wanted {
    blob: Box<dyn Blob>,
    lost: CancellationToken,
}

impl Blob for Wanted {
    fn read(&mut self, range: Range<u64>, most: u64) -> io::Result<Bytes> {
        check(&self.lost)?;
        self.blob.read(range, most)
    }

    fn received(&self) -> u64 {
        self.blob.received()
    }

    fn requests(&self) -> usize {
        self.blob.requests()
    }

    fn is_local(&self) -> bool {
        self.blob.is_local()
    }

    fn does_ranges(&self) -> bool {
        self.blob.does_ranges()
    }
}

fn check(lost: &CancellationToken) -> io::Result<()> {
    match lost.is_cancelled() {
        false => Ok(()),
        true => Err(io::Error::other("nobody waits for what is in the image any more")),
    }
}
