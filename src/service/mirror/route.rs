//! From a method and a path to what is asked for.
//!
//! Specification: OCI distribution-spec 1.1, "Endpoints" and "Error Codes".

use std::fmt;

use http::Method;

use super::meter::Asked;
use super::refusal::{Code, Refusal};
use crate::core::digest::{Digest, DigestError};
use crate::core::reference::Reference;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`: whether this is a registry.
    Base,
    /// `/v2/NAME/…`
    Of {
        /// The repository.
        name: String,
        /// What of it.
        target: Target,
    },
}

impl Route {
    /// As what it is counted.
    pub(super) fn asked(&self) -> Asked {
        match self {
            Self::Base => Asked::Base,
            Self::Of { target: Target::Manifest(_), .. } => Asked::Manifest,
            Self::Of { target: Target::Blob(_), .. } => Asked::Blob,
            Self::Of { target: Target::Tags, .. } => Asked::Tags,
            Self::Of { target: Target::Referrers(_), .. } => Asked::Referrers,
        }
    }
}

/// Something of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `manifests/TAG` or `manifests/DIGEST`
    Manifest(Which),
    /// `blobs/DIGEST`
    Blob(Digest),
    /// `tags/list`
    Tags,
    /// `referrers/DIGEST`
    Referrers(Digest),
}

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// The one that a tag names.
    Tag(String),
    /// The one with this digest.
    Digest(Digest),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Reads a request. `path` comes without its query.
///
/// # Errors
/// The refusal for the client.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    if method != Method::GET && method != Method::HEAD {
        let message = format!("{method} is not supported: this registry is read-only");
        return Err(Refusal::new(Code::Unsupported, message));
    }
    let absent = || Refusal::new(Code::NotFound, "there is no such endpoint here");
    let rest = match path.strip_prefix("/v2") {
        Some("" | "/") => return Ok(Route::Base),
        Some(rest) => rest.strip_prefix('/').ok_or_else(absent)?,
        None => return Err(absent()),
    };
    // A repository may itself have components called manifests or blobs: the last one counts.
    let (front, last) = rest.rsplit_once('/').ok_or_else(absent)?;
    // Some clients escape the colon of a digest. Nothing else in a target may be escaped.
    let last = last.replace("%3A", ":").replace("%3a", ":");
    let of = |name: &str, target: Target| Ok(Route::Of { name: name.to_owned(), target });
    if let Some(name) = front.strip_suffix("/manifests") {
        let name = repository(name)?;
        return of(name, Target::Manifest(which(name, &last)?));
    }
    if let Some(name) = front.strip_suffix("/blobs") {
        return of(repository(name)?, Target::Blob(digest(&last)?));
    }
    if let Some(name) = front.strip_suffix("/referrers") {
        return of(repository(name)?, Target::Referrers(digest(&last)?));
    }
    match front.strip_suffix("/tags") {
        Some(name) if last == "list" => of(repository(name)?, Target::Tags),
        _ => Err(absent()),
    }
}

/// The rules for names are those of references; the registry in front is only there to
/// keep the first component from being taken for one.
fn reference(name: &str, suffix: &str) -> Option<Reference> {
    format!("localhost/{name}{suffix}").parse().ok()
}

fn repository(name: &str) -> Result<&str, Refusal> {
    match reference(name, "") {
        Some(reference) if reference.repository() == name => Ok(name),
        _ => Err(Refusal::new(Code::NameInvalid, format!("{name:?} is not a repository name"))),
    }
}

fn which(name: &str, text: &str) -> Result<Which, Refusal> {
    if text.contains(':') {
        return Ok(Which::Digest(digest(text)?));
    }
    match reference(name, &format!(":{text}")) {
        Some(reference) if reference.tag() == Some(text) => Ok(Which::Tag(text.into())),
        _ => Err(Refusal::new(Code::ManifestUnknown, format!("{text:?} is not a tag"))),
    }
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: DigestError| Refusal::new(Code::DigestInvalid, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn digest() -> Digest {
        DIGEST.parse().expect("a digest")
    }

    fn of(name: &str, target: Target) -> Route {
        Route::Of { name: name.into(), target }
    }

    #[test]
    fn understands_the_endpoints_of_a_pull() {
        let tag = |name: &str, tag: &str| of(name, Target::Manifest(Which::Tag(tag.into())));
        let blob = |name: &str| of(name, Target::Blob(digest()));
        for (path, expected) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/hello/manifests/latest", tag("hello", "latest")),
            ("/v2/a/b/c.d/manifests/1.2-x_Y", tag("a/b/c.d", "1.2-x_Y")),
            ("/v2/a/manifests/manifests/blobs", tag("a/manifests", "blobs")),
            ("/v2/example.com/a/manifests/latest", tag("example.com/a", "latest")),
            ("/v2/a/b/tags/list", of("a/b", Target::Tags)),
            ("/v2/tags/tags/list", of("tags", Target::Tags)),
            (&format!("/v2/a/referrers/{DIGEST}"), of("a", Target::Referrers(digest()))),
            (&format!("/v2/a/blobs/{DIGEST}"), blob("a")),
            (&format!("/v2/a/blobs/blobs/{DIGEST}"), blob("a/blobs")),
            (&format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), blob("a")),
            (&format!("/v2/a/manifests/{DIGEST}"), of("a", Target::Manifest(Which::Digest(digest())))),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let found = route(&method, path).unwrap_or_else(|refusal| panic!("{method} {path}: {refusal}"));
                assert_eq!(found, expected, "{method} {path}");
            }
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
            (Method::GET, "/v2/a/tags/all", Code::NotFound),
            (Method::GET, "/v2/manifests/latest", Code::NotFound),
            (Method::GET, "/v2/../manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a/../../etc/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a//b/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/A/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/A/tags/list", Code::NameInvalid),
            (Method::GET, "/v2/a:b/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a@b/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/%2e%2e/manifests/latest", Code::NameInvalid),
            (Method::GET, "/v2/a/manifests/", Code::ManifestUnknown),
            (Method::GET, "/v2/a/manifests/..", Code::ManifestUnknown),
            (Method::GET, "/v2/a/manifests/sha256:abc", Code::DigestInvalid),
            (Method::GET, "/v2/a/blobs/latest", Code::DigestInvalid),
            (Method::GET, "/v2/a/referrers/latest", Code::DigestInvalid),
            (Method::GET, "/v2/a/blobs/sha256:..%2f..%2findex.json", Code::DigestInvalid),
            (Method::GET, "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", Code::DigestInvalid),
        ] {
            let code = route(&method, path).map_err(|refusal| refusal.code());
            assert_eq!(code.err(), Some(expected), "{method} {path}");
        }
    }

    proptest! {
        #[test]
        fn names_never_leave_the_layout(path in "/v2/[a-z./%:@A-Z0-9_-]{0,40}/(manifests|blobs)/[a-z.%:-]{0,20}") {
            if let Ok(Route::Of { name, .. }) = route(&Method::GET, &path) {
                prop_assert!(name.split('/').all(|component| !component.is_empty() && !component.starts_with('.')));
            }
        }
    }
}
