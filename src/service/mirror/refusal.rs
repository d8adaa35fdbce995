//! Why a request is not served, as the specification's error document.
//!
//! Specification: OCI distribution-spec 1.1, "Error Codes".

use axum::body::Body;
use axum::response::Response;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::reply::insert;
use crate::core::error::{Classify, Kind};
use crate::fetch::FetchError;
use crate::loopback::Unheard;
use crate::service::status::http_status;

/// Error codes of the specification that this registry uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// No such blob.
    BlobUnknown,
    /// Not a digest, or of an algorithm that is not registered.
    DigestInvalid,
    /// No such manifest, or a malformed tag.
    ManifestUnknown,
    /// Not a repository name.
    NameInvalid,
    /// No such repository.
    NameUnknown,
    /// Not an endpoint that can be read here.
    NotFound,
    /// A method that writes.
    Unsupported,
    /// The range begins behind the end.
    SizeInvalid,
    /// Credentials are asked for.
    Unauthorized,
    /// Not for this caller.
    Denied,
    /// Upstream has had enough of us.
    TooManyRequests,
    /// A parameter that is not what it has to be. The specification has no code for that;
    /// this is what other registries answer.
    ParameterInvalid,
    /// Everything else.
    Unknown,
}

impl Code {
    /// As it is written in the error document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::NotFound | Self::Unsupported => "UNSUPPORTED",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::ParameterInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status that goes with it where nothing else decides.
    fn status(self) -> StatusCode {
        match self {
            Self::DigestInvalid | Self::NameInvalid | Self::ParameterInvalid => StatusCode::BAD_REQUEST,
            Self::BlobUnknown | Self::ManifestUnknown | Self::NameUnknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::SizeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that is not served.
#[derive(Debug, thiserror::Error)]
#[error("{code:?}: {message}")]
pub(super) struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
    headers: HeaderMap,
}

impl Refusal {
    /// A refusal with the status of its code.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), code, message: message.into(), headers: HeaderMap::new() }
    }

    /// The range begins behind the end of `size` bytes.
    pub(super) fn range(size: u64) -> Self {
        let refusal = Self::new(Code::SizeInvalid, format!("range not satisfiable: the blob has {size} bytes"));
        refusal.with(header::CONTENT_RANGE, &format!("bytes */{size}"))
    }

    /// Credentials for `registry` are asked for. Basic, whatever the registry itself wants:
    /// clients then repeat the request with what they were given for it.
    pub(super) fn challenge(registry: &str, message: impl Into<String>) -> Self {
        Self::new(Code::Unauthorized, message).with(header::WWW_AUTHENTICATE, &basic(registry))
    }

    /// Something of this node does not work. What it is, is for the log.
    pub(super) fn local(error: &dyn std::error::Error, message: &str) -> Self {
        tracing::error!(%error, "{message}");
        Self::new(Code::Unknown, message)
    }

    /// Upstream, or the way to it, has failed. `unknown` is the code where it has no such thing.
    pub(super) fn upstream(error: &FetchError, unknown: Code) -> Self {
        let kind = error.kind();
        if matches!(kind, Kind::StoreFull | Kind::StoreFailed | Kind::StoreInvalid | Kind::Internal) {
            return Self::local(error, "the mirror cannot keep blobs at this time").with_status(http_status(kind));
        }
        let code = match kind {
            Kind::NotFound => unknown,
            Kind::Unauthenticated | Kind::PermissionDenied | Kind::InvalidArgument => Code::Denied,
            Kind::RateLimited => Code::TooManyRequests,
            _ => Code::Unknown,
        };
        tracing::debug!(%error, status = %http_status(kind), "upstream does not serve what the mirror was asked for");
        let refusal = Self::new(code, error.to_string()).with_status(http_status(kind));
        match error.retry_after() {
            Some(wait) => refusal.with(header::RETRY_AFTER, &wait.as_secs().to_string()),
            None => refusal,
        }
    }

    /// Upstream did not answer in time.
    pub(super) fn late(registry: &str) -> Self {
        let refusal = Self::new(Code::Unknown, format!("{registry} did not answer in time"));
        refusal.with_status(StatusCode::GATEWAY_TIMEOUT)
    }

    /// The same, where its code has no status that fits.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        insert(&mut self.headers, name, value);
        self
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.code
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Unheard> for Refusal {
    fn from(unheard: Unheard) -> Self {
        let code = if unheard == Unheard::Busy { Code::TooManyRequests } else { Code::Denied };
        Self::new(code, unheard.to_string()).with_status(unheard.status())
    }
}

/// The challenge that asks for a name and a password for a registry.
pub(super) fn basic(registry: &str) -> String {
    // A well-formed name has neither; another one is not to end the quotation.
    format!("Basic realm=\"{}\"", registry.replace(['"', '\\'], ""))
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let error = serde_json::json!({"code": refusal.code.name(), "message": refusal.message});
        let mut response = Self::new(Body::from(serde_json::json!({"errors": [error]}).to_string()));
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        headers.extend(refusal.headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
