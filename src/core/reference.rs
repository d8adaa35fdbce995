//! Image references: `registry/repository:tag@digest`, normalised as Docker does.
//!
//! Grammar: distribution/reference; `busybox` means `docker.io/library/busybox:latest`.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};
use super::error::{Classify, Kind};

/// Longest repository name (registry included) that registries accept.
const MAX_NAME: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;

/// What people call Docker's registry.
const DOCKER: &str = "docker.io";

/// A normalised reference to an image.
///
/// ```
/// use lighterman::core::reference::Reference;
///
/// let reference: Reference = "busybox".parse()?;
/// assert_eq!(reference.to_string(), "docker.io/library/busybox:latest");
/// assert_eq!(reference.familiar(), "busybox:latest");
/// # Ok::<(), lighterman::core::reference::ReferenceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing there.
    #[error("the reference is empty")]
    Empty,
    /// `https://…`.
    #[error("{0:?} has a scheme; an image reference has none")]
    Scheme(String),
    /// A capital letter in the repository.
    #[error("repository {0:?} has upper-case letters; repositories are lower case")]
    Uppercase(String),
    /// A character or separator that is not allowed.
    #[error("{part:?} is not a valid {what} in {reference:?}")]
    Invalid {
        /// `registry`, `repository`, `tag`.
        what: &'static str,
        /// The offending part.
        part: String,
        /// The whole text.
        reference: String,
    },
    /// Longer than registries accept.
    #[error("the repository name has {0} characters; at most {MAX_NAME} are allowed")]
    TooLong(usize),
    /// The part after `@`.
    #[error("in {reference:?}: {source}")]
    Digest {
        /// The whole text.
        reference: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
}

impl Classify for ReferenceError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Scheme(text) => format!("write it as {:?}", text.split("://").nth(1).unwrap_or_default()),
            Self::Uppercase(text) => format!("write it as {:?}", text.to_lowercase()),
            _ => "references look like busybox, quay.io/org/app:1.2 or registry.example:5000/app@sha256:…".into(),
        })
    }
}

impl Reference {
    /// `host[:port]` as people write it: `docker.io`, `quay.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one; it wins over the tag.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What goes behind `/manifests/` in a request: the digest if there is one, else the tag.
    #[must_use]
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".into(),
        }
    }

    /// `registry/repository`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// [`Reference::name`] as it is compared with others: people spell a host in capitals, or with the
    /// port that HTTPS has anyway, and mean the same. Reading this leads back to it.
    #[must_use]
    pub fn canonical_name(&self) -> String {
        let registry = canonical_registry(&self.registry);
        let official = registry == DOCKER && !self.repository.contains('/');
        format!("{registry}/{}{}", if official { "library/" } else { "" }, self.repository)
    }

    /// The same repository, pinned to `digest`, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same by its tag alone; `None` where it has none.
    #[must_use]
    pub fn by_tag(&self) -> Option<Self> {
        self.tag.is_some().then(|| Self { digest: None, ..self.clone() })
    }

    /// The same registry and tag with another repository, for suggestions.
    ///
    /// # Errors
    /// [`ReferenceError`] where `repository` is not well formed.
    pub fn with_repository(&self, repository: &str) -> Result<Self, ReferenceError> {
        Self { repository: repository.into(), ..self.clone() }.to_string().parse()
    }

    /// The same repository with another tag, for suggestions.
    ///
    /// # Errors
    /// [`ReferenceError`] where `tag` is not well formed.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        Self { tag: Some(tag.into()), digest: None, ..self.clone() }.to_string().parse()
    }

    /// As people write it: without `docker.io/library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let official =
            |rest: &'_ str| rest.strip_prefix("library/").filter(|name| !name.contains('/')).map(str::to_owned);
        let short = full.strip_prefix("docker.io/").map(|rest| official(rest).unwrap_or_else(|| rest.to_owned()));
        // `docker.io/localhost/app` has no short form: its own first component would be the registry.
        short
            .filter(|_| !self.repository.split_once('/').is_some_and(|(first, _)| looks_like_registry(first)))
            .unwrap_or(full)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.trim().is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains("://") {
            return Err(ReferenceError::Scheme(text.into()));
        }
        let invalid = |what, part: &str| ReferenceError::Invalid { what, part: part.into(), reference: text.into() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let parsed =
                    digest.parse().map_err(|source| ReferenceError::Digest { reference: text.into(), source })?;
                (rest, Some(parsed))
            }
            None => (text, None),
        };
        // The last colon starts a tag unless a slash follows: then it is the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid("tag", tag));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(registry) {
            return Err(invalid("registry", registry));
        }
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(repository.into()));
        }
        if !is_repository(repository) {
            return Err(invalid("repository", repository));
        }
        let repository = match (registry, repository.contains('/')) {
            (DOCKER, false) => format!("library/{repository}"),
            _ => repository.into(),
        };
        let length = registry.len() + 1 + repository.len();
        if length > MAX_NAME {
            return Err(ReferenceError::TooLong(length));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.into()),
            (None, None) => Some("latest".into()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry: registry.into(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// The first component is a registry when it has a dot, a port, a capital or is localhost.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if looks_like_registry(first) => {
            let registry = if is_docker(first) { DOCKER } else { first };
            (registry, rest)
        }
        _ => (DOCKER, name),
    }
}

