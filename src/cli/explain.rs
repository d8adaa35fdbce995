//! How an explanation looks.

use comfy_table::Table;
use console::style;
use serde_json::{Value, json};

use super::report;
use crate::core::platform::Platform;
use crate::resolve::resolution::Explained;

pub(super) fn as_text(reference: &str, explained: &Explained) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(content.trim_end());
        text.push('\n');
    };
    line(format!("{}  {}", style(reference).bold(), explained.root));
    line(format!("accepts, best first: {}", slots(&explained.accepts)));
    if !explained.entries.is_empty() {
        line(String::new());
        for row in entries_table(explained).lines() {
            line(row);
        }
    }
    line(String::new());
    line("the same index, other clients on this node:".into());
    for row in predictions_table(explained).lines() {
        line(row);
    }
    for note in &explained.notes {
        line(format!("{} {note}", style("note:").cyan().bold()));
    }
    text
}

pub(super) fn as_json(explained: &Explained) -> Value {
    let entries: Vec<Value> = explained
        .entries
        .iter()
        .map(|entry| {
            json!({
                "path": entry.path,
                "digest": entry.descriptor.digest,
                "mediaType": entry.descriptor.media_type,
                "declared": entry.descriptor.platform.as_ref().map(Platform::to_string),
                "normalized": entry.normalized,
                "verdict": entry.verdict,
                "slot": entry.slot,
                "reason": entry.reason,
            })
        })
        .collect();
    let predictions: Vec<Value> = explained
        .predictions
        .iter()
        .map(|prediction| {
            json!({
                "client": prediction.client,
                "outcome": prediction.outcome,
                "entries": prediction.entries,
            })
        })
        .collect();
    json!({
        "accepts": explained.accepts,
        "entries": entries,
        "predictions": predictions,
        "passedOver": explained.passed_over,
    })
}

fn slots(accepts: &[String]) -> String {
    match accepts {
        [] => "nothing (containerd knows no such variant)".into(),
        slots => slots.join(", "),
    }
}

fn entries_table(explained: &Explained) -> Table {
    let mut table = report::table();
    table.set_header(["", "ENTRY", "DIGEST", "DECLARED", "NORMALISED", "VERDICT"]);
    for entry in &explained.entries {
        let declared = entry.descriptor.platform.as_ref().map_or("-".into(), Platform::to_string);
        table.add_row([
            if entry.is_chosen() { "->" } else { "" },
            &entry.path,
            entry.descriptor.digest.short(),
            &declared,
            entry.normalized.as_deref().unwrap_or("-"),
            &entry.reason,
        ]);
    }
    table
}

fn predictions_table(explained: &Explained) -> Table {
    let mut table = report::table();
    for prediction in &explained.predictions {
        table.add_row(["", &prediction.label, &prediction.text]);
    }
    table
}
