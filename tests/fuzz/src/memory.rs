//! Layers in memory, near and far.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use lighterman::core::descriptor::{Descriptor, MediaType};
use lighterman::core::digest::Digest;
use lighterman::diagnose::rootfs::blobs::{Blob, Blobs};
use lighterman::diagnose::rootfs::layers::{Effort, Layers};

/// The descriptor of a layer.
#[must_use]
pub fn layer(bytes: &[u8]) -> Descriptor {
    let kind = MediaType::parse("application/vnd.oci.image.layer.v1.tar");
    Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64)
}

/// The files of an image. Layers that are not local cost what they cost.
///
/// # Panics
/// Where not even that much works.
#[must_use]
pub fn open(descriptors: &[Descriptor], layers: &[&[u8]], is_local: bool, effort: Effort) -> Layers {
    let layers = layers.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
    Layers::new(descriptors, Vec::new(), &mut Memory { layers, is_local }, effort).expect("nothing is read")
}

struct Memory {
    layers: Vec<Bytes>,
    is_local: bool,
}

impl Blobs for Memory {
    fn open(&mut self, layer: &Descriptor) -> io::Result<Box<dyn Blob>> {
        let found = self.layers.iter().find(|bytes| Digest::of(bytes) == layer.digest);
        let bytes = found.cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Held { bytes, is_local: self.is_local, received: 0, requests: 0 }))
    }
}

struct Held {
    bytes: Bytes,
    is_local: bool,
    received: u64,
    requests: usize,
}

impl Blob for Held {
    fn read(&mut self, range: Range<u64>, most: u64) -> io::Result<Bytes> {
        let end = range.end.min(self.bytes.len() as u64);
        let end = if self.is_local { end } else { end.min(range.start.saturating_add(most)) };
        if range.start >= end {
            return Ok(Bytes::new());
        }
        if !self.is_local {
            self.received += end - range.start;
            self.requests += 1;
        }
        Ok(self.bytes.slice(range.start as usize..end as usize))
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn requests(&self) -> usize {
        self.requests
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn does_ranges(&self) -> bool {
        true
    }
}
