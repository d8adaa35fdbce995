//! Archives written byte by byte: what the `tar` crate would refuse to write, or would put right.

const BLOCK: usize = 512;
/// When everything was changed last unless a case says otherwise.
const SOME_TIME: i64 = 1_234_567_890;

/// One entry and the extended header before it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    flag: u8,
    path: Vec<u8>,
    link: Vec<u8>,
    mode: i64,
    owner: (i64, i64),
    modified: i64,
    content: Vec<u8>,
    size: Option<i64>,
    device: (i64, i64),
    magic: &'static [u8; 8],
    records: Vec<u8>,
}

fn entry(flag: u8, path: impl AsRef<[u8]>) -> Entry {
    Entry {
        flag,
        path: path.as_ref().to_vec(),
        link: Vec::new(),
        mode: 0o755,
        owner: (0, 0),
        modified: SOME_TIME,
        content: Vec::new(),
        size: None,
        device: (0, 0),
        magic: b"ustar\x0000",
        records: Vec::new(),
    }
}

/// An entry of any type.
pub(super) fn other(flag: u8, path: impl AsRef<[u8]>) -> Entry {
    entry(flag, path)
}

pub(super) fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    Entry { content: content.as_ref().to_vec(), mode: 0o644, ..entry(b'0', path) }
}

pub(super) fn dir(path: impl AsRef<[u8]>) -> Entry {
    entry(b'5', path)
}

pub(super) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), mode: 0o777, ..entry(b'2', path) }
}

pub(super) fn hardlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), mode: 0o644, ..entry(b'1', path) }
}

/// A device (`3` for a character device, `4` for a block device).
pub(super) fn device(flag: u8, path: &str, numbers: (i64, i64)) -> Entry {
    Entry { device: numbers, mode: 0o620, ..entry(flag, path) }
}

impl Entry {
    pub(super) fn mode(self, mode: i64) -> Self {
        Self { mode, ..self }
    }

    pub(super) fn owner(self, uid: i64, gid: i64) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    pub(super) fn modified(self, seconds: i64) -> Self {
        Self { modified: seconds, ..self }
    }

    /// A size that is not the content's.
    pub(super) fn size(self, size: i64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// Magic and version of another format.
    pub(super) fn magic(self, magic: &'static [u8; 8]) -> Self {
        Self { magic, ..self }
    }

    /// A record of the extended header.
    pub(super) fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.extend(record(key, value.as_ref()));
        self
    }

    pub(super) fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let extended = if self.records.is_empty() {
            Vec::new()
        } else {
            Self { content: self.records.clone(), ..entry(b'x', "pax") }.bytes()
        };
        [extended, self.block(), padded(&self.content)].concat()
    }

    fn block(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |place: usize, bytes: &[u8]| block[place..place + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path);
        put(100, &number(self.mode, 8));
        put(108, &number(self.owner.0, 8));
        put(116, &number(self.owner.1, 8));
        put(124, &number(self.size.unwrap_or(self.content.len() as i64), 12));
        put(136, &number(self.modified, 12));
        put(156, &[self.flag]);
        put(157, &self.link);
        put(257, self.magic);
        put(329, &number(self.device.0, 8));
        put(337, &number(self.device.1, 8));
        summed(block)
    }
}

/// A number field: octal where it fits, else base-256.
pub(super) fn number(value: i64, length: usize) -> Vec<u8> {
    let octal = format!("{value:0width$o}\0", width = length - 1);
    if value >= 0 && octal.len() == length {
        return octal.into_bytes();
    }
    let bytes = value.to_be_bytes();
    let mut field = vec![if value < 0 { 0xff } else { 0 }; length.saturating_sub(bytes.len())];
    field.extend_from_slice(&bytes[bytes.len().saturating_sub(length)..]);
    field[0] |= 0x80;
    field
}

/// A header block with its checksum put right.
pub(super) fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Content with the zeros behind it.
pub(super) fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).expect("a length");
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// A long name (`L`) or long link (`K`) of the GNU format.
pub(super) fn long(flag: u8, name: impl AsRef<[u8]>) -> Entry {
    Entry { content: [name.as_ref(), b"\0"].concat(), magic: b"ustar  \0", ..entry(flag, "././@LongLink") }
}

/// The entries without an end.
pub(super) fn open_ended(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    entries.into_iter().flat_map(|entry| entry.bytes()).collect()
}

/// A whole archive.
pub(super) fn tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    [open_ended(entries), vec![0; 2 * BLOCK]].concat()
}
