//! Content: writing under refs of our own, labelling, reading.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, Info, InfoRequest, ReadContentRequest, UpdateRequest, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use containerd_client::tonic::{Code, Request, Status, Streaming};
use futures_util::StreamExt;
use prost_types::FieldMask;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::io::StreamReader;

use super::labels::{self, Labels};
use super::{Containerd, wire};
use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verified};
use crate::core::limits::Limits;
use crate::store::error::RemoteCode;
use crate::store::{Belongs, BlobReader, Lease, StoreError};

/// Bytes per message: larger ones gain nothing on containerd 1.6 and little on newer ones.
const CHUNK: usize = 1024 * 1024;
/// Messages under way, so that reading, sending and containerd's writing overlap.
const PIPELINED: usize = 4;
/// Blobs that this process sends at a time: each has several messages in memory, and containerd
/// takes no more bytes per second from many streams than from two.
static SENDING: Semaphore = Semaphore::const_new(2);
/// First and longest pause while another lighterman writes the same blob.
const LOCKED_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// Longest wait for it: a blob of 100 GB takes about this long.
const LOCKED_LIMIT: Duration = Duration::from_secs(600);
/// Tries when content vanishes between two calls, which the collector can do once.
pub(super) const TRIES: usize = 3;

pub(super) const WRITE: &str = "write content";

/// Where bytes to write come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A staged file, whose bytes are sent.
    File { file: Arc<File>, path: PathBuf },
    /// A staged file that containerd is to find under the name `target`, without a byte sent.
    Link { file: Arc<File>, path: PathBuf, target: PathBuf },
    /// A document.
    Memory(Bytes),
}

/// How writing a blob ended.
pub(super) enum Handed {
    /// containerd has it, under the lease and with its labels.
    Over,
    /// This source cannot bring it, for the reason given.
    Not(String),
}

/// How one attempt to write ended without an error.
pub(super) enum Written {
    /// containerd has it now, with our labels.
    Committed,
    /// It had it before: labels and lease are still to do.
    Existed,
    /// Somebody else is writing under the same ref.
    Locked,
    /// What an earlier attempt left behind under the ref was not the blob, or what was there is gone.
    Stale,
    /// The source cannot bring it.
    Impossible(String),
}

impl Source {
    /// Up to [`CHUNK`] bytes at `offset` of the `size` that the blob has.
    fn chunk(&self, offset: u64, size: u64) -> Result<Vec<u8>, StoreError> {
        let length = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
        match self {
            Self::File { file, path } | Self::Link { file, path, .. } => {
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, offset).map_err(|error| StoreError::io("read", path, error))?;
                Ok(chunk)
            }
            Self::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                Ok(rest[..length.min(rest.len())].to_vec())
            }
        }
    }
}

/// A blob under a ref of ours; the commit is a message with data like the others.
pub(super) struct Ingest {
    pub(super) reference: String,
    pub(super) expected: String,
    pub(super) total: i64,
}

impl Ingest {
    /// `None` for more bytes than containerd can count.
    pub(super) fn of(digest: &Digest, size: u64) -> Option<Self> {
        // A ref of our own: containerd's pull, which may come through our mirror, must not wait for us.
        let reference = format!("lighterman-{digest}");
        Some(Self { reference, expected: digest.to_string(), total: i64::try_from(size).ok()? })
    }

    pub(super) fn message(&self, action: WriteAction, offset: u64) -> WriteContentRequest {
        WriteContentRequest {
            action: action.into(),
            r#ref: self.reference.clone(),
            total: self.total,
            expected: self.expected.clone(),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            ..WriteContentRequest::default()
        }
    }

    /// The message that makes the blob content, with its labels.
    pub(super) fn commit(&self, belongs: Belongs<'_>) -> WriteContentRequest {
        let labels: HashMap<String, String> = labels::missing(belongs, &HashMap::new()).into_iter().collect();
        WriteContentRequest { labels, ..self.message(WriteAction::Commit, self.total.unsigned_abs()) }
    }
}

