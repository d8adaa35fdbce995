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
    /// A flag that contradicts another, the file or this node. Whoever gave it had the last word.
    #[error("{0}")]
    Flags(String),
    /// What the file says contradicts itself or this node.
    #[error("{0}")]
    Settings(String),
}

impl ConfigError {
    /// What was said contradicts something, as `message` says. `by_flag`: a flag or a variable said it.
    #[must_use]
    pub fn contradiction(by_flag: bool, message: String) -> Self {
        if by_flag { Self::Flags(message) } else { Self::Settings(message) }
    }
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
            Self::Flags(_) => Kind::InvalidArgument,
            Self::Settings(_) | Self::Unreadable { .. } | Self::Mistakes { .. } => Kind::InvalidConfiguration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Flags(_) => None,
            Self::Unreadable { .. } => Some("--config names another file".into()),
            Self::Settings(_) | Self::Mistakes { .. } => {
                Some("`lighterman config show` lists every key; --config names another file".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::Blame;

    #[test]
    fn who_is_to_blame() {
        let file = || PathBuf::from("/etc/lighterman/config.toml");
        let cases = [
            (ConfigError::contradiction(true, "x".into()), Kind::InvalidArgument, Blame::Caller),
            (ConfigError::contradiction(false, "x".into()), Kind::InvalidConfiguration, Blame::Configuration),
            (
                ConfigError::Unreadable { path: file(), source: std::io::ErrorKind::NotFound.into() },
                Kind::InvalidConfiguration,
                Blame::Configuration,
            ),
            (
                ConfigError::Mistakes { path: file(), mistakes: Vec::new() },
                Kind::InvalidConfiguration,
                Blame::Configuration,
            ),
        ];
        for (error, kind, blame) in cases {
            assert_eq!((error.kind(), error.blame()), (kind, blame), "{error}");
        }
    }
}
