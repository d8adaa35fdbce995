//! Tables of contents of layers that can be read in parts: eStargz and zstd:chunked.
//!
//! Both are ordinary layers whose files are compressed each for themselves, with a list of them
//! at the end. The list says what is in a layer and where, for a few requests. It is not what a
//! runtime unpacks, so it proves nothing: what is found by it is told as not verified, and that
//! something is not in it is not believed.
//!
//! Specification: stargz-snapshotter, docs/estargz.md; containers/storage,
//! pkg/chunked/internal (the format has no other).

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::extract::Extract;
use crate::core::limits::Limits;
use crate::diagnose::layer::{Entries, Inflated, inflate};
use crate::diagnose::tree::{FileAt, Name};
use crate::unpack::archive::Kind;

use super::layer::{Further, START};
use super::stream::{Reader, Stream};

/// The digest of an eStargz layer's list, uncompressed.
const STARGZ_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Where the list of a zstd:chunked layer is: offset, bytes, bytes uncompressed, type.
const CHUNKED_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// Its digest, compressed.
const CHUNKED_DIGEST: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// The only type of list there is.
const CHUNKED_TYPE: u64 = 1;
/// Name of the list in an eStargz layer, and the end of the layer that says where it is: an empty
/// gzip member whose header has the offset in its extra field.
const STARGZ_LIST: &[u8] = b"stargz.index.json";
const FOOTER: u64 = 51;
const FOOTER_OFFSET: Range<usize> = 16..32;
const FOOTER_MAGIC: Range<usize> = 32..38;
/// Bytes of a list. One of ten thousand files has about 3 MB; whoever has a larger one is read as
/// others are.
const LARGEST: u64 = 8 * 1024 * 1024;
/// Bytes in memory for what is kept of one list. Ordinary ones take less than they have themselves.
const MEMORY: u64 = 24 * 1024 * 1024;

/// The files of a layer, and where their contents are.
#[derive(Debug, Default)]
pub(super) struct Toc {
    pub(super) names: Vec<Name>,
    /// With the position of the name, and in its order.
    chunks: Vec<(usize, Chunk)>,
}

/// A part of a file that is compressed for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    /// Where in the file it begins.
    at: u64,
    /// Where in the blob.
    offset: u64,
    /// Uncompressed bytes between that and the chunk's first one.
    skip: u64,
}

/// A chunk that is being read.
struct Opened {
    reader: Inflated<Reader>,
    /// Where in the file it is.
    at: u64,
}

/// Why a list is of no use. The layer can be read without it.
#[derive(Debug, thiserror::Error)]
pub(super) enum TocError {
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Layer(#[from] crate::diagnose::DiagnoseError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("its digest is {0}, not that of the annotation")]
    Wrong(Digest),
    #[error("{0}")]
    Malformed(&'static str),
}

#[derive(Deserialize)]
struct Raw {
    entries: Toc,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    link_name: String,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    chunk_offset: u64,
    #[serde(default)]
    inner_offset: u64,
}

impl Toc {
    /// Whether a layer says that it has a list.
    pub(super) fn is_announced(layer: &Descriptor) -> bool {
        [STARGZ_DIGEST, CHUNKED_POSITION].iter().any(|name| layer.annotations.contains_key(*name))
    }

    /// Reads the list of a layer that says so.
    pub(super) fn read(layer: &Descriptor, stream: &Stream, limits: &Limits) -> Result<Self, TocError> {
        let json = match layer.annotations.get(CHUNKED_POSITION) {
            Some(position) => chunked(layer, position, stream)?,
            None => stargz(layer, stream, limits)?,
        };
        Ok(Self::parse(&json)?)
    }

    fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json).map(|Raw { entries }| entries)
    }

    /// Takes the next entry; the bytes in memory that its name takes.
    fn add(&mut self, entry: RawEntry) -> u64 {
        let position = match (entry.kind.as_str(), self.names.len().checked_sub(1)) {
            ("chunk", Some(last)) => last,
            ("chunk", None) => return 0,
            _ => self.names.len(),
        };
        let is_chunk = entry.kind == "chunk";
        if is_chunk || (entry.kind == "reg" && entry.size > 0) {
            let chunk = Chunk { at: entry.chunk_offset, offset: entry.offset, skip: entry.inner_offset };
            self.chunks.push((position, chunk));
        }
        if is_chunk {
            return 0;
        }
        let name = Name::from(entry);
        let cost = name.cost();
        self.names.push(name);
        cost
    }

    /// Bytes in memory for where contents are.
    pub(super) fn chunk_bytes(&self) -> u64 {
        (self.chunks.len() * size_of::<(usize, Chunk)>()) as u64
    }

    /// Reads the start of a file, and the parts that `further` names then.
    pub(super) fn content(
        &self,
        stream: &Stream,
        file: FileAt,
        further: Further<'_>,
        content: &mut Extract,
    ) -> io::Result<()> {
        let mut opened = None;
        let mut read = |content: &mut Extract, part: Range<u64>| {
            let part = part.start..part.end.min(file.size);
            if !part.is_empty() {
                content.add(part.start, self.part(stream, file.entry, part, &mut opened)?);
            }
            Ok::<(), io::Error>(())
        };
        read(content, 0..START)?;
        let parts = further(content.prefix(), file.size);
        parts.into_iter().try_for_each(|part| read(content, part))
    }

