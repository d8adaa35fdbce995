//! What staging may keep, and whether there is room for more.
//!
//! Broken-off downloads go when they are too old, and the oldest of them when all take too
//! much: blocks of the disk, journals included, or files, of which a file system has only so
//! many. What somebody works on is locked and stays, and so does what was named to be kept.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Staging, journal_of, remove_unless_locked};
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::store::StoreError;

/// Age at which a file that no lock protects (a journal without its blob, a document that was
/// being written) is nobody's: such files are held for moments.
const STRAY_AGE: Duration = Duration::from_secs(60 * 60);

/// What kind of file a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Blob,
    /// Of a blob that is there.
    Journal,
    Suspect,
    Stray,
    /// Not ours to judge.
    Foreign,
}

/// What files take of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// How much may be kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// Bytes of the disk.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Since a blob was last used.
    pub age: Duration,
}

/// What a sweep has done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// What has become free.
    pub freed: Usage,
    /// What is still there.
    pub left: Usage,
}

/// A file that may have to go.
#[derive(Debug)]
struct Leftover {
    path: PathBuf,
    takes: Usage,
    modified: SystemTime,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }

    fn less(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), files: self.files.saturating_sub(other.files) }
    }
}

impl Quota {
    /// What the limits of a process say of one staging directory.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        let age = Duration::from_secs(limits.staging_age_seconds);
        Self { bytes: limits.staging_bytes, files: limits.staging_files, age }
    }

    /// Whether so much may be kept.
    #[must_use]
    pub fn holds(&self, used: Usage) -> bool {
        used.bytes <= self.bytes && used.files <= self.files
    }

    /// So many parts of it out of `whole`.
    #[must_use]
    pub fn share(self, parts: u64, whole: u64) -> Self {
        Self { bytes: self.bytes / whole * parts, files: self.files / whole * parts, ..self }
    }

    /// What is left of it beside what is to come.
    #[must_use]
    pub fn less(self, more: Usage) -> Self {
        let left = Usage { bytes: self.bytes, files: self.files }.less(more);
        Self { bytes: left.bytes, files: left.files, ..self }
    }
}

impl Staging {
    /// Removes leftovers: those of killed processes, those that are too old, and the oldest
    /// ones until all are within the quota. Blobs in `keep` stay, and those that are being
    /// written. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError`] where the directory cannot be read. A file that cannot be removed is left.
    pub fn sweep(&self, keep: &[Digest], quota: &Quota) -> Result<Swept, StoreError> {
        sweep_all(std::slice::from_ref(self), keep, quota)
    }

    fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        self.check()?;
        match std::fs::read_dir(self.root()) {
            Ok(entries) => Ok(entries.flatten().filter_map(|entry| Leftover::of(&entry)).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("read", self.root(), error)),
        }
    }

    /// Bytes of the disk that everything in the directory takes; none for one that is not there.
    #[must_use]
    pub fn used(&self) -> u64 {
        let entries = std::fs::read_dir(self.root()).into_iter().flatten().flatten();
        entries.filter_map(|entry| Leftover::of(&entry)).map(|found| found.takes.bytes).sum()
    }

    /// Bytes that this user may still write to the staging directory's file system.
    ///
    /// # Errors
    /// [`StoreError`] where the file system does not say.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        let place = self.nearest();
        let statistics = rustix::fs::statvfs(place).map_err(|errno| StoreError::io("read", place, errno.into()))?;
        Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
    }

    /// Refuses to begin what cannot end: `needed` more bytes, by [`enough`].
    ///
    /// # Errors
    /// [`StoreError::NoRoom`]. A file system that does not say how full it is, is tried.
    pub fn require(&self, needed: u64) -> Result<(), StoreError> {
        match self.free_space() {
            Ok(free) => enough(free, needed, self.nearest()),
            Err(error) => {
                tracing::debug!(%error, "free space is not known");
                Ok(())
            }
        }
    }

    /// The directory, or where it will be made.
    fn nearest(&self) -> &Path {
        let place = self.root().ancestors().find(|path| path.exists());
        place.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }
}

