//! A publication in a file: what `--out` writes, a person may edit, and `manifest push` reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::draft::Draft;
use crate::core::limits::Limits;
use crate::core::reference::Reference;

use super::{Publication, PublishError};

/// The version of the format.
const VERSION: u32 = 1;
/// Bytes beside the document, at the most: a line for each of a thousand children.
const BESIDE: u64 = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    lighterman_draft: u32,
    /// Where it is to be pushed to.
    reference: String,
    /// What the tag stood for when this was made.
    replaces: Option<Digest>,
    media_type: MediaType,
    /// Where children are that are not in the repository.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sources: BTreeMap<Digest, String>,
    document: Value,
}

impl Publication {
    /// Writes it to a file.
    ///
    /// # Errors
    /// [`PublishError::File`].
    pub fn save(&self, path: &Path) -> Result<(), PublishError> {
        let saved = Saved {
            lighterman_draft: VERSION,
            reference: self.reference.to_string(),
            replaces: self.replaces.clone(),
            media_type: self.draft.media_type().clone(),
            sources: self.sources.iter().map(|(digest, source)| (digest.clone(), source.to_string())).collect(),
            document: self.draft.json().clone(),
        };
        let text = format!("{:#}\n", serde_json::json!(saved));
        std::fs::write(path, text).map_err(|source| PublishError::File { path: path.into(), source })
    }

    /// Reads it from a file. A person may have changed it: what they wrote is checked when it is
    /// compared with what it replaces, by [`Draft::check_against`].
    ///
    /// # Errors
    /// [`PublishError::File`] and [`PublishError::Saved`].
    pub fn load(path: &Path, limits: &Limits) -> Result<Self, PublishError> {
        let failed = |source| PublishError::File { path: path.into(), source };
        let wrong = |problem: String| PublishError::Saved { path: path.into(), problem };
        let most = 2 * limits.document_bytes + BESIDE;
        let mut bytes = Vec::new();
        File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > most {
            return Err(wrong(format!("it has more than the {most} bytes that a draft may have")));
        }
        let saved: Saved =
            serde_json::from_slice(&bytes).map_err(|error| wrong(format!("it is no draft of an index: {error}")))?;
        if saved.lighterman_draft != VERSION {
            return Err(wrong(format!(
                "its format is {}, and this lighterman knows {VERSION}",
                saved.lighterman_draft
            )));
        }
        let reference = |text: &str| text.parse::<Reference>().map_err(|error| wrong(error.to_string()));
        let sources = saved.sources.iter().map(|(digest, text)| Ok((digest.clone(), reference(text)?)));
        Ok(Self {
            reference: reference(&saved.reference)?,
            draft: Draft::from_json(&saved.document, Some(&saved.media_type), limits)
                .map_err(|error| wrong(error.to_string()))?,
            replaces: saved.replaces,
            sources: sources.collect::<Result<_, PublishError>>()?,
        })
    }

    /// The same under another name, which stands for `replaces`. What its repository had before has
    /// to be brought.
    #[must_use]
    pub fn moved_to(self, reference: Reference, replaces: Option<Digest>) -> Self {
        let mut sources = self.sources;
        for entry in self.draft.entries() {
            sources.entry(entry.digest.clone()).or_insert_with(|| self.reference.with_digest(entry.digest));
        }
        sources.retain(|_, source| source.name() != reference.name());
        Self { reference, replaces, sources, draft: self.draft }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication() -> Publication {
        let document = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "odd": [1],
            "manifests": [{
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 7,
                "digest": Digest::of(b"child"), "platform": { "architecture": "arm", "os": "linux", "variant": "v6" },
            }],
        });
        let reference: Reference = "registry.example:5000/app:1".parse().expect("a reference");
        let elsewhere: Reference = "other.example/app:1".parse().expect("a reference");
        Publication {
            reference,
            draft: Draft::from_json(&document, None, &Limits::default()).expect("an index"),
            replaces: Some(Digest::of(b"before")),
            sources: BTreeMap::from([(Digest::of(b"child"), elsewhere.with_digest(Digest::of(b"child")))]),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("draft.json");
        publication().save(&file).expect("written");
        let again = Publication::load(&file, &Limits::default()).expect("a draft");
        assert_eq!(again, publication());
        assert_eq!(again.draft.media_type(), &MediaType::DockerManifestList);
        assert_eq!(again.draft.digest(), publication().draft.digest());
    }

    #[test]
    fn what_is_no_draft_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("draft.json");
        let good = {
            publication().save(&file).expect("written");
            std::fs::read_to_string(&file).expect("text")
        };
        let cases = [
            (String::new(), "no draft"),
            ("{}".into(), "no draft"),
            (
                good.replace("\"lighterman_draft\"", "\"x\"")
                    .replace("\"lightermanDraft\": 1", "\"lightermanDraft\": 9"),
                "format is 9",
            ),
            (good.replace("registry.example:5000/app:1", "https://a"), "scheme"),
            (good.replace("\"manifests\"", "\"layers\""), "it has no"),
            (good.replace("\"digest\"", "\"diggest\""), "digest"),
        ];
        for (text, expected) in cases {
            std::fs::write(&file, &text).expect("written");
            let error = Publication::load(&file, &Limits::default()).expect_err(expected).to_string();
            assert!(error.contains(expected) && error.contains("draft.json"), "{expected}: {error}");
        }
        let missing = Publication::load(&dir.path().join("none"), &Limits::default());
        assert!(matches!(missing, Err(PublishError::File { .. })));
    }

    #[test]
    fn another_name_brings_what_the_repository_had() {
        let to: Reference = "registry.example:5000/other:2".parse().expect("a reference");
        let moved = Publication { sources: BTreeMap::new(), ..publication() }.moved_to(to.clone(), None);
        let source = &moved.sources[&Digest::of(b"child")];
        assert_eq!((source.name(), source.digest()), ("registry.example:5000/app".into(), Some(&Digest::of(b"child"))));
        assert_eq!((moved.reference, moved.replaces), (to, None));
        let home: Reference = "other.example/app:2".parse().expect("a reference");
        assert!(publication().moved_to(home, None).sources.is_empty(), "it is there");
    }
}
