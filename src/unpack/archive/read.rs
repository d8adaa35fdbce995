//! The steps of reading: which bytes come next and what they mean.

use super::header::{Format, Header};
use super::number::until_nul;
use super::pax::{Key, Records};
use super::sparse::{self, Fragment, InlineMap, Map, More, OldMap, Sparse};
use super::{Archive, ArchiveError, BLOCK, Entry, Fault, Kind, Sink, Time};

/// Room taken at once for an extended header; larger ones grow as their bytes come.
const FIRST_ROOM: usize = 16 * 1024;

/// What the next bytes are.
#[derive(Debug, Default)]
pub(super) enum State {
    /// A header, or a block of zeros.
    #[default]
    Header,
    /// The second block of zeros.
    Zeros,
    /// The body of an extended header.
    Extended(Box<Extended>),
    /// More of a sparse map of the old format.
    OldMap(OldMap, Box<Begun>),
    /// A sparse map at the start of the content.
    InlineMap(InlineMap, Box<Begun>),
    /// Content of an entry.
    Content(Content),
    /// Zeros up to the next whole block.
    Padding(u64),
    /// Nothing that matters.
    End,
    /// Nothing that could be made sense of.
    Failed,
}

impl State {
    /// What a stream that ends now, with so many bytes of a block, is cut inside of.
    pub(super) fn unfinished(&self, filled: usize) -> Option<&'static str> {
        match self {
            Self::Header | Self::Zeros => (filled > 0).then_some("a header"),
            Self::Extended(_) => Some("an extended header"),
            Self::OldMap(..) | Self::InlineMap(..) => Some("a sparse map"),
            Self::Content(_) => Some("a file"),
            Self::Padding(_) | Self::End | Self::Failed => None,
        }
    }
}

/// What headers before an entry say about it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: Records,
    long_name: Vec<u8>,
    long_link: Vec<u8>,
}

/// An extended header on its way.
#[derive(Debug)]
pub(super) struct Extended {
    header: Header,
    /// Bytes that are still to come, and the padding behind them.
    left: u64,
    padding: u64,
    body: Vec<u8>,
}

/// An entry whose sparse map is on its way.
#[derive(Debug)]
pub(super) struct Begun {
    header: Header,
    records: Records,
    /// Bytes of content that are still to come, and the padding behind them.
    left: u64,
    padding: u64,
}

/// Where the content of the current entry goes.
#[derive(Debug)]
pub(super) struct Content {
    /// Bytes that are still to come, and the padding behind them.
    left: u64,
    padding: u64,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Nowhere.
    Skipped,
    /// To the file, from this offset on.
    Whole(u64),
    /// To the first of these runs, then to the others.
    Sparse(Fragment, std::vec::IntoIter<Fragment>),
}

impl Target {
    /// Where the next bytes go, `most` at most, and how many of them.
    fn place(&mut self, most: u64) -> (Option<u64>, u64) {
        match self {
            Self::Skipped => (None, most),
            Self::Whole(at) => (Some(std::mem::replace(at, *at + most)), most),
            Self::Sparse(run, others) => {
                if run.length == 0 {
                    let Some(next) = others.next() else { return (None, most) };
                    *run = next;
                }
                let length = most.min(run.length);
                let offset = run.offset;
                *run = Fragment { offset: offset + length, length: run.length - length };
                (Some(offset), length)
            }
        }
    }
}

