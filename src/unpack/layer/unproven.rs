//! Bytes of a layer that nobody vouches for until the last one is read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;

use tokio::io::AsyncReadExt;

use super::{LayerError, most_buffers, with_window};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Verifier;
use crate::store::{BlobReader, StoreError};
use crate::unpack::inflate;

/// A blob that is checked against its descriptor as it is read. Its end is an error where the
/// bytes were not the right ones.
pub struct Unproven {
    input: Input,
    /// Gone once it has judged.
    verifier: Option<Verifier>,
}

enum Input {
    File(File),
    Stream(BlobReader),
}

impl Unproven {
    /// A blob in a file of this machine, read from its start. Reading it blocks.
    #[must_use]
    pub fn file(file: File, blob: &Descriptor) -> Self {
        Self::new(Input::File(file), blob)
    }

    /// A blob that somebody sends.
    #[must_use]
    pub fn stream(reader: BlobReader, blob: &Descriptor) -> Self {
        Self::new(Input::Stream(reader), blob)
    }

    /// Bytes that the layer holds in buffers while it grows, as of [`super::buffers`].
    #[must_use]
    pub fn buffers(&self, media_type: &MediaType) -> u32 {
        let mut first = [0; inflate::PEEKED];
        match &self.input {
            // What cannot be read is told when it is to be.
            Input::File(file) => match file.read_at(&mut first, 0) {
                Ok(count) => with_window(inflate::window(media_type, &first[..count])),
                Err(_) => with_window(0),
            },
            Input::Stream(_) => most_buffers(),
        }
    }

    fn new(input: Input, blob: &Descriptor) -> Self {
        Self { input, verifier: Some(Verifier::new(blob.digest.clone(), blob.size)) }
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let count = match &mut self.input {
            Input::File(file) => read_some(file, buffer),
            Input::Stream(reader) => reader.read(buffer).await,
        };
        let count = count.map_err(LayerError::Read)?;
        match &mut self.verifier {
            Some(verifier) if count > 0 => verifier.update(&buffer[..count]).map_err(StoreError::from)?,
            verifier => {
                let proven = verifier.take().map(|verifier| verifier.finish(()));
                proven.transpose().map_err(StoreError::from)?;
            }
        }
        Ok(count)
    }
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            count => return count,
        }
    }
}

impl std::fmt::Debug for Unproven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unproven").finish_non_exhaustive()
    }
}
