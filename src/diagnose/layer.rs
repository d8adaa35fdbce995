//! One layer as a sequence of file entries, inflated by its magic bytes.
//!
//! It is inflated and read by [`unpack::inflate`](crate::unpack::inflate) and
//! [`unpack::archive`](crate::unpack::archive), which unpack layers as well: what this room finds is
//! what would run, and takes no more memory. Here it is fed one block at a
//! time, so that whoever walks the entries can ask for the content of the last one.
//!
//! Specification: OCI image-spec, layer.md.

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use super::DiagnoseError;
use crate::core::extract::Extract;
use crate::core::limits::Limits;
use crate::unpack::archive::{Archive, ArchiveError, Entry, Fault, Kind, Sink};
use crate::unpack::inflate::{InflateError, Inflater, Progress};

/// Headers begin at multiples of this.
const BLOCK: usize = 512;
/// Inflating is a third slower with 16 KiB.
const BUFFER: usize = 256 * 1024;

/// The entries of one layer, in order.
pub struct Entries<'a> {
    source: Inflated<Box<dyn Read + Send + 'a>>,
    layer: usize,
    /// None at the end of the layer.
    archive: Option<Archive>,
    latest: Latest,
    /// Inflated bytes read so far.
    offset: u64,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("layer", &self.layer).field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// The entry that was read last, and the parts of its content that were asked for.
#[derive(Default)]
struct Latest {
    /// Until it is handed on.
    entry: Option<Entry>,
    wanted: Vec<Range<u64>>,
    kept: Extract,
    /// Where its content goes on.
    reached: u64,
    is_whole: bool,
}

impl Latest {
    /// Takes the next bytes; up to where they begin there is a hole.
    fn take(&mut self, start: u64, bytes: &[u8]) {
        let end = start + bytes.len() as u64;
        for wanted in &self.wanted {
            let hole = wanted.start.max(self.reached)..wanted.end.min(start);
            if !hole.is_empty() {
                self.kept.add(hole.start, vec![0; (hole.end - hole.start) as usize]);
            }
            let part = wanted.start.max(start)..wanted.end.min(end);
            if !part.is_empty() {
                self.kept.add(part.start, bytes[(part.start - start) as usize..(part.end - start) as usize].to_vec());
            }
        }
        self.reached = end;
    }
}

impl Sink for Latest {
    type Error = Infallible;

    fn entry(&mut self, entry: Entry) -> Result<(), Infallible> {
        let size = if let Kind::File { size } = entry.kind { size } else { 0 };
        *self = Self { entry: Some(entry), kept: Extract::new(size, Vec::new()), ..Self::default() };
        Ok(())
    }

    fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Infallible> {
        self.take(offset, bytes);
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), Infallible> {
        self.take(self.kept.size(), &[]);
        self.is_whole = true;
        Ok(())
    }
}

impl<'a> Entries<'a> {
    /// Starts on a layer that is gzip, zstd or plain tar. `layer` counts from 1 and only
    /// serves the messages.
    #[must_use]
    pub fn open(reader: impl Read + Send + 'a, layer: usize, limits: &Limits) -> Self {
        Self {
            source: inflate(Box::new(reader) as _),
            layer,
            archive: Some(Archive::new(limits)),
            latest: Latest::default(),
            offset: 0,
        }
    }

    /// The next entry, or `None` at the end of the layer. Content that was not read is skipped.
    ///
    /// # Errors
    /// [`DiagnoseError`]; the walk cannot go on after it.
    pub fn advance(&mut self) -> Result<Option<Entry>, DiagnoseError> {
        self.latest.wanted.clear();
        while self.latest.entry.is_none() && self.archive.is_some() {
            self.feed()?;
        }
        Ok(self.latest.entry.take())
    }

    /// The first bytes of the current entry's content, at most `limit`; once per entry, for
    /// what follows them is gone then.
    ///
    /// # Errors
    /// [`DiagnoseError`] where the archive ends before.
    pub fn content(&mut self, limit: usize) -> Result<Vec<u8>, DiagnoseError> {
        self.keep_start(limit as u64)?;
        Ok(self.kept().prefix().to_vec())
    }

