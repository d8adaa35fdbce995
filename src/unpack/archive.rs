//! A layer's tar archive, read as it comes.
//!
//! Bytes are pushed in, entries and their content come out through a [`Sink`]; nothing here
//! reads, writes or waits. containerd unpacks with Go's `archive/tar`, and two readers that
//! disagree would see two images, so this one takes what Go takes and refuses what Go
//! refuses:
//!
//! - An extended header applies to the next entry only and replaces the one before it. A
//!   long name of the GNU format outranks it. A global header ([`Kind::Global`]) applies to
//!   nothing; it ends what extended headers before it said, and containerd clears its path.
//! - Links, devices, directories and pipes have no content whatever their size says.
//! - Only the oldest type flag, NUL, makes a directory of a name that ends in a slash.
//! - The end is two blocks of zeros, or the end of the stream after one, between entries, or
//!   in the padding of the last. What follows two blocks of zeros is no part of the archive.
//!
//! Where releases of Go and containerd differ, the newer and stricter counts: extended headers
//! (Go 1.19.2) and sparse maps (Go 1.24.8 and 1.26.2) have a limit, and device numbers have to
//! fit (containerd 2). Two things are stricter than either: a name of more than
//! [`Limits::tar_name_bytes`] is refused even if it would be shorter without its dots and
//! slashes, and a sparse file has to have as much data as its map says, even if nobody
//! reads it.
//!
//! Specification: POSIX pax interchange format; GNU tar manual; OCI image-spec, layer.md.

mod error;
mod header;
mod number;
mod pax;
mod read;
mod sparse;

pub use error::{ArchiveError, Fault};

use crate::core::limits::Limits;
use read::{Pending, State};

const BLOCK: usize = 512;

/// Takes what an archive holds: per entry one [`entry`](Sink::entry), its content in order,
/// and one [`end_entry`](Sink::end_entry).
pub trait Sink {
    /// Why a sink may fail.
    type Error;

    /// An entry begins.
    ///
    /// # Errors
    /// Whatever keeps the sink from going on; the archive is not read further.
    fn entry(&mut self, entry: Entry) -> Result<(), Self::Error>;

    /// Content of the last entry, never empty, that belongs at `offset` within the file.
    /// Offsets rise; what is left out of a sparse file is zeros.
    ///
    /// # Errors
    /// As for [`entry`](Sink::entry).
    fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The last entry is whole.
    ///
    /// # Errors
    /// As for [`entry`](Sink::entry).
    fn end_entry(&mut self) -> Result<(), Self::Error>;
}

/// One entry of an archive, as it is spelled there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Any bytes: absolute, empty, with `..`, and even with NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// The owner as `lchown(2)` gets it: larger numbers are cut to 32 bits, and `u32::MAX`
    /// leaves the owner alone.
    pub uid: u32,
    /// The group, likewise.
    pub gid: u32,
    /// When the content was changed last.
    pub modified: Time,
    /// When it was read last, if the archive says so.
    pub accessed: Option<Time>,
    /// Extended attributes, each name once; a value may be empty.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes of content, holes included.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link to this path, any bytes.
    Symlink(Vec<u8>),
    /// A second name of the file with this path in the archive.
    HardLink(Vec<u8>),
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A global extended header. It stands for no file, but containerd treats its path like
    /// that of an entry (makes parents, removes what is there) before it creates nothing.
    Global,
    /// Any other type flag, the old sparse format among them: containerd refuses to create
    /// it, but takes it as a whiteout or for the root. Its content is skipped.
    Unsupported {
        /// The type flag.
        flag: u8,
    },
}

/// A moment, counted from the Unix epoch; the nanoseconds count upwards in negative times, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// Less than a second more.
    pub nanos: u32,
}

/// The reader: a state between two pushes, at most a block and one extended header large.
#[derive(Debug)]
pub struct Archive {
    limits: Limits,
    state: State,
    /// What the headers before the next entry say about it.
    pending: Pending,
    /// A block whose end was not pushed yet.
    block: [u8; BLOCK],
    filled: usize,
    /// Bytes taken so far.
    taken: u64,
    /// Bytes of all files so far, holes included.
    expanded: u64,
}

impl Archive {
    /// A reader at the start of an archive.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            state: State::default(),
            pending: Pending::default(),
            block: [0; BLOCK],
            filled: 0,
            taken: 0,
            expanded: 0,
        }
    }

    /// Takes the next bytes of the stream, however many, and hands on what they complete.
    ///
    /// # Errors
    /// [`ArchiveError`]; the reader cannot be used further.
    pub fn push<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), ArchiveError<S::Error>> {
        let result = self.advance(bytes, sink);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`Fault::Truncated`] where Go would wait for more bytes; a fault where an error came
    /// before the end.
    pub fn finish(self) -> Result<(), Fault> {
        if matches!(self.state, State::Failed) {
            return Err(self.malformed("an error before its end", 0));
        }
        let inside = self.state.unfinished(self.filled);
        inside.map_or(Ok(()), |inside| Err(Fault::Truncated { inside, offset: self.taken }))
    }
}

#[cfg(test)]
mod tests;
