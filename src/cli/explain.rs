//! How an explanation looks.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use console::style;
use serde_json::{Value, json};

use crate::core::platform::Platform;
use crate::core::predict::Outcome;
use crate::core::select::{self, Entry, EntryPath, Inner, Row, Verdict};
use crate::resolve::choice::Explanation;
use crate::resolve::{Image, Root};

pub(super) fn as_text(image: &Image, explanation: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(content.trim_end());
        text.push('\n');
    };
    line(format!("{}  {}", style(&image.reference).bold(), describe_root(image)));
    line(format!("accepts, best first: {}", slots(explanation)));
    if !explanation.rows.is_empty() {
        line(String::new());
        for row in entries_table(explanation).lines() {
            line(row);
        }
    }
    line(String::new());
    line("the same index, other clients on this node:".into());
    for row in predictions_table(image, explanation).lines() {
        line(row);
    }
    for note in notes(image, explanation) {
        line(format!("{} {note}", style("note:").cyan().bold()));
    }
    text
}

pub(super) fn as_json(explanation: &Explanation) -> Value {
    let entries: Vec<Value> = explanation
        .rows
        .iter()
        .map(|row| {
            let verdict = serde_json::to_value(&row.verdict).unwrap_or_default();
            json!({
                "path": path_text(&row.path),
                "digest": row.entry.descriptor.digest,
                "mediaType": row.entry.descriptor.media_type,
                "declared": row.entry.descriptor.platform.as_ref().map(Platform::to_string),
                "normalized": row.entry.platform().map(|platform| platform.normalized().to_string()),
                "verdict": verdict["verdict"],
                "slot": verdict["slot"],
                "reason": reason(row, explanation),
            })
        })
        .collect();
    let predictions: Vec<Value> = explanation
        .predictions
        .iter()
        .map(|(client, outcome)| {
            let (name, entries) = match outcome {
                Outcome::Takes(paths) => ("takes", paths.iter().map(|path| path_text(path)).collect()),
                Outcome::TakesUnchecked => ("takes-unchecked", Vec::new()),
                Outcome::NoMatch => ("no-match", Vec::new()),
                Outcome::Fails(_) => ("fails", Vec::new()),
            };
            json!({"client": client, "outcome": name, "entries": entries})
        })
        .collect();
    json!({
        "accepts": explanation.matcher.slots().iter().map(Platform::to_string).collect::<Vec<_>>(),
        "entries": entries,
        "predictions": predictions,
        "passedOver": explanation.passed_over.as_ref().map(|path| path_text(path)),
    })
}

fn describe_root(image: &Image) -> String {
    let digest = &image.root.digest;
    match &image.content {
        Root::Index(index, _) => format!("index {digest}, {} entries", index.manifests.len()),
        Root::Manifest(_, platform) => format!("a single manifest {digest}, its config says {}", platform.normalized()),
    }
}

fn slots(explanation: &Explanation) -> String {
    match explanation.matcher.slots() {
        [] => "nothing (containerd knows no such variant)".into(),
        slots => slots.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table
}

fn entries_table(explanation: &Explanation) -> Table {
    let mut table = table();
    table.set_header(["", "ENTRY", "DIGEST", "DECLARED", "NORMALISED", "VERDICT"]);
    for row in &explanation.rows {
        let chosen = matches!(row.verdict, Verdict::Chosen { .. });
        let declared = row.entry.descriptor.platform.as_ref().map_or("-".into(), Platform::to_string);
        let normal = row.entry.platform().map_or("-".into(), |platform| platform.normalized().to_string());
        table.add_row([
            if chosen { "->" } else { "" },
            &path_text(&row.path),
            row.entry.descriptor.digest.short(),
            &declared,
            &normal,
            &reason(row, explanation),
        ]);
    }
    table
}

fn predictions_table(image: &Image, explanation: &Explanation) -> Table {
    let mut table = table();
    for (client, outcome) in &explanation.predictions {
        table.add_row(["", client.label(), &outcome_text(outcome, image.entries())]);
    }
    table
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

/// Positions as people count them in JSON: from 0, levels joined by a dot.
fn path_text(path: &[usize]) -> String {
    path.iter().map(usize::to_string).collect::<Vec<_>>().join(".")
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
