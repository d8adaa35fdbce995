//! One header block: its format told by checksum and magic, its fields read.
//!
//! Specification: POSIX ustar and pax interchange formats; GNU tar manual, "Basic Tar
//! Format"; star(5) for the format of that name. Where they leave room, Go's choice counts.

use super::number::{decimal, numeric, octal, pax_time, unix, until_nul};
use super::pax::{Key, Records};
use super::{BLOCK, Time};

const CHECKSUM: std::ops::Range<usize> = 148..156;

/// The layouts of the bytes behind the oldest fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Gnu,
    Star,
}

/// A header as its block says, and as extended headers say better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: i64,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) modified: Time,
    pub(super) accessed: Option<Time>,
    pub(super) major: i64,
    pub(super) minor: i64,
}

impl Header {
    /// Reads a block that is not all zeros; the error says which part cannot be read.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        let format = format(block)?;
        let mut header = Self {
            format,
            flag: block[156],
            name: until_nul(&block[..100]).to_vec(),
            link: until_nul(&block[157..257]).to_vec(),
            size: numeric(&block[124..136]).ok_or("a bad size")?,
            mode: numeric(&block[100..108]).ok_or("a bad mode")?,
            uid: numeric(&block[108..116]).ok_or("a bad owner")?,
            gid: numeric(&block[116..124]).ok_or("a bad group")?,
            modified: numeric(&block[136..148]).map(unix).ok_or("a bad time")?,
            accessed: None,
            major: 0,
            minor: 0,
        };
        if format != Format::V7 {
            header.major = numeric(&block[329..337]).ok_or("a bad device number")?;
            header.minor = numeric(&block[337..345]).ok_or("a bad device number")?;
        }
        match format {
            Format::V7 => {}
            Format::Ustar => header.prepend(until_nul(&block[345..500])),
            Format::Star => {
                header.prepend(until_nul(&block[345..476]));
                header.accessed = Some(numeric(&block[476..488]).map(unix).ok_or("a bad time")?);
                numeric(&block[488..500]).ok_or("a bad time")?;
            }
            Format::Gnu => header.gnu(block),
        }
        Ok(header)
    }

    /// Whether this type has no content, whatever its size field says.
    pub(super) fn is_header_only(&self) -> bool {
        matches!(self.flag, b'1'..=b'6')
    }

    /// The times of the GNU format. Go's own writer once put a ustar prefix there, so what
    /// makes no sense as times and is plain ASCII is one.
    fn gnu(&mut self, block: &[u8; BLOCK]) {
        let time = |field: &[u8]| if field[0] == 0 { Ok(None) } else { numeric(field).map(unix).map(Some).ok_or(()) };
        match (time(&block[345..357]), time(&block[357..369])) {
            (Ok(accessed), Ok(_)) => self.accessed = accessed,
            _ => {
                let prefix = until_nul(&block[345..500]);
                if prefix.is_ascii() {
                    self.prepend(prefix);
                }
            }
        }
    }

    fn prepend(&mut self, prefix: &[u8]) {
        if !prefix.is_empty() {
            self.name = [prefix, b"/", &self.name].concat();
        }
    }

    /// Takes over what a pax header says; an empty value says nothing.
    pub(super) fn merge(&mut self, records: &mut Records) -> Result<(), &'static str> {
        let time = |text: Vec<u8>| pax_time(&text).ok_or("a bad time");
        let number = |text: Vec<u8>, reason| decimal(&text).ok_or(reason);
        if let Some(path) = records.take(Key::Path) {
            self.name = path;
        }
        if let Some(link) = records.take(Key::LinkPath) {
            self.link = link;
        }
        if let Some(size) = records.take(Key::Size) {
            self.size = number(size, "a bad size")?;
        }
        if let Some(uid) = records.take(Key::Uid) {
            self.uid = number(uid, "a bad owner")?;
        }
        if let Some(gid) = records.take(Key::Gid) {
            self.gid = number(gid, "a bad group")?;
        }
        if let Some(modified) = records.take(Key::ModifiedTime) {
            self.modified = time(modified)?;
        }
        if let Some(accessed) = records.take(Key::AccessTime) {
            self.accessed = Some(time(accessed)?);
        }
        // Nothing can be set from it, but a value that makes no sense is refused all the same.
        records.take(Key::ChangeTime).map_or(Ok(()), |changed| time(changed).map(drop))
    }
}

fn format(block: &[u8; BLOCK]) -> Result<Format, &'static str> {
    let (own, all) = (&block[CHECKSUM], sum(block));
    let unsigned = all.0 - sum(own).0 + 8 * i64::from(b' ');
    let signed = all.1 - sum(own).1 + 8 * i64::from(b' ');
    if !octal(own).is_some_and(|claimed| claimed == unsigned || claimed == signed) {
        return Err("a header whose checksum is wrong");
    }
    Ok(match (&block[257..263], &block[263..265], &block[508..]) {
        (b"ustar\0", _, b"tar\0") => Format::Star,
        (b"ustar\0", ..) => Format::Ustar,
        (b"ustar ", b" \0", _) => Format::Gnu,
        _ => Format::V7,
    })
}

/// The sums of all bytes as unsigned and, as the tar of SunOS counted, as signed ones.
fn sum(bytes: &[u8]) -> (i64, i64) {
    let (unsigned, negative) = bytes
        .iter()
        .fold((0_u32, 0_u32), |(sum, negative), byte| (sum + u32::from(*byte), negative + u32::from(byte >> 7)));
    (i64::from(unsigned), i64::from(unsigned) - 256 * i64::from(negative))
}
