//! What is told of a resolution: plain values, the same whether they were found in this process
//! or came from a daemon. Whoever shows them decides nothing.

use super::choice::{self, Choice, Explanation, Wish};
use super::{Image, Reading, ResolveError, Resolver, Root};
use crate::core::descriptor::Descriptor;
use crate::core::platform::Platform;
use crate::core::predict::Outcome;
use crate::core::reference::Reference;
use crate::core::select::{self, Entry, EntryPath, Inner, Row, Verdict, path_text};
use crate::host::LocalHost;

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The normalised reference.
    pub reference: String,
    /// The root document.
    pub root: Descriptor,
    /// The manifest that was chosen and what it is for, normalised; `None` where the image was refused.
    pub chosen: Option<(Descriptor, Platform)>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Why, where that was asked for.
    pub explained: Option<Explained>,
}

/// An explanation in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What the root is, as in "index sha256:…, 4 entries".
    pub root: String,
    /// Platforms that are acceptable, best first.
    pub accepts: Vec<String>,
    /// Every entry of the index, nested ones behind the one that they are in.
    pub entries: Vec<ExplainedEntry>,
    /// What other clients would do.
    pub predictions: Vec<Prediction>,
    /// Path of a better entry for the real CPU, which was passed over.
    pub passed_over: Option<String>,
    /// What is worth a remark.
    pub notes: Vec<String>,
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedEntry {
    /// Positions from 0, levels joined by a dot.
    pub path: String,
    /// The entry's descriptor.
    pub descriptor: Descriptor,
    /// The normalised platform, declared or read from its config.
    pub normalized: Option<String>,
    /// Stable name of the verdict, as in `lower-rank`.
    pub verdict: String,
    /// The acceptable platform that it matched, from 1.
    pub slot: Option<u32>,
    /// The verdict in words.
    pub reason: String,
}

/// What another client on this node would do with the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// Stable name of the client.
    pub client: String,
    /// What people call it.
    pub label: String,
    /// `takes`, `takes-unchecked`, `no-match` or `fails`.
    pub outcome: String,
    /// Paths of the entries that it takes.
    pub entries: Vec<String>,
    /// All of it in words.
    pub text: String,
}

impl Resolver<'_> {
    /// Says what a reference stands for on this host, and explains it where that is asked for.
    /// A refusal is the second value.
    ///
    /// # Errors
    /// [`ResolveError`] where the image cannot be read at all.
    pub async fn resolution(
        &self,
        reference: &Reference,
        wish: &Wish,
        host: &LocalHost,
        explain: bool,
    ) -> Result<(Resolution, Option<ResolveError>), ResolveError> {
        let matcher = wish.matcher(host);
        let reading = if explain { Reading::Everything } else { Reading::Deciding(&matcher) };
        let image = self.image(reference, reading).await?;
        let outcome = choice::choose(&image, wish, host);
        let explanation = explain.then(|| choice::explain(&image, wish, host, outcome.as_ref().ok()));
        Ok((Resolution::new(&image, outcome.as_ref().ok(), explanation.as_ref()), outcome.err()))
    }
}

impl Resolution {
    /// Of an image and what was chosen of it.
    #[must_use]
    pub fn new(image: &Image, choice: Option<&Choice>, explanation: Option<&Explanation>) -> Self {
        Self {
            reference: image.reference.to_string(),
            root: image.root.clone(),
            chosen: choice.map(|choice| (choice.descriptor.clone(), choice.platform.clone())),
            warnings: choice.map(|choice| choice.warnings.clone()).unwrap_or_default(),
            explained: explanation.map(|explanation| Explained::new(image, explanation)),
        }
    }
}

