//! One layer as a sequence of file entries, inflated by its magic bytes.
//!
//! The walk follows Go's `archive/tar`, because that is what containerd unpacks with, and
//! two readers that disagree would see two images: links, devices and directories have no
//! content whatever their size field says, and an extended header applies to the next
//! entry only. It keeps one header in memory and bounds what an extended one may hold.
//!
//! Specification: POSIX pax interchange format; GNU tar manual, "Basic Tar Format";
//! OCI image-spec, layer.md.

use std::io::{self, BufRead, BufReader, Read};

use tar::{EntryType, Header};

use super::DiagnoseError;
use crate::core::limits::Limits;

const BLOCK: usize = 512;
/// Inflating is a third slower with 16 KiB.
const BUFFER: usize = 256 * 1024;
/// Largest window a zstd frame may demand (128 MiB), the default of the reference decoder.
const ZSTD_WINDOW_LOG: u32 = 27;

/// One file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as the archive spells it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Bytes of content.
    pub size: u64,
}

/// What an entry of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this path.
    Symlink(Vec<u8>),
    /// A second name of the file with this path in the archive.
    HardLink(Vec<u8>),
    /// A device, a pipe, or a sparse file, which no image has as its program.
    Other,
}

/// The entries of one layer, in order.
pub struct Entries<'a> {
    source: Box<dyn Read + 'a>,
    layer: usize,
    limits: Limits,
    /// Inflated bytes read so far.
    offset: u64,
    /// Content of the current entry that was not read yet.
    content: u64,
    /// Zeros between that content and the next header.
    padding: u64,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("layer", &self.layer).field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<'a> Entries<'a> {
    /// Starts on a layer that is gzip, zstd or plain tar. `layer` counts from 1 and only
    /// serves the messages.
    ///
    /// # Errors
    /// [`DiagnoseError::Read`] where not even the first bytes can be read.
    pub fn open(reader: impl Read + 'a, layer: usize, limits: &Limits) -> Result<Self, DiagnoseError> {
        let source = inflate(reader).map_err(|source| DiagnoseError::Read { layer, source })?;
        Ok(Self { source, layer, limits: *limits, offset: 0, content: 0, padding: 0 })
    }

    /// The next entry, or `None` at the end of the archive. Content that was not read is skipped.
    ///
    /// # Errors
    /// [`DiagnoseError`]; the walk cannot go on after it.
    pub fn advance(&mut self) -> Result<Option<Entry>, DiagnoseError> {
        let mut extended = Extended::default();
        loop {
            self.skip(self.content + self.padding)?;
            (self.content, self.padding) = (0, 0);
            let Some(block) = self.header()? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|_| self.malformed("a bad size"))?;
            match kind {
                EntryType::GNULongName => {
                    self.expect(size);
                    extended.path = Some(self.long_name()?);
                }
                EntryType::GNULongLink => {
                    self.expect(size);
                    extended.link = Some(self.long_name()?);
                }
                EntryType::XHeader => {
                    self.expect(size);
                    self.pax(&mut extended)?;
                }
                EntryType::XGlobalHeader => self.expect(size),
                _ => return self.entry(header, extended).map(Some),
            }
        }
    }

    /// The first bytes of the current entry's content, at most `limit`.
    ///
    /// # Errors
    /// [`DiagnoseError`] where the archive ends before.
    pub fn content(&mut self, limit: usize) -> Result<Vec<u8>, DiagnoseError> {
        let length = self.content.min(limit as u64);
        self.charge(length)?;
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes).map_err(|source| self.failed(source))?;
        if (bytes.len() as u64) < length {
            return Err(self.malformed("the end of the archive inside a file"));
        }
        self.content -= length;
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> Result<Entry, DiagnoseError> {
        let size = header.entry_size().map_err(|_| self.malformed("a bad size"))?;
        let size = extended.size.unwrap_or(size);
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || extended.link.clone().or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default();
        let kind = match header.entry_type() {
            _ if extended.sparse => EntryKind::Other,
            EntryType::Regular if path.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => EntryKind::File,
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink(link()),
            EntryType::Link => EntryKind::HardLink(link()),
            _ => EntryKind::Other,
        };
        let has_content = !matches!(
            header.entry_type(),
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        if has_content {
            self.expect(size);
        }
        let mut more = header.as_gnu().is_some_and(|gnu| header.entry_type().is_gnu_sparse() && gnu.is_extended());
        while more {
            let map = self.block()?.ok_or_else(|| self.malformed("the end of the archive inside a sparse map"))?;
            // The byte behind the 21 pairs of a continued sparse map says whether it goes on.
            more = map[504] != 0;
        }
        let mode = header.mode().map_err(|_| self.malformed("a bad mode"))? & 0o7777;
        Ok(Entry { path, kind, mode, size: if has_content { size } else { 0 } })
    }

    /// Notes that the entry just begun has this much content.
    fn expect(&mut self, size: u64) {
        self.content = size;
        // A size that cannot be rounded up is over every limit, which is noticed when it is skipped.
        self.padding = size.checked_next_multiple_of(BLOCK as u64).map_or(0, |end| end - size);
    }

    /// The next header, its checksum proven; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, DiagnoseError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = |range: std::ops::Range<usize>| block[range].iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The checksum counts its own eight bytes as spaces.
        let expected = sum(0..148) + 8 * u32::from(b' ') + sum(156..BLOCK);
        if Header::from_byte_slice(&block).cksum().ok() != Some(expected) {
            return Err(self.malformed("a header whose checksum is wrong"));
        }
        Ok(Some(block))
    }

    fn long_name(&mut self) -> Result<Vec<u8>, DiagnoseError> {
        let mut name = self.bounded(self.limits.tar_name_bytes, "a file name")?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn pax(&mut self, extended: &mut Extended) -> Result<(), DiagnoseError> {
        let bytes = self.bounded(self.limits.tar_pax_bytes, "an extended header")?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (key, value, next) = pax_record(rest).ok_or_else(|| self.malformed("a bad extended header"))?;
            match key {
                b"path" => extended.path = Some(value.into()),
                b"linkpath" => extended.link = Some(value.into()),
                b"size" => extended.size = Some(decimal(value).ok_or_else(|| self.malformed("a bad size"))?),
                key => extended.sparse |= key.starts_with(b"GNU.sparse."),
            }
            rest = next;
        }
        for name in [&extended.path, &extended.link].into_iter().flatten() {
            if name.len() > self.limits.tar_name_bytes {
                return Err(self.too_large("a file name", self.limits.tar_name_bytes as u64));
            }
        }
        Ok(())
    }

    fn bounded(&mut self, limit: usize, what: &'static str) -> Result<Vec<u8>, DiagnoseError> {
        if self.content > limit as u64 {
            return Err(self.too_large(what, limit as u64));
        }
        self.content(limit)
    }

    /// The next 512 bytes; `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, DiagnoseError> {
        self.charge(BLOCK as u64)?;
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.malformed("the end of the archive inside a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(Some(block))
    }

    fn skip(&mut self, length: u64) -> Result<(), DiagnoseError> {
        self.charge(length)?;
        let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink());
        match skipped.map_err(|source| self.failed(source))? {
            count if count < length => Err(self.malformed("the end of the archive inside a file")),
            _ => Ok(()),
        }
    }

    /// Counts bytes before they are read, so that no header can make us inflate without end.
    fn charge(&mut self, length: u64) -> Result<(), DiagnoseError> {
        self.offset = self.offset.saturating_add(length);
        if self.offset > self.limits.layer_inflated_bytes {
            return Err(self.too_large("inflated content", self.limits.layer_inflated_bytes));
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> DiagnoseError {
        DiagnoseError::Read { layer: self.layer, source }
    }

    fn malformed(&self, reason: &'static str) -> DiagnoseError {
        DiagnoseError::Malformed { layer: self.layer, reason, offset: self.offset }
    }

    fn too_large(&self, what: &'static str, limit: u64) -> DiagnoseError {
        DiagnoseError::TooLarge { layer: self.layer, what, limit }
    }
}

/// The tar stream inside a layer, whatever its media type claims.
fn inflate<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = reader;
    let mut magic = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    // A frame, or one of the sixteen kinds of skippable frame that may precede it.
    let zstd = matches!(magic[..], [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(magic).chain(reader));
    if gzip {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)))
    } else if zstd {
        Ok(Box::new(zstd_decoder(whole)?))
    } else {
        Ok(Box::new(whole))
    }
}

fn zstd_decoder<R: BufRead>(reader: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// Splits `LENGTH KEY=VALUE\n` off; the length counts the whole record, so a value may
/// hold any byte.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
