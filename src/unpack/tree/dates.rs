//! The times that directories get when all is there, in the order of their entries.
//!
//! Every entry in a directory changes its time, so none can be set before the end, and a layer
//! may have a million directories. They are written and read once, from front to back: a few
//! stay in memory, many go to a file without a name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps};

/// Bytes in memory before they go to the file: the directories of most layers.
const HELD: usize = 256 * 1024;
/// Bytes before the name of each: its length, and four numbers.
const HEAD: usize = 4 + 4 * 8;

/// Names of directories and their times.
#[derive(Debug)]
pub(super) struct Dates {
    /// Where the file goes.
    folder: PathBuf,
    held: Vec<u8>,
    file: Option<File>,
}

impl Dates {
    /// None yet. The file, where it is needed, goes to the file system of `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), held: Vec::new(), file: None }
    }

    /// Adds a directory.
    pub(super) fn push(&mut self, name: &[u8], times: &Timestamps) -> io::Result<()> {
        let length = u32::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.held.extend_from_slice(&length.to_le_bytes());
        let Timestamps { last_access, last_modification } = times;
        for number in [last_access.tv_sec, last_access.tv_nsec, last_modification.tv_sec, last_modification.tv_nsec] {
            self.held.extend_from_slice(&number.to_le_bytes());
        }
        self.held.extend_from_slice(name);
        if self.held.len() < HELD {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.folder)?,
        };
        self.file.insert(file).write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    /// Takes all of them out, from the first.
    pub(super) fn read(&mut self) -> io::Result<Reading> {
        let held = Cursor::new(std::mem::take(&mut self.held));
        let all: Box<dyn Read + Send> = match self.file.take() {
            Some(mut file) => {
                file.rewind()?;
                Box::new(file.chain(held))
            }
            None => Box::new(held),
        };
        Ok(Reading { rest: BufReader::new(all) })
    }
}

/// Dates being read.
pub(super) struct Reading {
    rest: BufReader<Box<dyn Read + Send>>,
}

impl Reading {
    /// The next directory, into `name`, and its times; `None` behind the last.
    pub(super) fn next(&mut self, name: &mut Vec<u8>) -> io::Result<Option<Timestamps>> {
        if self.rest.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        self.rest.read_exact(&mut head)?;
        let (length, numbers) = head.split_at(4);
        let mut numbers = numbers.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        let mut time = || {
            let mut number = || numbers.next().unwrap_or_default();
            Timespec { tv_sec: number(), tv_nsec: number() }
        };
        let times = Timestamps { last_access: time(), last_modification: time() };
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
        name.resize(length as usize, 0);
        self.rest.read_exact(name)?;
        Ok(Some(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_come_back_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for count in [0_i64, 1, 10_000] {
            let mut dates = Dates::new(folder.path());
            let name = |n: i64| format!("{}/{n}", "deep".repeat(n as usize % 100)).into_bytes();
            let times = |n| Timestamps {
                last_access: Timespec { tv_sec: n, tv_nsec: 999_999_999 },
                last_modification: Timespec { tv_sec: i64::MAX - n, tv_nsec: n },
            };
            for n in 0..count {
                dates.push(&name(n), &times(n)).expect("is kept");
            }
            assert_eq!(dates.file.is_some(), count > 1000);
            assert!(dates.held.len() < HELD);
            let (mut reading, mut found) = (dates.read().expect("reads"), Vec::new());
            for n in 0..count {
                let read = reading.next(&mut found).expect("reads").expect("is there");
                assert_eq!(found, name(n));
                let expected = times(n);
                assert_eq!(read.last_access, expected.last_access, "{n}");
                assert_eq!(read.last_modification, expected.last_modification, "{n}");
            }
            assert!(reading.next(&mut found).expect("reads").is_none());
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("reads").count(), 0, "the file has a name");
    }
}
