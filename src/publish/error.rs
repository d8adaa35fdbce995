//! Why an index was not made, or not pushed.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::core::digest::Digest;
use crate::core::draft::DraftError;
use crate::core::error::{Attempt, Blame, Classify, Kind};
use crate::core::platform::Platform;
use crate::core::text::one_line;
use crate::fetch::FetchError;
use crate::resolve::ResolveError;
use crate::store::StoreError;

/// Bytes of a platform's name in a message.
const PLATFORM: usize = 80;

/// An index that did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A registry could not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An image could not be read.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// What is copied could not be kept meanwhile.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry did not take something.
    #[error("cannot push {what} to {repository}: {}", cause(.source))]
    Push {
        /// What.
        what: String,
        /// Where to.
        repository: String,
        /// Why.
        source: FetchError,
    },
    /// The document cannot be used, or the change not be made.
    #[error("{reference}: {source}")]
    Draft {
        /// The index.
        reference: String,
        /// What is wrong.
        source: DraftError,
    },
    /// A reference without a tag.
    #[error("{reference} names no tag, and an index is pushed to one")]
    NoTag {
        /// As given.
        reference: String,
    },
    /// A draft that names none either.
    #[error("the draft is for {reference}, which names no tag, and an index is pushed to one")]
    Untagged {
        /// As the draft has it.
        reference: String,
    },
    /// No registry of this name was prepared for.
    #[error("nobody can ask {registry}")]
    Unasked {
        /// Its name.
        registry: String,
    },
    /// A selection of entries that selects none, or several.
    #[error("{wanted:?} {} of {reference}", selected(.matches))]
    Entry {
        /// The index.
        reference: String,
        /// As given.
        wanted: String,
        /// The entries that it could mean, as people read them.
        matches: Vec<String>,
    },
    /// Config and binary of an image say different things.
    #[error("{child}: its config says {}, and {shown_by}: an index with either could be wrong", shown(.config))]
    Contradiction {
        /// The image.
        child: String,
        /// What the config names.
        config: Box<Platform>,
        /// What the binary is built for.
        binary: Box<Platform>,
        /// The binary, in words.
        shown_by: String,
    },
    /// Nothing tells what an image runs on.
    #[error("{child}: neither its config nor its program tells what it runs on")]
    NoPlatform {
        /// The image.
        child: String,
    },
    /// A platform for something that has several.
    #[error("{child} is an index, whose images cannot all be for {}", shown(.platform))]
    PlatformOfIndex {
        /// As given.
        child: String,
        /// What was asked for.
        platform: Box<Platform>,
    },
    /// Children that are nowhere.
    #[error("{repository} lacks {}, which the index names", list(.missing))]
    MissingChildren {
        /// Where they should be.
        repository: String,
        /// Their digests.
        missing: Vec<Digest>,
    },
    /// A child behind which is more than is copied.
    #[error("{child} is not copied: there are more than {limit} {what} to bring with it")]
    TooMuch {
        /// The child, or what is behind it.
        child: String,
        /// What there is too much of.
        what: &'static str,
        /// The most that there may be.
        limit: u64,
    },
    /// Somebody else was there before us.
    #[error("{reference} was moved meanwhile: it stood for {}, and stands for {} now", known(.expected), known(.found))]
    Moved {
        /// The tag.
        reference: String,
        /// What it stood for when the draft was made, or has to stand for.
        expected: Option<Digest>,
        /// What it stands for.
        found: Option<Digest>,
    },
    /// The user has ended it.
    #[error("interrupted; the tag is as it was, unless it was being set at that moment")]
    Cancelled,
    /// A file that holds no draft.
    #[error("{}: {problem}", path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file that is there already.
    #[error("{} is there already, and was not replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A draft that cannot be read.
    #[error("cannot read a draft from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// A push that failed is no fetch that failed.
fn cause(error: &FetchError) -> String {
    match error {
        FetchError::Failed { cause, .. } => cause.to_string(),
        FetchError::NoHost { .. } => error.to_string(),
    }
}

fn selected(matches: &[String]) -> String {
    match matches {
        [] => "is no entry".into(),
        several => format!("may be any of the entries {}", several.join(", ")),
    }
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ")
}

fn known(digest: &Option<Digest>) -> String {
    digest.as_ref().map_or_else(|| "nothing".into(), Digest::to_string)
}

