//! What a changed file means for a service that runs.

use super::FileConfig;
use super::keys::{Change, KEYS, Key};

/// Keys whose values differ between two configurations.
#[derive(Debug, Default)]
pub struct Changes {
    /// Those that count for everything that begins from now on.
    pub now: Vec<&'static Key>,
    /// Those that need a restart.
    pub restart: Vec<&'static Key>,
}

/// What a reload from `old` to `new` brings.
#[must_use]
pub fn changes(old: &FileConfig, new: &FileConfig) -> Changes {
    let differs = |key: &&Key| key.get(old) != key.get(new);
    let (now, restart) = KEYS.iter().filter(differs).partition(|key| key.change == Change::Now);
    Changes { now, restart }
}

impl Changes {
    /// `old`, with what counts now from `new`: what a service goes on with after a reload.
    #[must_use]
    pub fn apply(&self, old: &FileConfig, new: &FileConfig) -> FileConfig {
        let mut config = old.clone();
        for key in &self.now {
            key.copy(new, &mut config);
        }
        config
    }
}
