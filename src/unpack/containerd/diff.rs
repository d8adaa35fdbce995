//! containerd's Diff service: it extracts the layer itself, on every snapshotter.
//!
//! The documented way, and the only one for snapshotters that are not overlayfs and for
//! layers that we do not decode. It needs the whole blob in containerd's content store.

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::types::{self, Mount};

use super::super::UnpackError;
use super::super::plan::Step;
use super::snapshots::Snapshots;
use crate::store::StoreError;
use crate::store::error::RemoteCode;

/// Extracts the layer of `step` into `mounts`.
///
/// # Errors
/// [`UnpackError`], also where the tar inside is not the one that the config names.
pub(super) async fn apply(snapshots: Snapshots<'_>, step: &Step<'_>, mounts: Vec<Mount>) -> Result<(), UnpackError> {
    let (store, layer) = (snapshots.store, step.layer);
    let diff = types::Descriptor {
        media_type: layer.media_type.to_string(),
        digest: layer.digest.to_string(),
        size: i64::try_from(layer.size).unwrap_or(i64::MAX),
        annotations: layer.annotations.clone().into_iter().collect(),
    };
    let request = ApplyRequest { diff: Some(diff), mounts, ..ApplyRequest::default() };
    let applied = match DiffClient::new(store.channel()).apply(store.leased(snapshots.lease, request)?).await {
        Ok(reply) => reply.into_inner().applied,
        Err(status) => return Err(refusal(step, store.failure("unpack a layer", &status))),
    };
    let actual = applied.map(|applied| applied.digest).unwrap_or_default();
    if actual == step.diff_id.to_string() {
        return Ok(());
    }
    Err(UnpackError::DiffId { layer: layer.digest.clone(), expected: step.diff_id.clone(), actual })
}

/// What a refusal means. The bytes had the right digest, so they are what was published.
fn refusal(step: &Step<'_>, error: StoreError) -> UnpackError {
    let (digest, media_type) = (step.layer.digest.clone(), step.layer.media_type.clone());
    match error {
        StoreError::Containerd { code: RemoteCode::Other, message, .. } if !step.is_tar && !blames_disk(&message) => {
            UnpackError::UnknownLayer { digest, media_type, reason: message }
        }
        StoreError::Containerd { code: RemoteCode::Other, message, .. } if blames_archive(&message) => {
            UnpackError::Archive { layer: digest, reason: message }
        }
        error => error.into(),
    }
}

/// What containerd's tar reader and its decompressors say.
const WORDS: [&str; 9] = [
    "archive/tar:",
    "invalid tar header",
    "unhandled tar header type",
    ": invalid archive",
    "gzip:",
    "flate:",
    "unpigz",
    "igzip",
    "magic number mismatch",
];
/// How a message ends where the kernel, or containerd in its place, refuses what an entry asks
/// for, whatever the disk; and what is to be in the message, where others could end so, too.
const REFUSALS: [(&str, &str); 12] = [
    ("", "unexpected EOF"),
    ("", ": not a directory"),
    ("", ": file exists"),
    ("", ": file name too long"),
    ("", ": too many levels of symbolic links"),
    ("", ": too many links"),
    ("link ", ": no such file or directory"),
    ("link ", ": operation not permitted"),
    ("UtimesNanoAt ", ": no such file or directory"),
    ("setxattr ", ": invalid argument"),
    ("setxattr ", ": numerical result out of range"),
    ("setxattr ", ": argument list too long"),
];

/// Whether containerd's words blame the archive.
fn blames_archive(message: &str) -> bool {
    let refuses = |(what, end): &(&str, &str)| message.contains(what) && message.ends_with(end);
    let is_of_mount = message.contains("failed to mount");
    WORDS.iter().any(|word| message.contains(word)) || !is_of_mount && REFUSALS.iter().any(refuses)
}

/// Whether they are those of a kernel whose disk fails.
fn blames_disk(message: &str) -> bool {
    ["input/output error", "read-only file system"].iter().any(|words| message.ends_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_disks() {
        for message in [
            "archive/tar: invalid tar header",
            "failed to extract: gzip: invalid checksum",
            "exit status 1: unpigz: skipping: <stdin>: corrupted",
            "failed to init decompressor: magic number mismatch",
            "unexpected EOF",
            "mount callback failed on /r/containerd-mount1: too many links",
            "mount callback failed on /r/containerd-mount1: mkparent /r/containerd-mount1/a: not a directory",
            "link /r/snapshots/4/fs/a /r/snapshots/4/fs/b: no such file or directory",
            "link /r/snapshots/4/fs/a /r/snapshots/4/fs/b: operation not permitted",
            "failed call to UtimesNanoAt for /r/d: no such file or directory",
            "failed to setxattr \"/r/f\" for key \"user.a\": argument list too long",
            "failed to convert whiteout file \".wh.top\": file exists",
            "invalid whiteout name: .wh.: invalid archive",
            "unhandled tar header type 83",
        ] {
            assert!(blames_archive(message), "{message}");
        }
        for message in [
            "write /x: no space left on device",
            "failed to mount: operation not permitted",
            "unexpected EOF on socket",
            "failed to mount /r/containerd-mount1: not a directory",
            "mknod /r/snapshots/4/fs/null: operation not permitted",
            "lstat /r/snapshots/4/fs: no such file or directory",
            "write /r/link to nowhere: input/output error",
        ] {
            assert!(!blames_archive(message), "{message}");
        }
    }
}