impl Archive {
    /// Takes bytes step by step. Every step takes one at least.
    pub(super) fn advance<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), ArchiveError<S::Error>> {
        let most = self.limits.layer_inflated_bytes - self.taken;
        let fitting = usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len()));
        let mut rest = &bytes[..fitting];
        while !rest.is_empty() {
            let before = self.taken;
            self.step(rest, sink)?;
            rest = &rest[(self.taken - before) as usize..];
        }
        if fitting < bytes.len() { Err(self.inflated_too_large().into()) } else { Ok(()) }
    }

    fn step<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), ArchiveError<S::Error>> {
        match std::mem::take(&mut self.state) {
            State::Extended(extended) => self.extend(extended, bytes, sink),
            State::Content(content) => self.fill(content, bytes, sink),
            State::Padding(left) => {
                let count = left.min(bytes.len() as u64);
                self.taken += count;
                self.align(left - count);
                Ok(())
            }
            State::End => {
                self.taken += bytes.len() as u64;
                self.state = State::End;
                Ok(())
            }
            State::Failed => Err(self.malformed("an error before its end", 0).into()),
            state => match self.gather(bytes) {
                Some(block) => self.block(state, &block, sink),
                None => {
                    self.state = state;
                    Ok(())
                }
            },
        }
    }

    /// The block at hand, once it is whole.
    fn gather(&mut self, bytes: &[u8]) -> Option<[u8; BLOCK]> {
        let count = bytes.len().min(BLOCK - self.filled);
        self.block[self.filled..][..count].copy_from_slice(&bytes[..count]);
        self.filled = (self.filled + count) % BLOCK;
        self.taken += count as u64;
        (self.filled == 0).then_some(self.block)
    }

    fn block<S: Sink>(
        &mut self,
        state: State,
        block: &[u8; BLOCK],
        sink: &mut S,
    ) -> Result<(), ArchiveError<S::Error>> {
        let malformed = |reason| self.malformed(reason, BLOCK as u64);
        match state {
            State::OldMap(mut map, begun) => {
                let more = map.extend(block).map_err(malformed)?;
                self.old_map(map, more, begun, sink)
            }
            State::InlineMap(mut map, mut begun) => {
                begun.left -= BLOCK as u64;
                match map.extend(block).map_err(malformed)? {
                    More::Follows => Ok(self.inline_map(map, begun)?),
                    More::Ends => {
                        let map = map.into_map().map_err(malformed)?;
                        self.open(*begun, Some(map), sink)
                    }
                }
            }
            State::Zeros if *block == [0; BLOCK] => {
                self.state = State::End;
                Ok(())
            }
            State::Zeros => Err(malformed("a single block of zeros before a header").into()),
            _ if *block == [0; BLOCK] => {
                self.state = State::Zeros;
                Ok(())
            }
            _ => {
                let header = Header::parse(block).map_err(malformed)?;
                let left = self.stored(&header)?;
                match header.flag {
                    b'x' | b'g' | b'L' | b'K' => self.start_extended(header, left, sink),
                    _ => self.begin(header, block, sink),
                }
            }
        }
    }

    fn start_extended<S: Sink>(
        &mut self,
        header: Header,
        left: u64,
        sink: &mut S,
    ) -> Result<(), ArchiveError<S::Error>> {
        if left > self.limits.tar_pax_bytes as u64 {
            return Err(too_large("an extended header", self.limits.tar_pax_bytes).into());
        }
        let body = Vec::with_capacity(FIRST_ROOM.min(left as usize));
        self.extend(Box::new(Extended { header, left, padding: padding(left), body }), &[], sink)
    }

    /// Gathers the body of an extended header.
    fn extend<S: Sink>(
        &mut self,
        mut extended: Box<Extended>,
        bytes: &[u8],
        sink: &mut S,
    ) -> Result<(), ArchiveError<S::Error>> {
        let count = extended.left.min(bytes.len() as u64);
        extended.body.extend_from_slice(&bytes[..count as usize]);
        extended.left -= count;
        self.taken += count;
        if extended.left > 0 {
            self.state = State::Extended(extended);
            return Ok(());
        }
        self.align(extended.padding);
        let body = &extended.body;
        let records = || Records::parse(body).map_err(|reason| self.malformed(reason, body.len() as u64));
        match extended.header.flag {
            b'x' => self.pending.records = records()?,
            b'L' => self.pending.long_name = until_nul(body).to_vec(),
            b'K' => self.pending.long_link = until_nul(body).to_vec(),
            _ => {
                let path = records()?.take(Key::Path).unwrap_or(extended.header.name);
                return self.global(path, sink);
            }
        }
        Ok(())
    }

    fn global<S: Sink>(&mut self, path: Vec<u8>, sink: &mut S) -> Result<(), ArchiveError<S::Error>> {
        self.pending = Pending::default();
        self.check_name(&path)?;
        let modified = Time { seconds: 0, nanos: 0 };
        let xattrs = Vec::new();
        let entry = Entry { path, kind: Kind::Global, mode: 0, uid: 0, gid: 0, modified, accessed: None, xattrs };
        sink.entry(entry).and_then(|()| sink.end_entry()).map_err(ArchiveError::Sink)
    }

    /// Puts a header and what was said before it together.
    fn begin<S: Sink>(
        &mut self,
        mut header: Header,
        block: &[u8; BLOCK],
        sink: &mut S,
    ) -> Result<(), ArchiveError<S::Error>> {
        let Pending { mut records, long_name, long_link } = std::mem::take(&mut self.pending);
        let malformed = |reason| self.malformed(reason, BLOCK as u64);
        header.merge(&mut records).map_err(malformed)?;
        if !long_name.is_empty() {
            header.name = long_name;
        }
        if !long_link.is_empty() {
            header.link = long_link;
        }
        if header.flag == 0 {
            header.flag = if header.name.ends_with(b"/") { b'5' } else { b'0' };
        }
        let left = self.stored(&header)?;
        let sparse = match header.flag {
            b'S' => Sparse::No,
            _ => sparse::from_records(&records, header.size).map_err(malformed)?,
        };
        if sparse != Sparse::No {
            if header.is_header_only() {
                return Err(malformed("a sparse file that is none").into());
            }
            header.name = records.take(Key::SparseName).unwrap_or(header.name);
        }
        let is_old = header.flag == b'S';
        let is_gnu = header.format == Format::Gnu;
        let begun = Box::new(Begun { header, records, left, padding: padding(left) });
        match sparse {
            Sparse::No if is_old && !is_gnu => Err(malformed("a sparse file of an unknown format").into()),
            Sparse::No if is_old => {
                let (map, more) = OldMap::start(block).map_err(malformed)?;
                self.old_map(map, more, begun, sink)
            }
            Sparse::No => self.open(*begun, None, sink),
            Sparse::Listed(map) => self.open(*begun, Some(map), sink),
            Sparse::Inline(size) => Ok(self.inline_map(InlineMap::new(size), begun)?),
        }
    }

    /// Nobody unpacks the old format; its map is read because it has to be well-formed and
    /// because the content begins behind it.
    fn old_map<S: Sink>(
        &mut self,
        map: OldMap,
        more: More,
        begun: Box<Begun>,
        sink: &mut S,
    ) -> Result<(), ArchiveError<S::Error>> {
        if more == More::Ends {
            return self.open(*begun, None, sink);
        }
        // Go counts the part of the map that is in the header, too.
        if map.bytes() + BLOCK >= self.limits.tar_pax_bytes {
            return Err(too_large("a sparse map", self.limits.tar_pax_bytes).into());
        }
        self.state = State::OldMap(map, begun);
        Ok(())
    }

    /// Waits for the next block of a map at the start of the content.
    fn inline_map(&mut self, map: InlineMap, begun: Box<Begun>) -> Result<(), Fault> {
        if map.bytes() + BLOCK > self.limits.tar_pax_bytes {
            return Err(too_large("a sparse map", self.limits.tar_pax_bytes));
        }
        if begun.left < BLOCK as u64 {
            return Err(self.malformed("a sparse map that is cut off", 0));
        }
        self.state = State::InlineMap(map, begun);
        Ok(())
    }

    /// Hands the entry on and gets ready for its content.
    fn open<S: Sink>(&mut self, begun: Begun, map: Option<Map>, sink: &mut S) -> Result<(), ArchiveError<S::Error>> {
        let Begun { header, records, left, padding } = begun;
        let size = map.as_ref().map_or(left, Map::size);
        let (mode, uid, gid) = ((header.mode & 0o7777) as u32, header.uid as u32, header.gid as u32);
        let (modified, accessed) = (header.modified, header.accessed);
        let (path, kind) = self.kind(header, size)?;
        let target = match (&kind, map) {
            (Kind::File { .. }, Some(map)) if map.data() != left => {
                return Err(self.malformed("a sparse file that has not the data its map says", 0).into());
            }
            (Kind::File { .. }, Some(map)) => Target::Sparse(Fragment::default(), map.into_fragments()),
            (Kind::File { .. }, None) => Target::Whole(0),
            _ => Target::Skipped,
        };
        self.charge(left, if matches!(kind, Kind::File { .. }) { size } else { 0 })?;
        let xattrs = records.into_xattrs();
        sink.entry(Entry { path, kind, mode, uid, gid, modified, accessed, xattrs }).map_err(ArchiveError::Sink)?;
        self.fill(Content { left, padding, target }, &[], sink)
    }

    /// The path of an entry and what it is.
    fn kind(&self, header: Header, size: u64) -> Result<(Vec<u8>, Kind), Fault> {
        self.check_name(&header.name)?;
        let device =
            |number| u32::try_from(number).map_err(|_| self.malformed("a device number too large", BLOCK as u64));
        let kind = match header.flag {
            b'0' => Kind::File { size },
            b'1' | b'2' => {
                self.check_name(&header.link)?;
                if header.flag == b'1' { Kind::HardLink(header.link) } else { Kind::Symlink(header.link) }
            }
            b'3' => Kind::Char { major: device(header.major)?, minor: device(header.minor)? },
            b'4' => Kind::Block { major: device(header.major)?, minor: device(header.minor)? },
            b'5' => Kind::Directory,
            b'6' => device(header.major).and(device(header.minor)).map(|_| Kind::Fifo)?,
            flag => Kind::Unsupported { flag },
        };
        Ok((header.name, kind))
    }

    /// Hands content on; the entry ends with its last byte, not with the padding behind it.
    fn fill<S: Sink>(
        &mut self,
        mut content: Content,
        bytes: &[u8],
        sink: &mut S,
    ) -> Result<(), ArchiveError<S::Error>> {
        let most = content.left.min(bytes.len() as u64);
        if most > 0 {
            let (offset, count) = content.target.place(most);
            self.taken += count;
            content.left -= count;
            if let Some(offset) = offset {
                sink.content(offset, &bytes[..count as usize]).map_err(ArchiveError::Sink)?;
            }
        }
        if content.left > 0 {
            self.state = State::Content(content);
            return Ok(());
        }
        self.align(content.padding);
        sink.end_entry().map_err(ArchiveError::Sink)
    }

    fn align(&mut self, padding: u64) {
        self.state = if padding == 0 { State::Header } else { State::Padding(padding) };
    }

    /// Bytes of content that follow a header.
    fn stored(&self, header: &Header) -> Result<u64, Fault> {
        match header.is_header_only() {
            true => Ok(0),
            false => u64::try_from(header.size).map_err(|_| self.malformed("a negative size", BLOCK as u64)),
        }
    }

    /// Counts bytes before they come, so that no header can make anybody wait for what is
    /// over the limit anyway: those in the archive, and those of the file with its holes.
    fn charge(&mut self, stored: u64, size: u64) -> Result<(), Fault> {
        self.expanded = self.expanded.saturating_add(size);
        let most = self.limits.layer_inflated_bytes;
        let within = self.expanded <= most && stored <= most - self.taken;
        if within { Ok(()) } else { Err(self.inflated_too_large()) }
    }

    fn check_name(&self, name: &[u8]) -> Result<(), Fault> {
        let most = self.limits.tar_name_bytes;
        if name.len() > most { Err(too_large("a file name", most)) } else { Ok(()) }
    }

    fn inflated_too_large(&self) -> Fault {
        Fault::TooLarge { what: "inflated content", limit: self.limits.layer_inflated_bytes }
    }

    /// What is wrong with the last `length` bytes.
    pub(super) fn malformed(&self, reason: &'static str, length: u64) -> Fault {
        Fault::Malformed { reason, offset: self.taken.saturating_sub(length) }
    }
}

fn too_large(what: &'static str, limit: usize) -> Fault {
    Fault::TooLarge { what, limit: limit as u64 }
}

/// Bytes from the end of content of this size to the next whole block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
