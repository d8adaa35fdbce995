//! What can go wrong in the demo itself; what its steps show are errors of other rooms.

use std::io;
use std::path::PathBuf;

use crate::core::error::{Classify, Kind};

/// The demo cannot be set up, or its program cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file of the demo's layout, or of the program to run.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// `create`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The registry's port on loopback.
    #[error("cannot serve on loopback: {0}")]
    Loopback(#[source] io::Error),
    /// An archive that is made in memory.
    #[error("cannot pack the demo's layer: {0}")]
    Pack(#[source] io::Error),
    /// The kernel refused to start the program for another reason than its format.
    #[error("cannot run the program from {path}: {source}", path = path.display())]
    Run {
        /// Where it was written to.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Classify for DemoError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::StoreFull,
            Self::File { .. } | Self::Run { .. } | Self::Loopback(_) => Kind::StoreFailed,
            Self::Pack(_) => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Run { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the temporary folder may be mounted noexec; set TMPDIR to one that is not".into())
            }
            Self::File { .. } => Some("set TMPDIR to a folder with a few MiB of free space".into()),
            Self::Run { .. } | Self::Pack(_) | Self::Loopback(_) => None,
        }
    }
}
