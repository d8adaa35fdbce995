//! Content, leases and image records of a containerd.
//!
//! What lands here is what containerd's own pull would have left: the same content, the
//! same labels, the same records, so that ctr, CRI and the garbage collector treat it as
//! theirs. Everything is written under one lease per pull, and through containerd's
//! services only, but for one thing: a verified blob is linked into its content directory
//! instead of being sent, where that was tried and works (`link`).
//!
//! A lease that is never released, because lighterman was killed, is ended by the next pull that
//! finds its mark in staging or that it is of another boot, and expires after a day if there is neither.
//! A pull whose lease has ended under it, by a clock that was set or by somebody's hand, names nothing.
//! [`Store::release`] after a failed pull lets containerd collect what was adopted so far;
//! what was only staged is ours and stays, and the next pull goes on from it.
//!
//! Facts: containerd 1.6 to 2.x, `api/services/*/v1`. Unpacking is the business of
//! [`crate::unpack`].

mod content;
mod images;
mod introspect;
pub(crate) mod labels;
mod landing;
mod leases;
mod link;
mod local;
mod lost;
mod share;
mod wire;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use containerd_client::services::v1::Info;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use futures_util::future::try_join_all;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OnceCell;

use super::staging::{Staged, Staging};
use super::{Belongs, BlobReader, ImageRecord, Known, Lease, Store, StoreError};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::{Algorithm, Digest, Verified};
use crate::core::reference::Reference;
use crate::grpc::{MAX_MESSAGE, channel};
use content::Source;
pub use introspect::Snapshotter;
use landing::Trial;
pub use link::Handover;
use wire::Namespace;

/// A local daemon that is alive answers in milliseconds; one that is starting, in seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which part of containerd to land in.
#[derive(Debug, Clone)]
pub struct ContainerdOptions {
    /// `default`, `k8s.io`, …; containerd creates it when something is written to it.
    pub namespace: String,
    /// `overlayfs`, `native`, …: where layers are unpacked.
    pub snapshotter: String,
    /// Where blobs are downloaded before containerd gets them; where nobody says, the first
    /// place from which they need not be copied.
    pub staging: Option<PathBuf>,
    /// How containerd gets them.
    pub content: Handover,
}

/// One namespace of a running containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    channel: Channel,
    address: PathBuf,
    namespace: Namespace,
    snapshotter: String,
    handover: Handover,
    /// Where staging is unless something better is found.
    staging: Staging,
    staging_is_given: bool,
    trial: Arc<Trial>,
    /// Set once the leases of other boots have ended: no more of them can come up in this one.
    is_swept: Arc<OnceCell<()>>,
}

impl Containerd {
    /// Connects to the socket at `address` and waits, at most ten seconds, until containerd answers.
    ///
    /// # Errors
    /// [`StoreError::InvalidNamespace`] before anything is tried; [`StoreError::Unreachable`]
    /// with the reason where there is no socket, no right to use it, or no containerd behind it.
    pub async fn connect(address: &Path, options: ContainerdOptions) -> Result<Self, StoreError> {
        let unreachable = |reason: String| StoreError::Unreachable { address: address.into(), reason };
        let containerd = Self::later(address, options)?;
        let answers = async {
            // tonic wraps the kernel's answer beyond recognition, so the socket is tried first.
            tokio::net::UnixStream::connect(address).await.map_err(|error| unreachable(refusal(&error)))?;
            match containerd.version().await {
                Ok(_) => Ok(containerd),
                Err(StoreError::Containerd { message, .. }) => Err(unreachable(message)),
                Err(error) => Err(error),
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, answers).await.unwrap_or_else(|_| {
            Err(unreachable(format!("the socket is open, but nothing came back for {} s", CONNECT_TIMEOUT.as_secs())))
        })
    }

    /// The same for a containerd that may not be there yet: until it is, every call fails.
    ///
    /// # Errors
    /// [`StoreError::InvalidNamespace`].
    pub fn later(address: &Path, options: ContainerdOptions) -> Result<Self, StoreError> {
        let trial = Arc::<Trial>::default();
        let telling = {
            let trial = Arc::clone(&trial);
            move || trial.connected()
        };
        Ok(Self {
            channel: channel(address, telling),
            address: address.into(),
            namespace: Namespace::parse(&options.namespace)?,
            snapshotter: options.snapshotter,
            handover: options.content,
            staging_is_given: options.staging.is_some(),
            staging: Staging::new(options.staging.unwrap_or_else(|| link::STAGING.into())),
            trial,
            is_swept: Arc::default(),
        })
    }

    /// The namespace that this store writes to.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// The snapshotter that images are unpacked with.
    #[must_use]
    pub fn snapshotter(&self) -> &str {
        &self.snapshotter
    }

    /// The connection, for the other services of containerd.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// `message` for this namespace, outside of any lease.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        self.namespace.request(None, message)
    }

    /// `message` for this namespace: what it creates is kept under `lease`.
    pub(crate) fn leased<T>(&self, lease: &Lease, message: T) -> Result<Request<T>, StoreError> {
        let header = lease.id().parse().map_err(|_| StoreError::Containerd {
            action: "use a lease",
            message: format!("{:?} is not a lease of containerd", lease.id()),
            code: super::error::RemoteCode::InvalidArgument,
        })?;
        Ok(self.namespace.request(Some(&header), message))
    }

    /// A refused call as an error of ours; `action` completes "containerd failed to …".
    pub(crate) fn failure(&self, action: &'static str, status: &Status) -> StoreError {
        wire::failure(&self.address, action, status)
    }

    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// containerd hashes what it commits with sha256, whatever the expected digest is.
    fn check_algorithm(&self, digest: &Digest) -> Result<(), StoreError> {
        match digest.algorithm() {
            Algorithm::Sha256 => Ok(()),
            Algorithm::Sha512 => {
                Err(StoreError::UnsupportedDigest { store: self.describe(), digest: digest.to_string() })
            }
        }
    }
}

fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied; the socket is for root, so run as root".into(),
        io::ErrorKind::NotFound => "there is no such socket".into(),
        io::ErrorKind::ConnectionRefused => "the socket is there, but nobody listens on it".into(),
        _ => error.to_string(),
    }
}

#[async_trait]
impl Store for Containerd {
    fn describe(&self) -> String {
        format!("containerd (namespace {})", self.namespace())
    }

    /// Settled by the first lease.
    fn staging(&self) -> Staging {
        self.trial.staging().unwrap_or_else(|| self.staging.clone())
    }

    async fn lease(&self) -> Result<Lease, StoreError> {
        self.trial.forget_failure();
        // Before anything is downloaded, not after.
        tokio::join!(self.check_snapshotter(), self.landing()).0?;
        // It is the first call that notices when containerd was started anew.
        self.landing().await;
        self.end_orphans().await;
        self.end_leases_of_other_boots().await;
        self.create_lease().await
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let deleted = self.delete_lease(lease).await;
        let staging = self.staging();
        // It takes nothing away that anybody needs, so that it cannot fail.
        let _ = tokio::task::spawn_blocking(move || staging.tidy()).await;
        deleted
    }

    async fn claim(&self, lease: &Lease, blob: &Descriptor, belongs: Belongs<'_>) -> Result<bool, StoreError> {
        self.check_algorithm(&blob.digest)?;
        match self.info(&blob.digest).await? {
            Some(info) if u64::try_from(info.size) == Ok(blob.size) => {
                if self.holds(&blob.digest, blob.size).await? {
                    return self.keep(lease, &blob.digest, belongs).await;
                }
                self.forget(&blob.digest).await?;
                Ok(false)
            }
            Some(_) => Ok(false),
            None => self.take_over(lease, blob, belongs).await,
        }
    }

    async fn adopt(&self, lease: &Lease, blob: &Verified<Staged>, belongs: Belongs<'_>) -> Result<(), StoreError> {
        self.check_algorithm(blob.digest())?;
        let staged = blob.content();
        if self.adopt_by_link(lease, blob, belongs).await? {
            lease.tally.linked();
        } else {
            let source = Source::File { file: Arc::clone(staged.file()), path: staged.path().into() };
            self.write(lease, (blob.digest(), blob.size()), source, belongs).await?;
            lease.tally.written();
        }
        staged.adopted();
        Ok(())
    }

    async fn put(&self, lease: &Lease, document: Verified<Bytes>, belongs: Belongs<'_>) -> Result<(), StoreError> {
        self.check_algorithm(document.digest())?;
        let source = Source::Memory(document.content().clone());
        self.write(lease, (document.digest(), document.size()), source, belongs).await
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Verified<Bytes>>, StoreError> {
        self.read_document(descriptor).await
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<Verified<Bytes>>, StoreError> {
        let Some(info) = self.info(digest).await? else { return Ok(None) };
        let size = u64::try_from(info.size).unwrap_or_default();
        self.read_document(&Descriptor::new(MediaType::Other(String::new()), digest.clone(), size)).await
    }

    async fn open(&self, descriptor: &Descriptor) -> Result<Option<BlobReader>, StoreError> {
        self.read(&descriptor.digest, 0).await
    }

    async fn open_part(&self, descriptor: &Descriptor, part: Range<u64>) -> Result<Option<BlobReader>, StoreError> {
        let reader = self.read(&descriptor.digest, part.start).await?;
        Ok(reader.map(|reader| Box::pin(reader.take(part.end.saturating_sub(part.start))) as BlobReader))
    }

    async fn is_from(&self, source: &Reference, blob: &Descriptor) -> Result<bool, StoreError> {
        let info = self.info(&blob.digest).await?;
        let same_size = |info: &Info| u64::try_from(info.size) == Ok(blob.size);
        Ok(info.filter(same_size).is_some_and(|info| labels::is_from(&info.labels, source)))
    }

    async fn name(&self, lease: &Lease, record: &ImageRecord) -> Result<(), StoreError> {
        self.sync_content().await?;
        // containerd lets leases expire by its clock, which somebody may have set meanwhile.
        self.require(lease).await?;
        self.write_records(lease, record).await
    }

    async fn stands(&self, record: &ImageRecord, blobs: &[&Descriptor]) -> Result<bool, StoreError> {
        let infos = try_join_all(blobs.iter().map(|blob| self.info(&blob.digest))).await?;
        let whole = |(info, blob): (&Option<Info>, &&Descriptor)| {
            info.as_ref().is_some_and(|info| u64::try_from(info.size) == Ok(blob.size))
        };
        // The names come last: as long as they are there, so is what they stand for, but for what the
        // disk has lost.
        let recorded = infos.iter().zip(blobs).all(whole) && self.has_records(record).await?;
        Ok(recorded && self.holds_all(blobs).await?)
    }

    async fn lookup(&self, name: &str) -> Result<Option<Known>, StoreError> {
        self.read_record(name).await
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        self.record_names().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_explained() {
        let cases = [
            (io::ErrorKind::PermissionDenied, "run as root"),
            (io::ErrorKind::NotFound, "no such socket"),
            (io::ErrorKind::ConnectionRefused, "nobody listens"),
            (io::ErrorKind::TimedOut, "timed out"),
        ];
        for (kind, words) in cases {
            assert!(refusal(&kind.into()).contains(words), "{kind:?}");
        }
    }
}
