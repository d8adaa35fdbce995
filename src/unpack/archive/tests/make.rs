//! Archives made byte by byte, as odd as a test wants them.

use super::super::BLOCK;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Magic {
    V7,
    Ustar,
    Gnu,
    Star,
}

/// The fields of one header.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) format: Magic,
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) prefix: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) modified: i64,
    pub(super) major: i64,
    pub(super) minor: i64,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            format: Magic::Ustar,
            flag: b'0',
            name: b"name".to_vec(),
            prefix: Vec::new(),
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            modified: 0,
            major: 0,
            minor: 0,
        }
    }
}

impl Header {
    pub(super) fn flagged(self, flag: u8) -> Self {
        Self { flag, ..self }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..self.name.len()].copy_from_slice(&self.name);
        for (place, length, value) in [
            (100, 8, self.mode),
            (108, 8, self.uid),
            (116, 8, self.gid),
            (124, 12, self.size),
            (136, 12, self.modified),
        ] {
            block[place..place + length].copy_from_slice(&number(value, length));
        }
        block[156] = self.flag;
        block[157..157 + self.link.len()].copy_from_slice(&self.link);
        match self.format {
            Magic::V7 => {}
            Magic::Gnu => block[257..265].copy_from_slice(b"ustar  \0"),
            Magic::Ustar | Magic::Star => block[257..265].copy_from_slice(b"ustar\x0000"),
        }
        if self.format != Magic::V7 {
            block[329..337].copy_from_slice(&number(self.major, 8));
            block[337..345].copy_from_slice(&number(self.minor, 8));
        }
        if self.format == Magic::Star {
            block[508..].copy_from_slice(b"tar\0");
        }
        block[345..345 + self.prefix.len()].copy_from_slice(&self.prefix);
        summed(block)
    }
}

/// A number field: octal where it fits, else base-256.
pub(super) fn number(value: i64, length: usize) -> Vec<u8> {
    let octal = format!("{value:0width$o}\0", width = length - 1);
    if value >= 0 && octal.len() == length {
        return octal.into_bytes();
    }
    let sign = if value < 0 { 0xff } else { 0 };
    let bytes = value.to_be_bytes();
    let mut field: Vec<u8> = vec![sign; length.saturating_sub(bytes.len())];
    field.extend_from_slice(&bytes[bytes.len().saturating_sub(length)..]);
    field[0] |= 0x80;
    field
}

/// A block with its checksum put right.
pub(super) fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Content with the zeros behind it.
pub(super) fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// A header of this type with this body.
pub(super) fn with_body(header: Header, body: &[u8]) -> Vec<u8> {
    [Header { size: body.len() as i64, ..header }.bytes(), padded(body)].concat()
}

pub(super) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    with_body(Header { name: name.as_bytes().to_vec(), ..Header::default() }, content)
}

/// A long name (`L`) or long link (`K`) of the GNU format.
pub(super) fn long(flag: u8, body: &[u8]) -> Vec<u8> {
    with_body(Header { format: Magic::Gnu, flag, name: b"././@LongLink".to_vec(), ..Header::default() }, body)
}

/// An extended header of the next entry.
pub(super) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    with_body(Header::default().flagged(b'x'), &body(records))
}

/// A global extended header.
pub(super) fn global(records: &[(&str, &str)]) -> Vec<u8> {
    with_body(Header { name: b"pax_global_header".to_vec(), flag: b'g', ..Header::default() }, &body(records))
}

fn body(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).expect("a length");
        format!("{length} {key}={value}\n")
    };
    records.iter().map(record).collect::<String>().into_bytes()
}

/// The two blocks at the end.
pub(super) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}
