//! What an index should say, by what is in its images.
//!
//! Pure: proposals, never changes. Whoever repairs shows the difference first, and who takes what
//! afterwards: a right label is not always the one that most clients can pull, see
//! [`Proposal::notes`].

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::draft::{Change, Draft, DraftError};
use crate::core::platform::{Platform, architecture_problem, variant_problem};
use crate::core::select::Entry;
use crate::core::text::one_line;

use super::contents::Contents;
use super::needs::Needs;

/// Bytes of a path that are repeated; an image may have any.
const LONGEST_PATH: usize = 200;

/// What an image runs on, by its inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// What config and binary agree on, and how that is known.
    Known {
        /// What to declare.
        platform: Platform,
        /// How that is known, as a clause.
        because: String,
    },
    /// They say different things.
    Contradiction {
        /// What the config names.
        config: Platform,
        /// What the binary is built for.
        binary: Platform,
        /// The binary, in words.
        shown_by: String,
    },
    /// Neither says anything.
    Unknown,
}

/// What an image says of itself, inside and out of its binary.
#[must_use]
pub fn truth(contents: &Contents) -> Truth {
    let config = &contents.config.platform;
    let named = !config.architecture.is_empty();
    let found = contents.binary().and_then(|(file, binary)| {
        let shown_by = format!("{} is {binary}", one_line(&file.path, LONGEST_PATH));
        Some((built_for(contents)?, shown_by))
    });
    match found {
        None if named => Truth::Known { platform: spelt(config), because: "its config says so".into() },
        None => Truth::Unknown,
        Some((binary, shown_by)) if named && contradict(config, &binary) => {
            Truth::Contradiction { config: config.clone(), binary, shown_by }
        }
        Some((binary, shown_by)) => {
            let platform = if named { refined(&spelt(config), &binary) } else { binary };
            Truth::Known { platform, because: shown_by }
        }
    }
}

/// The platform whose nodes run the program. Of 32-bit ARM with the least variant that does, as far as
/// that is known; of others clients go by the architecture alone.
fn built_for(contents: &Contents) -> Option<Platform> {
    let platform = Needs::of(contents)?.platform;
    let variant = if platform.architecture == "arm" { platform.variant } else { String::new() };
    Some(Platform { variant, ..platform })
}

/// The names that the specification has, where others were used.
fn spelt(platform: &Platform) -> Platform {
    let os = if platform.os.is_empty() { "linux".into() } else { platform.os.clone() };
    let mut right = Platform { os, ..platform.clone() };
    right = architecture_problem(&right).and_then(|problem| problem.right).unwrap_or(right);
    if let Some(variant) = variant_problem(&right).and_then(|problem| problem.right) {
        right.variant = variant;
    }
    right
}

/// Whether a program for `binary` is something else than what `declared` promises. A program that
/// needs less than was promised keeps the promise.
#[must_use]
pub fn contradict(declared: &Platform, binary: &Platform) -> bool {
    let normal = declared.normalized();
    if normal.os != binary.os || normal.architecture != binary.architecture {
        return true;
    }
    match (arm_version(&normal), arm_version(binary)) {
        (Some(promised), Some(needed)) => needed > promised,
        _ => false,
    }
}

/// The variant that the binary needs, where nobody has named one.
fn refined(declared: &Platform, binary: &Platform) -> Platform {
    let silent = declared.architecture == "arm" && declared.variant.is_empty();
    let variant = if silent { binary.variant.clone() } else { declared.variant.clone() };
    Platform { variant, ..declared.clone() }
}

/// The number of 32-bit ARM's variant.
fn arm_version(platform: &Platform) -> Option<u32> {
    let variant = platform.variant.strip_prefix('v').filter(|_| platform.architecture == "arm")?;
    variant.parse().ok()
}

/// An entry whose platform should be another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// Where it stands, from 0.
    pub at: usize,
    /// Its child.
    pub digest: Digest,
    /// What it says.
    pub before: Option<Platform>,
    /// What it should say.
    pub after: Platform,
    /// Why, as a sentence.
    pub reason: String,
}

/// What would make an index right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What to change, in the order of the index.
    pub corrections: Vec<Correction>,
    /// What the changes do not mend, or bring with them.
    pub notes: Vec<String>,
}