    /// Reads some of a file, on from where the last part of it ended if that is in the same chunk.
    fn part(
        &self,
        stream: &Stream,
        entry: usize,
        part: Range<u64>,
        opened: &mut Option<Opened>,
    ) -> io::Result<Vec<u8>> {
        let chunk = self.chunk(entry, part.start).ok_or(io::ErrorKind::InvalidData)?;
        let mut reading = match opened.take().filter(|opened| (chunk.at..=part.start).contains(&opened.at)) {
            Some(reading) => reading,
            None => {
                let mut reader = inflate(stream.from(chunk.offset));
                pass(&mut reader, chunk.skip)?;
                Opened { reader, at: chunk.at }
            }
        };
        pass(&mut reading.reader, part.start - reading.at)?;
        let mut bytes = Vec::new();
        reading.reader.by_ref().take(part.end - part.start).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < part.end - part.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *opened = Some(Opened { at: part.end, ..reading });
        Ok(bytes)
    }

    /// The chunk of a file to begin with for what is at `at`; `None` for a file without content.
    fn chunk(&self, position: usize, at: u64) -> Option<Chunk> {
        let first = self.chunks.partition_point(|(of, _)| *of < position);
        let of_file = self.chunks[first..].iter().take_while(|(of, _)| *of == position).map(|(_, chunk)| *chunk);
        of_file.filter(|chunk| chunk.at <= at).max_by_key(|chunk| chunk.at)
    }
}

impl<'de> Deserialize<'de> for Toc {
    /// Entry by entry: all of them spelled out would take several times the memory of what is kept.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Entry)
    }
}

struct Entry;

impl<'de> Visitor<'de> for Entry {
    type Value = Toc;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries of a table of contents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Toc, A::Error> {
        let mut toc = Toc::default();
        let mut names = 0;
        while let Some(entry) = entries.next_element::<RawEntry>()? {
            names += toc.add(entry);
            if names + toc.chunk_bytes() > MEMORY {
                return Err(A::Error::custom("it takes too much memory"));
            }
        }
        Ok(toc)
    }
}

impl From<RawEntry> for Name {
    fn from(entry: RawEntry) -> Self {
        let link = entry.link_name.into_bytes();
        let kind = match entry.kind.as_str() {
            "reg" => Kind::File { size: entry.size },
            "dir" => Kind::Directory,
            "symlink" => Kind::Symlink(link),
            "hardlink" => Kind::HardLink(link),
            "char" => Kind::Char { major: 0, minor: 0 },
            "block" => Kind::Block { major: 0, minor: 0 },
            "fifo" => Kind::Fifo,
            _ => Kind::Unsupported { flag: 0 },
        };
        Self { path: entry.name.into_bytes(), kind, mode: entry.mode & 0o7777 }
    }
}

/// The list of an eStargz layer, found by the layer's last bytes.
fn stargz(layer: &Descriptor, stream: &Stream, limits: &Limits) -> Result<Vec<u8>, TocError> {
    let end = layer.size.checked_sub(FOOTER).ok_or(TocError::Malformed("the layer is shorter than a footer"))?;
    let footer = stream.exactly(end..layer.size)?;
    let offset = std::str::from_utf8(&footer[FOOTER_OFFSET]).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let is_right = |offset: &u64| *offset < end && end - offset <= LARGEST && &footer[FOOTER_MAGIC] == b"STARGZ";
    let offset = offset.filter(is_right);
    let offset = offset.ok_or(TocError::Malformed("the layer has no footer of eStargz"))?;
    let packed = stream.exactly(offset..end)?;
    let limits = Limits { layer_inflated_bytes: LARGEST, ..*limits };
    let mut entries = Entries::open(packed.as_slice(), 0, &limits);
    while let Some(entry) = entries.advance()? {
        if entry.path == STARGZ_LIST {
            let json = entries.content(LARGEST as usize)?;
            check(layer.annotations.get(STARGZ_DIGEST), &json)?;
            return Ok(json);
        }
    }
    Err(TocError::Malformed("there is no list where the footer says"))
}

/// The list of a zstd:chunked layer, found by an annotation.
fn chunked(layer: &Descriptor, position: &str, stream: &Stream) -> Result<Vec<u8>, TocError> {
    let numbers: Vec<u64> = position.split(':').map_while(|number| number.parse().ok()).collect();
    let &[offset, length, inflated, CHUNKED_TYPE] = numbers.as_slice() else {
        return Err(TocError::Malformed("the annotation does not say where the list is"));
    };
    let end = offset.checked_add(length).filter(|end| *end <= layer.size && length.max(inflated) <= LARGEST);
    let packed =
        stream.exactly(offset..end.ok_or(TocError::Malformed("the list is not in the layer, or too large"))?)?;
    check(layer.annotations.get(CHUNKED_DIGEST), &packed)?;
    let mut json = Vec::new();
    inflate(packed.as_slice()).take(inflated).read_to_end(&mut json)?;
    Ok(json)
}

/// Passes over so many bytes.
fn pass(reader: &mut impl Read, bytes: u64) -> io::Result<()> {
    let passed = io::copy(&mut reader.take(bytes), &mut io::sink())?;
    if passed < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Holds a list against its annotation, where there is one.
fn check(announced: Option<&String>, bytes: &[u8]) -> Result<(), TocError> {
    let digest = Digest::of(bytes);
    match announced {
        Some(announced) if *announced != digest.to_string() => Err(TocError::Wrong(digest)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
