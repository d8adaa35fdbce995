//! What an answer says of its content.

use axum::body::Body;
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::range::{self, Ranged};
use super::refusal::Refusal;
use crate::core::digest::Digest;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The answer, or the error document in its place.
pub(super) fn finish(result: Result<Response, Refusal>) -> Response {
    let mut response = result.unwrap_or_else(Response::from);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// Says what the content is: type, length, digest, and the digest again as its entity tag.
pub(super) fn describe(body: Body, digest: &Digest, media_type: &str, length: u64) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, media_type);
    insert(headers, header::CONTENT_LENGTH, &length.to_string());
    insert(headers, header::ETAG, &etag(digest));
    insert(headers, CONTENT_DIGEST, &digest.to_string());
    response
}

/// The part of a blob that an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// First byte.
    pub(super) start: u64,
    /// Behind the last byte.
    pub(super) end: u64,
    /// Bytes of the whole blob.
    size: u64,
    /// A range was asked for.
    is_range: bool,
}

impl Part {
    /// What the headers of a request ask for of a blob of `size` bytes.
    ///
    /// # Errors
    /// The refusal of a range behind the end.
    pub(super) fn asked(method: &Method, headers: &HeaderMap, digest: &Digest, size: u64) -> Result<Self, Refusal> {
        let whole = Self { start: 0, end: size, size, is_range: false };
        // Ranges are for GET only, RFC 9110 section 14.2.
        if method != Method::GET {
            return Ok(whole);
        }
        match range::resolve(headers, &etag(digest), size) {
            Ranged::Whole => Ok(whole),
            Ranged::Part { first, last } => Ok(Self { start: first, end: last + 1, size, is_range: true }),
            Ranged::Unsatisfiable => Err(Refusal::range(size)),
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// The answer with these bytes of the blob.
    pub(super) fn answer(&self, digest: &Digest, body: Body) -> Response {
        let mut response = describe(body, digest, "application/octet-stream", self.length());
        response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if self.is_range {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{}", self.start, self.end - 1, self.size);
            insert(response.headers_mut(), header::CONTENT_RANGE, &range);
        }
        response
    }
}

/// A strong one: the content of a digest never changes.
fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Sets a header, unless what a stranger wrote holds what no header may.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
