//! Content that another namespace of this containerd has already.
//!
//! Under its shared policy, containerd's default, a namespace gets such content by naming its
//! digest and size, without sending a byte. Under the isolated one it wants to see the bytes
//! first, and then they are downloaded. Whether it is worth asking shows in the content
//! directory; where that cannot be seen from here, nothing is taken over.

use std::path::Path;

use containerd_client::services::v1::{AbortRequest, DeleteContentRequest};
use containerd_client::tonic::Code;

use super::content::Ingest;
use super::{Containerd, wire};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::store::{Belongs, Lease, StoreError};

impl Containerd {
    /// Makes content of another namespace content of this one, under the lease and with its
    /// labels; `false` where there is none, or it is not to be had.
    ///
    /// The size is compared, the bytes are not hashed: that was done when they were committed,
    /// and to trust it from then on is the store's own rule, by which containerd's own pulls go
    /// as well. A disk that rots is found out by who reads: unpacking checks what it inflates.
    pub(super) async fn take_over(
        &self,
        lease: &Lease,
        blob: &Descriptor,
        belongs: Belongs<'_>,
    ) -> Result<bool, StoreError> {
        let Some(path) = self.landing().await.blobs.as_ref().map(|blobs| blobs.join(blob.digest.hex())) else {
            return Ok(false);
        };
        if !lies_there(&path, blob.size).await {
            return Ok(false);
        }
        let Some(ingest) = Ingest::of(&blob.digest, blob.size) else { return Ok(false) };
        match self.exchange(self.leased(lease, ingest.commit(belongs))?).await {
            Ok(Some(_)) if lies_there(&path, blob.size).await => {
                tracing::debug!(digest = %blob.digest, "taken over from another namespace");
                Ok(true)
            }
            // The collector came in between, and there is a record of what is gone.
            Ok(Some(_)) => self.disown(&blob.digest).await.map(|()| false),
            Ok(None) => Ok(false),
            Err(status) if status.code() == Code::AlreadyExists => self.keep(lease, &blob.digest, belongs).await,
            // Somebody is writing it to this namespace just now.
            Err(status) if wire::is_locked(&status) => Ok(false),
            Err(status) if matches!(status.code(), Code::OutOfRange | Code::FailedPrecondition) => {
                // It wants the bytes, and has begun to wait for them.
                self.give_up(lease, ingest).await?;
                Ok(false)
            }
            Err(status) => {
                // Where it failed is not known, so there may be something that it has begun.
                self.give_up(lease, ingest).await?;
                Err(self.failure("share content", &status))
            }
        }
    }

    /// Ends an ingest that nobody goes on with. One that cannot be ended is no reason to fail: it is
    /// the lease's, which the collector goes by, and whoever brings the bytes after all goes on with
    /// what is there.
    async fn give_up(&self, lease: &Lease, ingest: Ingest) -> Result<(), StoreError> {
        let reference = ingest.reference.clone();
        if let Err(error) = self.abort(self.leased(lease, AbortRequest { r#ref: ingest.reference })?).await {
            tracing::warn!(reference, %error, "an unfinished ingest stays until the pull's lease ends");
        }
        Ok(())
    }

    /// Removes the record of content in this namespace.
    pub(super) async fn disown(&self, digest: &Digest) -> Result<(), StoreError> {
        let request = self.request(DeleteContentRequest { digest: digest.to_string() });
        match self.content().delete(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(self.failure("forget content", &status)),
        }
    }
}

/// Whether a blob of this size is there.
pub(super) async fn lies_there(path: &Path, size: u64) -> bool {
    tokio::fs::symlink_metadata(path).await.is_ok_and(|found| found.is_file() && found.len() == size)
}
