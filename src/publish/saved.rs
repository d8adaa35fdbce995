//! A publication in a file: what `--out` writes, a person may edit, and `manifest push` reads.
//!
//! A draft is whole or not there, also after a crash, and none takes the place of another: two who
//! write to one name at a time, or over what a person has edited, would lose work without a word.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
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
    /// Writes it to a new file, or to something that is no file (a pipe, a terminal). One that says
    /// the same already stays as it is.
    ///
    /// # Errors
    /// [`PublishError::Exists`] where there is another file, [`PublishError::Write`].
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
        match write_new(path, text.as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match says(path, text.as_bytes()) {
                true => Ok(()),
                false => Err(PublishError::Exists { path: path.into() }),
            },
            Err(source) => Err(PublishError::Write { path: path.into(), source }),
        }
    }

    /// Reads it from a file. A person may have changed it: what they wrote is checked when it is
    /// compared with what it replaces, by [`Draft::check_against`].
    ///
    /// # Errors
    /// [`PublishError::Read`] and [`PublishError::Saved`].
    pub fn load(path: &Path, limits: &Limits) -> Result<Self, PublishError> {
        let failed = |source| PublishError::Read { path: path.into(), source };
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
    pub(super) fn moved_to(self, reference: Reference, replaces: Option<Digest>) -> Self {
        let mut sources = self.sources;
        for entry in self.draft.entries() {
            sources.entry(entry.digest.clone()).or_insert_with(|| self.reference.with_digest(entry.digest));
        }
        sources.retain(|_, source| source.name() != reference.name());
        Self { reference, replaces, sources, draft: self.draft }
    }
}

/// Writes a file that appears whole, and only where there is none: to a temporary one beside it,
/// synced, which is then renamed.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => return Err(ErrorKind::AlreadyExists.into()),
        // Nothing is kept there, so there is nothing to lose.
        Ok(_) => return File::options().write(true).open(path)?.write_all(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Nobody has to read of our temporary file where it is the folder that is wrong.
    fs::metadata(folder)?;
    // As readable as any file of this user: the process's mask takes its part away.
    let mode = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".lighterman-draft-").permissions(mode).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Whether a file has exactly these bytes.
fn says(path: &Path, bytes: &[u8]) -> bool {
    let mut there = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes.len() as u64 + 1).read_to_end(&mut there));
    read.is_ok() && there == bytes
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
            fs::read_to_string(&file).expect("text")
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
            fs::write(&file, &text).expect("written");
            let error = Publication::load(&file, &Limits::default()).expect_err(expected).to_string();
            assert!(error.contains(expected) && error.contains("draft.json"), "{expected}: {error}");
        }
        let missing = Publication::load(&dir.path().join("none"), &Limits::default());
        assert!(matches!(missing, Err(PublishError::Read { .. })));
    }

    #[test]
    fn no_draft_takes_the_place_of_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("draft.json");
        publication().save(&file).expect("written");
        publication().save(&file).expect("the same once more");
        let other = Publication { replaces: None, ..publication() };
        assert!(matches!(other.save(&file), Err(PublishError::Exists { .. })));
        assert_eq!(Publication::load(&file, &Limits::default()).expect("a draft"), publication());
        let (link, folder) = (dir.path().join("link"), dir.path().join("folder"));
        std::os::unix::fs::symlink("nowhere", &link).expect("a link");
        assert!(matches!(other.save(&link), Err(PublishError::Exists { .. })), "a link to nothing");
        fs::create_dir(&folder).expect("a folder");
        assert!(matches!(other.save(&folder), Err(PublishError::Write { .. })));
        assert!(matches!(other.save(&dir.path().join("no/draft")), Err(PublishError::Write { .. })));
        other.save(Path::new("/dev/null")).expect("no file, and so nothing to replace");
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).expect("ours").map(|file| file.expect("ours").file_name()).collect();
        left.sort();
        assert_eq!(left, ["draft.json", "folder", "link"], "something is left beside them");
    }

    #[test]
    fn of_those_who_write_at_a_time_one_succeeds_and_the_others_hear_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("draft.json");
        let drafts: Vec<Publication> =
            (0..16_u8).map(|number| Publication { replaces: Some(Digest::of(&[number])), ..publication() }).collect();
        let saved: Vec<bool> = std::thread::scope(|scope| {
            let file = &file;
            let writers: Vec<_> = drafts.iter().map(|draft| scope.spawn(move || draft.save(file))).collect();
            let outcomes = writers.into_iter().map(|writer| writer.join().expect("no panic"));
            outcomes.map(|outcome| !matches!(outcome, Err(PublishError::Exists { .. })) && outcome.is_ok()).collect()
        });
        let winners: Vec<usize> = (0..drafts.len()).filter(|at| saved[*at]).collect();
        let [winner] = winners.as_slice() else { panic!("{winners:?} all think that theirs is there") };
        assert_eq!(Publication::load(&file, &Limits::default()).expect("whole"), drafts[*winner]);
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
