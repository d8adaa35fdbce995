//! Making the steps, and a ledger of what was there before.
//!
//! The ledger is written before a file is touched, so that a run that was broken off can be
//! taken back or repeated. It holds the files as they were, whole, and is for root's eyes only.

use serde::{Deserialize, Serialize};

use super::edit::without;
use super::root::{Content, Root};
use super::{Step, Steps};
use crate::node::NodeError;

/// Where it lies on the node.
pub const LEDGER: &str = "/var/lib/lighterman/setup.json";

/// Files that were changed, in the order of their first change.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    /// Folders that were made for the ledger itself.
    #[serde(default)]
    folders: Vec<String>,
    files: Vec<Entry>,
}

/// One file that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    path: String,
    /// What it contained before the first change; `None` where it did not exist.
    before: Option<String>,
    /// What we wrote last.
    after: String,
    /// Folders that were made for it.
    #[serde(default)]
    folders: Vec<String>,
}

/// What becomes of a changed file when it is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It is as it was already.
    Nothing,
    /// It gets back what it contained.
    Restored {
        /// That.
        text: String,
    },
    /// Somebody changed it since; only our part goes.
    TakenOut {
        /// What remains.
        text: String,
    },
    /// It was ours, and goes.
    Removed,
    /// It stays, since it is not as we left it.
    Left,
}

impl Ledger {
    fn read(root: &Root) -> Result<Self, NodeError> {
        match root.read(LEDGER) {
            Content::Absent => Ok(Self { folders: root.missing_folders(LEDGER), files: Vec::new() }),
            Content::Text(text) | Content::Linked(text) => {
                serde_json::from_str(&text).map_err(|error| NodeError::Ledger { reason: error.to_string() })
            }
            Content::Unreadable(reason) => Err(NodeError::Ledger { reason }),
        }
    }

    fn save(&self, root: &Root) -> Result<(), NodeError> {
        if self.files.is_empty() {
            return match root.read(LEDGER) {
                Content::Absent => Ok(()),
                _ => root.remove(LEDGER, &self.folders),
            };
        }
        let text =
            serde_json::to_string_pretty(self).map_err(|error| NodeError::Ledger { reason: error.to_string() })?;
        root.write(LEDGER, &text, 0o600)
    }

    /// Notes that a file is about to change.
    fn note(&mut self, root: &Root, path: &str, (now, after): (Option<&str>, &str)) {
        match self.files.iter_mut().find(|entry| entry.path == path) {
            // Changed again, or the note of a run that was broken off before it wrote.
            Some(entry) if now == Some(&entry.after) || now == entry.before.as_deref() => entry.after = after.into(),
            Some(entry) => {
                entry.before = now.map(str::to_owned);
                entry.after = after.into();
            }
            None => self.files.push(Entry {
                path: path.into(),
                before: now.map(str::to_owned),
                after: after.into(),
                folders: root.missing_folders(path),
            }),
        }
    }
}

/// Makes every step that is a change. The paths of the files that were written.
///
/// # Errors
/// [`NodeError`] at the first file that cannot be written, or is not what it was when the
/// steps were planned. What was done until then stays, and can be taken back.
pub fn carry_out(root: &Root, steps: &Steps) -> Result<Vec<String>, NodeError> {
    let mut ledger = Ledger::read(root)?;
    let mut written = Vec::new();
    for step in steps.steps() {
        let Step::Write { path, before, after, mode, .. } = step else { continue };
        let now = match root.read(path) {
            Content::Absent => None,
            Content::Text(text) => Some(text),
            Content::Linked(_) | Content::Unreadable(_) => return Err(NodeError::Changed { path: path.clone() }),
        };
        if now != *before {
            return Err(NodeError::Changed { path: path.clone() });
        }
        ledger.note(root, path, (now.as_deref(), after));
        ledger.save(root)?;
        root.write(path, after, *mode)?;
        written.push(path.clone());
    }
    Ok(written)
}

/// What [`undo`] would do, last change first.
///
/// # Errors
/// [`NodeError`] where the ledger cannot be read.
pub fn plan_undo(root: &Root) -> Result<Vec<(String, Undone)>, NodeError> {
    let entries = Ledger::read(root)?.files.into_iter().rev();
    Ok(entries.map(|entry| (entry.path.clone(), undone(&entry, &root.read(&entry.path)))).collect())
}

/// Takes back everything that the ledger knows of, last change first.
///
/// # Errors
/// [`NodeError`] at the first file that cannot be written. It can be repeated.
pub fn undo(root: &Root) -> Result<Vec<(String, Undone)>, NodeError> {
    let mut ledger = Ledger::read(root)?;
    let mut done = Vec::new();
    for entry in ledger.files.clone().into_iter().rev() {
        let what = undone(&entry, &root.read(&entry.path));
        match &what {
            Undone::Nothing | Undone::Left => {}
            Undone::Restored { text } | Undone::TakenOut { text } => root.write(&entry.path, text, 0o644)?,
            Undone::Removed => root.remove(&entry.path, &entry.folders)?,
        }
        // What was left may still be wanted: the ledger has the only copy of what was there before.
        ledger.files.retain(|other| other.path != entry.path || what == Undone::Left);
        ledger.save(root)?;
        done.push((entry.path, what));
    }
    Ok(done)
}

fn undone(entry: &Entry, now: &Content) -> Undone {
    match (now, &entry.before) {
        (Content::Text(now), Some(before)) if now == before => Undone::Nothing,
        (Content::Absent, None) => Undone::Nothing,
        (Content::Text(now), Some(before)) if *now == entry.after => Undone::Restored { text: before.clone() },
        (Content::Text(now), None) if *now == entry.after => Undone::Removed,
        (Content::Text(now), Some(before)) => {
            without(now, before, &entry.after).map_or(Undone::Left, |text| Undone::TakenOut { text })
        }
        _ => Undone::Left,
    }
}
