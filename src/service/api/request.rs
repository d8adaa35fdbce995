//! Requests that cannot be served as they are, whichever call they belong to.

use crate::core::error::{Blame, Classify, Kind};
use crate::core::reference::ReferenceError;
use crate::host::KnownError;

/// Platforms that one request may name: more than there are.
const MAX_PLATFORMS: usize = 64;

/// Nodes that one request may name.
const MAX_NODES: usize = 256;

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    /// It is about no image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A node's name stands for none.
    #[error(transparent)]
    Node(#[from] KnownError),
    /// Some platforms and all of them.
    #[error("all_platforms and platforms contradict each other")]
    Platforms,
    /// More than anybody has to ask about at a time.
    #[error("{0} platforms are more than {MAX_PLATFORMS}")]
    TooManyPlatforms(usize),
    /// The same of nodes.
    #[error("{0} nodes are more than {MAX_NODES}")]
    TooManyNodes(usize),
    /// The report that came with a node is none.
    #[error("the report of node {name:?} cannot be read: {why}")]
    Report {
        /// What the caller calls it.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// It is about a pull that is over, or never was.
    #[error("there is no pull {0}, or no longer")]
    NoSuchPull(u64),
}

/// That platforms are wanted which one can bring together.
pub(super) fn check_platforms(all: bool, listed: &[String]) -> Result<(), BadRequest> {
    match listed.len() {
        1.. if all => Err(BadRequest::Platforms),
        count if count > MAX_PLATFORMS => Err(BadRequest::TooManyPlatforms(count)),
        _ => Ok(()),
    }
}

/// That so many nodes may be asked about.
pub(super) fn check_nodes(count: usize) -> Result<(), BadRequest> {
    if count > MAX_NODES { Err(BadRequest::TooManyNodes(count)) } else { Ok(()) }
}

impl Classify for BadRequest {
    fn kind(&self) -> Kind {
        match self {
            Self::Reference(error) => error.kind(),
            Self::Node(error) => error.kind(),
            Self::NoSuchPull(_) => Kind::NotFound,
            Self::Platforms | Self::TooManyNodes(_) | Self::TooManyPlatforms(_) | Self::Report { .. } => {
                Kind::InvalidArgument
            }
        }
    }

    fn blame(&self) -> Blame {
        Blame::Caller
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(error) => error.hint(),
            Self::Node(error) => error.hint(),
            Self::Platforms => Some("leave one of them out".into()),
            Self::TooManyNodes(_) | Self::TooManyPlatforms(_) => Some("ask about some of them at a time".into()),
            Self::Report { .. } => Some("it has to be what `lighterman host --json` writes there".into()),
            Self::NoSuchPull(_) => Some("`lighterman pulls` shows those that are under way".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_all_or_some_and_not_too_many() {
        let listed = |count: usize| vec!["linux/arm64".to_owned(); count];
        assert!(check_platforms(true, &[]).is_ok() && check_platforms(false, &listed(MAX_PLATFORMS)).is_ok());
        assert!(matches!(check_platforms(true, &listed(1)), Err(BadRequest::Platforms)));
        assert!(matches!(check_platforms(false, &listed(MAX_PLATFORMS + 1)), Err(BadRequest::TooManyPlatforms(65))));
        assert!(check_nodes(MAX_NODES).is_ok() && check_nodes(MAX_NODES + 1).is_err());
    }
}
