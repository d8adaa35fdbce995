//! What is done with an image that is not for a node: one rule for every door.
//!
//! An image may say so itself, by its config or by its entry in an index; that is known before
//! a byte of a layer is fetched. Or only the program that it starts shows it, once it is unpacked.
//! [`Policy`] is what the node's configuration says, [`Asked`] what somebody says of one pull,
//! and [`Stance`] what comes of both. What a mismatch is, is decided elsewhere.
//!
//! Who may say what: whoever pulls at the command line or through the API pulls for himself, and
//! his word counts. A pod is another matter. It may always be stricter with itself than the node
//! is. Whether it may be laxer is the operator's decision: as long as the configuration says
//! nothing about an image, nobody has decided, and the pod may risk its own containers; a word
//! of the configuration binds pods, unless it says that they may loosen it.

use std::fmt;

use super::error::{Classify, Kind};
use super::platform::Platform;
use super::reference::{Reference, ReferenceError};

/// What is done with an image that is not for this node. A later one is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is taken without a word.
    Allow,
    /// It is taken, and said so.
    Warn,
    /// It is refused.
    Refuse,
}

impl Action {
    /// All of them, the strictest first: the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Refuse, Self::Warn, Self::Allow];

    /// Stable name, used in the configuration, annotations, events and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }

    /// What a [`name`](Self::name) stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What shows that an image is not for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The platform that it claims to be for, where the node's own was wanted.
    Claims,
    /// The platform that somebody asked for by its name.
    Request,
    /// The program that it starts, and nothing else.
    Program,
}

/// What is done with one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stance {
    claims: Action,
    request: Action,
    program: Action,
}

impl Default for Stance {
    /// What holds where nobody says anything. Who names a platform is not refused it.
    fn default() -> Self {
        Self { claims: Action::Refuse, request: Action::Warn, program: Action::Warn }
    }
}

impl From<Action> for Stance {
    /// One word for everything.
    fn from(action: Action) -> Self {
        Self { claims: action, request: action, program: action }
    }
}

impl Stance {
    /// What is done where this shows a mismatch.
    #[must_use]
    pub fn on(self, shown: Shown) -> Action {
        match shown {
            Shown::Claims => self.claims,
            Shown::Request => self.request,
            Shown::Program => self.program,
        }
    }

    /// The stricter word of two, for everything.
    fn stricter(self, other: Self) -> Self {
        Self {
            claims: self.claims.max(other.claims),
            request: self.request.max(other.request),
            program: self.program.max(other.program),
        }
    }
}

/// Images that a rule is about: those of a registry, or of one repository and all below it. The
/// registry is compared as [`Reference::canonical_name`] has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(String);

/// Why a text is no [`Scope`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It is a name that people shorten.
    #[error("{text:?} does not say at which registry; spelt in full, it is {full}")]
    Short {
        /// The text.
        text: String,
        /// The same in full.
        full: String,
    },
    /// It stands for some images of a repository, and not for all.
    #[error("{0:?} has a tag or a digest, and whole repositories are meant")]
    Tagged(String),
    /// No reference begins so.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl Classify for ScopeError {
    fn kind(&self) -> Kind {
        Kind::InvalidConfiguration
    }
}

impl Scope {
    /// Reads `HOST`, `HOST/PATH` and the like, spelt in full: `docker.io/library/busybox`, and not
    /// `busybox`.
    ///
    /// # Errors
    /// [`ScopeError`] for a text that no reference begins with, and for tags and digests.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let has_tag = text.rsplit_once('/').is_some_and(|(_, last)| last.contains(':'));
        if text.contains('@') || has_tag && !text.contains("://") {
            return Err(ScopeError::Tagged(text.into()));
        }
        // Two more parts, since a single one would be docker.io's own. A mistake is told of the text
        // itself, where it is one there as well.
        let below = || format!("{text}/a/b").parse::<Reference>();
        let below = below().map_err(|error| text.parse::<Reference>().err().unwrap_or(error))?;
        if below.repository().starts_with(&format!("{text}/")) {
            let full = text.parse::<Reference>()?.name();
            return Err(ScopeError::Short { text: text.into(), full });
        }
        let name = below.canonical_name();
        Ok(Self(name.strip_suffix("/a/b").unwrap_or(&name).to_owned()))
    }

    fn covers(&self, name: &str) -> bool {
        name.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who says something about one pull, beside the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nobody.
    #[default]
    Nobody,
    /// Whoever pulls, for this pull.
    User(Action),
    /// The pod that the image is for.
    Pod(Action),
}

/// What a node's configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// For images that no rule is about.
    pub default: Option<Action>,
    /// For others. Of those that are about an image the longest counts: it is the most specific.
    pub rules: Vec<(Scope, Action)>,
    /// Whether a pod may be laxer than the node; `None` where it may as long as nothing else here
    /// is about its image.
    pub pods_may_loosen: Option<bool>,
}

impl Policy {
    /// What is done with an image.
    #[must_use]
    pub fn stance(&self, reference: &Reference, asked: Asked) -> Stance {
        let own = self.word(reference);
        let usual = own.map(Stance::from).unwrap_or_default();
        match asked {
            Asked::Nobody => usual,
            Asked::User(action) => action.into(),
            Asked::Pod(action) if self.pods_may_loosen.unwrap_or(own.is_none()) => action.into(),
            Asked::Pod(action) => usual.stricter(action.into()),
        }
    }

    fn word(&self, reference: &Reference) -> Option<Action> {
        let name = reference.canonical_name();
        let about = self.rules.iter().filter(|(scope, _)| scope.covers(&name));
        about.max_by_key(|(scope, _)| scope.0.len()).map(|(_, action)| *action).or(self.default)
    }
}

/// An image that is not for a node, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The identifier in the catalogue of findings: `PLAT-004`.
    pub id: String,
    /// What is done.
    pub action: Action,
    /// The image, as people write it.
    pub image: String,
    /// What it claims to be for, normalised.
    pub platform: Platform,
    /// The node's own name.
    pub node: String,
    /// What is wrong, one sentence or two.
    pub message: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.id)
    }
}

#[cfg(test)]
mod tests;
