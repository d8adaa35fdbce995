//! Which manifest of an image is the one for a platform, and why the others are not.
//!
//! The rule is containerd's `Only`: entries without a platform come last, the sort is
//! stable, and exactly one candidate is tried: there is no second try when that one turns
//! out to be wrong. It is followed even where a cleverer rule is thinkable, because
//! containerd applies it again when it looks up what was landed.
//!
//! Two things differ on purpose, and [`predict`](super::predict) shows where it matters:
//! attestations and unknown media types are passed over, and a lone manifest is checked
//! against its config instead of being taken blindly.

use std::collections::HashSet;

use super::descriptor::Descriptor;
use super::limits::Limits;
use super::platform::{Matcher, Platform};

/// Where an entry stands: indexes into the root and, for nested indexes, into each level below.
pub type EntryPath = Vec<usize>;

/// A path as people count in JSON: positions from 0, levels joined by a dot.
#[must_use]
pub fn path_text(path: &[usize]) -> String {
    path.iter().map(usize::to_string).collect::<Vec<_>>().join(".")
}

/// An entry of an index, with what has been read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As the index has it.
    pub descriptor: Descriptor,
    /// What is behind it, as far as it was read.
    pub inner: Inner,
}

/// What is behind an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inner {
    /// Nothing was read.
    Unread,
    /// A manifest whose config names this platform.
    Config(Platform),
    /// A nested index.
    Nested(Vec<Entry>),
    /// It could not be read or is no image; the reason.
    Unusable(String),
}

impl Inner {
    /// Behind more indexes than are read.
    #[must_use]
    pub fn too_deep(limits: &Limits) -> Self {
        Self::Unusable(format!("it is behind more than {} nested indexes", limits.index_depth))
    }

    /// One of more entries of nested indexes than are read.
    #[must_use]
    pub fn too_many_entries(limits: &Limits) -> Self {
        Self::Unusable(format!("nested indexes have more than {} entries", limits.index_entries))
    }

    /// One of more documents than are read.
    #[must_use]
    pub fn too_many_documents(limits: &Limits) -> Self {
        Self::Unusable(format!("more than {} documents of the image would have to be read", limits.documents))
    }
}

impl Entry {
    /// An entry of which nothing was read yet.
    #[must_use]
    pub fn unread(descriptor: Descriptor) -> Self {
        Self { descriptor, inner: Inner::Unread }
    }

    /// The platform that decides: the declared one, else the config's.
    #[must_use]
    pub fn platform(&self) -> Option<&Platform> {
        match (&self.descriptor.platform, &self.inner) {
            (Some(declared), _) => Some(declared),
            (None, Inner::Config(platform)) => Some(platform),
            (None, _) => None,
        }
    }

    fn is_image(&self) -> bool {
        let kind = &self.descriptor.media_type;
        (kind.is_manifest() || kind.is_index()) && !self.descriptor.is_attestation()
    }

    /// Its platform can only be told by reading what is behind it.
    #[must_use]
    pub fn needs_reading(&self) -> bool {
        let kind = &self.descriptor.media_type;
        self.is_image() && self.inner == Inner::Unread && (kind.is_index() || self.descriptor.platform.is_none())
    }
}

/// Which entries a client lets compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligible {
    /// Images only; attestations and unknown media types are passed over. This is lighterman.
    Images,
    /// Whatever the platform lets through. This is containerd.
    Everything,
}

/// Walks the entries as containerd does. `None` where nothing matches; also where the one
/// candidate that is tried turns out not to match.
#[must_use]
pub fn choose(entries: &[Entry], matcher: &Matcher, eligible: Eligible) -> Option<EntryPath> {
    let (first, entry) = candidates(entries, matcher, eligible).into_iter().next()?;
    let mut path = vec![first];
    match &entry.inner {
        Inner::Nested(inner) => path.extend(choose(inner, matcher, eligible)?),
        Inner::Config(platform) if entry.descriptor.platform.is_none() => {
            matcher.slot(platform)?;
        }
        Inner::Config(_) | Inner::Unread if entry.descriptor.platform.is_some() => {}
        _ => return None,
    }
    entry.is_image().then_some(path)
}

