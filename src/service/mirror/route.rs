//! From a method and a path to what is asked for.
//!
//! Specification: OCI distribution-spec 1.1, "Endpoints" and "Error Codes".

use std::fmt;

use http::{Method, StatusCode};

use crate::core::digest::{Digest, DigestError};
use crate::core::reference::Reference;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: whether this is a registry.
    Base,
    /// `/v2/NAME/manifests/TARGET`
    Manifest {
        /// The repository.
        name: String,
        /// Tag or digest.
        target: Target,
    },
    /// `/v2/NAME/blobs/DIGEST`
    Blob {
        /// The repository.
        name: String,
        /// The blob.
        digest: Digest,
    },
}

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one that a tag names.
    Tag(String),
    /// The one with this digest.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Error codes of the specification that this registry uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// No such blob.
    BlobUnknown,
    /// Not a digest, or of an algorithm that is not registered.
    DigestInvalid,
    /// No such manifest, or a malformed tag.
    ManifestUnknown,
    /// Not a repository name.
    NameInvalid,
    /// Not an endpoint that can be read here.
    NotFound,
    /// A method that writes.
    Unsupported,
}

impl Code {
    /// As it is written in the error document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NotFound | Self::Unsupported => "UNSUPPORTED",
        }
    }

    /// The status that goes with it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::DigestInvalid | Self::NameInvalid => StatusCode::BAD_REQUEST,
            Self::BlobUnknown | Self::ManifestUnknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// Reads a request. `path` comes without its query, which is ignored (`ns=` names the
/// registry that is mirrored; a layout knows only one).
///
/// # Errors
/// The code for the client, with a message.
pub fn route(method: &Method, path: &str) -> Result<Route, (Code, String)> {
    if method != Method::GET && method != Method::HEAD {
        return Err((Code::Unsupported, format!("{method} is not supported: this registry is read-only")));
    }
    let absent = || (Code::NotFound, "there is no such endpoint here".to_owned());
    let rest = match path.strip_prefix("/v2") {
        Some("" | "/") => return Ok(Route::Base),
        Some(rest) => rest.strip_prefix('/').ok_or_else(absent)?,
        None => return Err(absent()),
    };
    // A repository may itself have components called manifests or blobs: the last one counts.
    let (front, last) = rest.rsplit_once('/').ok_or_else(absent)?;
    // Some clients escape the colon of a digest. Nothing else in a target may be escaped.
    let last = last.replace("%3A", ":").replace("%3a", ":");
    if let Some(name) = front.strip_suffix("/manifests") {
        let name = repository(name)?;
        return Ok(Route::Manifest { target: target(name, &last)?, name: name.into() });
    }
    if let Some(name) = front.strip_suffix("/blobs") {
        let name = repository(name)?.into();
        return Ok(Route::Blob { name, digest: digest(&last)? });
    }
    Err(absent())
}

/// The rules for names are those of references; the registry in front is only there to
/// keep the first component from being taken for one.
fn reference(name: &str, suffix: &str) -> Option<Reference> {
    format!("localhost/{name}{suffix}").parse().ok()
}

fn repository(name: &str) -> Result<&str, (Code, String)> {
    match reference(name, "") {
        Some(reference) if reference.repository() == name => Ok(name),
        _ => Err((Code::NameInvalid, format!("{name:?} is not a repository name"))),
    }
}

fn target(name: &str, text: &str) -> Result<Target, (Code, String)> {
    if text.contains(':') {
        return Ok(Target::Digest(digest(text)?));
    }
    match reference(name, &format!(":{text}")) {
        Some(reference) if reference.tag() == Some(text) => Ok(Target::Tag(text.into())),
        _ => Err((Code::ManifestUnknown, format!("{text:?} is not a tag"))),
    }
}

fn digest(text: &str) -> Result<Digest, (Code, String)> {
    text.parse().map_err(|error: DigestError| (Code::DigestInvalid, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn digest() -> Digest {
        DIGEST.parse().expect("a digest")
    }

    #[test]
    fn understands_the_endpoints_of_a_pull() {
        let tag = |name: &str, tag: &str| Route::Manifest { name: name.into(), target: Target::Tag(tag.into()) };
        let blob = |name: &str| Route::Blob { name: name.into(), digest: digest() };
        for (path, expected) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/hello/manifests/latest", tag("hello", "latest")),
            ("/v2/a/b/c.d/manifests/1.2-x_Y", tag("a/b/c.d", "1.2-x_Y")),
            ("/v2/a/manifests/manifests/blobs", tag("a/manifests", "blobs")),
            ("/v2/example.com/a/manifests/latest", tag("example.com/a", "latest")),
            (&format!("/v2/a/blobs/{DIGEST}"), blob("a")),
            (&format!("/v2/a/blobs/blobs/{DIGEST}"), blob("a/blobs")),
            (&format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), blob("a")),
            (
                &format!("/v2/a/manifests/{DIGEST}"),
                Route::Manifest { name: "a".into(), target: Target::Digest(digest()) },
            ),
        ] {
            assert_eq!(route(&Method::GET, path), Ok(expected.clone()), "GET {path}");
            assert_eq!(route(&Method::HEAD, path), Ok(expected), "HEAD {path}");
        }
    }

    #[test]
    fn refuses_the_rest_by_name() {
        for (method, path, expected) in [
            (Method::POST, "/v2/a/blobs/uploads/", Code::Unsupported),
            (Method::PUT, "/v2/a/manifests/latest", Code::Unsupported),
            (Method::DELETE, "/v2/", Code::Unsupported),
            (Method::GET, "/", Code::NotFound),
            (Method::GET, "/v1/a/manifests/latest", Code::NotFound),
            (Method::GET, "/v2x/a/manifests/latest", Code::NotFound),
            (Method::GET, "/v2/_catalog", Code::NotFound),
            (Method::GET, "/v2/a/tags/list", Code::NotFound),
            (Method::GET, "/v2/manifests/latest", Code::NotFound),
            (Method::GET, "/v2/../manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a/../../etc/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a//b/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/A/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a:b/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a@b/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/%2e%2e/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a/manifests/", Code::ManifestUnknown),
            (Method::GET, "/v2/a/manifests/..", Code::ManifestUnknown),
            (Method::GET, "/v2/a/manifests/sha256:abc", Code::DigestInvalid),
            (Method::GET, "/v2/a/blobs/latest", Code::DigestInvalid),
            (Method::GET, "/v2/a/blobs/sha256:..%2f..%2findex.json", Code::DigestInvalid),
            (Method::GET, "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", Code::DigestInvalid),
        ] {
            let code = route(&method, path).map_err(|(code, _)| code);
            assert_eq!(code, Err(expected), "{method} {path}");
        }
    }

    proptest! {
        #[test]
        fn names_never_leave_the_layout(path in "/v2/[a-z./%:@A-Z0-9_-]{0,40}/(manifests|blobs)/[a-z.%:-]{0,20}") {
            if let Ok(Route::Manifest { name, .. } | Route::Blob { name, .. }) = route(&Method::GET, &path) {
                prop_assert!(name.split('/').all(|component| !component.is_empty() && !component.starts_with('.')));
            }
        }
    }
}