impl Explained {
    /// Puts an explanation of `image` into words.
    #[must_use]
    pub fn new(image: &Image, explanation: &Explanation) -> Self {
        let prediction = |(client, outcome): &(crate::core::predict::Client, Outcome)| {
            let (name, entries) = match outcome {
                Outcome::Takes(paths) => ("takes", paths.iter().map(|path| path_text(path)).collect()),
                Outcome::TakesUnchecked => ("takes-unchecked", Vec::new()),
                Outcome::NoMatch => ("no-match", Vec::new()),
                Outcome::Fails(_) => ("fails", Vec::new()),
            };
            Prediction {
                client: client.name().into(),
                label: client.label().into(),
                outcome: name.into(),
                entries,
                text: outcome_text(outcome, image.entries()),
            }
        };
        Self {
            root: describe_root(image),
            accepts: explanation.matcher.slots().iter().map(Platform::to_string).collect(),
            entries: explanation.rows.iter().map(|row| ExplainedEntry::new(row, explanation)).collect(),
            predictions: explanation.predictions.iter().map(prediction).collect(),
            passed_over: explanation.passed_over.as_ref().map(|path| path_text(path)),
            notes: notes(image, explanation),
        }
    }
}

impl ExplainedEntry {
    fn new(row: &Row, explanation: &Explanation) -> Self {
        let slot = match row.verdict {
            Verdict::Chosen { slot } | Verdict::LowerRank { slot } => u32::try_from(slot).ok(),
            _ => None,
        };
        Self {
            path: path_text(&row.path),
            descriptor: row.entry.descriptor.clone(),
            normalized: row.entry.platform().map(|platform| platform.normalized().to_string()),
            verdict: row.verdict.name().into(),
            slot,
            reason: reason(row, explanation),
        }
    }

    /// It is the one that was chosen.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.verdict == Verdict::CHOSEN
    }
}

fn describe_root(image: &Image) -> String {
    let digest = &image.root.digest;
    match &image.content {
        Root::Index(entries) => format!("index {digest}, {} entries", entries.len()),
        Root::Manifest(_, platform) => format!("a single manifest {digest}, its config says {}", platform.normalized()),
    }
}

fn outcome_text(outcome: &Outcome, entries: &[Entry]) -> String {
    let name = |path: &EntryPath| {
        let platform =
            select::at(entries, path).and_then(Entry::platform).map(|platform| platform.normalized().to_string());
        format!("entry {} ({})", path_text(path), platform.unwrap_or_else(|| "no platform".into()))
    };
    match outcome {
        Outcome::Takes(paths) => {
            let names = paths.iter().map(name).collect::<Vec<_>>().join(", ");
            if paths.len() > 1 { format!("fetches all of {names}") } else { names }
        }
        Outcome::TakesUnchecked => "takes it, whatever its config says".into(),
        Outcome::NoMatch => "no match".into(),
        Outcome::Fails(why) => format!("fails: {why}"),
    }
}

fn reason(row: &Row, explanation: &Explanation) -> String {
    let slots = explanation.matcher.slots().len();
    match &row.verdict {
        Verdict::Chosen { slot } => format!("chosen: matches slot {slot} of {slots}"),
        Verdict::Leads => "the chosen manifest is in here".into(),
        Verdict::LowerRank { slot } => format!("lower rank: matches slot {slot} of {slots}"),
        Verdict::Duplicate => "duplicate: an entry before it is for the same platform".into(),
        Verdict::OtherOs => "other operating system".into(),
        Verdict::OtherArchitecture => "other architecture".into(),
        Verdict::VariantTooHigh => "variant too high".into(),
        Verdict::UnknownVariant => "variant that no rule knows".into(),
        Verdict::OsRequirements => "needs another version or features of the system".into(),
        Verdict::Attestation => "attestation, not an image".into(),
        Verdict::UnknownMediaType => format!("unknown media type {}", row.entry.descriptor.media_type),
        Verdict::ConfigDiffers => "no platform declared, and its config does not match".into(),
        Verdict::NotTried => "no platform declared: only tried when nothing else matches, and only the first".into(),
        Verdict::NothingInside => "nested index without a match".into(),
        Verdict::Unusable => match &row.entry.inner {
            Inner::Unusable(why) => format!("unusable: {why}"),
            _ => "unusable".into(),
        },
    }
}

fn notes(image: &Image, explanation: &Explanation) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(path) = &explanation.passed_over
        && let Some(platform) = select::at(image.entries(), path).and_then(Entry::platform)
    {
        notes.push(format!(
            "entry {} ({platform}) is made for this CPU and was passed over, as containerd does; --isa-level takes it",
            path_text(path)
        ));
    }
    if explanation.duplicates {
        notes.push(
            "several entries are for one platform; the first wins here, and containerd 2.1+ fetches them all".into(),
        );
    }
    notes
}
