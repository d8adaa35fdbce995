//! Other nodes, as a person names them: a report that `lighterman host --json` wrote there, a
//! platform, or a machine that is known by name.
//!
//! A machine that is only named was never looked at. Its report is put together from a table,
//! holds what every such machine has, and says `unknown` of what depends on more. Where that is
//! not enough, the node's own report is.

mod error;
mod file;
mod machines;
mod synthesis;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::KnownError;

use super::{HostReport, level};
use crate::core::platform::{self, Platform};
use crate::core::text;

use machines::{MACHINES, Machine};

/// Below this likeness (of 1), a guess would puzzle more than help.
const LIKE: f64 = 0.6;

/// Bytes of a name that are shown: host names have 64 at the most.
const NAME: usize = 64;

/// A node that images are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What people call it: its host name, a board's name, `linux/arm/v6`.
    pub name: String,
    /// What it runs.
    pub report: HostReport,
}

impl Node {
    /// Gives nodes of one name different ones, as `node` and `node (2)`: findings name them.
    pub fn distinguish(nodes: &mut [Self]) {
        let mut seen = std::collections::BTreeSet::new();
        for node in nodes {
            let mut name = node.name.clone();
            for count in 2.. {
                if seen.insert(name.clone()) {
                    break;
                }
                name = format!("{} ({count})", node.name);
            }
            node.name = name;
        }
    }

    /// The node that this program runs on.
    #[must_use]
    pub fn this(report: HostReport) -> Self {
        Self { name: "this node".into(), report }
    }

    /// The node that `text` stands for: `pi-in-the-attic.json`, `linux/arm/v6`, `raspberry-pi-zero`.
    ///
    /// A name wins over a file of the same name, which can be written `./raspberry-pi-zero`.
    /// Reads the file where it is one.
    ///
    /// # Errors
    /// [`KnownError`] where it stands for nothing, or the file is no report.
    pub fn named(text: &str) -> Result<Self, KnownError> {
        let path = Path::new(text);
        match Self::known(text) {
            Err(KnownError::Unknown { .. }) if path.exists() || text.contains(['/', '.']) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                Ok(Self { name: text::one_line(&stem, NAME), report: file::read(path)? })
            }
            known => known,
        }
    }

    /// A node by the report that a caller brings along. It is held to what a file is held to.
    ///
    /// # Errors
    /// What is wrong with the report.
    pub fn reported(name: &str, report: &[u8]) -> Result<Self, String> {
        Ok(Self { name: text::one_line(name, NAME), report: file::parse(report)? })
    }

    /// The same without files: a platform, or a machine of the table.
    ///
    /// # Errors
    /// [`KnownError`] where it stands for nothing.
    pub fn known(text: &str) -> Result<Self, KnownError> {
        let lower = text.to_lowercase();
        if let Some(machine) = MACHINES.iter().find(|machine| machine.names.contains(&lower.as_str())) {
            return Ok(Self { name: lower, report: machine.report() });
        }
        let Some(platform) = as_platform(text)? else {
            return Err(KnownError::Unknown { text: text.into(), nearest: nearest(&lower) });
        };
        let machine =
            Machine::of_platform(&platform).ok_or_else(|| KnownError::NoLinuxNode { platform: platform.clone() })?;
        Ok(Self { name: platform.to_string(), report: machine.report() })
    }
}

/// Every name of a machine, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    MACHINES.iter().flat_map(|machine| machine.names).copied()
}

fn nearest(name: &str) -> Option<&'static str> {
    let like = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    names().max_by(|a, b| like(a).total_cmp(&like(b))).filter(|known| like(known) >= LIKE)
}

/// The platform, if the text begins like one: with `linux` or the name of an architecture.
fn as_platform(text: &str) -> Result<Option<Platform>, KnownError> {
    let nowhere = Platform { os: "linux".into(), ..Platform::default() };
    let first = text.split(['/', '(']).next().unwrap_or_default();
    // `amd64/v3` has two parts, which would be read as an operating system and an architecture.
    let specifier = match Platform::parse(first, &nowhere) {
        Ok(platform) if platform.architecture.is_empty() => text.to_owned(),
        Ok(_) => format!("linux/{text}"),
        Err(_) => return Ok(None),
    };
    let platform = Platform::parse(&specifier, &nowhere).map_err(|source| KnownError::Platform {
        text: text.into(),
        why: source.to_string(),
        right: None,
    })?;
    if let Some(problem) = platform::architecture_problem(&platform) {
        let right = problem.right.map(|right| right.to_string());
        return Err(KnownError::Platform { text: text.into(), why: problem.why, right });
    }
    // Clients know no variant of s390x, and its machines have generations.
    let problem = platform::variant_problem(&platform).filter(|_| platform.architecture != "s390x");
    if let Some(problem) = problem {
        let right = problem.right.map(|variant| Platform { variant, ..platform.clone() }.to_string());
        return Err(KnownError::Platform { text: text.into(), why: problem.why, right });
    }
    Ok(Some(with_least(platform, &specifier)))
}

/// Names the lowest level again where it was named: images go without, and of a node it says something.
fn with_least(platform: Platform, specifier: &str) -> Platform {
    let named = specifier.rsplit('/').next().unwrap_or_default();
    match level::least(&platform.architecture) {
        Some(least) if named.eq_ignore_ascii_case(least) => Platform { variant: least.into(), ..platform },
        _ => platform,
    }
}
