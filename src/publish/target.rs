//! Where an index is pushed to, and what its tag has to stand for before.

use crate::core::digest::Digest;
use crate::core::reference::Reference;

use super::{Publication, PublishError, Registries};

/// A repository and a tag. Whoever writes a digest behind the tag says what it has to stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// By its tag alone.
    pub(super) reference: Reference,
    expected: Option<Digest>,
}

impl Target {
    /// What a reference names to be pushed to.
    ///
    /// # Errors
    /// [`PublishError::NoTag`].
    pub(super) fn of(reference: &Reference) -> Result<Self, PublishError> {
        let by_tag = reference.by_tag().ok_or_else(|| PublishError::NoTag { reference: reference.familiar() })?;
        Ok(Self { reference: by_tag, expected: reference.digest().cloned() })
    }

    /// What the tag stands for; `None` for nothing.
    ///
    /// # Errors
    /// [`PublishError::Moved`] where that is not what it has to be.
    pub(super) async fn stands_for(&self, registries: &Registries) -> Result<Option<Digest>, PublishError> {
        self.checked(registries.of(&self.reference)?.digest_of(&self.reference).await?)
    }

    /// What was found under the tag, where it may be that.
    ///
    /// # Errors
    /// [`PublishError::Moved`].
    pub(super) fn checked(&self, found: Option<Digest>) -> Result<Option<Digest>, PublishError> {
        if self.expected.is_none() || self.expected == found {
            return Ok(found);
        }
        Err(PublishError::Moved { reference: self.reference.familiar(), expected: self.expected.clone(), found })
    }
}

impl Publication {
    /// The same for another name, where one is given. Under its own name it goes on replacing what it
    /// was made from, unless it is there already; under another one, what that stands for.
    ///
    /// # Errors
    /// [`PublishError::Untagged`] and [`PublishError::NoTag`] where nothing names a tag,
    /// [`PublishError::Moved`] where the name says what the tag has to stand for, and it does not.
    pub async fn aimed(self, registries: &Registries, to: Option<&Reference>) -> Result<Self, PublishError> {
        let target = match to {
            Some(to) => Target::of(to)?,
            None => Target::of(&self.reference)
                .map_err(|_| PublishError::Untagged { reference: self.reference.familiar() })?,
        };
        let found = target.stands_for(registries).await?;
        let is_there = found.as_ref() == Some(&self.draft.digest());
        if self.reference.by_tag().as_ref() == Some(&target.reference) && !is_there {
            return Ok(Self { reference: target.reference, ..self });
        }
        Ok(self.moved_to(target.reference, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, PublishError> {
        Target::of(&text.parse().expect("a reference"))
    }

    #[test]
    fn a_tag_is_needed_and_a_digest_behind_it_is_what_it_has_to_stand_for() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let cases = [
            // What is written, what is found, whether it may be pushed there.
            ("app:1".to_owned(), None, true),
            ("app".to_owned(), Some(&one), true),
            (format!("app:1@{one}"), Some(&one), true),
            (format!("app:1@{one}"), Some(&other), false),
            (format!("app:1@{one}"), None, false),
        ];
        for (text, found, fits) in cases {
            let target = target(&text).expect("it has a tag");
            assert_eq!(target.reference.digest(), None, "{text}");
            let checked = target.checked(found.cloned());
            assert_eq!(checked.is_ok(), fits, "{text} {found:?}");
            if let Err(error) = checked {
                assert!(error.to_string().contains(&one.to_string()), "{error}");
            }
        }
        let pinned = format!("app@{one}");
        assert!(matches!(target(&pinned), Err(PublishError::NoTag { .. })));
    }
}
