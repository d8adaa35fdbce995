//! The push itself: children first, then the index by its digest, and the tag last of all.

use std::fmt;

use serde::Serialize;

use crate::core::digest::Digest;
use crate::core::error::Classify as _;
use crate::core::reference::Reference;
use crate::core::retry::is_transient;
use crate::fetch::{FetchError, Fetcher};

use super::bring::{Bringing, Survey, locate};
use super::{Publication, PublishError, Registries};

/// Pushes indexes.
#[derive(Debug, Clone, Copy)]
pub struct Publisher<'a> {
    /// Who is asked. The registry of the reference by a fetcher that
    /// [asks nobody else](Fetcher::at_the_registry).
    pub registries: &'a Registries,
}

/// A child that the repository lacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Brought {
    /// Its digest.
    pub digest: Digest,
    /// The repository that had it.
    pub from: String,
    /// Blobs that the registry took over by itself.
    pub mounted: usize,
    /// Blobs that were copied by way of this machine.
    pub copied: usize,
    /// Bytes of those.
    pub bytes: u64,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest that the tag stands for.
    pub digest: Digest,
    /// The one that it stood for; `None` for nothing.
    pub replaced: Option<Digest>,
    /// The tag stood for it already, and nothing was written.
    pub already: bool,
    /// What came with it.
    pub brought: Vec<Brought>,
}

impl Publisher<'_> {
    /// Finds out what would have to be brought, without writing anything.
    ///
    /// # Errors
    /// [`PublishError`]; children that are nowhere, and a tag that was moved.
    pub async fn rehearse(&self, publication: &Publication) -> Result<Vec<Reference>, PublishError> {
        self.compare(publication).await?;
        locate(self.registries, publication).await
    }

    /// Pushes the index and sets the tag, unless that was moved since the draft was made.
    ///
    /// # Errors
    /// [`PublishError`]. The tag is as it was, unless the error is about the tag itself and says
    /// that the registry could not be asked what became of it.
    pub async fn push(&self, publication: &Publication) -> Result<Pushed, PublishError> {
        let Publication { reference, draft, .. } = publication;
        let Some(tag) = reference.tag() else {
            return Err(PublishError::NoTag { reference: reference.familiar() });
        };
        let target = self.registries.of(reference)?;
        let document = draft.sealed();
        let (digest, replaced) = (document.digest().clone(), publication.replaces.clone());
        if self.stands_for(target, reference).await?.as_ref() == Some(&digest) {
            return Ok(Pushed { digest, replaced, already: true, brought: Vec::new() });
        }
        let elsewhere = Box::pin(self.rehearse(publication)).await?;
        let brought = Box::pin(self.bring(target, reference, elsewhere)).await?;
        // Under its digest first: what the registry does not take shows before the tag is touched.
        let pushed = target.push_document(reference, draft.media_type(), &document).await;
        pushed.map_err(push_error(&digest, reference))?;
        self.compare(publication).await?;
        if let Err(error) = target.push_tag(reference, tag, (draft.media_type(), &document)).await {
            // An answer that was lost is no answer: what counts is what the tag stands for.
            let is_set =
                is_transient(error.kind()) && self.stands_for(target, reference).await?.as_ref() == Some(&digest);
            if !is_set {
                return Err(push_error(&reference.familiar(), reference)(error));
            }
        }
        Ok(Pushed { digest, replaced, already: false, brought })
    }

    async fn bring(
        &self,
        target: &Fetcher,
        to: &Reference,
        elsewhere: Vec<Reference>,
    ) -> Result<Vec<Brought>, PublishError> {
        let mut brought = Vec::new();
        if elsewhere.is_empty() {
            return Ok(brought);
        }
        let mut survey = Survey::new(self.registries);
        let mut cargoes = Vec::with_capacity(elsewhere.len());
        for from in &elsewhere {
            if let Some(digest) = from.digest() {
                cargoes.push((self.registries.of(from)?, survey.child(from, digest.clone()).await?));
            }
        }
        let prefix = "lighterman-push-";
        let dir = tempfile::Builder::new().prefix(prefix).tempdir();
        let dir = dir.map_err(|source| PublishError::Write { path: std::env::temp_dir(), source })?;
        for (source, cargo) in cargoes {
            brought.push(Bringing { source, target, to, dir: dir.path() }.cargo(cargo).await?);
        }
        Ok(brought)
    }

    /// That the tag stands for what the draft was made from.
    ///
    /// # Errors
    /// [`PublishError::Moved`] where it does not.
    pub async fn compare(&self, publication: &Publication) -> Result<(), PublishError> {
        let Publication { reference, replaces, .. } = publication;
        let found = self.stands_for(self.registries.of(reference)?, reference).await?;
        if found == *replaces {
            return Ok(());
        }
        Err(PublishError::Moved { reference: reference.familiar(), expected: replaces.clone(), found })
    }

    async fn stands_for(&self, target: &Fetcher, reference: &Reference) -> Result<Option<Digest>, PublishError> {
        Ok(target.digest_of(reference).await?)
    }
}

/// Says what could not be pushed where.
pub(super) fn push_error(what: &impl fmt::Display, to: &Reference) -> impl FnOnce(FetchError) -> PublishError {
    let (what, repository) = (what.to_string(), to.name());
    move |source| PublishError::Push { what, repository, source }
}