/// [`Staging::sweep`] over several directories that share one quota.
///
/// # Errors
/// [`StoreError`] where a directory cannot be read. A file that cannot be removed is left.
pub fn sweep_all(stagings: &[Staging], keep: &[Digest], quota: &Quota) -> Result<Swept, StoreError> {
    let now = SystemTime::now();
    let age = |found: &Leftover| now.duration_since(found.modified).unwrap_or_default();
    let (mut blobs, mut swept) = (Vec::new(), Swept::default());
    for staging in stagings {
        let kept: Vec<PathBuf> = keep.iter().map(|digest| staging.path_of(digest)).collect();
        for found in staging.leftovers()? {
            let class = classify(&found.path);
            if class == Class::Foreign {
                continue;
            }
            swept.left = swept.left.and(found.takes);
            match class {
                Class::Blob if !kept.contains(&found.path) => blobs.push(found),
                // Whoever compares with it holds its lock.
                Class::Suspect => swept.without(found.remove()),
                Class::Stray if age(&found) > STRAY_AGE => swept.without(found.remove()),
                Class::Blob | Class::Journal | Class::Stray | Class::Foreign => {}
            }
        }
    }
    blobs.sort_by_key(|blob| blob.modified);
    for blob in &blobs {
        if age(blob) > quota.age || !quota.holds(swept.left) {
            swept.without(blob.remove());
        }
    }
    Ok(swept)
}

impl Swept {
    /// So much has gone.
    fn without(&mut self, gone: Usage) {
        self.freed = self.freed.and(gone);
        self.left = self.left.less(gone);
    }
}

/// Whether `needed` bytes fit where `free` are left, on the file system of `path`.
///
/// # Errors
/// [`StoreError::NoRoom`] with what is missing where.
pub fn enough(free: u64, needed: u64, path: &Path) -> Result<(), StoreError> {
    if needed <= free { Ok(()) } else { Err(StoreError::NoRoom { needed, free, path: path.into() }) }
}

/// What a file is, by the names that this room and its store give.
fn classify(path: &Path) -> Class {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
    if stem.is_empty() && extension.starts_with("tmp") {
        return Class::Stray;
    }
    if stem.replacen('-', ":", 1).parse::<Digest>().is_err() {
        return Class::Foreign;
    }
    match extension {
        "" => Class::Blob,
        "suspect" => Class::Suspect,
        "journal" if path.with_extension("").exists() => Class::Journal,
        "journal" | "journal.new" => Class::Stray,
        _ => Class::Foreign,
    }
}

impl Leftover {
    /// `None` for what has gone since it was listed.
    fn of(entry: &DirEntry) -> Option<Self> {
        let metadata = entry.metadata().ok()?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Self { path: entry.path(), takes: takes(&metadata), modified })
    }

    /// Removes it with its journal, unless somebody works on it; what became free.
    fn remove(&self) -> Usage {
        if !remove_unless_locked(&self.path) {
            return Usage::default();
        }
        let mut freed = self.takes;
        if classify(&self.path) == Class::Blob {
            let journal = journal_of(&self.path);
            let takes = std::fs::symlink_metadata(&journal).map(|metadata| takes(&metadata));
            if std::fs::remove_file(&journal).is_ok() {
                freed = freed.and(takes.unwrap_or_default());
            }
        }
        tracing::debug!(path = %self.path.display(), bytes = freed.bytes, "removed a leftover download");
        freed
    }
}

