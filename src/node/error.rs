//! What can go wrong between the daemon and its node.

use std::io;

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
}

impl Classify for NodeError {
    fn kind(&self) -> Kind {
        Kind::InvalidConfiguration
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
            Self::Descriptor { .. } => "close no descriptors between systemd and lighterman".into(),
        })
    }
}
