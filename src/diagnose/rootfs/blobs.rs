//! Where the bytes of layers come from: a store on this node, else a registry.
//!
//! A caller who may not have an image from its registry must not learn of it from what the node
//! has. That is checked where the reference is resolved, before anything here is asked
//! ([`Fetcher::check_access`](crate::fetch::Fetcher::check_access)).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::core::descriptor::Descriptor;
use crate::core::reference::Reference;
use crate::fetch::{Fetcher, Windows};
use crate::store::{BlobReader, Store};

use super::interest::Interest;

/// Bytes that are read from a store at a time.
const PIECE: u64 = 256 * 1024;

/// The blob of one layer. Reading blocks.
pub trait Blob: Send {
    /// The bytes of `range`, or only the first of them; none where the blob has ended, or where
    /// more than `most` bytes would have to come over the network for one.
    ///
    /// # Errors
    /// What the store or the registry says.
    fn read(&mut self, range: Range<u64>, most: u64) -> io::Result<Bytes>;

    /// Bytes that came over the network so far.
    fn received(&self) -> u64;

    /// Requests that were made for them.
    fn requests(&self) -> usize;

    /// It is on this machine.
    fn is_local(&self) -> bool;

    /// A part can be had without what is before it.
    fn does_ranges(&self) -> bool;

    /// Whether anybody waits for what is in it, for who works on with bytes that came before.
    ///
    /// # Errors
    /// Nobody does.
    fn check_interest(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The blobs of all layers.
pub trait Blobs: Send {
    /// The blob of a layer; asking for it must cost no byte of it.
    ///
    /// # Errors
    /// What the store says.
    fn open(&mut self, layer: &Descriptor) -> io::Result<Box<dyn Blob>>;
}

/// Layers that are in a store.
#[derive(Debug)]
pub struct Stored {
    store: Arc<dyn Store>,
    interest: Interest,
}

impl Stored {
    /// All layers have to be there.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, interest: impl Into<Interest>) -> Self {
        Self { store, interest: interest.into() }
    }

    fn find(&self, layer: &Descriptor) -> io::Result<Option<StoredBlob>> {
        let reader = self.interest.wait(self.store.open(layer))?.map_err(io::Error::other)?;
        let (store, interest) = (Arc::clone(&self.store), self.interest.clone());
        Ok(reader.map(|reader| StoredBlob { store, interest, layer: layer.clone(), reader, at: 0 }))
    }
}

impl Blobs for Stored {
    fn open(&mut self, layer: &Descriptor) -> io::Result<Box<dyn Blob>> {
        let blob =
            self.find(layer)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, layer.digest.to_string()))?;
        Ok(Box::new(blob))
    }
}

/// Layers of a registry's image, of which some may be in a store.
#[derive(Debug)]
pub struct Remote {
    fetcher: Fetcher,
    reference: Reference,
    local: Option<Stored>,
    interest: Interest,
}

impl Remote {
    /// Whoever asks has to have shown before that he may read the image.
    #[must_use]
    pub fn new(
        fetcher: Fetcher,
        reference: Reference,
        store: Option<Arc<dyn Store>>,
        interest: impl Into<Interest>,
    ) -> Self {
        let interest = interest.into();
        let local = store.map(|store| Stored::new(store, interest.clone()));
        Self { fetcher, reference, local, interest }
    }
}

impl Blobs for Remote {
    fn open(&mut self, layer: &Descriptor) -> io::Result<Box<dyn Blob>> {
        if let Some(stored) = self.local.as_ref().map(|local| local.find(layer)).transpose()?.flatten() {
            return Ok(Box::new(stored));
        }
        let windows = self.fetcher.windows(&self.reference, layer);
        Ok(Box::new(RemoteBlob { windows, interest: self.interest.clone() }))
    }
}

struct StoredBlob {
    store: Arc<dyn Store>,
    interest: Interest,
    layer: Descriptor,
    reader: BlobReader,
    /// Where the reader is.
    at: u64,
}

impl Blob for StoredBlob {
    fn read(&mut self, range: Range<u64>, _: u64) -> io::Result<Bytes> {
        if self.at != range.start {
            let rest = self.store.open_part(&self.layer, range.start..self.layer.size);
            let reader = self.interest.wait(rest)?.map_err(io::Error::other)?;
            self.reader = reader.ok_or(io::ErrorKind::NotFound)?;
            self.at = range.start;
        }
        let length = (range.end - range.start).min(PIECE);
        let mut bytes = Vec::with_capacity(length as usize);
        self.interest.wait((&mut self.reader).take(length).read_to_end(&mut bytes))??;
        self.at += bytes.len() as u64;
        Ok(bytes.into())
    }

    fn received(&self) -> u64 {
        0
    }

    fn requests(&self) -> usize {
        0
    }

    fn is_local(&self) -> bool {
        true
    }

    fn does_ranges(&self) -> bool {
        true
    }

    fn check_interest(&self) -> io::Result<()> {
        self.interest.check()
    }
}

struct RemoteBlob {
    windows: Windows,
    interest: Interest,
}

impl Blob for RemoteBlob {
    fn read(&mut self, range: Range<u64>, most: u64) -> io::Result<Bytes> {
        self.interest.wait(self.windows.read(range, most))?.map_err(io::Error::other)
    }

    fn received(&self) -> u64 {
        self.windows.received()
    }

    fn requests(&self) -> usize {
        self.windows.requests()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn does_ranges(&self) -> bool {
        self.windows.does_ranges()
    }

    fn check_interest(&self) -> io::Result<()> {
        self.interest.check()
    }
}