impl Containerd {
    /// What this namespace knows of a blob.
    pub(super) async fn info(&self, digest: &Digest) -> Result<Option<Info>, StoreError> {
        let request = self.request(InfoRequest { digest: digest.to_string() });
        match self.content().info(request).await {
            Ok(reply) => Ok(reply.into_inner().info),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failure("look content up", &status)),
        }
    }

    /// Keeps a blob that is there under the lease and labels it; `false` if it is gone.
    pub(super) async fn keep(&self, lease: &Lease, digest: &Digest, belongs: Belongs<'_>) -> Result<bool, StoreError> {
        self.add_content(lease, digest).await?;
        // The collector may have taken it just before the lease held it: what is there now, stays.
        let Some(info) = self.info(digest).await? else { return Ok(false) };
        self.set_labels(digest, labels::missing(belongs, &info.labels)).await
    }

    /// Whether a blob is there and has these labels.
    pub(crate) async fn has_labels(&self, digest: &Digest, labels: &Labels) -> Result<bool, StoreError> {
        let info = self.info(digest).await?;
        Ok(info.is_some_and(|info| labels.iter().all(|(key, value)| info.labels.get(key) == Some(value))))
    }

    /// Sets labels on a blob and leaves its other labels alone; `false` if the blob is gone.
    pub(crate) async fn set_labels(&self, digest: &Digest, labels: Labels) -> Result<bool, StoreError> {
        if labels.is_empty() {
            return Ok(true);
        }
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Info { digest: digest.to_string(), labels: labels.into_iter().collect(), ..Info::default() };
        let request = self.request(UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) });
        match self.content().update(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(self.failure("label content", &status)),
        }
    }

    /// Writes a blob from a source that cannot but bring it.
    pub(super) async fn write(
        &self,
        lease: &Lease,
        blob: (&Digest, u64),
        source: Source,
        belongs: Belongs<'_>,
    ) -> Result<(), StoreError> {
        match self.hand_over(lease, blob, source, belongs).await? {
            Handed::Over => Ok(()),
            Handed::Not(reason) => Err(self.refused(reason)),
        }
    }

    /// Brings a blob, or keeps and labels the one that is there.
    pub(super) async fn hand_over(
        &self,
        lease: &Lease,
        (digest, size): (&Digest, u64),
        source: Source,
        belongs: Belongs<'_>,
    ) -> Result<Handed, StoreError> {
        let too_large = || self.refused(format!("{digest} has more bytes than containerd can count"));
        let ingest = Ingest::of(digest, size).ok_or_else(too_large)?;
        let (mut pause, mut waited) = (LOCKED_PAUSE.0, Duration::ZERO);
        let mut tries = 0;
        while tries < TRIES {
            let written = match &source {
                Source::Link { file, path, target } => self.link(lease, &ingest, (file, path, target), belongs).await?,
                Source::Memory(_) => self.ingest(lease, &ingest, source.clone(), belongs).await?,
                Source::File { .. } => {
                    // Nobody closes it, so that this cannot fail.
                    let _turn = SENDING.acquire().await;
                    self.ingest(lease, &ingest, source.clone(), belongs).await?
                }
            };
            match written {
                Written::Committed => return Ok(Handed::Over),
                Written::Existed if !self.holds(digest, size).await? => {
                    self.forget(digest).await?;
                    tries += 1;
                }
                Written::Existed if self.keep(lease, digest, belongs).await? => return Ok(Handed::Over),
                Written::Existed => tries += 1,
                Written::Stale => {
                    self.abort(self.leased(lease, AbortRequest { r#ref: ingest.reference.clone() })?).await?;
                    tries += 1;
                }
                Written::Impossible(reason) => return Ok(Handed::Not(reason)),
                Written::Locked if waited < LOCKED_LIMIT => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(LOCKED_PAUSE.1);
                }
                Written::Locked => {
                    return Err(self.refused(format!("another lighterman has been writing {digest} for too long")));
                }
            }
        }
        Ok(Handed::Not(format!("{digest} disappeared {TRIES} times while it was written")))
    }

    pub(super) fn refused(&self, message: String) -> StoreError {
        StoreError::Containerd { action: WRITE, message, code: RemoteCode::Other }
    }

    /// One attempt. The first exchange tells what is there; then everything is sent while
    /// the answers are read.
    async fn ingest(
        &self,
        lease: &Lease,
        ingest: &Ingest,
        source: Source,
        belongs: Belongs<'_>,
    ) -> Result<Written, StoreError> {
        let (sender, mut receiver) = mpsc::channel(PIPELINED);
        let requests = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        // The channel is empty and open, so this cannot fail.
        let _ = sender.send(ingest.message(WriteAction::Stat, 0)).await;
        let opened = self.content().write(self.leased(lease, requests)?).await;
        let mut replies = match opened {
            Ok(reply) => reply.into_inner(),
            Err(status) => return self.outcome(&status),
        };
        let there = match replies.message().await {
            Ok(Some(reply)) => reply.offset,
            Ok(None) => return Err(self.refused("it hung up before it answered".into())),
            Err(status) => return self.outcome(&status),
        };
        // All of it is there: another namespace has the blob, or an earlier attempt stopped just before the end.
        let start = if there == ingest.total { ingest.total.unsigned_abs() } else { 0 };
        let commit = ingest.commit(belongs);
        let plain = ingest.message(WriteAction::Write, 0);
        let feeder = tokio::task::spawn_blocking(move || feed(&source, start, plain, commit, &sender));
        let received = drain(&mut replies).await;
        // Ends at once when the stream is gone, since nobody takes what it sends.
        drop(replies);
        let fed = feeder.await.map_err(|error| self.refused(format!("lighterman's reader failed: {error}")))?;
        match received {
            Ok(Some(reply)) if reply.action == i32::from(WriteAction::Commit) => Ok(Written::Committed),
            Ok(_) => Err(fed.err().unwrap_or_else(|| self.refused("it hung up before it committed".into()))),
            Err(status) if start > 0 && status.code() == Code::FailedPrecondition => Ok(Written::Stale),
            Err(status) => self.outcome(&status),
        }
    }

    pub(super) fn outcome(&self, status: &Status) -> Result<Written, StoreError> {
        match status.code() {
            Code::AlreadyExists => Ok(Written::Existed),
            _ if wire::is_locked(status) => Ok(Written::Locked),
            _ => Err(self.failure(WRITE, status)),
        }
    }

    pub(super) async fn abort(&self, request: Request<AbortRequest>) -> Result<(), StoreError> {
        match self.content().abort(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(self.failure("give up unfinished content", &status)),
        }
    }

    /// A document, whole and verified; `None` for one of which only a part is there.
    pub(super) async fn read_document(&self, descriptor: &Descriptor) -> Result<Option<Verified<Bytes>>, StoreError> {
        let limit = Limits::default().document_bytes;
        if descriptor.size > limit {
            let digest = descriptor.digest.clone();
            return Err(StoreError::TooLarge { digest, size: descriptor.size, limit });
        }
        let Some(reader) = self.read(&descriptor.digest, 0).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        // One byte more than there should be is enough to see that there are too many.
        let read = reader.take(descriptor.size + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| self.refused_read(&error))?;
        if (bytes.len() as u64) < descriptor.size {
            return Ok(None);
        }
        Ok(Some(Verified::check(Bytes::from(bytes), &descriptor.digest, descriptor.size)?))
    }

    pub(super) fn refused_read(&self, error: &std::io::Error) -> StoreError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Status>()) {
            Some(status) => self.failure("read content", status),
            None => {
                StoreError::Containerd { action: "read content", message: error.to_string(), code: RemoteCode::Other }
            }
        }
    }

    /// A blob from `offset` to its end; `None` where this namespace does not have it.
    pub(super) async fn read(&self, digest: &Digest, offset: u64) -> Result<Option<BlobReader>, StoreError> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let request = self.request(ReadContentRequest { digest: digest.to_string(), offset, size: 0 });
        let first = async {
            let mut replies = self.content().read(request).await?.into_inner();
            let first = replies.message().await?;
            Ok((first, replies))
        };
        match first.await {
            Ok((first, replies)) => {
                let head = futures_util::stream::iter(first.map(Ok));
                let chunks = head.chain(replies).map(|reply| match reply {
                    Ok(reply) => Ok(Bytes::from(reply.data)),
                    Err(status) => Err(std::io::Error::other(status)),
                });
                Ok(Some(Box::pin(StreamReader::new(chunks))))
            }
            Err(status) if Status::code(&status) == Code::NotFound => Ok(None),
            Err(status) => Err(self.failure("read content", &status)),
        }
    }
}

