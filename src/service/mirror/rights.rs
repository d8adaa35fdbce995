//! What upstream has granted to whom, lately.
//!
//! In memory only, for minutes, and of bounded number: what is forgotten costs a question.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::reference::Reference;
use crate::fetch::Endpoint;

/// How long a grant counts: longer than the pull that it was made for mostly takes, and short
/// beside what it takes to have somebody's access revoked.
pub(super) const KEPT: Duration = Duration::from_secs(300);
/// Grants that are remembered; each takes about half a kilobyte.
const MOST: usize = 8192;

/// What may be read, and by whom: `None` for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Right {
    /// `registry/repository`
    name: String,
    caller: Option<Digest>,
    is_manifest: bool,
    digest: Digest,
}

#[derive(Debug)]
struct Grant {
    what: Descriptor,
    until: Instant,
    /// Upstream has shown since that it has it.
    is_shown: bool,
}

/// The grants.
#[derive(Debug, Default)]
pub(super) struct Rights(Mutex<HashMap<Right, Grant>>);

impl Right {
    pub(super) fn new(reference: &Reference, caller: Option<Digest>, endpoint: Endpoint, digest: &Digest) -> Self {
        let is_manifest = endpoint == Endpoint::Manifests;
        Self { name: reference.name(), caller, is_manifest, digest: digest.clone() }
    }
}

impl Rights {
    /// What upstream said of it when it granted this right, or granted it to everybody.
    pub(super) fn find(&self, right: &Right) -> Option<Descriptor> {
        Some(holding(&mut self.lock(), right)?.what.clone())
    }

    /// Whether upstream has shown what it granted.
    pub(super) fn is_shown(&self, right: &Right) -> bool {
        holding(&mut self.lock(), right).is_some_and(|grant| grant.is_shown)
    }

    /// Upstream has shown what it granted just now.
    pub(super) fn note_shown(&self, right: &Right) {
        if let Some(grant) = holding(&mut self.lock(), right) {
            grant.is_shown = true;
        }
    }

    /// Upstream has granted it just now.
    pub(super) fn note(&self, right: Right, what: Descriptor) {
        self.note_until(right, what, Instant::now() + KEPT);
    }

    /// Upstream has refused it just now.
    pub(super) fn withdraw(&self, right: &Right) {
        self.lock().remove(right);
    }

    /// Nothing was granted.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn note_until(&self, right: Right, what: Descriptor, until: Instant) {
        let mut grants = self.lock();
        if grants.len() >= MOST {
            grants.retain(|_, grant| Instant::now() < grant.until);
        }
        if grants.len() >= MOST {
            grants.clear();
        }
        grants.insert(right, Grant { what, until, is_shown: false });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Right, Grant>> {
        // Whole after any panic: every change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The grant by which a right holds: this caller's, or everybody's.
fn holding<'a>(grants: &'a mut HashMap<Right, Grant>, right: &Right) -> Option<&'a mut Grant> {
    let holds = |right: &Right| grants.get(right).is_some_and(|grant| Instant::now() < grant.until);
    let everybody = Right { caller: None, ..right.clone() };
    let by = if holds(right) { right } else { &everybody };
    grants.get_mut(by).filter(|grant| Instant::now() < grant.until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;

    fn right(name: &str, caller: Option<&str>, endpoint: Endpoint) -> Right {
        let reference = name.parse().expect("a reference");
        Right::new(&reference, caller.map(|caller| Digest::of(caller.as_bytes())), endpoint, &Digest::of(b"cargo"))
    }

    fn cargo() -> Descriptor {
        Descriptor::new(MediaType::Other(String::new()), Digest::of(b"cargo"), 5)
    }

    #[test]
    fn a_grant_is_for_one_caller_one_repository_and_one_kind() {
        let rights = Rights::default();
        let granted = right("a.example/team/app", Some("alice"), Endpoint::Blobs);
        rights.note(granted.clone(), cargo());
        assert_eq!(rights.find(&granted), Some(cargo()));
        for other in [
            right("a.example/team/app", Some("bob"), Endpoint::Blobs),
            right("a.example/team/app", None, Endpoint::Blobs),
            right("a.example/bob/app", Some("alice"), Endpoint::Blobs),
            right("b.example/team/app", Some("alice"), Endpoint::Blobs),
            right("a.example/team/app", Some("alice"), Endpoint::Manifests),
        ] {
            assert_eq!(rights.find(&other), None, "{other:?}");
        }
        rights.withdraw(&granted);
        assert_eq!(rights.find(&granted), None);
    }

    #[test]
    fn what_everybody_may_read_each_may() {
        let rights = Rights::default();
        rights.note(right("a.example/app", None, Endpoint::Blobs), cargo());
        assert!(rights.find(&right("a.example/app", Some("alice"), Endpoint::Blobs)).is_some());
    }

    #[test]
    fn what_was_shown_is_forgotten_with_the_grant() {
        let rights = Rights::default();
        let granted = right("a.example/app", None, Endpoint::Blobs);
        rights.note_shown(&granted);
        assert!(!rights.is_shown(&granted), "nothing was granted");
        rights.note(granted.clone(), cargo());
        assert!(!rights.is_shown(&granted));
        rights.note_shown(&right("a.example/app", Some("alice"), Endpoint::Blobs));
        assert!(rights.is_shown(&granted));
        assert!(!rights.is_shown(&right("a.example/other", None, Endpoint::Blobs)));
        rights.withdraw(&granted);
        rights.note(granted.clone(), cargo());
        assert!(!rights.is_shown(&granted));
    }

    #[test]
    fn grants_end_and_are_bounded() {
        let rights = Rights::default();
        let past = right("a.example/app", None, Endpoint::Blobs);
        rights.note_until(past.clone(), cargo(), Instant::now());
        assert_eq!(rights.find(&past), None);
        for number in 0..MOST + 10 {
            rights.note(right(&format!("a.example/app{number}"), None, Endpoint::Blobs), cargo());
        }
        assert!(rights.lock().len() <= MOST);
    }
}
