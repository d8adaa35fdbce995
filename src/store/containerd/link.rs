//! Landing blobs in containerd without copying them.
//!
//! containerd shares content between its namespaces (`content_sharing_policy = "shared"`, its
//! default): what lies in its content directory under the name of its digest becomes content
//! of a namespace by a commit alone. So a verified, synced blob gets a second name there, by
//! a hard link that replaces nothing, is committed, and only then loses the name that it has
//! in staging: should containerd's collector come between link and commit, the bytes are
//! still ours, and are linked again.
//!
//! Whether that works here is tried once per connection (`landing`), with a few random bytes: it needs
//! one file system, one view of it, that policy, and containerd's own content store. Where it
//! does not, and whenever something is off with one blob, its bytes are sent as the API
//! documents it, and the log says why.
//!
//! Facts: containerd 1.6 to 2.x, `metadata/content.go`, `Writer` and `Commit`.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_client::services::v1::{AbortRequest, WriteAction, WriteContentRequest, WriteContentResponse};
use containerd_client::tonic::{Code, Request, Status};

use super::Containerd;
use super::content::{Handed, Ingest, Source, TRIES, Written, drain};
use super::landing::{Finding, Landing};
use crate::core::digest::{Digest, Verified};
use crate::core::error::{Classify as _, Kind};
use crate::core::unique;
use crate::store::error::RemoteCode;
use crate::store::staging::{Staged, Staging};
use crate::store::{Belongs, Lease, StoreError};

/// Where staging is looked for first where nobody names a directory.
pub(super) const STAGING: &str = "/var/lib/lighterman/staging";
/// Else it is here, beside the directory of containerd's content store.
const BESIDE_CONTENT: &str = "io.lighterman.staging";
/// Content is for everyone who gets so far as to read it, and for nobody to write.
const MODE: u32 = 0o444;

/// How containerd gets the bytes of a blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Handover {
    /// By a hard link where that works, else as [`Handover::Write`].
    #[default]
    Link,
    /// Through its API, byte by byte.
    Write,
}

/// Why linking does not work.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    /// From this staging directory.
    #[error("{0}")]
    Here(String),
    /// From nowhere.
    #[error("{0}")]
    Everywhere(String),
    /// Nobody knows: a call failed.
    #[error(transparent)]
    Unknown(#[from] StoreError),
}

impl Obstacle {
    /// What a failure says of a staging directory, in these words. A full disk says nothing of it.
    fn of(error: StoreError, reason: String) -> Self {
        if error.kind() == Kind::StoreFull { Self::Unknown(error) } else { Self::Here(reason) }
    }

    fn of_staging(error: StoreError) -> Self {
        let reason = error.to_string();
        Self::of(error, reason)
    }
}

impl Containerd {
    /// Finds out where staging is best, and how blobs get from there into containerd.
    pub(super) async fn find_landing(&self) -> Finding {
        let (root, found) = match self.content_root().await {
            Ok(Some(root)) => {
                let found = self.first_that_links(&self.candidates(Some(&root)), &root).await;
                (Some(root), found)
            }
            Ok(None) => (None, Err(Obstacle::Everywhere("it does not say where its content is".into()))),
            Err(error) => (None, Err(error.into())),
        };
        let blobs = root.as_deref().map(blobs_in);
        let reason = match found {
            Ok(staging) => {
                tracing::info!(staging = %staging.root().display(), ?blobs, "blobs are linked into containerd");
                return Finding { landing: Landing { staging, blobs, obstacle: None }, is_verdict: true };
            }
            Err(reason) => reason,
        };
        let stagings = self.candidates(root.as_deref());
        let staging = stagings.iter().find(|staging| is_usable(staging)).unwrap_or(&self.staging).clone();
        let (place, is_verdict) = (staging.root().display(), !matches!(reason, Obstacle::Unknown(_)));
        match self.handover {
            Handover::Link => tracing::warn!(staging = %place, %reason, "blobs are copied into containerd"),
            Handover::Write => tracing::info!(staging = %place, %reason, "blobs are copied into containerd"),
        }
        Finding { landing: Landing { staging, blobs, obstacle: Some(reason.to_string()) }, is_verdict }
    }

    /// Where staging may be. A directory that somebody names is where they want downloads to be.
    fn candidates(&self, root: Option<&Path>) -> Vec<Staging> {
        let beside = root.and_then(Path::parent).filter(|_| !self.staging_is_given);
        let beside = beside.map(|parent| Staging::new(parent.join(BESIDE_CONTENT)));
        std::iter::once(self.staging.clone()).chain(beside).collect()
    }

    async fn first_that_links(&self, stagings: &[Staging], root: &Path) -> Result<Staging, Obstacle> {
        if self.handover == Handover::Write {
            return Err(Obstacle::Everywhere("the configuration says so".into()));
        }
        self.wake(root).await?;
        let mut reasons = Vec::new();
        for staging in stagings {
            match self.probe(staging, root).await {
                Ok(()) => return Ok(staging.clone()),
                Err(Obstacle::Here(reason)) => {
                    reasons.push(format!("from {}: {reason}", staging.root().display()));
                    staging.tidy();
                }
                Err(Obstacle::Everywhere(reason)) => {
                    reasons.push(reason);
                    break;
                }
                Err(unknown) => return Err(unknown),
            }
        }
        Err(Obstacle::Everywhere(reasons.join("; ")))
    }

