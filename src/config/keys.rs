//! Every key of the configuration, once: what it means, what it takes, what holds without it.
//!
//! The reader, the commented example, the README and `config show` all come from here.

mod table;

use toml::Value;

use super::FileConfig;
use super::accepts::Accepts;

pub use table::KEYS;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The section that it stands in; empty for the top of the file.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it is, in a few words.
    pub meaning: &'static str,
    /// What it takes.
    pub accepts: Accepts,
    /// What holds where nobody sets it.
    pub default: Fallback,
    /// A value, as the file has it.
    pub example: &'static str,
    /// The environment variable that says the same.
    pub variable: Option<&'static str>,
    /// The flag that says the same.
    pub flag: Option<&'static str>,
    /// When a change in a running service counts.
    pub change: Change,
    pub(super) field: Field,
}

/// What holds where nobody sets a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value, as the file would have it.
    Value(&'static str),
    /// Something that no single value says.
    Words(&'static str),
}

/// When a changed key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// For everything that begins after a reload.
    Now,
    /// From the next start on.
    Restart,
}

/// Where a key's value is kept.
pub(super) struct Field {
    /// Sets it; false where the value is not of the field's type.
    pub(super) set: fn(&mut FileConfig, &Value) -> bool,
    pub(super) get: fn(&FileConfig) -> Option<Value>,
    copy: fn(&FileConfig, &mut FileConfig),
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Field")
    }
}

impl Key {
    /// `section.name`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.into() } else { format!("{}.{}", self.section, self.name) }
    }

    /// Sets it, if the value is one that it takes.
    pub(super) fn set(&self, config: &mut FileConfig, value: &Value) -> bool {
        self.accepts.allows(value) && (self.field.set)(config, value)
    }

    /// Makes it in `to` what it is in `from`.
    pub(super) fn copy(&self, from: &FileConfig, to: &mut FileConfig) {
        (self.field.copy)(from, to);
    }

    /// What a configuration says of it.
    #[must_use]
    pub fn get(&self, config: &FileConfig) -> Option<Value> {
        (self.field.get)(config)
    }
}

/// A section of the file, with what it is about.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What its keys have in common.
    pub meaning: &'static str,
}

/// Every section, in the order of the file.
pub const SECTIONS: &[Section] = &[
    Section { name: "containerd", meaning: "Where images land, and how they get there." },
    Section { name: "serve", meaning: "The service, `lighterman serve`." },
    Section { name: "mirror", meaning: "The service as a pull-through registry for other programs of this machine." },
    Section { name: "cri", meaning: "The service as kubelet's image service." },
    Section { name: "verify", meaning: "The service as containerd's image verifier." },
    Section { name: "metrics", meaning: "Numbers for Prometheus, at /metrics." },
    Section {
        name: "arch-mismatch",
        meaning: "Images that do not run on this node. Where several lists are about one, the longest entry counts.",
    },
];

/// The key of this section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// A row with what most rows have in common.
const fn key(section: &'static str, name: &'static str, meaning: &'static str, field: Field) -> Key {
    Key {
        section,
        name,
        meaning,
        accepts: Accepts::Text,
        default: Fallback::Words("none"),
        example: "",
        variable: None,
        flag: None,
        change: Change::Restart,
        field,
    }
}
