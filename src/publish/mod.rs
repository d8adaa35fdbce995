//! An index into a registry: made of images or corrected, shown, and pushed only when told to.
//!
//! ```text
//! assemble | revise      images or an index at a registry -> Publication: a draft and what it replaces
//! coverage, advice       what clients would take of it; how other tools would do the same
//! saved                  a Publication in a file, for later
//! target                 where to, and what has to be there
//! Publisher              children looked for, brought; the tag compared; the index put
//! ```
//!
//! Everything that is read to be changed comes from the registry itself, since a mirror may be
//! behind. Nothing is written before all children are found somewhere. Registries have no
//! compare-and-swap: the tag is compared immediately before it is set, and whoever moves it between
//! those two requests is overwritten. The digest that it had is told, so that it can be put back.
//!
//! This room does not run in the daemon: a push is the user's own act, with the user's own
//! credentials.

pub mod advice;
pub mod assemble;
mod bring;
pub mod coverage;
pub mod entry;
mod error;
mod push;
pub mod saved;
mod target;

use std::collections::BTreeMap;

use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::draft::Draft;
use crate::core::limits::Limits;
use crate::core::reference::Reference;
use crate::fetch::Fetcher;

pub use error::PublishError;
pub use push::{Brought, Publisher, Pushed};
use target::Target;

/// An index that can be pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Where to: a repository and a tag. One that was read from a file may name anything, see
    /// [`Publication::aimed`].
    pub reference: Reference,
    /// The index.
    pub draft: Draft,
    /// What the tag stood for when this was made; `None` for nothing.
    pub replaces: Option<Digest>,
    /// Where children are that the repository may not have.
    pub sources: BTreeMap<Digest, Reference>,
}

impl Publication {
    /// That it replaces what somebody else has looked at, and nothing newer.
    ///
    /// # Errors
    /// [`PublishError::Moved`].
    pub fn still_replaces(&self, seen: &Digest) -> Result<(), PublishError> {
        if self.replaces.as_ref() == Some(seen) {
            return Ok(());
        }
        let (reference, found) = (self.reference.familiar(), self.replaces.clone());
        Err(PublishError::Moved { reference, expected: Some(seen.clone()), found })
    }
}

/// The registries that are asked, each with its own hosts and credentials.
#[derive(Debug)]
pub struct Registries {
    fetchers: BTreeMap<String, Fetcher>,
    limits: Limits,
}

impl Registries {
    /// Nobody yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { fetchers: BTreeMap::new(), limits }
    }

    /// Whether the registry of this reference can be asked.
    #[must_use]
    pub fn knows(&self, reference: &Reference) -> bool {
        self.fetchers.contains_key(reference.registry())
    }

    /// Adds who asks the registry of this reference.
    pub fn add(&mut self, reference: &Reference, fetcher: Fetcher) {
        self.fetchers.insert(reference.registry().to_owned(), fetcher);
    }

    /// Who asks the registry of this reference.
    ///
    /// # Errors
    /// [`PublishError::Unasked`] where nobody was added for it.
    pub fn of(&self, reference: &Reference) -> Result<&Fetcher, PublishError> {
        let registry = reference.registry();
        self.fetchers.get(registry).ok_or_else(|| PublishError::Unasked { registry: registry.to_owned() })
    }

    /// How much is read at the most.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// The index that a reference stands for, to be changed.
///
/// # Errors
/// [`PublishError`] where it cannot be read, or is no index.
pub async fn revise(registries: &Registries, reference: &Reference) -> Result<Publication, PublishError> {
    let target = Target::of(reference)?;
    let reference = target.reference.clone();
    let root = registries.of(&reference)?.root(&reference).await?;
    let replaces = target.checked(Some(root.content.digest().clone()))?;
    let draft = Draft::parse(root.content.content(), root.media_type.as_ref(), registries.limits())
        .map_err(|source| PublishError::Draft { reference: reference.familiar(), source })?;
    Ok(Publication { reference, draft, replaces, sources: BTreeMap::new() })
}

/// The document of a digest, unchanged, to be put under a tag: the way back after a push.
///
/// # Errors
/// [`PublishError`] where it cannot be read, or is no index.
pub async fn restore(registries: &Registries, from: &Reference, to: &Reference) -> Result<Publication, PublishError> {
    let target = Target::of(to)?;
    let root = registries.of(from)?.root(from).await?;
    let draft = Draft::parse(root.content.content(), root.media_type.as_ref(), registries.limits())
        .map_err(|source| PublishError::Draft { reference: from.familiar(), source })?;
    let replaces = target.stands_for(registries).await?;
    let sources = draft.entries().into_iter().map(|entry| (entry.digest.clone(), from.with_digest(entry.digest)));
    let sources = if from.name() == to.name() { BTreeMap::new() } else { sources.collect() };
    Ok(Publication { reference: target.reference, draft, replaces, sources })
}

/// The type of an index over these children, where nobody asks for one: Docker's for Docker's
/// images, else OCI's.
#[must_use]
pub fn usual_type(children: &[&MediaType]) -> MediaType {
    let docker = !children.is_empty() && children.iter().all(|kind| **kind == MediaType::DockerManifest);
    if docker { MediaType::DockerManifestList } else { MediaType::OciIndex }
}
