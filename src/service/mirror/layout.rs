//! A read-only registry over an OCI image layout.
//!
//! For tests and tours: manifests and blobs, no listings, no login, no upstream. Blobs
//! are streamed as they lie on disk, whole or one range of them, never re-encoded. A digest
//! is served under every repository name, since a layout has one pool of blobs. Clients
//! verify what they get; this module does not hash.
//!
//! Paths are built from parsed digests only, so no request can leave the layout.
//!
//! Specification: OCI distribution-spec 1.1 (pull); RFC 9110, section 14 (ranges).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, Method};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::core::manifest::{Document, Index};

use super::refusal::{Code, Refusal};
use super::reply::{self, Part, describe};
use super::route::{Route, Target, Which, route};

/// Bytes read from disk at a time.
const CHUNK: usize = 256 * 1024;
/// Name of a layout's entry.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Serves `layout` on `listener` over HTTP/1.1 until `shutdown` resolves; requests under way
/// are finished first.
///
/// The layout's entry for `/v2/NAME/manifests/TAG` is the one whose annotation
/// `org.opencontainers.image.ref.name` is `NAME:TAG`. The layout is read on every request,
/// so names that are added later are served as well.
///
/// # Errors
/// What the listener reports.
pub async fn serve(
    listener: tokio::net::TcpListener,
    layout: PathBuf,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mirror = Arc::new(Mirror { layout, limits: Limits::default() });
    let router = Router::new().fallback(answer).with_state(mirror);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

#[derive(Debug)]
struct Mirror {
    layout: PathBuf,
    limits: Limits,
}

/// Why the layout cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}", path = path.display())]
struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

impl From<Unreadable> for Refusal {
    /// Paths of this machine are for its log, not for clients.
    fn from(error: Unreadable) -> Self {
        Self::local(&error, "the layout cannot be read")
    }
}

async fn answer(State(mirror): State<Arc<Mirror>>, request: Request) -> Response {
    let (method, headers) = (request.method(), request.headers());
    let result = match route(method, request.uri().path()) {
        Ok(Route::Base) => Ok(Response::new(Body::empty())),
        Ok(Route::Of { name, target: Target::Manifest(which) }) => mirror.manifest(method, &name, &which).await,
        Ok(Route::Of { target: Target::Blob(digest), .. }) => mirror.blob(method, headers, &digest).await,
        Ok(Route::Of { .. }) => Err(Refusal::new(Code::NotFound, "there is no such endpoint here")),
        Err(refusal) => Err(refusal),
    };
    reply::finish(result)
}

impl Mirror {
    async fn manifest(&self, method: &Method, name: &str, which: &Which) -> Result<Response, Refusal> {
        let unknown = || Refusal::new(Code::ManifestUnknown, format!("{name} has no manifest {which}"));
        let digest = match which {
            Which::Digest(digest) => digest.clone(),
            Which::Tag(tag) => self.tagged(name, tag).await?.ok_or_else(unknown)?.digest,
        };
        let path = self.blob_path(&digest);
        let bytes = self.document(&path).await?.ok_or_else(unknown)?;
        let media_type = manifest_type(&bytes, &self.limits).ok_or_else(unknown)?;
        let size = bytes.len() as u64;
        let body = if method == Method::HEAD { Body::empty() } else { Body::from(bytes) };
        Ok(describe(body, &digest, media_type.as_str(), size))
    }

    async fn blob(&self, method: &Method, headers: &HeaderMap, digest: &Digest) -> Result<Response, Refusal> {
        let path = self.blob_path(digest);
        let failed = |source| Unreadable { path: path.clone(), source };
        let Some((mut file, size)) = open(&path).await.map_err(failed)? else {
            return Err(Refusal::new(Code::BlobUnknown, format!("there is no blob {digest}")));
        };
        let part = Part::asked(method, headers, digest, size)?;
        if method == Method::HEAD {
            return Ok(part.answer(digest, Body::empty()));
        }
        file.seek(io::SeekFrom::Start(part.start)).await.map_err(failed)?;
        let stream = ReaderStream::with_capacity(file.take(part.length()), CHUNK);
        Ok(part.answer(digest, Body::from_stream(stream)))
    }

    /// The layout's entry for a name and tag.
    async fn tagged(&self, name: &str, tag: &str) -> Result<Option<Descriptor>, Unreadable> {
        let path = self.layout.join("index.json");
        let bytes = self.document(&path).await?.unwrap_or_default();
        let document = Document::parse(&bytes, Some(&MediaType::OciIndex), &self.limits);
        let Ok(Document::Index(Index { manifests, .. })) = document else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "not an OCI image index");
            return Err(Unreadable { path, source });
        };
        let wanted = format!("{name}:{tag}");
        Ok(manifests.into_iter().find(|entry| entry.annotations.get(REF_NAME) == Some(&wanted)))
    }

    /// A document as a whole; `None` where there is none, or where it is too large to be one.
    async fn document(&self, path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
        let read = async {
            let Some((file, size)) = open(path).await?.filter(|(_, size)| *size <= self.limits.document_bytes) else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            file.take(size).read_to_end(&mut bytes).await?;
            Ok(Some(bytes))
        };
        read.await.map_err(|source| Unreadable { path: path.into(), source })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }
}

/// A regular file and its size; `None` where there is none of this name.
async fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    match tokio::fs::symlink_metadata(path).await {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = File::open(path).await?;
    let size = file.metadata().await?.len();
    Ok(Some((file, size)))
}

/// The media type of a manifest or index; `None` for every other content, so that a layer
/// cannot be fetched as if it were a manifest.
fn manifest_type(bytes: &[u8], limits: &Limits) -> Option<MediaType> {
    Document::parse(bytes, None, limits).ok().map(|document| document.media_type(bytes))
}

#[cfg(test)]
mod tests;
