//! Marks: that a process is at work, and what is to be cleared up after it should it be killed.
//!
//! A mark is a small file that its process holds locked. The kernel lets go of the lock however
//! the process ends, so a mark that can be locked is an orphan: whoever finds it clears up and
//! removes it. One without its lock is never seen, since it gets its name last.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{Staging, names, open_to_read};
use crate::core::unique;
use crate::store::StoreError;

/// What the names of marks begin with; nothing else here does.
const PREFIX: &str = "mark-";
/// Bytes of a mark that are read, and marks that are looked at in one go; others come later.
const LONGEST: u64 = 4096;
const MOST: usize = 64;

/// A mark, locked by us. Dropped, it stays for others to find.
#[derive(Debug)]
pub struct Mark {
    file: File,
    path: PathBuf,
}

impl Staging {
    /// Leaves a mark that says `text`.
    ///
    /// # Errors
    /// [`StoreError`] where the directory cannot be written to.
    pub fn mark(&self, text: &str) -> Result<Mark, StoreError> {
        let path = self.root().join(format!("{PREFIX}{}", unique::name()));
        let failed = |error| StoreError::io("write", &path, error);
        let mut file = self.temporary(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().lock().map_err(failed)?;
        let file = file.persist_noclobber(&path).map_err(|error| failed(error.error))?;
        Ok(Mark { file, path })
    }

    /// Marks of processes that are gone, with what they say, as far as `concerns` says that it is for
    /// whoever asks. They are his from here on. All others stay for those whom they concern: another
    /// containerd's daemon, or another version of us.
    #[must_use]
    pub fn orphans(&self, concerns: impl Fn(&str) -> bool) -> Vec<(Mark, String)> {
        if self.check().is_err() {
            return Vec::new();
        }
        let entries = std::fs::read_dir(self.root()).into_iter().flatten().flatten();
        let marks = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)));
        marks.filter_map(|entry| Mark::take(entry.path())).filter(|(_, text)| concerns(text)).take(MOST).collect()
    }
}

impl Mark {
    fn take(path: PathBuf) -> Option<(Self, String)> {
        let file = open_to_read(&path).ok()?;
        // Somebody may have taken and removed it between the two steps.
        (file.try_lock().is_ok() && names(&path, &file)).then_some(())?;
        let mut text = String::new();
        (&file).take(LONGEST).read_to_string(&mut text).ok()?;
        Some((Self { file, path }, text))
    }

    /// Removes it: there is nothing left to clear up.
    pub fn remove(self) {
        // If it stays, somebody clears up once more, and finds nothing.
        let _ = std::fs::remove_file(&self.path);
        drop(self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_once_its_process_is_gone_and_not_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = Staging::new(folder.path().join("staging"));
        assert!(staging.orphans(|_| true).is_empty());
        let (ours, other) = (staging.mark("ours").expect("marks"), staging.mark("other").expect("marks"));
        assert!(staging.orphans(|_| true).is_empty(), "it is taken while its process lives");
        // What the kernel does for a process that is killed.
        drop(other);
        let found = staging.orphans(|_| true);
        assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["other"]);
        assert!(staging.orphans(|_| true).is_empty(), "two clear up after one");
        found.into_iter().for_each(|(mark, _)| mark.remove());
        ours.remove();
        staging.tidy();
        assert!(!staging.root().exists(), "something is left");
    }

    #[test]
    fn marks_for_others_are_left_to_them_and_hide_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = Staging::new(folder.path().join("staging"));
        // Dropped, each is as its process left it.
        (0..20 * MOST).for_each(|_| drop(staging.mark("of another version").expect("marks")));
        drop(staging.mark("ours").expect("marks"));
        let found = staging.orphans(|text| text == "ours");
        assert_eq!(found.len(), 1);
        found.into_iter().for_each(|(mark, _)| mark.remove());
        assert_eq!(std::fs::read_dir(staging.root()).expect("is there").count(), 20 * MOST);
        assert_eq!(staging.orphans(|_| true).len(), MOST);
    }
}
