//! What the engine tells while it works. Nobody has to listen, and listening never blocks it.

use std::fmt;
use std::time::Duration;

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::Classify;
use crate::core::mismatch::Mismatch;

/// A part of a pull that takes time of its own. Fetching and unpacking run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Finding out what the reference stands for, and choosing.
    Resolve,
    /// Bringing blobs into the store.
    Fetch,
    /// Making an image's layers ready to run.
    Unpack,
    /// Giving it its name.
    Name,
}

impl Phase {
    /// Every one, in the order in which they begin.
    pub const ALL: [Self; 4] = [Self::Resolve, Self::Fetch, Self::Unpack, Self::Name];

    /// Stable name, used in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Unpack => "unpack",
            Self::Name => "name",
        }
    }
}

/// Something that happened to a blob or a request.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A blob is in the store already.
    Present(&'a Descriptor),
    /// A blob is being downloaded, from byte `offset` on.
    Started {
        /// Which.
        blob: &'a Descriptor,
        /// Bytes that an earlier attempt left.
        offset: u64,
    },
    /// Bytes arrived, and were written; hashing follows.
    Advanced {
        /// Of which blob.
        digest: &'a Digest,
        /// How many, since the last such event.
        bytes: u64,
    },
    /// A blob is verified and in the store.
    Finished(&'a Descriptor),
    /// Another process is downloading the blob into the same place; we wait for it.
    Shared(&'a Descriptor),
    /// A host is asked for something, or is about to be: silence from here on is the hosts'.
    Asking {
        /// What is being fetched.
        what: &'a str,
    },
    /// Nobody is asked for it for the time being: it is here, or waits for others on this node.
    Held {
        /// What is being fetched.
        what: &'a str,
    },
    /// A host failed and the next one is asked.
    NextHost {
        /// What is being fetched.
        what: &'a str,
        /// The host that failed.
        left: &'a str,
        /// Why.
        cause: &'a dyn Classify,
    },
    /// An attempt failed and is repeated after a wait.
    Waiting {
        /// What is being fetched.
        what: &'a str,
        /// How long.
        wait: Duration,
        /// Why.
        cause: &'a dyn Classify,
    },
    /// A host sent bytes that are not the blob's. It is asked last from now on, for a while.
    Blamed {
        /// Which blob.
        digest: &'a Digest,
        /// The host.
        host: &'a str,
    },
    /// The image is not for this node, by its claims or by what it starts. Said once for each
    /// reason.
    Mismatch(&'a Mismatch),
    /// A phase of the pull begins.
    Began(Phase),
    /// A phase has ended, well or not. One that is broken off ends without a word.
    Ended {
        /// Which.
        phase: Phase,
        /// How long it took.
        elapsed: Duration,
    },
    /// A layer is unpacked, `done` of `total`.
    Unpacked {
        /// Layers that are unpacked.
        done: usize,
        /// Layers of the image.
        total: usize,
    },
}

/// Hears of everything as it happens, from several threads at once.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes an event; it must return quickly.
    fn notify(&self, event: Event<'_>);
}

/// Listens to nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notify(&self, _event: Event<'_>) {}
}