/// What a file takes, in the unit of `st_blocks`, whatever the file system's own.
pub(super) fn takes(metadata: &Metadata) -> Usage {
    Usage { bytes: metadata.blocks().saturating_mul(512), files: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::{Classify, Kind};
    use crate::store::staging::tests::{begin, descriptor};
    use std::fs::{File, FileTimes};

    const KIB: usize = 1024;

    /// Leaves a broken-off blob that was last written so many hours ago.
    fn leave(staging: &Staging, first: u8, hours: u64) -> Digest {
        let content = vec![first; 64 * KIB];
        let blob = descriptor(&content);
        begin(staging, &blob).write_at(0, &content[1..], "a").expect("writes");
        age(&staging.path_of(&blob.digest), hours);
        blob.digest
    }

    fn age(path: &Path, hours: u64) {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        let file = File::options().write(true).open(path).expect("opens");
        file.set_times(FileTimes::new().set_modified(then)).expect("sets the time");
    }

    /// So many bytes, for so many hours.
    fn quota(bytes: u64, hours: u64) -> Quota {
        Quota { bytes, files: u64::MAX, age: Duration::from_secs(hours * 3600) }
    }

    fn freed(swept: Result<Swept, StoreError>) -> u64 {
        swept.expect("sweeps").freed.bytes
    }

    #[test]
    fn the_old_goes_and_then_the_oldest() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        assert_eq!(freed(staging.sweep(&[], &quota(0, 0))), 0, "there is nothing yet");
        let [old, middle, young, wanted] = [(1, 50), (2, 10), (3, 5), (4, 60)].map(|(n, age)| leave(&staging, n, age));
        let there = |digest| staging.path_of(digest).exists() && journal_of(&staging.path_of(digest)).exists();
        assert!(freed(staging.sweep(std::slice::from_ref(&wanted), &quota(u64::MAX, 24))) > 0);
        assert_eq!([&old, &middle, &young, &wanted].map(there), [false, true, true, true]);
        assert!(!journal_of(&staging.path_of(&old)).exists());
        // Two of 64 KiB fit with their journals, the third does not; whole blocks are counted.
        assert!(freed(staging.sweep(std::slice::from_ref(&wanted), &quota(150 * KIB as u64, 24))) > 0);
        assert_eq!([&middle, &young, &wanted].map(there), [false, true, true]);
        let blob = descriptor(&vec![3; 64 * KIB]);
        let writing = begin(&staging, &blob);
        staging.sweep(&[], &quota(0, 0)).expect("sweeps");
        assert_eq!([&young, &wanted].map(there), [true, false], "what is being written stays");
        drop(writing);
    }

    #[test]
    fn journals_count_and_so_does_every_file() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        let [old, young] = [(1, 2), (2, 1)].map(|(first, age)| leave(&staging, first, age));
        let swept = staging.sweep(&[], &quota(u64::MAX, 24)).expect("sweeps");
        assert_eq!((swept.freed, swept.left.files), (Usage::default(), 4), "two blobs, each with its journal");
        assert_eq!(swept.left.bytes, staging.used());
        let of_blobs: u64 = [&old, &young].map(|digest| staging.held(digest)).iter().sum();
        assert!(swept.left.bytes > of_blobs);
        let swept = staging.sweep(&[], &quota(of_blobs, 24)).expect("sweeps");
        assert_eq!((swept.freed.files, swept.left.files), (2, 2), "the journals are too much");
        assert!(!staging.path_of(&old).exists() && staging.path_of(&young).exists());
        let few = Quota { files: 1, ..quota(u64::MAX, 24) };
        assert_eq!(staging.sweep(&[], &few).expect("sweeps").left, Usage::default());
    }

    #[test]
    fn what_killed_processes_left_goes_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().into());
        let blob = staging.path_of(&Digest::of(b"cargo"));
        let strays = [folder.path().join(".tmpAbCdEf"), journal_of(&blob), blob.with_extension("journal.new")];
        let suspect = super::super::suspect_of(&blob);
        let foreign = folder.path().join("notes.txt");
        for path in strays.iter().chain([&suspect, &foreign]) {
            std::fs::write(path, b"x").expect("writes");
        }
        staging.sweep(&[], &quota(u64::MAX, 24)).expect("sweeps");
        assert!(strays.iter().all(|path| path.exists()), "they may be in use");
        assert!(!suspect.exists());
        for path in strays.iter().chain([&foreign]) {
            age(path, 100);
        }
        staging.sweep(&[], &quota(u64::MAX, 24)).expect("sweeps");
        assert!(strays.iter().all(|path| !path.exists()));
        assert!(foreign.exists());
    }

    #[test]
    fn a_full_disk_is_told_beforehand() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("not/yet/there"));
        assert!(staging.free_space().expect("says") > 0);
        staging.require(1).expect("one byte fits");
        let error = staging.require(u64::MAX).expect_err("that does not fit");
        assert_eq!(error.kind(), Kind::StoreFull);
        let error = enough(1 << 20, 3 << 30, Path::new("/data")).expect_err("does not fit");
        assert_eq!(error.to_string(), "3.0 GiB are needed in /data and 1.0 MiB are free");
        assert!(error.hint().is_some_and(|hint| hint.contains("free some space")));
        enough(5, 5, Path::new("/data")).expect("fits exactly");
    }
}
