//! What a program needs of a CPU beyond its architecture, and how sure that is.
//!
//! Nothing in an ELF header says which level of an architecture a program was built for. Other
//! things do, each in its own way: Go writes its settings down and checks them when the program
//! starts; linkers merge build attributes; a note may have come in with a start file; a
//! distribution is built for a level as a whole. Every [`Need`] keeps what it rests on.

mod built;
mod distribution;

use super::contents::Contents;
use super::finding::Evidence;
use super::rootfs::File;
use crate::core::elf::Binary;
use crate::core::platform::Platform;
use crate::core::text;
use crate::host::{Fit, fit};

/// Bytes of a platform that a document names.
const CLAIM: usize = 80;

/// What the program of an image needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// What it was built for. The variant is the least that it runs on, as far as that is more
    /// than a hint; empty where nothing says so.
    pub platform: Platform,
    /// Every need that was found.
    pub because: Vec<Need>,
}

/// One thing that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub demand: Demand,
    /// How sure that is.
    pub certainty: Certainty,
    /// What says so.
    pub evidence: Evidence,
}

/// What a CPU has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// A level of the architecture, as [`crate::host::Isa::level`] has it.
    Level(String),
    /// Features, as [`crate::host::Isa::features`] has them.
    Features(Vec<&'static str>),
}

/// How sure it is that a program does not run without something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Something speaks of it that may have come in by accident, or be used only where the CPU has it.
    Hinted,
    /// It was compiled for it, or something that it cannot start without was.
    Likely,
    /// It looks for it when it starts, and ends where it is missing.
    Proven,
}

impl Needs {
    /// What the image's program needs; `None` where no binary was found, or one of an
    /// architecture that has no name. Where several programs run one after the other, it is the one that
    /// needs most, and among equals the last.
    #[must_use]
    pub fn of(contents: &Contents) -> Option<Self> {
        Some(Self::most(contents)?.2)
    }

    /// The same, and which program that is.
    #[must_use]
    pub fn most(contents: &Contents) -> Option<(&File, &Binary, Self)> {
        let (_, measure) = contents.binary()?;
        let each = contents.binaries().filter(|(_, binary)| binary.architecture() == measure.architecture());
        let each = each.filter_map(|(file, binary)| Some((file, binary, Self::of_program(contents, file, binary)?)));
        each.reduce(|one, other| {
            let (has, needs) = (&one.2.platform, &other.2.platform);
            let is_less = fit(&needs.architecture, Some(&needs.variant), &has.variant) == Fit::Above;
            let is_less = !has.variant.is_empty() && (needs.variant.is_empty() || is_less);
            if is_less { one } else { other }
        })
    }

    /// What one program of the image needs.
    pub(super) fn of_program(contents: &Contents, file: &File, binary: &Binary) -> Option<Self> {
        let platform = binary.platform()?;
        let mut because = built::needs(file, binary);
        because.extend(distribution::need(contents, binary));
        let variant = highest(&platform.architecture, &because).unwrap_or_default().to_owned();
        if variant.is_empty() {
            because.extend(declared(contents, &platform));
        }
        Some(Self { platform: Platform { variant, ..platform }, because })
    }

    /// How sure [`Needs::platform`]'s variant is; `None` where it has none.
    #[must_use]
    pub fn certainty(&self) -> Option<Certainty> {
        self.of_level(&self.platform.variant).map(|need| need.certainty).max()
    }

    /// Everything that speaks of one level.
    pub fn of_level<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Need> {
        self.because.iter().filter(move |need| matches!(&need.demand, Demand::Level(level) if level == wanted))
    }
}

/// The highest level that is more than a hint.
fn highest<'a>(architecture: &str, needs: &'a [Need]) -> Option<&'a str> {
    let sure = needs.iter().filter(|need| need.certainty > Certainty::Hinted);
    let levels = sure.filter_map(|need| match &need.demand {
        Demand::Level(level) => Some(level.as_str()),
        Demand::Features(_) => None,
    });
    levels.reduce(|one, other| if fit(architecture, Some(one), other) == Fit::Above { other } else { one })
}

/// A variant that the publisher wrote down, where nothing better is known.
fn declared(contents: &Contents, built_for: &Platform) -> Option<Need> {
    let label = contents.descriptor.platform.as_ref();
    let claim = label.unwrap_or(&contents.config.platform);
    let normal = claim.normalized();
    if claim.variant.is_empty() || normal.variant.is_empty() || normal.architecture != built_for.architecture {
        return None;
    }
    let (document, digest) = match label {
        Some(_) => ("the index", &contents.descriptor.digest),
        None => ("the config", &contents.manifest.config.digest),
    };
    let evidence = Evidence {
        what: text::one_line(&format!("{document} says {claim}"), CLAIM),
        digest: Some(digest.clone()),
        verified: true,
        ..Evidence::default()
    };
    Some(Need { demand: Demand::Level(normal.variant), certainty: Certainty::Hinted, evidence })
}

#[cfg(test)]
mod tests;