/// The entries that may be chosen, best first: matching ones by rank, those without
/// platform last, each group in the order of the index.
fn candidates<'a>(entries: &'a [Entry], matcher: &Matcher, eligible: Eligible) -> Vec<(usize, &'a Entry)> {
    let mut candidates: Vec<_> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| eligible == Eligible::Everything || entry.is_image())
        .filter(|(_, entry)| entry.descriptor.platform.as_ref().is_none_or(|p| matcher.slot(p).is_some()))
        .collect();
    candidates.sort_by_key(|(_, entry)| match &entry.descriptor.platform {
        Some(platform) => (false, matcher.rank(platform)),
        None => (true, None),
    });
    candidates
}

/// Whether some entry matches by its declared platform alone, so that nothing more needs reading.
#[must_use]
pub fn has_declared_match(entries: &[Entry], matcher: &Matcher) -> bool {
    candidates(entries, matcher, Eligible::Images)
        .first()
        .is_some_and(|(_, entry)| entry.descriptor.platform.is_some() && entry.descriptor.media_type.is_manifest())
}

/// The entry at a path.
#[must_use]
pub fn at<'a>(entries: &'a [Entry], path: &[usize]) -> Option<&'a Entry> {
    let (first, rest) = path.split_first()?;
    let entry = entries.get(*first)?;
    match (&entry.inner, rest) {
        (_, []) => Some(entry),
        (Inner::Nested(inner), rest) => at(inner, rest),
        _ => None,
    }
}

/// Every entry, depth first, with its path; nested indexes are listed before their own entries.
#[must_use]
pub fn flatten(entries: &[Entry]) -> Vec<(EntryPath, &Entry)> {
    let mut all = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        all.push((vec![position], entry));
        if let Inner::Nested(inner) = &entry.inner {
            all.extend(flatten(inner).into_iter().map(|(path, entry)| ([vec![position], path].concat(), entry)));
        }
    }
    all
}

/// Every image among the entries, whatever its platform, in order.
#[must_use]
pub fn images(entries: &[Entry]) -> Vec<EntryPath> {
    let runnable = |entry: &Entry| entry.is_image() && entry.descriptor.media_type.is_manifest();
    flatten(entries).into_iter().filter(|(_, entry)| runnable(entry)).map(|(path, _)| path).collect()
}

/// Why an entry was or was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The one; `slot` counts the host's acceptable platforms from 1.
    Chosen {
        /// Slot of the host's list that it matched.
        slot: usize,
    },
    /// The nested index that the chosen manifest is in.
    Leads,
    /// It matches, and a better or earlier one was chosen.
    LowerRank {
        /// Slot of the host's list that it matched.
        slot: usize,
    },
    /// The same platform as an entry before it.
    Duplicate,
    /// For another operating system.
    OtherOs,
    /// For another architecture.
    OtherArchitecture,
    /// The right architecture, but it needs more than the host is known to have.
    VariantTooHigh,
    /// The right architecture with a variant that no rule knows.
    UnknownVariant,
    /// It needs features or a version of the operating system that the host lacks.
    OsRequirements,
    /// Provenance or SBOM, no image.
    Attestation,
    /// Not a manifest or index.
    UnknownMediaType,
    /// No platform declared, and its config names one that does not match.
    ConfigDiffers,
    /// No platform declared; such entries are only tried when nothing matches by declaration,
    /// and then only the first of them.
    NotTried,
    /// A nested index without a matching manifest.
    NothingInside,
    /// It could not be read.
    Unusable,
}

impl Verdict {
    /// Name of [`Self::Chosen`].
    pub const CHOSEN: &'static str = "chosen";