    /// Tries it out with a few bytes that nobody else has.
    async fn probe(&self, staging: &Staging, root: &Path) -> Result<(), Obstacle> {
        for _ in 0..TRIES {
            let (staging, root, folder) = (staging.clone(), root.to_owned(), blobs_in(root));
            let planted = tokio::task::spawn_blocking(move || Probe::plant(&staging, &root, &folder)).await;
            let probe = planted.map_err(|error| Obstacle::Here(error.to_string()))??;
            match self.sees(&probe).await? {
                true => return Ok(()),
                // The collector may have come by.
                false if !probe.path.exists() => {}
                false => break,
            }
        }
        Err(Obstacle::Everywhere(
            "it does not see what is linked into its content directory (content_sharing_policy is not \"shared\", \
             another content store is plugged in, or it has a file system of its own)"
                .into(),
        ))
    }

    /// Has containerd make its content's folders, if it has not: since 1.7.24 it waits for its
    /// first ingest, and a node that never pulled an image is no reason to copy one.
    async fn wake(&self, root: &Path) -> Result<(), StoreError> {
        if ingests(root).exists() {
            return Ok(());
        }
        self.offer(&Digest::of(unique::name().as_bytes()), 1).await.map(drop)
    }

    /// Whether containerd takes the probe for content that it has, to the last byte.
    async fn sees(&self, probe: &Probe) -> Result<bool, StoreError> {
        Ok(self.offer(&probe.digest, probe.size).await? == Some(probe.size))
    }

