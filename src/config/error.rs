//! What is wrong with a configuration, and what would be right.

use std::fmt;
use std::path::PathBuf;

use crate::core::error::{Classify, Kind};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It can be read, and has these mistakes.
    #[error("the configuration {path} has {}", listed(mistakes), path = path.display())]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them, from the top of the file to its end.
        mistakes: Vec<Mistake>,
    },
    /// Flags or settings that contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Mistake {
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, ": {hint}"))
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    let count = match mistakes.len() {
        1 => "a mistake".to_owned(),
        more => format!("{more} mistakes"),
    };
    mistakes.iter().fold(count, |text, mistake| format!("{text}\n  {mistake}"))
}

impl Classify for ConfigError {
    fn kind(&self) -> Kind {
        match self {
            Self::Contradiction(_) => Kind::InvalidArgument,
            _ => Kind::InvalidConfiguration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Contradiction(_) => None,
            Self::Unreadable { .. } => Some("--config names another file".into()),
            Self::Mistakes { .. } => {
                Some("`lighterman config show` lists every key; --config names another file".into())
            }
        }
    }
}
