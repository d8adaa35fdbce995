//! The records of a pax extended header.
//!
//! A later record of one key replaces an earlier one, and only what is left in the end is
//! looked at, so that a bad value which was replaced does no harm. Records that nothing in
//! a file tree depends on are dropped at once.
//!
//! Specification: POSIX pax, "pax Extended Header"; star(5) for extended attributes; GNU tar
//! manual, "Storing Sparse Files".

use std::collections::BTreeMap;

use super::number::decimal;

/// Extended attributes travel under this prefix.
const XATTR: &[u8] = b"SCHILY.xattr.";
const BAD: &str = "a bad extended header";
/// The shortest record there is: `5 k=\n`.
const SHORTEST: usize = 5;
/// Bytes that the names of a file's extended attributes take, each with its NUL, where Linux can still
/// list them (`XATTR_LIST_MAX`). A header could hold some ten thousands, which take far more memory than it.
const MOST_NAMES: usize = 64 * 1024;

/// The keys with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Path,
    LinkPath,
    Size,
    Uid,
    Gid,
    ModifiedTime,
    AccessTime,
    ChangeTime,
    SparseMajor,
    SparseMinor,
    SparseName,
    SparseSize,
    SparseRealSize,
    SparseCount,
    SparseMap,
}

const KEYS: [(&[u8], Key); 15] = [
    (b"path", Key::Path),
    (b"linkpath", Key::LinkPath),
    (b"size", Key::Size),
    (b"uid", Key::Uid),
    (b"gid", Key::Gid),
    (b"mtime", Key::ModifiedTime),
    (b"atime", Key::AccessTime),
    (b"ctime", Key::ChangeTime),
    (b"GNU.sparse.major", Key::SparseMajor),
    (b"GNU.sparse.minor", Key::SparseMinor),
    (b"GNU.sparse.name", Key::SparseName),
    (b"GNU.sparse.size", Key::SparseSize),
    (b"GNU.sparse.realsize", Key::SparseRealSize),
    (b"GNU.sparse.numblocks", Key::SparseCount),
    (b"GNU.sparse.map", Key::SparseMap),
];

/// What one extended header says.
#[derive(Debug, Default)]
pub(super) struct Records {
    values: [Vec<u8>; KEYS.len()],
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes that their names take.
    names: usize,
}

impl Records {
    /// Takes a whole extended header apart.
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        // Version 0.0 of GNU's sparse format spells its map in pairs of records.
        let mut pairs = Pairs::default();
        while !body.is_empty() {
            let (key, value, rest) = record(body).ok_or(BAD)?;
            match key {
                b"GNU.sparse.offset" => pairs.push(value, Half::Offset)?,
                b"GNU.sparse.numbytes" => pairs.push(value, Half::Length)?,
                key => records.set(key, value)?,
            }
            body = rest;
        }
        if pairs.count > 0 {
            records.values[Key::SparseMap as usize] = pairs.joined;
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if let Some(name) = key.strip_prefix(XATTR) {
            if self.xattrs.insert(name.to_vec(), value.to_vec()).is_none() {
                self.names += name.len() + 1;
            }
            if self.names > MOST_NAMES {
                return Err("more extended attributes than a file can have");
            }
        } else if let Some((_, known)) = KEYS.iter().find(|(name, _)| *name == key) {
            self.values[*known as usize] = value.to_vec();
        }
        Ok(())
    }

    /// The value of a key; empty where there is none, which means the same.
    pub(super) fn get(&self, key: Key) -> &[u8] {
        &self.values[key as usize]
    }

    /// The value of a key, if it has one that is not empty.
    pub(super) fn take(&mut self, key: Key) -> Option<Vec<u8>> {
        let value = std::mem::take(&mut self.values[key as usize]);
        (!value.is_empty()).then_some(value)
    }

