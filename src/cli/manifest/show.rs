//! How a draft looks before it is written, and what is said when it was.

use console::style;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::core::descriptor::Descriptor;
use crate::core::draft::Draft;
use crate::core::predict::Client;
use crate::core::reference::Reference;
use crate::core::text::one_line;
use crate::publish::coverage::Row;
use crate::publish::{Publication, Pushed, advice, coverage};

use super::super::report;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// All there is to see of a draft.
pub(super) struct Shown<'a> {
    pub(super) publication: &'a Publication,
    pub(super) base: Option<&'a Draft>,
    pub(super) notes: &'a [String],
    /// Images that the push will bring.
    pub(super) elsewhere: &'a [Reference],
}

impl Shown<'_> {
    pub(super) fn as_text(&self) -> String {
        let Publication { reference, draft, replaces, .. } = self.publication;
        let before = replaces.as_ref().map_or("nothing: the tag is new".into(), ToString::to_string);
        let mut text = format!("{}\n", style(reference.familiar()).bold());
        text.push_str(&format!("  stands for     {before}\n"));
        text.push_str(&format!("  would be       {}, {}\n", draft.digest(), draft.media_type()));
        for source in self.elsewhere {
            text.push_str(&format!("  to be brought  {}\n", source.familiar()));
        }
        text.push_str(&format!("\n{}\n", self.coloured_difference()));
        text.push_str(&coverage_text(&coverage::of(draft.media_type(), &draft.entries())));
        for note in self.notes {
            text.push_str(&format!("{} {note}\n", style("note:").cyan().bold()));
        }
        text.push_str("\nthe same with other tools:\n");
        for other in advice::equivalents(self.publication) {
            let caution = other.caution.map(|caution| format!(" ({caution})")).unwrap_or_default();
            text.push_str(&format!("  {}{caution}\n", style(other.tool).bold()));
            for command in other.commands {
                text.push_str(&format!("    {command}\n"));
            }
        }
        text.push('\n');
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let Publication { reference, draft, replaces, .. } = self.publication;
        json!({
            "reference": reference.to_string(),
            "before": replaces,
            "after": draft.digest(),
            "mediaType": draft.media_type(),
            "document": draft.json(),
            "difference": self.difference(),
            "coverage": coverage::of(draft.media_type(), &draft.entries()),
            "toBeBrought": self.elsewhere.iter().map(Reference::to_string).collect::<Vec<_>>(),
            "notes": self.notes,
            "commands": advice::equivalents(self.publication),
            "goBack": replaces.as_ref().map(|before| advice::go_back(reference, before)),
        })
    }

    /// A unified difference of the two documents, one field a line; empty where there is none.
    fn difference(&self) -> String {
        let (old, new) = self.texts();
        let names = (self.name_before(), self.publication.draft.digest().to_string());
        TextDiff::from_lines(&old, &new).unified_diff().context_radius(CONTEXT).header(&names.0, &names.1).to_string()
    }

    fn coloured_difference(&self) -> String {
        let (old, new) = self.texts();
        let diff = TextDiff::from_lines(&old, &new);
        let hunks: Vec<String> = diff
            .unified_diff()
            .context_radius(CONTEXT)
            .iter_hunks()
            .map(|hunk| {
                let lines = hunk.iter_changes().map(|change| {
                    let line = format!("{}{}", change.tag(), change.value().trim_end_matches('\n'));
                    match change.tag() {
                        ChangeTag::Delete => style(line).red().to_string(),
                        ChangeTag::Insert => style(line).green().to_string(),
                        ChangeTag::Equal => line,
                    }
                });
                format!("{}\n{}\n", hunk.header(), lines.collect::<Vec<_>>().join("\n"))
            })
            .collect();
        if hunks.is_empty() {
            return "no difference\n".into();
        }
        format!("--- {}\n+++ {}\n{}", self.name_before(), self.publication.draft.digest(), hunks.concat())
    }

    fn texts(&self) -> (String, String) {
        let line = |draft: &Draft| format!("{}\n", draft.text());
        (self.base.map(line).unwrap_or_default(), line(&self.publication.draft))
    }

    fn name_before(&self) -> String {
        self.publication.replaces.as_ref().map_or("nothing".into(), ToString::to_string)
    }
}

/// What clients take on which node.
pub(super) fn coverage_text(rows: &[Row]) -> String {
    let mut table = report::table();
    let header = ["what is taken on".to_owned()].into_iter().chain(Client::ALL.map(|client| short(client).into()));
    table.set_header(header);
    for row in rows {
        table.add_row([row.node.clone()].into_iter().chain(row.clients.iter().map(|taken| taken.text.clone())));
    }
    report::lines(&table)
}

fn short(client: Client) -> &'static str {
    match client {
        Client::Ctr => "ctr, CRI before 2.1",
        Client::Cri => "CRI from 2.1",
        Client::Docker => "docker",
        Client::Podman => "podman, CRI-O",
    }
}

/// What a push has done.
pub(super) fn pushed(reference: &Reference, pushed: &Pushed) -> String {
    let name = reference.familiar();
    if pushed.already {
        return format!("{name} stands for {} already: nothing was written", pushed.digest);
    }
    let mut text = String::new();
    for child in &pushed.brought {
        let copied = match child.copied {
            0 => String::new(),
            count => format!(", {count} copied ({})", report::bytes(child.bytes)),
        };
        text.push_str(&format!(
            "brought {} from {}: {} blobs mounted{copied}\n",
            child.digest, child.from, child.mounted
        ));
    }
    let before = pushed.replaced.as_ref().map_or("nothing".into(), ToString::to_string);
    text.push_str(&format!("pushed {name}: {} in the place of {before}", pushed.digest));
    text
}

/// An entry for a table: its platform as it is declared.
pub(super) fn declared(entry: &Descriptor) -> String {
    match &entry.platform {
        _ if entry.is_attestation() => "attestation".into(),
        Some(platform) => one_line(&platform.to_string(), super::LONGEST_NAME),
        None => "-".into(),
    }
}
