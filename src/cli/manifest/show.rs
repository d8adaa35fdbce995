//! How a draft looks before it is written, and what is said when it was.

use console::style;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::core::descriptor::Descriptor;
use crate::core::draft::Draft;
use crate::core::platform::Platform;
use crate::core::predict::Client;
use crate::core::reference::Reference;
use crate::core::text::{one_line, without_controls};
use crate::publish::coverage::Row;
use crate::publish::{Publication, Pushed, advice, coverage};

use super::super::report;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;
/// Bytes of a remark; what it quotes may have any length.
const LONGEST_NOTE: usize = 1000;
/// What the words behind a platform mean, for those that occur.
const LEGEND: [(&str, &str); 5] = [
    ("(32-bit)", "runs in the CPU's 32-bit mode"),
    ("(emulated)", "runs under an emulator"),
    ("(FAILS)", "is pulled, and does not run"),
    ("(refused)", "is fetched, and then not found"),
    ("(?)", "whether it runs there depends on the CPU; lighterman diagnose --host NODE knows more"),
];

/// All there is to see of a draft.
pub(super) struct Shown<'a> {
    pub(super) publication: &'a Publication,
    pub(super) base: Option<&'a Draft>,
    pub(super) notes: &'a [String],
    /// Images that the push will bring.
    pub(super) elsewhere: &'a [Reference],
}

impl Shown<'_> {
    /// For a person, with the commands of other tools where nothing was decided yet.
    pub(super) fn as_text(&self, with_others: bool) -> String {
        let Publication { reference, draft, replaces, .. } = self.publication;
        let before = replaces.as_ref().map_or("nothing: the tag is new".into(), ToString::to_string);
        let mut text = format!("{}\n", style(reference.familiar()).bold());
        text.push_str(&format!("  stands for     {before}\n"));
        text.push_str(&format!("  would be       {}, {}\n", draft.digest(), draft.media_type()));
        for source in self.elsewhere {
            text.push_str(&format!("  to be brought  {}\n", source.familiar()));
        }
        text.push_str(&format!("\n{}\n", self.coloured_difference()));
        text.push_str(&coverage_text(&self.coverage()));
        for note in self.notes {
            text.push_str(&noted(note));
        }
        text.push('\n');
        if with_others {
            text.push_str(&others(self.publication));
        }
        text
    }

    fn coverage(&self) -> Vec<Row> {
        coverage::of(&self.publication.draft.descriptor(), &self.publication.draft.entries())
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
            "coverage": self.coverage(),
            "toBeBrought": self.elsewhere.iter().map(Reference::to_string).collect::<Vec<_>>(),
            "notes": self.notes,
            "commands": advice::equivalents(self.publication),
            "goBack": replaces.as_ref().map(|before| advice::go_back(reference, before, &draft.digest())),
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
                    let line = format!("{}{}", change.tag(), without_controls(change.value()));
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

/// How other tools would make the same.
fn others(publication: &Publication) -> String {
    let mut text = String::from("the same with other tools:\n");
    for other in advice::equivalents(publication) {
        let caution = other.caution.map(|caution| format!(" ({caution})")).unwrap_or_default();
        text.push_str(&format!("  {}{caution}\n", style(other.tool).bold()));
        for command in other.commands {
            text.push_str(&format!("    {command}\n"));
        }
    }
    text.push('\n');
    text
}

/// A remark, on lines of its own. Images have a word in it.
pub(super) fn noted(note: &str) -> String {
    report::wrap(&format!("{} ", style("note:").cyan().bold()), &one_line(note, LONGEST_NOTE))
}

/// What clients take on which node.
pub(super) fn coverage_text(rows: &[Row]) -> String {
    let mut table = report::table();
    let header = ["what is taken on".to_owned()].into_iter().chain(Client::ALL.map(|client| short(client).into()));
    table.set_header(header);
    for row in rows {
        table.add_row([row.node.clone()].into_iter().chain(row.clients.iter().map(|taken| taken.text.clone())));
    }
    let lines = report::lines(&table);
    let words = LEGEND.iter().filter(|(word, _)| lines.contains(word));
    let legend: String = words.map(|(word, meaning)| format!(" {word}: {meaning}\n")).collect();
    lines + &legend
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
    text.push_str(&format!("pushed {name}: {}", pushed.digest));
    match &pushed.replaced {
        Some(before) => text.push_str(&format!(" in the place of {before}")),
        None => text.push_str(", and the tag is new"),
    }
    text
}

/// An entry for a table: its platform as it is declared.
pub(super) fn declared(entry: &Descriptor) -> String {
    match &entry.platform {
        _ if entry.is_attestation() => "attestation".into(),
        Some(platform) => platform_text(platform),
        None => "-".into(),
    }
}

/// A platform in a table; whoever wrote the document may have named it anything.
pub(super) fn platform_text(platform: &Platform) -> String {
    one_line(&platform.to_string(), super::LONGEST_NAME)
}