    /// Names and values of the extended attributes, those with an empty value among them.
    pub(super) fn into_xattrs(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.xattrs.into_iter().collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Offset,
    Length,
}

/// Offsets and lengths in turn, joined by commas as version 0.1 has them.
#[derive(Default)]
struct Pairs {
    joined: Vec<u8>,
    count: usize,
}

impl Pairs {
    fn push(&mut self, value: &[u8], half: Half) -> Result<(), &'static str> {
        let turn = if self.count.is_multiple_of(2) { Half::Offset } else { Half::Length };
        if half != turn || value.contains(&b',') {
            return Err("a bad sparse map");
        }
        if self.count > 0 {
            self.joined.push(b',');
        }
        self.joined.extend_from_slice(value);
        self.count += 1;
        Ok(())
    }
}

/// Splits `LENGTH KEY=VALUE\n` off; the length counts the whole record, so that a value may
/// hold any byte.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length < SHORTEST {
        return None;
    }
    let text = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    let forbidden = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        key => key,
    };
    (!key.is_empty() && !forbidden.contains(&0)).then(|| (key, value, &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_as_many_as_can_be_listed() {
        let record = |name: &str| {
            let rest = format!(" SCHILY.xattr.{name}=v\n");
            let length = |digits: usize| rest.len() + digits;
            let digits = (1..).find(|digits| length(*digits).to_string().len() == *digits).expect("some length");
            format!("{}{rest}", length(digits))
        };
        // Names of 15 bytes and a NUL.
        let body = |count: usize| (0..count).map(|number| record(&format!("user.{number:010}"))).collect::<String>();
        let most = MOST_NAMES / 16;
        assert_eq!(Records::parse(body(most).as_bytes()).expect("records").into_xattrs().len(), most);
        assert!(Records::parse(body(most + 1).as_bytes()).is_err());
        let again = body(most) + &body(most);
        assert!(Records::parse(again.as_bytes()).is_ok(), "those that are replaced do not count");
    }

    #[test]
    fn later_records_replace_earlier_ones() {
        let mut records =
            Records::parse(b"9 uid=xx\n8 uid=7\n20 SCHILY.xattr.b=1\n20 SCHILY.xattr.a=2\n19 SCHILY.xattr.b=\n")
                .expect("records");
        assert_eq!(records.take(Key::Uid).as_deref(), Some(&b"7"[..]));
        assert_eq!(records.take(Key::Gid), None);
        assert_eq!(records.into_xattrs(), [(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), Vec::new())]);
    }

    #[test]
    fn an_empty_value_takes_an_earlier_one_back() {
        let mut records = Records::parse(b"12 path=abc\n8 path=\n").expect("records");
        assert_eq!(records.take(Key::Path), None);
    }

    #[test]
    fn joins_the_pairs_of_version_0_0() {
        let body = b"23 GNU.sparse.offset=1\n25 GNU.sparse.numbytes=2\n23 GNU.sparse.offset=5\n";
        assert_eq!(Records::parse(body).expect("records").get(Key::SparseMap), b"1,2,5");
        for bad in [
            &b"25 GNU.sparse.numbytes=2\n"[..],
            b"23 GNU.sparse.offset=1\n23 GNU.sparse.offset=1\n",
            b"25 GNU.sparse.offset=1,2\n",
        ] {
            assert!(Records::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn takes_and_refuses_the_records_that_go_does() {
        for good in [&b"6 k=1\n"[..], b"5 k=\n", b"+7 k=1\n", b"008 k=1\n", b"7 k==1\n", b"9 k=\0\n=\n\n", b""] {
            assert!(Records::parse(good).is_ok(), "{}", good.escape_ascii());
        }
        for bad in [
            &b"6 k=1"[..],
            b"6 k=12",
            b"7 k=1\n",
            b"5 k=1\n",
            b"4 =\n",
            b"5 =1\n",
            b"6 k-1\n",
            b"-6 k=1\n",
            b"6  k=1\n",
            b"7 \0k=1\n",
            b"7 k\0=1\n",
            b"9 path=\0\n",
            b"11 uname=\0\n",
            b"k=1\n",
            b"1 ",
            b"\n",
            b"99999999999999999999 k=1\n",
        ] {
            assert!(Records::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
