//! Whose a staging directory has to be.
//!
//! What lies here is taken up by its name, locked, and linked into a store as a file that is ours. So
//! nobody else may give names here, and the directory itself is no link, which could be led elsewhere
//! between two steps. What is above it is the administrator's choice.

use std::os::unix::fs::MetadataExt;

use super::Staging;
use crate::store::StoreError;

/// Writable for a group or for everybody.
const OTHERS_WRITE: u32 = 0o022;

impl Staging {
    /// Refuses a directory that others can change. One that is not there will be made.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        // Whatever else is in the way is named by who goes on.
        let Ok(found) = std::fs::symlink_metadata(&self.root) else { return Ok(()) };
        if found.is_symlink() {
            return Err(StoreError::Link { path: self.root.clone() });
        }
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        if self.is_as_open_as_its_store || (owner == nix::unistd::geteuid().as_raw() && mode & OTHERS_WRITE == 0) {
            return Ok(());
        }
        Err(StoreError::Exposed { path: self.root.clone(), owner, mode })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::Path;

    use super::super::tests::descriptor;
    use super::super::{Quota, Turn, journal_of, suspect_of};
    use super::*;
    use crate::core::error::{Blame, Classify, Kind};
    use crate::core::limits::Limits;

    const NOBODY: u32 = 65534;

    /// What every way into a directory comes to.
    fn refusals(staging: &Staging) -> Vec<StoreError> {
        assert!(staging.orphans(|_| true).is_empty(), "what others wrote is taken for a mark");
        let blob = descriptor(b"cargo");
        staging.forget(&blob.digest);
        staging.tidy();
        let quota = Quota::of(&Limits { staging_bytes: 0, staging_files: 0, ..Limits::default() });
        let refused = [
            staging.begin(&blob).map(drop),
            staging.temporary(Permissions::from_mode(0o600)).map(drop),
            staging.mark("ours").map(drop),
            staging.document(&blob).map(drop),
            staging.sweep(&[], &quota).map(drop),
        ];
        refused.into_iter().filter_map(Result::err).collect()
    }

    /// A directory with something in it that has the name of a blob.
    fn planted(root: &Path) {
        std::fs::create_dir(root).expect("a folder");
        std::fs::write(Staging::new(root.into()).path_of(&descriptor(b"cargo").digest), b"cargo").expect("writes");
    }

    fn untouched(root: &Path) -> bool {
        let blob = Staging::new(root.into()).path_of(&descriptor(b"cargo").digest);
        let entries = std::fs::read_dir(root).expect("lists").count();
        entries == 1 && std::fs::read(blob).is_ok_and(|bytes| bytes == b"cargo")
    }

    #[test]
    fn a_directory_that_others_can_change_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("staging");
        planted(&root);
        let is_root = nix::unistd::geteuid().is_root();
        for (owner, mode) in [(0, 0o770), (0, 0o702), (0, 0o1777), (NOBODY, 0o700), (NOBODY, 0o755)] {
            if is_root {
                chown(&root, Some(owner), Some(owner)).expect("gives away");
            } else if owner != 0 {
                continue;
            }
            set_permissions(&root, Permissions::from_mode(mode)).expect("sets the mode");
            let refused = refusals(&Staging::new(root.clone()));
            assert_eq!(refused.len(), 5, "{owner} {mode:o}: {refused:?}");
            for error in refused {
                assert!(matches!(&error, StoreError::Exposed { path, .. } if *path == root), "{error:?}");
                assert_eq!((error.kind(), error.blame()), (Kind::StoreInvalid, Blame::Node));
                assert!(error.hint().is_some_and(|hint| hint.contains("chmod 700")), "{error:?}");
            }
            assert!(untouched(&root));
            let open = Staging::of_store(root.clone());
            assert!(matches!(open.begin(&descriptor(b"barge")), Ok(Turn::Ours(_))), "it is as open as its store");
        }
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, elsewhere) = (folder.path().join("staging"), folder.path().join("elsewhere"));
        planted(&elsewhere);
        symlink(&elsewhere, &root).expect("links");
        for staging in [Staging::new(root.clone()), Staging::cache(root.clone()), Staging::of_store(root.clone())] {
            let refused = refusals(&staging);
            assert_eq!(refused.len(), 5, "{refused:?}");
            assert!(refused.iter().all(|error| matches!(error, StoreError::Link { .. })), "{refused:?}");
            assert!(untouched(&elsewhere) && root.is_symlink());
        }
    }

    #[test]
    fn links_in_the_directory_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = Staging::new(folder.path().join("staging"));
        let blob = descriptor(b"cargo");
        let path = staging.path_of(&blob.digest);
        let victim = folder.path().join("victim");
        std::fs::write(&victim, b"a person's").expect("writes");
        staging.create_dir().expect("creates");
        let mark = staging.root().join("mark-1");
        for link in [&path, &journal_of(&path), &suspect_of(&path), &mark] {
            symlink(&victim, link).expect("links");
            if *link == journal_of(&path) {
                std::fs::write(&path, b"car").expect("writes");
            }
            match staging.begin(&blob) {
                Ok(Turn::Ours(partial)) => partial.write_at(0, b"car", "a").expect("writes"),
                Ok(Turn::Taken) => panic!("nobody is at it"),
                Err(error) => {
                    assert!(matches!(&error, StoreError::Link { path } if path == link), "{error:?}");
                    assert_eq!((error.kind(), error.blame()), (Kind::StoreInvalid, Blame::Node));
                }
            }
            assert!(staging.document(&blob).is_err() || *link != path);
            assert!(staging.orphans(|_| true).is_empty());
            assert_eq!(std::fs::read(&victim).expect("reads"), b"a person's");
            for leftover in [link, &path] {
                let _ = std::fs::remove_file(leftover);
            }
        }
        assert!(victim.metadata().expect("is there").nlink() == 1, "it has a second name");
    }
}
