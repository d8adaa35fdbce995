//! Bytes that turned out wrong, kept until it is known who gave them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Staged;
use super::journal::Record;
use crate::core::digest::Verified;
use crate::store::StoreError;

/// Bytes compared at a time.
const COMPARED: usize = 256 * 1024;

/// A download whose digest did not hold. It is removed when this is dropped.
#[derive(Debug)]
pub struct Suspect {
    file: Arc<File>,
    path: PathBuf,
    records: Vec<Record>,
}

/// A host whose bytes were not the blob's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// As it was named to [`Partial::write_at`](super::Partial::write_at).
    pub host: String,
    /// An earlier run got the bytes, so that this node's disk may as well have lost them.
    pub inherited: bool,
}

impl Suspect {
    pub(super) fn new(file: Arc<File>, path: PathBuf, records: Vec<Record>) -> Self {
        Self { file, path, records }
    }

    /// Whether bytes of an earlier run were involved, which blame no host for certain.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.records.iter().any(|record| record.inherited)
    }

    /// The hosts that gave bytes in this run, each once, in the order in which they came.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        for record in self.records.iter().filter(|record| !record.inherited) {
            if !hosts.iter().any(|host| **host == *record.host) {
                hosts.push(record.host.to_string());
            }
        }
        hosts
    }

    /// Compares with the blob as it has to be: who gave other bytes. Blocks for as long as
    /// the disk takes to read both.
    ///
    /// # Errors
    /// [`StoreError`] where either cannot be read.
    pub fn blame(self, good: &Verified<Staged>) -> Result<Vec<Culprit>, StoreError> {
        let mut culprits: Vec<Culprit> = Vec::new();
        for record in &self.records {
            let culprit = Culprit { host: record.host.to_string(), inherited: record.inherited };
            if culprits.contains(&culprit) {
                continue;
            }
            let differs = differ(&self.file, good.content().file(), record.range.clone());
            if differs.map_err(|error| StoreError::io("read", &self.path, error))? {
                culprits.push(culprit);
            }
        }
        Ok(culprits)
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        // What stays is swept later.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether two files differ somewhere in `range`.
fn differ(one: &File, other: &File, range: Range<u64>) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; COMPARED], vec![0; COMPARED]);
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).unwrap_or(COMPARED).min(COMPARED);
        one.read_exact_at(&mut left[..length], at)?;
        other.read_exact_at(&mut right[..length], at)?;
        if left[..length] != right[..length] {
            return Ok(true);
        }
        at += length as u64;
    }
    Ok(false)
}
