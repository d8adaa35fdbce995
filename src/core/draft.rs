//! An index that is being made or corrected.
//!
//! The document stays JSON all the way, in the order in which it was written: whatever its
//! publisher put into it and nobody here knows is still there afterwards, and an index that nobody
//! changed keeps its very bytes, and so its digest. What is set is checked: an entry that no client
//! can match is not made here.
//!
//! Specification: OCI image-spec, image-index.md; Docker manifest list, version 2, schema 2, whose
//! platforms know `features` besides.

mod change;
mod error;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::descriptor::{Descriptor, MediaType};
use super::digest::{Digest, Verified};
use super::limits::Limits;
use super::manifest::{Document, ManifestError};
use super::platform::Platform;

pub use change::{Change, Edit};
pub use error::DraftError;

/// An index, before it has a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    media_type: MediaType,
    document: Value,
    /// The bytes that it was read from, as long as nothing was changed.
    original: Option<Bytes>,
}

impl Draft {
    /// An index without entries, of OCI's or of Docker's type.
    #[must_use]
    pub fn empty(media_type: MediaType) -> Self {
        let document = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [] });
        Self { media_type, document, original: None }
    }

    /// Reads an index to go on from. `announced` is the type that the registry gave.
    ///
    /// # Errors
    /// [`DraftError::Document`] where it is malformed, [`DraftError::NotAnIndex`] where it is one image.
    pub fn parse(bytes: &Bytes, announced: Option<&MediaType>, limits: &Limits) -> Result<Self, DraftError> {
        let parsed = Document::parse(bytes, announced, limits)?;
        let Document::Index(_) = parsed else { return Err(DraftError::NotAnIndex) };
        let malformed = |reason: String| ManifestError::Malformed { what: "index", reason };
        let document: Value = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        // serde reads a descriptor from a list too; nobody else would.
        if !document["manifests"].as_array().is_some_and(|entries| entries.iter().all(Value::is_object)) {
            return Err(malformed("an entry is no object".into()).into());
        }
        let announced = announced.filter(|kind| kind.is_index()).cloned();
        let media_type = announced.unwrap_or_else(|| parsed.media_type(bytes));
        Ok(Self { media_type, document, original: Some(bytes.clone()) })
    }

    /// The same from a document that is JSON already, as a person may have written it.
    ///
    /// # Errors
    /// As [`Draft::parse`].
    pub fn from_json(document: &Value, media_type: Option<&MediaType>, limits: &Limits) -> Result<Self, DraftError> {
        let mut draft = Self::parse(&pretty(document).into(), media_type, limits)?;
        draft.original = None;
        Ok(draft)
    }

    /// OCI image index or Docker manifest list, as it came.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The document.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.document
    }

    /// Whether it is what was read, to the byte.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.original.is_some()
    }

    /// The bytes to push, with the digest that they have.
    #[must_use]
    pub fn sealed(&self) -> Verified<Bytes> {
        Verified::seal(self.original.clone().unwrap_or_else(|| pretty(&self.document).into()))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.sealed().digest().clone()
    }

    /// As it would be named from elsewhere.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        let sealed = self.sealed();
        Descriptor::new(self.media_type.clone(), sealed.digest().clone(), sealed.size())
    }

    /// As people read it: the same fields, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        pretty(&self.document)
    }

    /// The entries, as clients read them.
    #[must_use]
    pub fn entries(&self) -> Vec<Descriptor> {
        let read = |entry: &Value| serde_json::from_value(entry.clone()).ok();
        // All of them were read before, and every change keeps them readable.
        self.list().iter().filter_map(read).collect()
    }

    /// Adds an entry with all that its document says of it.
    ///
    /// # Errors
    /// [`DraftError`] where the platform is none, or the entry is there already.
    pub fn add(&mut self, entry: Value) -> Result<(), DraftError> {
        let at = self.list().len();
        self.insert(at, entry)
    }

    /// Lists the child of an entry once more, right behind it, for another platform. An index may
    /// name the same manifest for several platforms; the first match counts.
    ///
    /// # Errors
    /// [`DraftError`] where there is no such entry, the platform is none, or this is there already.
    pub fn repeat(&mut self, at: usize, platform: &Platform) -> Result<(), DraftError> {
        let mut entry = fields(self.list().get(at).ok_or(DraftError::NoEntry { at })?);
        entry.insert("platform".into(), json!(platform));
        self.insert(at + 1, entry.into())
    }

    /// Changes the platform of an entry.
    ///
    /// # Errors
    /// [`DraftError`] where there is no such entry, or the platform would be none.
    pub fn change(&mut self, at: usize, change: &Change) -> Result<(), DraftError> {
        let before = self.list().get(at).ok_or(DraftError::NoEntry { at })?;
        let after = change.applied_to(before);
        if *before == after {
            return Ok(());
        }
        change::check(&after)?;
        self.check_unlisted(&after, Some(at))?;
        self.alter(|list| list[at] = after);
        Ok(())
    }

    /// That every entry is for a platform that clients can match, but for those that are in `base`
    /// as well.
    ///
    /// # Errors
    /// [`DraftError`] for the first that is not.
    pub fn check_against(&self, base: Option<&Self>) -> Result<(), DraftError> {
        let known = base.map_or(&[][..], Self::list);
        let is_known = |entry: &Value| known.iter().any(|other| is_same(entry, other));
        self.list().iter().filter(|entry| !is_known(entry)).try_for_each(change::check)
    }

    fn insert(&mut self, at: usize, entry: Value) -> Result<(), DraftError> {
        let _: Descriptor = serde_json::from_value(entry.clone())
            .map_err(|error| ManifestError::Malformed { what: "entry", reason: error.to_string() })?;
        change::check(&entry)?;
        self.check_unlisted(&entry, None)?;
        self.alter(|list| list.insert(at, entry));
        Ok(())
    }

    /// That no other entry names the same child for the same platform.
    fn check_unlisted(&self, entry: &Value, except: Option<usize>) -> Result<(), DraftError> {
        let others = self.list().iter().enumerate().filter(|(at, _)| Some(*at) != except);
        match others.clone().find(|(_, other)| is_same(entry, other)) {
            Some((at, _)) => Err(DraftError::Listed { at }),
            None => Ok(()),
        }
    }

    fn list(&self) -> &[Value] {
        self.document["manifests"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Changes the list of entries: from now on the document has other bytes.
    fn alter(&mut self, alter: impl FnOnce(&mut Vec<Value>)) {
        let mut list = match self.document["manifests"].take() {
            Value::Array(list) => list,
            _ => Vec::new(),
        };
        alter(&mut list);
        self.document["manifests"] = Value::Array(list);
        self.original = None;
    }
}

/// The same child for the same platform.
fn is_same(one: &Value, other: &Value) -> bool {
    ["digest", "platform"].iter().all(|field| one.get(field) == other.get(field))
}

/// The fields of an entry or platform; none where it is no object.
fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn pretty(document: &Value) -> String {
    format!("{document:#}")
}

#[cfg(test)]
mod tests;
