//! The taxonomy that every room's error maps to.
//!
//! A room keeps its own error enum with structured fields. What crosses rooms is
//! the answer to four questions, asked through [`Classify`]: which [`Kind`] is it,
//! who is to [`Blame`], which [`Attempt`]s were made, and what to do next (the
//! hint). Exit codes and status codes are derived from `Kind` in one place,
//! `service/status.rs`, and nowhere else.

use std::fmt;
use std::time::Duration;

/// What went wrong, as far as a caller needs to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A reference, platform, digest or flag that is not well formed.
    InvalidArgument,
    /// A configuration file, hosts.toml, certificate or credential store that cannot be used.
    InvalidConfiguration,
    /// The registry knows no such repository, tag, manifest or blob.
    NotFound,
    /// The image has no manifest for the platform that was asked for.
    NoMatchingPlatform,
    /// The image is for a platform that this node cannot run.
    PlatformMismatch,
    /// The registry wants credentials, or refused the ones it was given.
    Unauthenticated,
    /// The credentials are known and do not suffice.
    PermissionDenied,
    /// The registry answers 429 (too many requests).
    RateLimited,
    /// Name resolution, connection, reset, 5xx: the registry cannot be reached or used now.
    RegistryUnavailable,
    /// The registry's certificate is not trusted.
    TlsUntrusted,
    /// Nothing arrived for too long.
    DeadlineExceeded,
    /// The bytes that arrived are not the bytes that the digest or size names.
    DigestMismatch,
    /// The document has the right digest and is malformed, contradictory or over a limit.
    InvalidContent,
    /// A well-formed thing that lighterman does not handle (schema 1, an unknown algorithm).
    Unsupported,
    /// No containerd at the socket, or it does not answer.
    StoreUnavailable,
    /// The destination is not what it has to be (not an OCI layout, not writable).
    StoreInvalid,
    /// No space left.
    StoreFull,
    /// Any other failure of the local store or disk.
    StoreFailed,
    /// The user or the caller cancelled.
    Cancelled,
    /// A broken invariant of ours.
    Internal,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Whoever made the request.
    Caller,
    /// Whoever built or published the image.
    Image,
    /// The registry or mirror that answered.
    Registry,
    /// What lies between this node and the registry.
    Network,
    /// This node: its disk, its container runtime, its CPU.
    Node,
    /// A configuration file on this node.
    Configuration,
    /// A bug in lighterman.
    Lighterman,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::InvalidArgument,
        Self::InvalidConfiguration,
        Self::NotFound,
        Self::NoMatchingPlatform,
        Self::PlatformMismatch,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::RegistryUnavailable,
        Self::TlsUntrusted,
        Self::DeadlineExceeded,
        Self::DigestMismatch,
        Self::InvalidContent,
        Self::Unsupported,
        Self::StoreUnavailable,
        Self::StoreInvalid,
        Self::StoreFull,
        Self::StoreFailed,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The kind of a [`name`](Self::name), as another process says it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Who is usually to blame; errors that know better override it in [`Classify::blame`].
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::InvalidArgument | Self::Cancelled | Self::Unauthenticated | Self::PermissionDenied => Blame::Caller,
            Self::InvalidConfiguration => Blame::Configuration,
            Self::NoMatchingPlatform | Self::PlatformMismatch | Self::InvalidContent | Self::Unsupported => {
                Blame::Image
            }
            Self::NotFound | Self::RateLimited | Self::TlsUntrusted | Self::DigestMismatch => Blame::Registry,
            Self::RegistryUnavailable | Self::DeadlineExceeded => Blame::Network,
            Self::StoreUnavailable | Self::StoreInvalid | Self::StoreFull | Self::StoreFailed => Blame::Node,
            Self::Internal => Blame::Lighterman,
        }
    }

    /// Stable name, used in JSON output and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::InvalidConfiguration => "invalid-configuration",
            Self::NotFound => "not-found",
            Self::NoMatchingPlatform => "no-matching-platform",
            Self::PlatformMismatch => "platform-mismatch",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission-denied",
            Self::RateLimited => "rate-limited",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::TlsUntrusted => "tls-untrusted",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::DigestMismatch => "digest-mismatch",
            Self::InvalidContent => "invalid-content",
            Self::Unsupported => "unsupported",
            Self::StoreUnavailable => "store-unavailable",
            Self::StoreInvalid => "store-invalid",
            Self::StoreFull => "store-full",
            Self::StoreFailed => "store-failed",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

impl Blame {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Caller, Self::Image, Self::Registry, Self::Network, Self::Node, Self::Configuration, Self::Lighterman];

    /// Stable name, used by the daemon's API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Image => "image",
            Self::Registry => "registry",
            Self::Network => "network",
            Self::Node => "node",
            Self::Configuration => "configuration",
            Self::Lighterman => "lighterman",
        }
    }

    /// Who a [`name`](Self::name) stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|blame| blame.name() == name)
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the request",
            Self::Image => "the image",
            Self::Registry => "the registry",
            Self::Network => "the network",
            Self::Node => "this node",
            Self::Configuration => "the configuration",
            Self::Lighterman => "lighterman (please report this)",
        })
    }
}

/// One try at one host, kept so that an error can show all of them and not only the last.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// `host:port` that was tried.
    pub host: String,
    /// How it ended.
    pub kind: Kind,
    /// One line for a person.
    pub message: String,
    /// From the start of the request to its failure.
    pub elapsed: Duration,
    /// Byte of the blob at which the request started.
    pub offset: u64,
}

/// What every error of the house can be asked.
pub trait Classify: std::error::Error {
    /// Which case of the taxonomy this is.
    fn kind(&self) -> Kind;

    /// Who has to act.
    fn blame(&self) -> Blame {
        self.kind().blame()
    }

    /// What to do next, as a full sentence; `None` where the message says it all.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Every attempt that was made, oldest first.
    fn attempts(&self) -> &[Attempt] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        for blame in Blame::ALL {
            assert_eq!(Blame::from_name(blame.name()), Some(blame));
        }
        assert_eq!((Kind::from_name("no such kind"), Blame::from_name("")), (None, None));
    }
}