fn is_docker(registry: &str) -> bool {
    matches!(registry, DOCKER | "index.docker.io" | "registry-1.docker.io")
}

/// In lower case, and without the port of HTTPS where it is a registry without.
fn canonical_registry(registry: &str) -> String {
    let lower = registry.to_ascii_lowercase();
    let host = lower.strip_suffix(":443").unwrap_or(&lower);
    match host {
        docker if is_docker(docker) => DOCKER.into(),
        host if looks_like_registry(host) => host.into(),
        name => format!("{name}:443"),
    }
}

fn looks_like_registry(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("none")) };
            return address.parse::<std::net::Ipv6Addr>().is_ok() && port.is_none_or(is_port);
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Path components of letters and digits, separated inside by `.`, `_`, `__` or dashes.
fn is_repository(text: &str) -> bool {
    text.split('/').all(|component| {
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = component.as_bytes();
        let framed = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
        framed
            && bytes
                .split(alphanumeric)
                .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
    })
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn normalises_like_docker() {
        let with_digest = format!("busybox@{DIGEST}");
        let full = format!("docker.io/library/busybox@{DIGEST}");
        let tagged = format!("quay.io/a/b:v1@{DIGEST}");
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("arm32v7/busybox", "docker.io/arm32v7/busybox:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("127.0.0.1:5000/a/b__c/d-e:x", "127.0.0.1:5000/a/b__c/d-e:x"),
            ("Registry/app", "Registry/app:latest"),
            (with_digest.as_str(), full.as_str()),
            (tagged.as_str(), tagged.as_str()),
        ];
        for (text, expected) in cases {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(reference.to_string(), expected);
            assert_eq!(expected.parse::<Reference>().as_ref(), Ok(&reference), "round trip of {text}");
        }
    }

    #[test]
    fn hosts_are_compared_however_they_are_spelt() {
        let cases = [
            ("busybox", "docker.io/library/busybox"),
            ("Docker.IO/busybox:1", "docker.io/library/busybox"),
            ("docker.io:443/someone/app", "docker.io/someone/app"),
            ("INDEX.docker.io/library/busybox", "docker.io/library/busybox"),
            ("Quay.IO:443/org/app", "quay.io/org/app"),
            ("quay.io:80/org/app", "quay.io:80/org/app"),
            ("quay.io:8443/app", "quay.io:8443/app"),
            ("LOCALHOST/app", "localhost/app"),
            ("localhost:443/app", "localhost/app"),
            ("Registry/app", "registry:443/app"),
            ("registry:443/app", "registry:443/app"),
            ("registry:5000/app", "registry:5000/app"),
            ("[FE80::1]:443/app", "[fe80::1]/app"),
        ];
        for (text, expected) in cases {
            let canonical = text.parse::<Reference>().expect(text).canonical_name();
            assert_eq!(canonical, expected, "{text}");
            assert_eq!(canonical.parse::<Reference>().expect(text).canonical_name(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_what_registries_would_not_understand() {
        let long = "a/".repeat(130) + "a";
        for text in [
            "",
            " ",
            "https://quay.io/a",
            "quay.io/A/b",
            "a//b",
            "a/-b",
            "a..b",
            "app:",
            "app:-x",
            "app@",
            "app@sha256:12",
            "localhost:0/app",
            "localhost:70000/app",
            "[::1/app",
            "a___b",
            "/a",
            "a/",
            "quay.io/",
            &long,
            "app:a/b:c d",
            "a:b@",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn digest_wins_over_tag_and_short_names_stay_short() {
        let reference: Reference = format!("busybox:1@{DIGEST}").parse().expect("well formed");
        assert_eq!(reference.target(), DIGEST);
        assert_eq!(reference.familiar(), format!("busybox:1@{DIGEST}"));
        assert_eq!("quay.io/x/y".parse::<Reference>().expect("well formed").familiar(), "quay.io/x/y:latest");
        assert_eq!("a/b".parse::<Reference>().expect("well formed").familiar(), "a/b:latest");
        for long in ["docker.io/localhost/app:latest", "docker.io/a.b/c:latest"] {
            assert_eq!(long.parse::<Reference>().expect("well formed").familiar(), long, "another registry without it");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_and_parses_again(text in "[a-zA-Z0-9./:@_-]{1,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