    /// Stable name, used in JSON output and by the daemon's API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Chosen { .. } => Self::CHOSEN,
            Self::Leads => "leads",
            Self::LowerRank { .. } => "lower-rank",
            Self::Duplicate => "duplicate",
            Self::OtherOs => "other-os",
            Self::OtherArchitecture => "other-architecture",
            Self::VariantTooHigh => "variant-too-high",
            Self::UnknownVariant => "unknown-variant",
            Self::OsRequirements => "os-requirements",
            Self::Attestation => "attestation",
            Self::UnknownMediaType => "unknown-media-type",
            Self::ConfigDiffers => "config-differs",
            Self::NotTried => "not-tried",
            Self::NothingInside => "nothing-inside",
            Self::Unusable => "unusable",
        }
    }
}

/// One entry of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub path: EntryPath,
    /// The entry.
    pub entry: Entry,
    /// Why it was or was not chosen.
    pub verdict: Verdict,
}

/// A verdict for every entry, in the order of the index.
#[must_use]
pub fn explain(entries: &[Entry], matcher: &Matcher, chosen: Option<&[usize]>) -> Vec<Row> {
    let flat = flatten(entries);
    let mut rows: Vec<Row> = Vec::with_capacity(flat.len());
    let mut seen = HashSet::with_capacity(flat.len());
    for (path, entry) in flat {
        let platform = entry.descriptor.platform.as_ref().filter(|_| entry.is_image());
        let duplicate = platform.is_some_and(|platform| !seen.insert(platform.normalized()));
        let verdict = if chosen == Some(&path) {
            Verdict::Chosen { slot: entry.platform().and_then(|p| matcher.slot(p)).map_or(0, |slot| slot + 1) }
        } else if chosen.is_some_and(|chosen| chosen.starts_with(&path)) {
            Verdict::Leads
        } else if duplicate {
            Verdict::Duplicate
        } else {
            verdict(entry, matcher)
        };
        rows.push(Row { path, entry: entry.clone(), verdict });
    }
    rows
}

fn verdict(entry: &Entry, matcher: &Matcher) -> Verdict {
    if entry.descriptor.is_attestation() {
        return Verdict::Attestation;
    }
    if !entry.is_image() {
        return Verdict::UnknownMediaType;
    }
    match (&entry.descriptor.platform, &entry.inner) {
        (_, Inner::Unusable(_)) => Verdict::Unusable,
        (None, Inner::Nested(_)) => Verdict::NothingInside,
        (None, Inner::Config(platform)) if matcher.slot(platform).is_none() => Verdict::ConfigDiffers,
        (None, _) => Verdict::NotTried,
        (Some(platform), _) => match matcher.slot(platform) {
            Some(slot) => Verdict::LowerRank { slot: slot + 1 },
            None => mismatch(platform, matcher),
        },
    }
}

/// What about a platform keeps it from matching.
#[must_use]
pub fn mismatch(platform: &Platform, matcher: &Matcher) -> Verdict {
    let normal = platform.normalized();
    let slots = matcher.slots();
    if !slots.iter().any(|slot| slot.os == normal.os) {
        return Verdict::OtherOs;
    }
    let Some(best) = slots.iter().find(|slot| slot.architecture == normal.architecture) else {
        return Verdict::OtherArchitecture;
    };
    if slots.iter().any(|slot| slot.architecture == normal.architecture && slot.variant == normal.variant) {
        return Verdict::OsRequirements;
    }
    match (variant_level(&normal), variant_level(best)) {
        (Some(wanted), Some(have)) if wanted > have => Verdict::VariantTooHigh,
        _ => Verdict::UnknownVariant,
    }
}

/// A variant as a number that can be compared within its architecture; baseline is 0.
fn variant_level(platform: &Platform) -> Option<(u32, u32)> {
    match platform.variant.as_str() {
        "" => Some((0, 0)),
        variant => {
            let digits = variant.strip_prefix('v')?;
            let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
            Some((major.parse().ok()?, minor.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests;
