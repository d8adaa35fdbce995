//! A read-only registry over an OCI image layout.
//!
//! Serves what [`Route`] names and nothing else: no uploads, no listings, no login. Blobs
//! are streamed as they lie on disk, whole or one range of them, never re-encoded. A digest
//! is served under every repository name, since a layout has one pool of blobs. Clients
//! verify what they get; this module does not hash.
//!
//! Paths are built from parsed digests only, so no request can leave the layout.
//!
//! Specification: OCI distribution-spec 1.1 (pull); RFC 9110, section 14 (ranges).

mod range;
mod route;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::limits::Limits;
use crate::core::manifest::{Document, Index};
use range::Ranged;
pub use route::{Code, Route, Target, route};

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

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// An error of the specification, for the client.
    #[error("{code:?}: {message}")]
    Client { code: Code, message: String },
    /// The range begins behind the end.
    #[error("range not satisfiable: the blob has {size} bytes")]
    Range { size: u64 },
    /// The layout cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Layout { path: PathBuf, source: io::Error },
}

async fn answer(State(mirror): State<Arc<Mirror>>, request: Request) -> Response {
    let (method, headers) = (request.method(), request.headers());
    let response = match route(method, request.uri().path()) {
        Ok(Route::Base) => Ok(Response::new(Body::empty())),
        Ok(Route::Manifest { name, target }) => mirror.manifest(method, &name, &target).await,
        Ok(Route::Blob { digest, .. }) => mirror.blob(method, headers, &digest).await,
        Err((code, message)) => Err(Refusal::Client { code, message }),
    };
    let mut response = response.unwrap_or_else(|refusal| refuse(&refusal));
    response.headers_mut().insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    response
}

impl Mirror {
    async fn manifest(&self, method: &Method, name: &str, target: &Target) -> Result<Response, Refusal> {
        let unknown =
            || Refusal::Client { code: Code::ManifestUnknown, message: format!("{name} has no manifest {target}") };
        let digest = match target {
            Target::Digest(digest) => digest.clone(),
            Target::Tag(tag) => self.tagged(name, tag).await?.ok_or_else(unknown)?.digest,
        };
        let path = self.blob_path(&digest);
        let bytes = self.document(&path).await?.ok_or_else(unknown)?;
        let media_type = manifest_type(&bytes, &self.limits).ok_or_else(unknown)?;
        let size = bytes.len() as u64;
        let body = if method == Method::HEAD { Body::empty() } else { Body::from(bytes) };
        Ok(describe(Response::new(body), &digest, media_type.as_str(), size))
    }

    async fn blob(&self, method: &Method, headers: &HeaderMap, digest: &Digest) -> Result<Response, Refusal> {
        let path = self.blob_path(digest);
        let failed = |source| Refusal::Layout { path: path.clone(), source };
        let Some((mut file, size)) = open(&path).await.map_err(failed)? else {
            return Err(Refusal::Client { code: Code::BlobUnknown, message: format!("there is no blob {digest}") });
        };
        let asked = headers.get(header::RANGE).filter(|_| method == Method::GET).and_then(|value| value.to_str().ok());
        let (status, first, length) = match asked.map_or(Ranged::Whole, |value| range::resolve(value, size)) {
            Ranged::Whole => (StatusCode::OK, 0, size),
            Ranged::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Ranged::Unsatisfiable => return Err(Refusal::Range { size }),
        };
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            file.seek(io::SeekFrom::Start(first)).await.map_err(failed)?;
            Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK))
        };
        let mut response = describe(Response::new(body), digest, "application/octet-stream", length);
        response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        *response.status_mut() = status;
        if status == StatusCode::PARTIAL_CONTENT {
            let content_range = format!("bytes {first}-{}/{size}", first + length - 1);
            insert(response.headers_mut(), header::CONTENT_RANGE, &content_range);
        }
        Ok(response)
    }

    /// The layout's entry for a name and tag.
    async fn tagged(&self, name: &str, tag: &str) -> Result<Option<Descriptor>, Refusal> {
        let path = self.layout.join("index.json");
        let bytes = self.document(&path).await?.unwrap_or_default();
        let document = Document::parse(&bytes, Some(&MediaType::OciIndex), &self.limits);
        let Ok(Document::Index(Index { manifests, .. })) = document else {
            let source = io::Error::new(io::ErrorKind::InvalidData, "not an OCI image index");
            return Err(Refusal::Layout { path, source });
        };
        let wanted = format!("{name}:{tag}");
        Ok(manifests.into_iter().find(|entry| entry.annotations.get(REF_NAME) == Some(&wanted)))
    }

    /// A document as a whole; `None` where there is none, or where it is too large to be one.
    async fn document(&self, path: &Path) -> Result<Option<Vec<u8>>, Refusal> {
        let read = async {
            let Some((file, size)) = open(path).await?.filter(|(_, size)| *size <= self.limits.document_bytes) else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            file.take(size).read_to_end(&mut bytes).await?;
            Ok(Some(bytes))
        };
        read.await.map_err(|source| Refusal::Layout { path: path.into(), source })
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

/// Says what the content is: type, length, digest, and the digest again as its entity tag.
fn describe(mut response: Response, digest: &Digest, media_type: &str, length: u64) -> Response {
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, media_type);
    insert(headers, header::CONTENT_LENGTH, &length.to_string());
    insert(headers, header::ETAG, &format!("\"{digest}\""));
    insert(headers, header::HeaderName::from_static("docker-content-digest"), &digest.to_string());
    response
}

/// Sets a header, unless a document's media type holds what no header may.
fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The specification's error document, with its status.
fn refuse(refusal: &Refusal) -> Response {
    let (status, code) = match refusal {
        Refusal::Client { code, .. } => (code.status(), code.name()),
        Refusal::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
        Refusal::Layout { .. } => {
            tracing::error!(error = %refusal, "the layout cannot be served");
            (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN")
        }
    };
    let message = match refusal {
        Refusal::Client { message, .. } => message.clone(),
        Refusal::Range { .. } => refusal.to_string(),
        // Paths of this machine are for its log, not for clients.
        Refusal::Layout { .. } => "the layout cannot be read".into(),
    };
    let document = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Refusal::Range { size } = refusal {
        insert(headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests;
