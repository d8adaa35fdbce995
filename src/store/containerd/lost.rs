//! Content that the disk has lost: containerd has a record of it, and the file is not there.
//!
//! containerd gives a blob its name and then writes the record of it; before 2.2 it does not sync
//! the folder in between. A loss of power may take the name and leave the record, which is synced.
//! containerd goes on to say that it has what nobody can read, to every client and for ever.
//! So a record alone is not believed: the file has to be seen, or containerd to read
//! its last byte. A record without that is removed, and the content comes again as if it had never
//! been there. What a pull of ours brings has its name on the disk before the image has.
//!
//! Whether all bytes of a file are the right ones is not looked at here (`share`).
//!
//! Facts: containerd 1.6 to 2.x, `content/local/writer.go`, `metadata/content.go`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;
use tokio::io::AsyncReadExt as _;

use super::Containerd;
use super::link::blobs_in;
use super::share::lies_there;
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::store::StoreError;

impl Containerd {
    /// Whether the bytes of content are there of which there is a record.
    pub(super) async fn holds(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.holds_in(self.blobs().await?.as_deref(), digest, size).await
    }

    /// The same of each of them.
    pub(super) async fn holds_all(&self, blobs: &[&Descriptor]) -> Result<bool, StoreError> {
        let folder = self.blobs().await?;
        let held = blobs.iter().map(|blob| self.holds_in(folder.as_deref(), &blob.digest, blob.size));
        Ok(try_join_all(held).await?.into_iter().all(|held| held))
    }

    async fn holds_in(&self, folder: Option<&Path>, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        if let Some(folder) = folder
            && lies_there(&folder.join(digest.hex()), size).await
        {
            return Ok(true);
        }
        // What is not seen from here may be somewhere else: containerd has the last word.
        let Some(mut last) = self.read(digest, size.saturating_sub(1)).await? else { return Ok(false) };
        let read = last.read(&mut [0]).await.map_err(|error| self.refused_read(&error))?;
        Ok(read > 0 || size == 0)
    }

    /// Removes the record of content that is not held, and what is left of its file.
    pub(super) async fn forget(&self, digest: &Digest) -> Result<(), StoreError> {
        tracing::warn!(%digest, "containerd has lost this content and does not know: it is brought again");
        self.disown(digest).await?;
        let Some(file) = self.blobs().await?.map(|folder| folder.join(digest.hex())) else { return Ok(()) };
        match tokio::fs::remove_file(&file).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", &file, error)),
            _ => Ok(()),
        }
    }

    /// Has the names of all content on the disk, where its folder can be seen. Its bytes are: whoever
    /// writes content syncs those first.
    pub(super) async fn sync_content(&self) -> Result<(), StoreError> {
        let Some(folder) = self.blobs().await? else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || match std::fs::File::open(&folder) {
            Ok(opened) => opened.sync_all().map_err(|error| StoreError::io("sync", &folder, error)),
            Err(error) => {
                tracing::debug!(path = %folder.display(), %error, "containerd's content cannot be synced");
                Ok(())
            }
        });
        synced.await.map_err(|error| StoreError::thread(&error))?
    }

    /// Where content lies, by containerd's word.
    async fn blobs(&self) -> Result<Option<PathBuf>, StoreError> {
        match self.known_landing() {
            Some(landing) => Ok(landing.blobs.clone()),
            // Looking is no reason to try out how blobs get there.
            None => Ok(self.content_root().await?.as_deref().map(blobs_in)),
        }
    }
}
