//! `index.json`: the names of a layout. Entries that other tools wrote are kept as they are.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::store::staging::Staging;
use crate::store::{ImageRecord, StoreError};

use super::files;

/// The name of an entry; skopeo and crane go by it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name of an entry; `ctr images import` goes by it.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Digest of the index that the entry was chosen from.
const ROOT: &str = "io.lighterman.root";
/// Digest of the Docker-typed document that the entry's index was made for.
const ABOUT: &str = "io.lighterman.target";
/// An index of more is no layout that anyone made on purpose.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A name to be set.
#[derive(Debug)]
pub(super) struct Name {
    name: String,
    entry: Value,
}

impl Name {
    /// `target` is what the name stands for; `wrapper` the index that is named in its place.
    pub(super) fn new(record: &ImageRecord, target: &Descriptor, wrapper: Option<&Descriptor>) -> Self {
        let name = record.reference.to_string();
        let mut entry = Descriptor { annotations: Default::default(), ..wrapper.unwrap_or(target).clone() };
        entry.annotations.insert(REF_NAME.into(), name.clone());
        entry.annotations.insert(IMAGE_NAME.into(), name.clone());
        if target.digest != record.root.digest {
            entry.annotations.insert(ROOT.into(), record.root.digest.to_string());
        }
        if wrapper.is_some() {
            entry.annotations.insert(ABOUT.into(), target.digest.to_string());
        }
        Self { name, entry: json!(entry) }
    }
}

/// An entry that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) target: Descriptor,
    pub(super) root: Option<Digest>,
    /// The document that `target` is an index of ours for.
    pub(super) about: Option<Digest>,
}

/// Sets what a name stands for.
pub(super) fn set(root: &Path, staging: &Staging, name: &Name) -> Result<(), StoreError> {
    // Two pulls into one layout must not lose each other's names. The lock ends with the handle.
    let folder = File::open(root).map_err(|error| StoreError::io("open", root, error))?;
    folder.lock().map_err(|error| StoreError::io("lock", root, error))?;
    let mut index = read(root)?;
    let mut entries = take_entries(root, &mut index)?;
    if entries.contains(&name.entry) {
        return Ok(());
    }
    entries.retain(|entry| name_of(entry) != Some(name.name.as_str()));
    entries.push(name.entry.clone());
    index.insert("manifests".into(), Value::Array(entries));
    let mut bytes = serde_json::to_vec_pretty(&index).map_err(|error| malformed(root, &error.to_string()))?;
    bytes.push(b'\n');
    files::write_whole(staging, &root.join("index.json"), &Bytes::from(bytes))
}

/// What a name stands for.
pub(super) fn find(root: &Path, name: &str) -> Result<Option<Found>, StoreError> {
    let mut index = read(root)?;
    let Some(entry) = take_entries(root, &mut index)?.into_iter().find(|entry| name_of(entry) == Some(name)) else {
        return Ok(None);
    };
    let annotated = |key: &str| entry["annotations"][key].as_str().map(str::to_owned);
    let digest = |key: &str| annotated(key).and_then(|text| text.parse::<Digest>().ok());
    let (chosen_from, about) = (digest(ROOT), digest(ABOUT));
    let target: Descriptor = serde_json::from_value(entry).map_err(|error| malformed(root, &error.to_string()))?;
    Ok(Some(Found { target, root: chosen_from, about }))
}

/// Every name, sorted.
pub(super) fn names(root: &Path) -> Result<Vec<String>, StoreError> {
    let mut index = read(root)?;
    let mut names: Vec<String> =
        take_entries(root, &mut index)?.iter().filter_map(name_of).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn read(root: &Path) -> Result<Map<String, Value>, StoreError> {
    let path = root.join("index.json");
    match files::read_bounded(&path, MAX_BYTES)? {
        None => {
            let fresh = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"});
            Ok(fresh.as_object().cloned().unwrap_or_default())
        }
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| malformed(root, &error.to_string())),
    }
}

fn take_entries(root: &Path, index: &mut Map<String, Value>) -> Result<Vec<Value>, StoreError> {
    match index.remove("manifests") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(malformed(root, "\"manifests\" is not a list")),
    }
}

fn malformed(root: &Path, reason: &str) -> StoreError {
    StoreError::NotALayout { path: root.into(), reason: format!("its index.json is malformed: {reason}") }
}

fn name_of(entry: &Value) -> Option<&str> {
    let annotations = &entry["annotations"];
    annotations[IMAGE_NAME].as_str().or_else(|| annotations[REF_NAME].as_str())
}