    /// How much containerd has of the content that it is offered. It gets nothing of it.
    async fn offer(&self, digest: &Digest, size: i64) -> Result<Option<i64>, StoreError> {
        let ingest = Ingest {
            reference: format!("lighterman-probe-{}", unique::name()),
            expected: digest.to_string(),
            total: size,
        };
        let stat = self.exchange(self.request(ingest.message(WriteAction::Stat, 0))).await;
        // Whatever it said, there may be an ingest now.
        let aborted = self.abort(self.request(AbortRequest { r#ref: ingest.reference })).await;
        let reply = stat.map_err(|status| self.failure("look at linked content", &status))?;
        aborted?;
        Ok(reply.map(|reply| reply.offset))
    }

    /// Adopts a blob by link; `false` where its bytes have to be sent.
    pub(super) async fn adopt_by_link(
        &self,
        lease: &Lease,
        blob: &Verified<Staged>,
        belongs: Belongs<'_>,
    ) -> Result<bool, StoreError> {
        let Some(target) = self.landing().await.target(blob.digest()) else { return Ok(false) };
        let staged = blob.content();
        let source = Source::Link { file: Arc::clone(staged.file()), path: staged.path().into(), target };
        match self.hand_over(lease, (blob.digest(), blob.size()), source, belongs).await? {
            Handed::Over => Ok(true),
            Handed::Not(reason) => {
                tracing::warn!(digest = %blob.digest(), reason, "a blob is copied into containerd");
                Ok(false)
            }
        }
    }

    /// One attempt to adopt by link: the commit is all that is sent. It names the offset that
    /// containerd has to be at, so that it fails where the file is gone again.
    pub(super) async fn link(
        &self,
        lease: &Lease,
        ingest: &Ingest,
        (file, path, target): (&Arc<File>, &Path, &Path),
        belongs: Belongs<'_>,
    ) -> Result<Written, StoreError> {
        let size = ingest.total.unsigned_abs();
        let place = || {
            let (file, path, target) = (Arc::clone(file), path.to_owned(), target.to_owned());
            tokio::task::spawn_blocking(move || place((&file, &path), &target, size))
        };
        if let Err(reason) = place().await.map_err(|error| StoreError::thread(&error))? {
            return Ok(Written::Impossible(reason));
        }
        match self.exchange(self.leased(lease, ingest.commit(belongs))?).await {
            // Whoever took it away in between, it is content now, and has to be there.
            Ok(Some(_)) if target.exists() => Ok(Written::Committed),
            Ok(Some(_)) => {
                let placed = place().await.map_err(|error| StoreError::thread(&error))?;
                Ok(placed.map_or_else(Written::Impossible, |()| Written::Committed))
            }
            Ok(None) => Err(self.refused("it hung up before it committed".into())),
            Err(status) if matches!(status.code(), Code::OutOfRange | Code::FailedPrecondition) => Ok(Written::Stale),
            Err(status) => match self.outcome(&status) {
                Err(StoreError::Containerd { message, code: RemoteCode::Other, .. }) => {
                    Ok(Written::Impossible(format!("containerd does not take what is linked: {message}")))
                }
                outcome => outcome,
            },
        }
    }

    /// One message, and what containerd says to it.
    pub(super) async fn exchange(
        &self,
        request: Request<WriteContentRequest>,
    ) -> Result<Option<WriteContentResponse>, Status> {
        let mut replies =
            self.content().write(request.map(|message| futures_util::stream::iter([message]))).await?.into_inner();
        drain(&mut replies).await
    }
}

/// A file in containerd's content directory that means nothing. Dropped, it is gone.
#[derive(Debug)]
struct Probe {
    path: PathBuf,
    digest: Digest,
    size: i64,
}

impl Probe {
    /// Links a file of `staging` into `folder`, the way in which blobs will be.
    fn plant(staging: &Staging, root: &Path, folder: &Path) -> Result<Self, Obstacle> {
        let content = format!("lighterman {}", unique::name());
        let digest = Digest::of(content.as_bytes());
        let explain = |error: io::Error| {
            let reason = format!("no hard link to {}: {error}", folder.display());
            Obstacle::of(StoreError::io("link a probe into", folder, error), reason)
        };
        // Where containerd runs on a file system of its own, its path may be something else here.
        fs::metadata(ingests(root)).map_err(explain)?;
        let made = staging.temporary(Permissions::from_mode(MODE));
        let mut file = made.map_err(Obstacle::of_staging)?;
        let written = file.write_all(content.as_bytes());
        written.map_err(|error| Obstacle::of_staging(StoreError::io("write to", staging.root(), error)))?;
        let path = folder.join(digest.hex());
        hard_link(file.path(), &path).map_err(explain)?;
        Ok(Self { path, digest, size: i64::try_from(content.len()).unwrap_or(i64::MAX) })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The collector knows no name for it either.
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives a staged blob its name in containerd's content directory: on disk before, and
/// replacing nothing. What is there with the right size is somebody else's good copy. Else why not.
fn place((file, staged): (&File, &Path), target: &Path, size: u64) -> Result<(), String> {
    let explain = |error: io::Error| format!("no hard link to {}: {error}", target.display());
    file.sync_data().map_err(explain)?;
    file.set_permissions(Permissions::from_mode(MODE)).map_err(explain)?;
    match hard_link(staged, target) {
        Ok(()) => {
            let folder = target.parent().unwrap_or(target);
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(explain)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::symlink_metadata(target) {
            Ok(there) if there.is_file() && there.len() == size => Ok(()),
            Ok(there) => Err(format!("{} is there with {} bytes instead of {size}", target.display(), there.len())),
            Err(error) => Err(explain(error)),
        },
        Err(error) => Err(explain(error)),
    }
}

/// Links, and makes the folder as containerd makes it for the first content of all.
fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = to.parent().unwrap_or(to);
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            fs::hard_link(from, to)
        }
        linked => linked,
    }
}

/// Where a content store keeps what has a sha256 digest.
pub(super) fn blobs_in(root: &Path) -> PathBuf {
    root.join("blobs/sha256")
}

/// Where a content store keeps what is not content yet.
fn ingests(root: &Path) -> PathBuf {
    root.join("ingest")
}

/// Whether this user can write there.
fn is_usable(staging: &Staging) -> bool {
    staging.temporary(Permissions::from_mode(MODE)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_blob_is_linked_and_replaces_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let (staged, target) = (folder.path().join("staged"), folder.path().join("blobs/sha256/abc"));
        fs::write(&staged, b"cargo").expect("writes");
        let file = File::open(&staged).expect("opens");
        for _ in 0..2 {
            place((&file, &staged), &target, 5).expect("places");
        }
        let there = fs::metadata(&target).expect("is there");
        assert_eq!((there.ino(), there.nlink()), (file.metadata().expect("is there").ino(), 2));
        assert_eq!(there.permissions().mode() & 0o777, MODE);

        fs::remove_file(&target).expect("removes");
        fs::write(&target, b"other").expect("writes");
        place((&file, &staged), &target, 5).expect("somebody else's copy does as well");
        assert_eq!(fs::read(&target).expect("reads"), b"other");
        fs::write(&target, b"half").expect("writes");
        let reason = place((&file, &staged), &target, 5).expect_err("is not the blob");
        assert!(reason.contains("4 bytes instead of 5"), "{reason}");
        assert_eq!(fs::read(&target).expect("reads"), b"half");
    }

    #[test]
    fn a_probe_shows_whether_links_work_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let (staging, root) = (Staging::new(folder.path().join("staging")), folder.path().join("content"));
        let blobs = root.join("blobs/sha256");
        let reason = Probe::plant(&staging, &root, &blobs).expect_err("nobody's content store");
        assert!(matches!(&reason, Obstacle::Here(words) if words.contains("no hard link")), "{reason}");
        fs::create_dir_all(root.join("ingest")).expect("creates");
        let probe = Probe::plant(&staging, &root, &blobs).expect("links");
        assert_eq!(Digest::of(&fs::read(&probe.path).expect("reads")), probe.digest);
        drop(probe);
        assert_eq!(fs::read_dir(&blobs).expect("lists").count(), 0);
        staging.tidy();
        assert!(!staging.root().exists());
    }
}
