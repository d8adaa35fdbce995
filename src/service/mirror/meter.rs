//! Who counts what the mirror does. What is made of the numbers is decided above.
//!
//! All names are of closed sets: no registry, repository or client is ever counted by itself.

use std::fmt;

use http::StatusCode;

/// Counts requests and bytes.
pub trait Meter: fmt::Debug + Send + Sync {
    /// A request has ended.
    fn answered(&self, asked: Asked, outcome: Outcome);

    /// So many bytes of an image were given to a client.
    fn sent(&self, source: Source, bytes: u64);
}

/// Nobody counts.
impl Meter for () {
    fn answered(&self, _: Asked, _: Outcome) {}

    fn sent(&self, _: Source, _: u64) {}
}

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Whether this is a registry.
    Base,
    /// A manifest or an index.
    Manifest,
    /// A blob.
    Blob,
    /// A page of tags.
    Tags,
    /// A page of referrers.
    Referrers,
    /// Nothing that there is here, or nothing that was heard.
    Other,
}

impl Asked {
    /// As it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Other => "other",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was given to the client.
    Done,
    /// We broke it off: upstream failed, or the digest did not hold.
    Broken,
    /// The client went away, or took nothing for too long.
    Abandoned,
    /// Not a request that can be served.
    Invalid,
    /// Credentials were asked for.
    Unauthorized,
    /// Not for this caller.
    Denied,
    /// Upstream has no such thing.
    Unknown,
    /// Upstream has had enough of us.
    RateLimited,
    /// We have had enough, for want of places or of disk.
    Busy,
    /// Upstream failed.
    Upstream,
    /// We failed.
    Failed,
}

impl Outcome {
    /// How a request ended that was answered with this status, and to the end.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Done,
            400 | 405 | 414 | 416 | 431 => Self::Invalid,
            401 => Self::Unauthorized,
            403 | 421 | 508 => Self::Denied,
            404 => Self::Unknown,
            429 => Self::RateLimited,
            502 | 504 => Self::Upstream,
            503 => Self::Busy,
            _ => Self::Failed,
        }
    }

    /// As it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Broken => "broken",
            Self::Abandoned => "abandoned",
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
            Self::RateLimited => "rate-limited",
            Self::Busy => "busy",
            Self::Upstream => "upstream",
            Self::Failed => "failed",
        }
    }
}

/// Where this node had the content of an answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The mirror has kept it.
    Cache,
    /// A store of this node has it.
    Store,
    /// It was fetched, for this client or for another one at the same time.
    Upstream,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cache, Self::Store, Self::Upstream];

    /// As it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Store => "store",
            Self::Upstream => "upstream",
        }
    }
}
