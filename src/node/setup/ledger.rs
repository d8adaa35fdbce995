//! Making the steps, and a ledger of what was there before.
//!
//! The ledger is written before a file is touched, so that a run that was broken off can be
//! taken back or repeated. It holds the files as they were, whole, and is for root's eyes only.
//!
//! A file that somebody changed between two runs has an entry for each: taking back goes from
//! the last to the first, and each time takes out only what that run put in.

use serde::{Deserialize, Serialize};

use super::edit::{Without, without};
use super::root::{Content, Root};
use super::{Step, Steps, Topic};
use crate::node::NodeError;

/// Where it lies on the node.
pub const LEDGER: &str = "/var/lib/lighterman/setup.json";

/// Changes to files, in the order in which they were made.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    /// Folders that were made for the ledger itself.
    #[serde(default)]
    folders: Vec<String>,
    files: Vec<Entry>,
}

/// A file that was changed, once or several times with nobody else in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    path: String,
    /// What it contained before; `None` where it did not exist.
    before: Option<String>,
    /// What we wrote last.
    after: String,
    /// Folders that were made for it.
    #[serde(default)]
    folders: Vec<String>,
    /// The command that makes whoever reads the file notice.
    #[serde(default)]
    then: Option<String>,
}

/// What becomes of a changed file when it is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// There is nothing of ours in it.
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
    /// Somebody changed the very lines that are ours: those stay.
    Left {
        /// What remains, where something else of ours could be taken out.
        text: Option<String>,
    },
}

/// A file that is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub path: String,
    /// What becomes of it.
    pub undone: Undone,
    /// The command that makes whoever reads it notice; `None` where nothing changes for them.
    pub then: Option<String>,
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

    /// Notes that a file is about to change from `now`.
    fn note(&mut self, now: Option<&str>, next: Entry) {
        let is_known = |entry: &Entry| {
            entry.path == next.path && (entry.before.as_deref() == now || now == Some(entry.after.as_str()))
        };
        let Some(at) = self.files.iter().rposition(is_known) else { return self.files.push(next) };
        // Nobody else changed it since then, or somebody went back to it, or the note is that of a
        // run that was broken off before it wrote. What was noted later is not there any more.
        let later = self.files.split_off(at + 1);
        self.files.extend(later.into_iter().filter(|entry| entry.path != next.path));
        let entry = &mut self.files[at];
        entry.after = next.after;
        entry.then = next.then.or(entry.then.take());
    }

    /// The files that it speaks of, last one first.
    fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for entry in &self.files {
            if !paths.contains(&entry.path) {
                paths.push(entry.path.clone());
            }
        }
        paths.reverse();
        paths
    }

    /// Folders that were made for a file.
    fn folders_for(&self, path: &str) -> Vec<String> {
        let entries = self.files.iter().filter(|entry| entry.path == path);
        entries.flat_map(|entry| entry.folders.clone()).collect()
    }

    /// What becomes of a file that is `now` so, and which entries are still needed then: the
    /// ledger has the only copy of what was there before.
    fn take_back(&self, path: &str, now: &Content) -> (Outcome, Vec<Entry>) {
        let entries = || self.files.iter().filter(move |entry| entry.path == path);
        let first = match now {
            Content::Absent => None,
            Content::Text(text) => Some(text.clone()),
            Content::Linked(_) | Content::Unreadable(_) => {
                let outcome = Outcome { path: path.into(), undone: Undone::Left { text: None }, then: None };
                return (outcome, entries().cloned().collect());
            }
        };
        let (mut text, mut left) = (first.clone(), Vec::new());
        for entry in entries().rev() {
            match entry.taken_from(text.as_deref()) {
                Some(rest) => text = rest,
                None => left.insert(0, entry.clone()),
            }
        }
        if text.is_none() {
            left.clear();
        }
        let changes = text != first;
        let is_as_before = entries().next().is_some_and(|entry| entry.before == text);
        let then = entries().rev().find_map(|entry| entry.then.clone()).filter(|_| changes);
        let undone = match text {
            text if !left.is_empty() => Undone::Left { text: text.filter(|_| changes) },
            _ if !changes => Undone::Nothing,
            None => Undone::Removed,
            Some(text) if is_as_before => Undone::Restored { text },
            Some(text) => Undone::TakenOut { text },
        };
        (Outcome { path: path.into(), undone, then }, left)
    }
}

impl Entry {
    /// What a file that contains `now` contains without this change; `None` where nobody can tell
    /// what of it is whose.
    fn taken_from(&self, now: Option<&str>) -> Option<Option<String>> {
        match (now, &self.before) {
            (None, _) => Some(None),
            (Some(now), before) if before.as_deref() == Some(now) => Some(Some(now.into())),
            (Some(now), before) if now == self.after => Some(before.clone()),
            (Some(_), None) => None,
            (Some(now), Some(before)) => match without(now, before, &self.after) {
                Without::Text(text) => Some(Some(text)),
                Without::Gone => Some(Some(now.into())),
                Without::Mixed => None,
            },
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
        let Step::Write { topic, path, before, after, mode, then, .. } = step else { continue };
        let now = match root.read(path) {
            Content::Absent => None,
            Content::Text(text) => Some(text),
            Content::Linked(_) | Content::Unreadable(_) => return Err(NodeError::Changed { path: path.clone() }),
        };
        if now != *before {
            return Err(NodeError::Changed { path: path.clone() });
        }
        let next = Entry {
            path: path.clone(),
            before: now.clone(),
            after: after.clone(),
            folders: root.missing_folders(path),
            // That our own service may write less is nothing to hurry for.
            then: then.filter(|_| *topic != Topic::Unit).map(str::to_owned),
        };
        ledger.note(now.as_deref(), next);
        ledger.save(root)?;
        root.write(path, after, *mode)?;
        written.push(path.clone());
    }
    Ok(written)
}

/// What [`undo`] would do, last file first.
///
/// # Errors
/// [`NodeError`] where the ledger cannot be read.
pub fn plan_undo(root: &Root) -> Result<Vec<Outcome>, NodeError> {
    let ledger = Ledger::read(root)?;
    Ok(ledger.paths().iter().map(|path| ledger.take_back(path, &root.read(path)).0).collect())
}

/// Takes back everything that the ledger knows of, last file first.
///
/// # Errors
/// [`NodeError`] at the first file that cannot be written. It can be repeated.
pub fn undo(root: &Root) -> Result<Vec<Outcome>, NodeError> {
    let mut ledger = Ledger::read(root)?;
    let mut done = Vec::new();
    for path in ledger.paths() {
        let (outcome, left) = ledger.take_back(&path, &root.read(&path));
        match &outcome.undone {
            Undone::Nothing | Undone::Left { text: None } => {}
            Undone::Restored { text } | Undone::TakenOut { text } | Undone::Left { text: Some(text) } => {
                root.write(&path, text, 0o644)?;
            }
            Undone::Removed => root.remove(&path, &ledger.folders_for(&path))?,
        }
        ledger.files.retain(|entry| entry.path != path);
        ledger.files.extend(left);
        ledger.save(root)?;
        done.push(outcome);
    }
    Ok(done)
}