impl PublishError {
    fn cause(&self) -> Option<&dyn Classify> {
        match self {
            Self::Fetch(error) | Self::Push { source: error, .. } => Some(error),
            Self::Resolve(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Draft { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Classify for PublishError {
    fn kind(&self) -> Kind {
        if let Some(cause) = self.cause() {
            return cause.kind();
        }
        match self {
            Self::MissingChildren { .. } => Kind::NotFound,
            Self::Contradiction { .. } => Kind::PlatformMismatch,
            Self::TooMuch { .. } => Kind::InvalidContent,
            Self::Moved { .. } | Self::Exists { .. } => Kind::StoreInvalid,
            Self::Cancelled => Kind::Cancelled,
            Self::Saved { .. } => Kind::InvalidContent,
            Self::Write { source, .. } if source.kind() == ErrorKind::StorageFull => Kind::StoreFull,
            Self::Read { .. } | Self::Write { .. } => Kind::StoreFailed,
            Self::Unasked { .. } => Kind::Internal,
            _ => Kind::InvalidArgument,
        }
    }

    fn blame(&self) -> Blame {
        match (self.cause(), self) {
            (Some(cause), _) => cause.blame(),
            (None, Self::MissingChildren { .. } | Self::Moved { .. } | Self::Saved { .. } | Self::Exists { .. }) => {
                Blame::Caller
            }
            (None, Self::Read { source, .. } | Self::Write { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
                ) =>
            {
                Blame::Caller
            }
            _ => self.kind().blame(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Push { source, repository, .. } => match source.kind() {
                Kind::Unauthenticated => format!(
                    "log in as somebody who may push to {repository}: docker login, or --user NAME and --password-stdin"
                ),
                // Where the registry takes nothing at all it says so itself.
                Kind::PermissionDenied if source.hint().is_none_or(|hint| hint.contains("may not pull")) => {
                    format!("these credentials may not push to {repository}; ask its owner, or use others")
                }
                Kind::NotFound => format!("{repository} may have to be made first, by hand; not every registry does it"),
                _ => return source.hint(),
            },
            Self::NoTag { reference } => format!("name a tag, as in {}:latest", repository(reference)),
            Self::Untagged { reference } => {
                format!("say where to: lighterman manifest push FILE {}:latest, or another tag", repository(reference))
            }
            Self::Entry { matches, .. } if matches.is_empty() => {
                "an entry is named by its position from 0, its digest or its platform; lighterman manifest inspect shows them".into()
            }
            Self::Entry { .. } => "name it by its position".into(),
            Self::Contradiction { child, binary, config, .. } => format!(
                "say which one holds, with {child}={} for the program or {child}={} for the config; \
                 building the image again with --platform sets the config right",
                named(binary), named(config)
            ),
            Self::NoPlatform { child } => format!("name it, as in {child}=linux/arm64"),
            Self::PlatformOfIndex { .. } => {
                "name the images of the index by digest, each with its platform; or leave the platform out".into()
            }
            Self::MissingChildren { .. } => {
                "push these images first, or make the index with lighterman manifest create from where they are".into()
            }
            Self::TooMuch { .. } => {
                "list its images themselves: lighterman manifest create takes them over from an index, or one by one by their digests"
                    .into()
            }
            Self::Moved { reference, .. } => {
                format!("see what it is now with lighterman manifest inspect {reference}, and make the change again")
            }
            Self::Saved { .. } => "drafts are what --out FILE writes".into(),
            Self::Exists { .. } => {
                "somebody may have edited it: push it or remove it first, or name another file".into()
            }
            Self::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                "drafts are what --out FILE writes; an index at a registry is named by its digest, as in registry.example/app@sha256:..."
                    .into()
            }
            Self::Read { .. } | Self::Write { .. } => "check the path, its permissions, and the space that is left".into(),
            _ => return self.cause().and_then(Classify::hint),
        })
    }

    fn attempts(&self) -> &[Attempt] {
        self.cause().map(Classify::attempts).unwrap_or_default()
    }
}

/// A name without the digest behind it.
fn repository(reference: &str) -> &str {
    reference.split('@').next().unwrap_or_default()
}

/// As it is typed, on the command line.
fn named(platform: &Platform) -> String {
    let os = if platform.os.is_empty() { "linux" } else { &platform.os };
    one_line(&format!("{os}/{}", platform.arch()), PLATFORM)
}

/// On one line: documents may name a platform anything.
fn shown(platform: &Platform) -> String {
    one_line(&platform.to_string(), PLATFORM)
}
