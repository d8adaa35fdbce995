//! Why a text stands for no node.

use std::io;
use std::path::PathBuf;

use crate::core::error::{Classify, Kind};
use crate::core::platform::Platform;

/// A node that cannot be held against anything.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// Neither a platform, nor a file, nor a machine that is known.
    #[error("{text:?} is no platform, no file and no machine that is known by name")]
    Unknown {
        /// What was given.
        text: String,
        /// A machine of a similar name.
        nearest: Option<&'static str>,
    },
    /// It begins like a platform and is none.
    #[error("{text:?} is not the platform of a node: {why}")]
    Platform {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
        /// What was meant.
        right: Option<String>,
    },
    /// A platform on which no node of this kind can be.
    #[error("{platform} is not the platform of a Linux node")]
    NoLinuxNode {
        /// Which.
        platform: Platform,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has more bytes than any report.
    #[error("{} has more than {limit} bytes, which no report of a node has", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How many there may be.
        limit: u64,
    },
    /// The file is not what `lighterman host --json` writes.
    #[error("{} is no report of a node: {reason}", path.display())]
    NotAReport {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
}

impl Classify for KnownError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }

    fn hint(&self) -> Option<String> {
        let report = "on the node: lighterman host --json > node.json";
        Some(match self {
            Self::Unknown { nearest: Some(nearest), .. } => format!("did you mean {nearest}?"),
            Self::Unknown { nearest: None, .. } => {
                let names: Vec<&str> = super::names().collect();
                format!("there are {}; or a platform as linux/arm/v6, or a report, made {report}", names.join(", "))
            }
            Self::Platform { right: Some(right), .. } => format!("did you mean {right}?"),
            Self::Platform { right: None, .. } | Self::NoLinuxNode { .. } => {
                "platforms of nodes look like linux/amd64, arm64, linux/arm/v6 or amd64/v3".into()
            }
            Self::Read { .. } | Self::TooLarge { .. } | Self::NotAReport { .. } => format!("make it anew {report}"),
        })
    }
}