/// What to correct in an index with these entries, whose images were looked into; `None` where
/// every label is right, as far as is known. Indexes in the index are left alone.
#[must_use]
pub fn propose(entries: &[Entry], contents: &[Contents]) -> Option<Proposal> {
    let mut corrections = Vec::new();
    let mut notes = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let behind = contents.iter().find(|contents| contents.path == [at]);
        let Some((after, reason)) = right_label(&entry.descriptor, behind) else { continue };
        // Index and config agree, and another image is there for what this program is: most likely the
        // wrong program was copied, and the label says what was meant.
        let agreed = behind.is_some_and(|contents| contents.claimed().same_as(&contents.config.platform));
        let taken = |other: &Entry| other.descriptor.platform.as_ref().is_some_and(|other| other.same_as(&after));
        if agreed && entries.iter().enumerate().any(|(other, entry)| other != at && taken(entry)) {
            continue;
        }
        // Somebody has listed it for several platforms on purpose.
        let others = entries.iter().enumerate().filter(|(other, _)| *other != at);
        if others.clone().any(|(_, other)| is_listed(other, &entry.descriptor.digest, &after)) {
            continue;
        }
        if let Some(contents) = behind
            && !contents.config.platform.architecture.is_empty()
            && contradict(&contents.config.platform, &after)
        {
            notes.push(format!(
                "the config of entry {at} still says {}: clients that read it warn, and only a new build mends that",
                contents.config.platform
            ));
        }
        let Descriptor { digest, platform: before, .. } = entry.descriptor.clone();
        corrections.push(Correction { at, digest, before, after, reason });
    }
    if corrections.is_empty() {
        return None;
    }
    let after = entries.iter().enumerate().filter_map(|(at, entry)| {
        let corrected = corrections.iter().find(|correction| correction.at == at).map(|correction| &correction.after);
        corrected.or(entry.descriptor.platform.as_ref()).cloned()
    });
    notes.extend(reach(&after.collect::<Vec<_>>()));
    Some(Proposal { corrections, notes })
}

fn is_listed(entry: &Entry, digest: &Digest, platform: &Platform) -> bool {
    let declared = entry.descriptor.platform.as_ref();
    entry.descriptor.digest == *digest && declared.is_some_and(|declared| declared.same_as(platform))
}

/// What the entry should say and why, where it says something else.
fn right_label(descriptor: &Descriptor, behind: Option<&Contents>) -> Option<(Platform, String)> {
    if descriptor.is_attestation() || !descriptor.media_type.is_manifest() {
        return None;
    }
    let declared = descriptor.platform.as_ref();
    let inside = behind.and_then(|contents| match truth(contents) {
        Truth::Known { platform, because } => Some((platform, because)),
        Truth::Contradiction { binary, shown_by, .. } => Some((binary, shown_by)),
        Truth::Unknown => None,
    });
    match (declared, inside) {
        (None, Some((platform, because))) => Some((platform, format!("it names no platform, and {because}"))),
        (Some(declared), Some((platform, because))) if contradict(declared, &platform) => {
            Some((platform, format!("it says {declared}, and {because}")))
        }
        // A program that needs less than its label promises is left alone: nodes that take it now
        // would find nothing under the lesser label.
        (Some(declared), _) => {
            let after = spelt(declared);
            (after != *declared && !declared.is_unknown())
                .then(|| (after, format!("{declared} is a name that not every client knows")))
        }
        (None, None) => None,
    }
}

/// Who cannot pull what these labels say, although the labels are right.
#[must_use]
pub fn reach(platforms: &[Platform]) -> Vec<String> {
    let normal: Vec<Platform> = platforms.iter().map(Platform::normalized).collect();
    let arm: Vec<&Platform> =
        normal.iter().filter(|platform| platform.os == "linux" && platform.architecture == "arm").collect();
    let mut notes = Vec::new();
    if !arm.is_empty() && !arm.iter().any(|platform| platform.variant == "v7") {
        notes.push(
            "kubelet with containerd 2.1 and newer takes no lower variant of arm: its arm/v7 nodes find nothing here; \
             --also linux/arm/v7 lists the same image for them too"
                .into(),
        );
    }
    if !arm.is_empty() && !normal.iter().any(|platform| platform.os == "linux" && platform.architecture == "arm64") {
        notes.push(
            "arm64 nodes that can run 32-bit programs fall back to arm with ctr and docker, and find nothing with podman, \
             and with kubelet on containerd 2.1 and newer"
                .into(),
        );
    }
    notes
}

impl Proposal {
    /// Makes the corrections in an index.
    ///
    /// # Errors
    /// [`DraftError`] where the index is another one.
    pub fn apply(&self, draft: &mut Draft) -> Result<(), DraftError> {
        for correction in &self.corrections {
            if draft.entries().get(correction.at).is_none_or(|entry| entry.digest != correction.digest) {
                return Err(DraftError::NoEntry { at: correction.at });
            }
            draft.change(correction.at, &Change::to(&correction.after))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
