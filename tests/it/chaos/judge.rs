//! What pulls may come to, and what they may have fetched for it.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Meanwhile, Pull, Trouble, What, expires_leases};
use super::world::World;
use crate::support::liar::{Liar, Request};
use crate::support::lighterman::{Outcome, exit};

/// What the pulls of a step had to live with.
pub(super) struct Weather {
    /// Registries were told to answer wrongly.
    is_stormy: bool,
    /// Something broke that pulls may fail for.
    is_broken: bool,
    happened: Vec<What>,
}

impl Weather {
    pub(super) fn of(troubles: &[Trouble], meanwhile: &[Meanwhile], ahead: i64) -> Self {
        let happened: Vec<What> = meanwhile.iter().map(|meanwhile| meanwhile.what).collect();
        let is_broken = expires_leases(ahead) || happened.iter().any(|what| what.breaks());
        Self { is_stormy: !troubles.is_empty(), is_broken, happened }
    }

    fn undid(&self, pull: &Pull) -> bool {
        self.happened.iter().any(|what| what.undoes(pull))
    }
}

/// What there was before a step.
pub(super) struct Before {
    /// Requests, by registry.
    heard: Vec<usize>,
    /// Content that some namespace had, by the end of its digest.
    blobs: BTreeSet<String>,
}

impl Before {
    pub(super) fn of(world: &World) -> Self {
        let files = std::fs::read_dir(world.containerd.blobs()).into_iter().flatten().flatten();
        let blobs = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        Self { heard: world.liars.iter().map(Liar::heard).collect(), blobs }
    }
}

impl World {
    /// Every pull ends in a way that says why; and as it should, where nothing went wrong.
    pub(super) fn judge(&mut self, pull: &Pull, outcome: Outcome, weather: &Weather, names: &[BTreeSet<String>; 2]) {
        let reference = self.reference(pull);
        let (who, undone) = (if pull.is_ours() { "pulls" } else { "pulls by ctr" }, weather.undid(pull));
        if outcome.code == Some(exit::OK) {
            self.count(format!("{who} that succeeded"));
            // Whether a name was removed before or after it was set is nobody's to say.
            if !undone {
                let names = &names[pull.namespace];
                assert!(names.contains(&reference), "{reference} was reported as pulled: {names:?}");
                self.named.insert((pull.namespace, reference));
            }
            return;
        }
        // He was gone before he could say so.
        let code = outcome.code.unwrap_or(exit::INTERRUPTED);
        self.count(format!("{who} that ended with {code}"));
        if !pull.is_ours() || (code == exit::INTERRUPTED && (pull.goes_away() || weather.is_broken)) {
            return;
        }
        let outcome = outcome.fails(code);
        let said = || format!("{reference} ended with {code}: {}\n{}", outcome.stderr, self.daemon.log());
        let expected =
            [exit::CONTENT, exit::NOT_FOUND, exit::UNAVAILABLE, exit::LOCAL_IO, exit::TRY_LATER, exit::CREDENTIALS];
        assert!(expected.contains(&code), "that is no cause: {}", said());
        assert!(weather.is_stormy || weather.is_broken || undone, "nothing was wrong: {}", said());
        if code == exit::LOCAL_IO {
            assert!(weather.is_broken || undone, "nothing was wrong with the node: {}", said());
            assert!(outcome.stderr.contains("blame: this node"), "{}", said());
        }
    }

    /// No layer is fetched that is there, and nothing twice. A config is part of the answer to
    /// whether somebody may have an image, and as small.
    pub(super) fn check_fetches(&mut self, pulls: &[Pull], weather: &Weather, before: &Before) {
        let removed = weather.happened.iter().any(|what| matches!(what, What::Remove { .. }));
        if weather.is_broken || removed || !pulls.iter().all(Pull::is_ours) {
            return;
        }
        let layers: BTreeMap<_, _> =
            self.images.iter().flat_map(|image| &image.manifests[0].layers).map(|b| (b.hex(), b)).collect();
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for (liar, heard) in self.liars.iter().zip(&before.heard) {
            for request in liar.requests_after(*heard) {
                let Some(hex) = blob_of(&request).filter(|hex| layers.contains_key(hex)) else { continue };
                assert!(!before.blobs.contains(hex), "{hex} was there: {request:?}\n{}", self.daemon.log());
                *sent.entry(hex.into()).or_default() += request.sent;
            }
        }
        let twice = weather.is_stormy || !weather.happened.is_empty() || pulls.iter().any(Pull::goes_away);
        for (hex, sent) in sent.iter().filter(|_| !twice) {
            let size = layers[hex.as_str()].bytes.len();
            assert!(*sent <= size, "{sent} bytes of {hex}, which has {size}\n{}", self.daemon.log());
        }
        self.count("steps in which nothing was fetched that was there");
        if !twice {
            self.count("steps in which nothing was fetched twice");
        }
    }
}

/// The end of the digest of the blob that bytes were sent of.
fn blob_of(request: &Request) -> Option<&str> {
    let is_served = request.method == "GET" && matches!(request.status, 200 | 206);
    let (_, rest) = request.path.split_once("/blobs/sha256:").filter(|_| is_served)?;
    rest.split('?').next()
}
