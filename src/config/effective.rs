//! What holds in the end, and who says so.

use std::fmt;

use serde_json::json;
use toml::Value;

use super::FileConfig;
use super::keys::{Fallback, KEYS, Key};
use super::read;

/// Who says what a key is, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File,
    /// This environment variable.
    Environment(&'static str),
    /// This flag.
    Flag(&'static str),
}

/// A key with what holds for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// Which.
    pub key: &'static Key,
    /// Its value; `None` where no single value says what the default is.
    pub value: Option<Value>,
    /// Where that comes from.
    pub origin: Origin,
}

/// What holds for every key, where `outside` knows what flags and environment say.
#[must_use]
pub fn effective(file: &FileConfig, outside: impl Fn(&Key) -> Option<(Origin, String)>) -> Vec<Effective> {
    let one = |key: &'static Key| {
        if let Some((origin, text)) = outside(key) {
            return Effective { key, value: Some(Value::String(text)), origin };
        }
        match (key.get(file), key.default) {
            (Some(value), _) => Effective { key, value: Some(value), origin: Origin::File },
            (None, Fallback::Value(text)) => Effective { key, value: read::value(text), origin: Origin::Default },
            (None, Fallback::Words(_)) => Effective { key, value: None, origin: Origin::Default },
        }
    };
    KEYS.iter().map(one).collect()
}

impl Effective {
    /// As a JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let mut object = json!({"key": self.key.path(), "value": self.value, "from": self.origin.to_string()});
        if let (None, Fallback::Words(words)) = (&self.value, self.key.default) {
            object["default"] = json!(words);
        }
        object
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.section, self.name) == (other.section, other.name)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}
