//! What staging may keep, and whether there is room for more.
//!
//! Broken-off downloads go when they are too old, and the oldest of them when all take too
//! much. What somebody works on is locked and stays, and so does what was named to be kept.

use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Staging, journal_of, remove_unless_locked};
use crate::core::digest::Digest;
use crate::store::StoreError;

/// Age at which a file that no lock protects (a journal without its blob, a document that was
/// being written) is nobody's: such files are held for moments.
const STRAY_AGE: Duration = Duration::from_secs(60 * 60);

/// What kind of file a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Blob,
    Suspect,
    Stray,
    /// Not ours to judge.
    Foreign,
}

/// A file that may have to go.
#[derive(Debug)]
struct Leftover {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

impl Staging {
    /// Removes leftovers: those of killed processes, those older than `max_age`, and the
    /// oldest ones until all take at most `quota` bytes. Blobs in `keep` stay, and those that
    /// are being written. The bytes that became free. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError`] where the directory cannot be read. A file that cannot be removed is left.
    pub fn sweep(&self, keep: &[Digest], quota: u64, max_age: Duration) -> Result<u64, StoreError> {
        sweep_all(std::slice::from_ref(self), keep, quota, max_age)
    }

    fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
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
        entries.filter_map(|entry| Leftover::of(&entry)).map(|found| found.bytes).sum()
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
pub fn sweep_all(stagings: &[Staging], keep: &[Digest], quota: u64, max_age: Duration) -> Result<u64, StoreError> {
    let now = SystemTime::now();
    let (mut blobs, mut used, mut freed) = (Vec::new(), 0, 0);
    for staging in stagings {
        let kept: Vec<PathBuf> = keep.iter().map(|digest| staging.path_of(digest)).collect();
        for found in staging.leftovers()? {
            let age = now.duration_since(found.modified).unwrap_or_default();
            match classify(&found.path) {
                Class::Foreign => {}
                Class::Blob => {
                    used += found.bytes;
                    if !kept.contains(&found.path) {
                        blobs.push((found, age));
                    }
                }
                // Whoever compares with it holds its lock.
                Class::Suspect => freed += found.remove(),
                Class::Stray if age > STRAY_AGE => freed += found.remove(),
                Class::Stray => {}
            }
        }
    }
    blobs.sort_by_key(|(blob, _)| blob.modified);
    for (blob, age) in &blobs {
        if *age > max_age || used > quota {
            let bytes = blob.remove();
            used -= bytes;
            freed += bytes;
        }
    }
    Ok(freed)
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
        "journal" if path.with_extension("").exists() => Class::Foreign,
        "journal" | "journal.new" => Class::Stray,
        _ => Class::Foreign,
    }
}

impl Leftover {
    /// `None` for what has gone since it was listed.
    fn of(entry: &DirEntry) -> Option<Self> {
        let metadata = entry.metadata().ok()?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Self { path: entry.path(), bytes: metadata.blocks() * 512, modified })
    }

    /// Removes it with its journal, unless somebody works on it; the bytes that became free.
    fn remove(&self) -> u64 {
        if !remove_unless_locked(&self.path) {
            return 0;
        }
        if classify(&self.path) == Class::Blob {
            let _ = std::fs::remove_file(journal_of(&self.path));
        }
        tracing::debug!(path = %self.path.display(), bytes = self.bytes, "removed a leftover download");
        self.bytes
    }
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

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn the_old_goes_and_then_the_oldest() {
        let folder = tempfile::tempdir().expect("folder");
        let staging = Staging::new(folder.path().join("staging"));
        assert_eq!(staging.sweep(&[], 0, hours(0)).expect("sweeps"), 0, "there is nothing yet");
        let [old, middle, young, wanted] = [(1, 50), (2, 10), (3, 5), (4, 60)].map(|(n, age)| leave(&staging, n, age));
        let there = |digest| staging.path_of(digest).exists() && journal_of(&staging.path_of(digest)).exists();
        assert!(staging.sweep(std::slice::from_ref(&wanted), u64::MAX, hours(24)).expect("sweeps") > 0);
        assert_eq!([&old, &middle, &young, &wanted].map(there), [false, true, true, true]);
        assert!(!journal_of(&staging.path_of(&old)).exists());
        // Two of 64 KiB fit, the third does not; whole blocks are counted.
        assert!(staging.sweep(std::slice::from_ref(&wanted), 150 * KIB as u64, hours(24)).expect("sweeps") > 0);
        assert_eq!([&middle, &young, &wanted].map(there), [false, true, true]);
        let blob = descriptor(&vec![3; 64 * KIB]);
        let writing = begin(&staging, &blob);
        staging.sweep(&[], 0, hours(0)).expect("sweeps");
        assert_eq!([&young, &wanted].map(there), [true, false], "what is being written stays");
        drop(writing);
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
        staging.sweep(&[], u64::MAX, hours(24)).expect("sweeps");
        assert!(strays.iter().all(|path| path.exists()), "they may be in use");
        assert!(!suspect.exists());
        for path in strays.iter().chain([&foreign]) {
            age(path, 100);
        }
        staging.sweep(&[], u64::MAX, hours(24)).expect("sweeps");
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
