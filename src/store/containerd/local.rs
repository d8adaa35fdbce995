//! Content where it lies: for those who read much of it and verify what they read.

use std::fs::File;
use std::io::ErrorKind;

use super::Containerd;
use crate::core::descriptor::Descriptor;
use crate::store::StoreError;

impl Containerd {
    /// The file of a blob in containerd's content store, whatever namespaces have it; `None` where
    /// there is none of this size that can be read from here. Nobody has verified its content.
    pub(crate) async fn content_file(&self, blob: &Descriptor) -> Result<Option<File>, StoreError> {
        let Some(root) = self.content_root().await? else { return Ok(None) };
        let path = root.join("blobs").join(blob.digest.algorithm().name()).join(blob.digest.hex());
        let size = blob.size;
        let opened = tokio::task::spawn_blocking(move || {
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
            match opened {
                Ok((metadata, file)) => (metadata.is_file() && metadata.len() == size).then_some(file),
                Err(error) => {
                    if error.kind() != ErrorKind::NotFound {
                        tracing::debug!(path = %path.display(), %error, "content cannot be read where it lies");
                    }
                    None
                }
            }
        });
        opened.await.map_err(|error| StoreError::thread(&error))
    }
}
