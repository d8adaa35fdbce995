//! What can go wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::core::digest::{Digest, Mismatch};
use crate::core::error::{Classify, Kind};

/// A store's failure, with where it happened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// `read`, `write`, `create`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory is something else than an OCI image layout.
    #[error("{path} is not an OCI image layout: {reason}", path = path.display())]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// The path cannot be written to by this user.
    #[error("cannot write to {path}: {source}", path = path.display())]
    NotWritable {
        /// The directory or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory that only we may change can be changed by others.
    #[error("{path} belongs to user {owner} and has mode {mode:04o}: others could change what is staged there", path = path.display())]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link where a file or directory of ours is to be.
    #[error("{path} is a symbolic link, or behind too many of them", path = path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Content in the store is not what its name says.
    #[error("content in the store is damaged: {0}")]
    Damaged(#[from] Mismatch),
    /// The content's digest algorithm is one that this store cannot name.
    #[error("{store} cannot hold {digest}: it only knows sha256")]
    UnsupportedDigest {
        /// Which store.
        store: String,
        /// The digest.
        digest: String,
    },
    /// A staged blob was given up while somebody still worked on it.
    #[error("{digest} was given up while it was written")]
    Discarded {
        /// Which.
        digest: Digest,
    },
    /// What is to be fetched does not fit.
    #[error("{needed} are needed in {path} and {free} are free", path = path.display(), needed = ByteSize(*needed).display().iec(), free = ByteSize(*free).display().iec())]
    NoRoom {
        /// Bytes needed.
        needed: u64,
        /// Bytes that this user may still write there.
        free: u64,
        /// A directory of the file system.
        path: PathBuf,
    },
    /// A thread of ours died.
    #[error("a worker thread failed: {0}")]
    Thread(String),
    /// A namespace that containerd would refuse.
    #[error("{namespace:?} is not a namespace of containerd: {reason}")]
    InvalidNamespace {
        /// As it was given.
        namespace: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// containerd has no such snapshotter, or could not start it.
    #[error("containerd has no usable snapshotter {name:?}; it has {}", if usable.is_empty() { "none".into() } else { usable.join(", ") })]
    UnknownSnapshotter {
        /// As it was given.
        name: String,
        /// Names of those that can be used.
        usable: Vec<String>,
    },
    /// A document with more bytes than are read into memory.
    #[error("{digest} has {size} bytes, over the limit of {limit} for a document")]
    TooLarge {
        /// Which document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// containerd cannot be reached.
    #[error("no containerd answers at {address}: {reason}")]
    Unreachable {
        /// Socket path.
        address: PathBuf,
        /// Why not.
        reason: String,
    },
    /// containerd keeps nothing for this pull any more.
    #[error(
        "containerd has ended the lease of this pull, and may have removed what it kept: the clock was set, or somebody removed the lease"
    )]
    LeaseGone,
    /// containerd refused or failed a call.
    #[error("containerd failed to {action}: {message}")]
    Containerd {
        /// What was asked of it.
        action: &'static str,
        /// Its own words.
        message: String,
        /// The gRPC code it came with.
        code: RemoteCode,
    },
}

/// The gRPC codes that we tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteCode {
    /// UNAVAILABLE.
    Unavailable,
    /// INVALID_ARGUMENT, for instance an unknown snapshotter or a bad namespace.
    InvalidArgument,
    /// NOT_FOUND.
    NotFound,
    /// RESOURCE_EXHAUSTED, or a message that says that no space is left.
    Full,
    /// Everything else.
    Other,
}

impl StoreError {
    /// Wraps an I/O error; missing rights become [`StoreError::NotWritable`], and what is not
    /// followed [`StoreError::Link`].
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if action != "read" => {
                Self::NotWritable { path, source }
            }
            _ if source.raw_os_error() == Some(nix::libc::ELOOP) => Self::Link { path },
            _ => Self::Io { action, path, source },
        }
    }
}

impl StoreError {
    /// A worker that panicked or was torn down.
    pub(crate) fn thread(error: &tokio::task::JoinError) -> Self {
        Self::Thread(error.to_string())
    }
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::StoreFull,
                _ => Kind::StoreFailed,
            },
            Self::NotALayout { .. } | Self::NotWritable { .. } | Self::Exposed { .. } | Self::Link { .. } => {
                Kind::StoreInvalid
            }
            Self::Damaged(_) | Self::LeaseGone => Kind::StoreFailed,
            Self::Thread(_) | Self::Discarded { .. } => Kind::Internal,
            Self::NoRoom { .. } => Kind::StoreFull,
            Self::UnsupportedDigest { .. } => Kind::Unsupported,
            Self::InvalidNamespace { .. } | Self::UnknownSnapshotter { .. } => Kind::InvalidArgument,
            Self::TooLarge { .. } => Kind::InvalidContent,
            Self::Unreachable { .. } => Kind::StoreUnavailable,
            Self::Containerd { code, .. } => match code {
                RemoteCode::Unavailable => Kind::StoreUnavailable,
                RemoteCode::InvalidArgument => Kind::InvalidArgument,
                RemoteCode::Full => Kind::StoreFull,
                RemoteCode::NotFound | RemoteCode::Other => Kind::StoreFailed,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start containerd, name its socket with --containerd-address, or pull into a directory with --to oci:DIR"
                    .into(),
            ),
            Self::InvalidNamespace { .. } => Some("namespaces look like default, k8s.io or my-team".into()),
            Self::UnknownSnapshotter { usable, .. } => {
                usable.first().map(|name| format!("choose one that exists, for instance --snapshotter {name}"))
            }
            Self::NotALayout { .. } => Some("name an empty or new directory, or one that has an oci-layout file".into()),
            Self::NotWritable { .. } => Some("choose a directory that you may write to, or run as root".into()),
            Self::Exposed { path, .. } => Some(format!(
                "empty it and give it to this user alone (chown {}, chmod 700 {}), or name another directory with \
                 --staging-dir or containerd.staging-dir",
                nix::unistd::geteuid(),
                path.display()
            )),
            Self::Link { path } => Some(format!(
                "remove {}; where a directory is to be elsewhere, name that place itself with --staging-dir or \
                 containerd.staging-dir",
                path.display()
            )),
            Self::NoRoom { path, .. } => Some(format!(
                "free some space on the file system of {}, or choose another one with --staging-dir or --to",
                path.display()
            )),
            Self::LeaseGone => Some("pull again, once the clock of this node is right".into()),
            Self::Damaged(_) => Some("remove the damaged blob and pull again".into()),
            _ if self.kind() == Kind::StoreFull => {
                Some("free some space and run the same command again; what was downloaded is kept and continued".into())
            }
            _ => None,
        }
    }
}
