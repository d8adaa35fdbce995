//! Sparse files of GNU tar: where the data that the archive holds belongs in the file.
//!
//! Four spellings, one meaning: pairs of offset and length, in order and without overlap.
//! The old format keeps them in the header and in blocks behind it, pax 0.0 and 0.1 in the
//! extended header, pax 1.0 at the start of the file's content.
//!
//! Specification: GNU tar manual, "Storing Sparse Files". It calls the numbers of pax 1.0
//! octal; GNU tar writes decimal ones, and so does everybody read them.

use super::BLOCK;
use super::number::{decimal, numeric};
use super::pax::{Key, Records};

const BAD: &str = "a bad sparse map";
/// One pair of the old format: two fields of this many bytes.
const FIELD: usize = 12;
/// Pairs in a header of the old format and in each block behind it.
const HEADER_PAIRS: std::ops::Range<usize> = 386..482;
const BLOCK_PAIRS: std::ops::Range<usize> = 0..504;
const REAL_SIZE: std::ops::Range<usize> = 483..495;

/// A run of data within a sparse file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The data of one sparse file, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    size: u64,
    /// Where the last fragment ends.
    end: u64,
    /// Bytes of all fragments.
    data: u64,
    fragments: Vec<Fragment>,
}

impl Map {
    /// A file of this many bytes, all of them a hole so far.
    fn new(size: i64) -> Result<Self, &'static str> {
        Ok(Self { size: u64::try_from(size).map_err(|_| BAD)?, ..Self::default() })
    }

    fn push(&mut self, offset: Option<i64>, length: Option<i64>) -> Result<(), &'static str> {
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).ok_or(BAD);
        let (offset, length) = (number(offset)?, number(length)?);
        // Neither sum can overflow: both were non-negative as signed numbers.
        let end = offset + length;
        if offset < self.end || end > self.size {
            return Err(BAD);
        }
        self.end = end;
        self.data += length;
        if length > 0 {
            self.fragments.push(Fragment { offset, length });
        }
        Ok(())
    }

    /// Bytes of the file, holes included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of data in the archive.
    pub(super) fn data(&self) -> u64 {
        self.data
    }

    pub(super) fn into_fragments(self) -> std::vec::IntoIter<Fragment> {
        self.fragments.into_iter()
    }
}

/// Whether more blocks of a map follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    Follows,
    Ends,
}

/// A map in the old format, read block by block.
#[derive(Debug)]
pub(super) struct OldMap {
    map: Map,
    /// Bytes of the blocks behind the header so far.
    bytes: usize,
}

impl OldMap {
    /// Reads what the header holds.
    pub(super) fn start(header: &[u8; BLOCK]) -> Result<(Self, More), &'static str> {
        let mut old = Self { map: Map::new(numeric(&header[REAL_SIZE]).ok_or(BAD)?)?, bytes: 0 };
        let more = old.read(header, HEADER_PAIRS)?;
        Ok((old, more))
    }

    /// Reads one of the blocks behind the header.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<More, &'static str> {
        self.bytes += BLOCK;
        self.read(block, BLOCK_PAIRS)
    }

    /// Bytes of the blocks behind the header so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&mut self, block: &[u8; BLOCK], pairs: std::ops::Range<usize>) -> Result<More, &'static str> {
        let more = if block[pairs.end] == 0 { More::Ends } else { More::Follows };
        for pair in block[pairs].chunks_exact(2 * FIELD).take_while(|pair| pair[0] != 0) {
            self.map.push(numeric(&pair[..FIELD]), numeric(&pair[FIELD..]))?;
        }
        Ok(more)
    }
}

/// How the pax records of a file describe it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sparse {
    /// It is no sparse file, or of a version that nobody knows.
    No,
    /// The map is in the records.
    Listed(Map),
    /// The map, for a file of this size, precedes the data.
    Inline(i64),
}

/// What the records say, where the size is `size` if they do not give one.
pub(super) fn from_records(records: &Records, size: i64) -> Result<Sparse, &'static str> {
    let version = (records.get(Key::SparseMajor), records.get(Key::SparseMinor));
    let inline = match version {
        (b"0", b"0" | b"1") => false,
        (b"1", b"0") => true,
        (b"", b"") if !records.get(Key::SparseMap).is_empty() => false,
        _ => return Ok(Sparse::No),
    };
    let size = match (records.get(Key::SparseSize), records.get(Key::SparseRealSize)) {
        (b"", b"") => size,
        (b"", real) => decimal(real).ok_or(BAD)?,
        (own, _) => decimal(own).ok_or(BAD)?,
    };
    if inline { Ok(Sparse::Inline(size)) } else { listed(records, size).map(Sparse::Listed) }
}

fn listed(records: &Records, size: i64) -> Result<Map, &'static str> {
    let text = records.get(Key::SparseMap);
    let count = decimal(records.get(Key::SparseCount)).and_then(|count| usize::try_from(count).ok()).ok_or(BAD)?;
    let numbers = if text.is_empty() { 0 } else { text.iter().filter(|byte| **byte == b',').count() + 1 };
    if Some(numbers) != count.checked_mul(2) {
        return Err(BAD);
    }
    let mut map = Map::new(size)?;
    let mut rest = text.split(|byte| *byte == b',').map(decimal);
    for _ in 0..count {
        map.push(rest.next().flatten(), rest.next().flatten())?;
    }
    Ok(map)
}

/// A map of pax 1.0, gathered block by block from the start of the content: the number of
/// pairs, then the pairs, one number per line, filled up to a whole block.
#[derive(Debug)]
pub(super) struct InlineMap {
    size: i64,
    text: Vec<u8>,
    /// Lines gathered so far.
    lines: usize,
    /// Lines there have to be, once the first tells.
    expected: Option<usize>,
}

impl InlineMap {
    pub(super) fn new(size: i64) -> Self {
        Self { size, text: Vec::new(), lines: 0, expected: None }
    }

    /// Bytes gathered so far.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Takes one more block.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<More, &'static str> {
        self.text.extend_from_slice(block);
        self.lines += block.iter().filter(|byte| **byte == b'\n').count();
        if self.lines == 0 {
            return Ok(More::Follows);
        }
        let expected = match self.expected {
            Some(expected) => expected,
            None => self.count()?,
        };
        self.expected = Some(expected);
        Ok(if self.lines < expected { More::Follows } else { More::Ends })
    }

    fn count(&self) -> Result<usize, &'static str> {
        let first = self.text.split(|byte| *byte == b'\n').next().and_then(decimal);
        let pairs = first.and_then(|count| usize::try_from(count).ok()).ok_or(BAD)?;
        pairs.checked_mul(2).and_then(|numbers| numbers.checked_add(1)).ok_or(BAD)
    }

    /// The map, once its last block was taken.
    pub(super) fn into_map(self) -> Result<Map, &'static str> {
        let mut map = Map::new(self.size)?;
        let pairs = self.expected.map_or(0, |lines| lines / 2);
        let mut numbers = self.text.split(|byte| *byte == b'\n').skip(1).map(decimal);
        for _ in 0..pairs {
            map.push(numbers.next().flatten(), numbers.next().flatten())?;
        }
        Ok(map)
    }
}
