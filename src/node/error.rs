//! What can go wrong between the daemon and its node.

use std::io::{self, ErrorKind};

use crate::core::error::{Classify, Kind};

/// A failure of the node's side of things.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A variable of the service manager's that nobody can read.
    #[error("{name}={value:?} in the environment is not what systemd would set")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Sockets were passed to another process, whose environment this one has.
    #[error("the sockets of LISTEN_FDS are for process {theirs}, and this is process {ours}")]
    SocketsOfAnother {
        /// LISTEN_PID.
        theirs: u32,
        /// Our process id.
        ours: u32,
    },
    /// A socket whose name says nothing to us.
    #[error("systemd passed a socket called {name:?}; the names known here are {known}")]
    UnknownSocket {
        /// Its FileDescriptorName.
        name: String,
        /// Those that would have been understood.
        known: String,
    },
    /// A socket that is not of the kind that its name promises.
    #[error("the socket called {name:?} is not a listening {expected} socket")]
    WrongSocket {
        /// Its FileDescriptorName.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// Two sockets where there can be one.
    #[error("systemd passed two sockets called {name:?}")]
    TwoSockets {
        /// Their FileDescriptorName.
        name: &'static str,
    },
    /// A descriptor that cannot be used at all.
    #[error("cannot use descriptor {descriptor}, which systemd passed: {source}")]
    Descriptor {
        /// Its number.
        descriptor: i32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of the node that cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `open`, `write`, `remove`.
        action: &'static str,
        /// The file, as it is called on the node.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that is not what it was a moment ago.
    #[error("{path} was changed while it was being looked at")]
    Changed {
        /// The file.
        path: String,
    },
    /// The record of what was changed on the node.
    #[error("cannot read the ledger {}: {reason}", super::setup::LEDGER)]
    Ledger {
        /// Why not.
        reason: String,
    },
}

impl NodeError {
    /// A refused operation on a file of the node.
    pub(super) fn file(action: &'static str, path: &str, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.into(), source: source.into() }
    }
}

impl Classify for NodeError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } => match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::StoreFull,
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Kind::StoreInvalid,
                _ => Kind::StoreFailed,
            },
            _ => Kind::InvalidConfiguration,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Variable { .. } | Self::SocketsOfAnother { .. } => {
                "start lighterman as the unit's own process, without a shell around it; by hand, unset LISTEN_PID, \
                 LISTEN_FDS and LISTEN_FDNAMES first"
                    .into()
            }
            Self::UnknownSocket { .. } => "set FileDescriptorName= in the socket unit".into(),
            Self::WrongSocket { name, expected } => {
                format!(
                    "the socket unit with FileDescriptorName={name} needs a ListenStream= that makes a {expected} socket, and Accept=no"
                )
            }
            Self::TwoSockets { name } => format!("leave one ListenStream= with FileDescriptorName={name}"),
            Self::File { .. } => "run it as root".into(),
            Self::Changed { .. } => "run the same command again".into(),
            Self::Ledger { .. } => {
                "it holds the files as they were before: put them back by hand, then remove it".into()
            }
            Self::Descriptor { .. } => "close no descriptors between systemd and lighterman".into(),
        })
    }
}
