//! Why the daemon does not run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::core::error::{Classify, Kind};

/// A daemon that could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Another daemon serves this socket.
    #[error("another lighterman daemon answers at {path} already", path = path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is where the socket belongs.
    #[error("{path} is there already, and is no socket", path = path.display())]
    NoSocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The socket cannot be made or used.
    #[error("cannot listen at {path}: {source}", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
    /// The descriptions of our own protocols are broken.
    #[error("cannot describe the API: {0}")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The server went away by itself.
    #[error("the API is not served any longer")]
    Ended,
    /// The server failed.
    #[error("the API cannot be served any longer: {0}")]
    Serve(#[source] tonic::transport::Error),
}

impl Classify for AppError {
    fn kind(&self) -> Kind {
        match self {
            Self::AlreadyRunning { .. } | Self::NoSocket { .. } => Kind::InvalidConfiguration,
            Self::Listen { .. } | Self::Address { .. } => Kind::StoreFailed,
            Self::Signals(_) | Self::Reflection(_) | Self::Serve(_) | Self::Ended => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::AlreadyRunning { .. } => Some("stop that one first, or name another socket with --listen".into()),
            Self::NoSocket { .. } => Some("name another path with --listen; lighterman removes only sockets".into()),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or name a socket in a folder of your own with --listen".into())
            }
            Self::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(
                "another program listens there: `ss -ltnp` shows which; the configuration names the address".into(),
            ),
            _ => None,
        }
    }
}