/// Sends the blob from `start` on, then the commit. Stops without an error when containerd
/// stops listening: its answer says why.
fn feed(
    source: &Source,
    start: u64,
    plain: WriteContentRequest,
    commit: WriteContentRequest,
    sender: &mpsc::Sender<WriteContentRequest>,
) -> Result<(), StoreError> {
    let size = commit.total.unsigned_abs();
    let mut offset = start;
    while offset < size {
        let data = source.chunk(offset, size)?;
        let length = data.len() as u64;
        let message = WriteContentRequest { offset: i64::try_from(offset).unwrap_or(i64::MAX), data, ..plain.clone() };
        if length == 0 || sender.blocking_send(message).is_err() {
            return Ok(());
        }
        offset += length;
    }
    let _ = sender.blocking_send(commit);
    Ok(())
}

/// Reads answers until containerd has nothing more to say; the last one counts.
pub(super) async fn drain(
    replies: &mut Streaming<WriteContentResponse>,
) -> Result<Option<WriteContentResponse>, Status> {
    let mut last = None;
    while let Some(reply) = replies.message().await? {
        last = Some(reply);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(source: &Source, size: usize, start: u64) -> Vec<WriteContentRequest> {
        let ingest = Ingest { reference: "r".into(), expected: "e".into(), total: i64::try_from(size).expect("small") };
        let (sender, mut receiver) = mpsc::channel(64);
        let commit = ingest.message(WriteAction::Commit, size as u64);
        feed(source, start, ingest.message(WriteAction::Write, 0), commit, &sender).expect("feeds");
        drop(sender);
        std::iter::from_fn(|| receiver.blocking_recv()).collect()
    }

    #[test]
    fn everything_is_sent_in_order_and_then_committed() {
        let content: Vec<u8> = (0..CHUNK * 2 + 5).map(|n| n.to_le_bytes()[0]).collect();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("blob");
        std::fs::write(&path, &content).expect("writes");
        let file = Source::File { file: Arc::new(File::open(&path).expect("opens")), path };
        for source in [Source::Memory(Bytes::from(content.clone())), file] {
            let messages = sent(&source, content.len(), 0);
            let (commit, writes) = messages.split_last().expect("messages");
            assert_eq!(writes.iter().map(|message| message.data.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, 5]);
            assert_eq!(writes.iter().flat_map(|message| message.data.clone()).collect::<Vec<_>>(), content);
            assert!(writes.iter().all(|message| message.action == i32::from(WriteAction::Write)));
            assert_eq!(commit.action, i32::from(WriteAction::Commit));
            assert_eq!((commit.offset, commit.total), (content.len() as i64, content.len() as i64));
        }
    }

    #[test]
    fn what_is_there_is_only_committed() {
        let source = Source::Memory(Bytes::from_static(b"cargo"));
        assert_eq!(sent(&source, 5, 5).len(), 1);
        assert_eq!(sent(&Source::Memory(Bytes::new()), 0, 0).len(), 1);
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_never_committed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("blob");
        std::fs::write(&path, b"car").expect("writes");
        let source = Source::File { file: Arc::new(File::open(&path).expect("opens")), path };
        assert!(matches!(source.chunk(0, 5), Err(StoreError::Io { action: "read", .. })));
    }
}