    /// [`Entries::keep`] of the first bytes, at most `limit`.
    ///
    /// # Errors
    /// As of [`Entries::keep`].
    pub fn keep_start(&mut self, limit: u64) -> Result<(), DiagnoseError> {
        self.keep(std::iter::once(0..limit).collect())
    }

    /// Reads on until these parts of the current entry's content have come, which
    /// [`Entries::kept`] hands out. Their sizes are the memory that it takes.
    ///
    /// # Errors
    /// [`DiagnoseError`] where they cannot be read; those that came before are kept.
    pub fn keep(&mut self, parts: Vec<Range<u64>>) -> Result<(), DiagnoseError> {
        let end = parts.iter().map(|part| part.end).max().unwrap_or(0).min(self.latest.kept.size());
        self.latest.wanted = parts;
        while !self.latest.is_whole && self.latest.reached < end && self.archive.is_some() {
            self.feed()?;
        }
        self.latest.wanted.clear();
        Ok(())
    }

    /// What is there of the current entry's content, without what was handed out before.
    pub fn kept(&mut self) -> Extract {
        let size = self.latest.kept.size();
        std::mem::replace(&mut self.latest.kept, Extract::new(size, Vec::new()))
    }

    /// The content so far, to find out which parts of the rest are worth keeping.
    #[must_use]
    pub fn so_far(&self) -> &Extract {
        &self.latest.kept
    }

    /// Reads to the end of the current block: a header's last byte, and none of its content.
    fn feed(&mut self) -> Result<(), DiagnoseError> {
        let Some(archive) = &mut self.archive else { return Ok(()) };
        let layer = self.layer;
        let bytes = loop {
            match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|source| DiagnoseError::Read { layer, source })?,
            }
        };
        let count = bytes.len().min(BLOCK - (self.offset % BLOCK as u64) as usize);
        let result = match count {
            0 => self.archive.take().map_or(Ok(()), Archive::finish),
            _ => archive.push(&bytes[..count], &mut self.latest).map_err(|error| match error {
                ArchiveError::Archive(fault) => fault,
                ArchiveError::Sink(never) => match never {},
            }),
        };
        self.source.consume(count);
        self.offset += count as u64;
        result.map_err(|fault| match fault {
            Fault::TooLarge { what, limit } => DiagnoseError::TooLarge { layer, what, limit },
            source => DiagnoseError::Archive { layer, source },
        })
    }
}

/// What is inside a stream that may be compressed, whatever its media type claims.
pub(super) type Inflated<R> = BufReader<Inflating<R>>;

/// Reads what is inside of `reader`.
pub(super) fn inflate<R: Read>(reader: R) -> Inflated<R> {
    let source = BufReader::with_capacity(BUFFER, reader);
    BufReader::with_capacity(BUFFER, Inflating { source, inflater: Inflater::by_magic() })
}

/// Whether a layer wants more memory to be inflated than there is for one.
pub(super) fn is_too_large(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|cause| cause.downcast_ref()), Some(InflateError::Window))
}

/// Inflates what it reads.
pub(super) struct Inflating<R> {
    source: BufReader<R>,
    inflater: Inflater,
}

impl<R: Read> Read for Inflating<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.source.fill_buf()?;
            let is_end = input.is_empty();
            if is_end {
                self.inflater.end_of_input().map_err(io::Error::other)?;
            }
            let progress = self.inflater.step(input, buffer).map_err(io::Error::other)?;
            self.source.consume(progress.consumed);
            if progress.produced > 0 || buffer.is_empty() {
                return Ok(progress.produced);
            }
            if is_end && progress == Progress::NONE {
                return self.inflater.finish().map(|()| 0).map_err(io::Error::other);
            }
        }
    }
}

#[cfg(test)]
mod tests;
