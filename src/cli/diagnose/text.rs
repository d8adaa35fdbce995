//! How a diagnosis looks.

use std::fmt::Write as _;

use comfy_table::Table;
use console::{Style, style};
use serde_json::{Value, json};

use super::grid;
use crate::cli::report::{self, WIDTH, bytes, lines, wrap};
use crate::core::error::{Blame, Classify, Kind};
use crate::core::text::{one_line, without_controls};
use crate::diagnose::finding::{Evidence, Finding, Remedy, Severity};
use crate::diagnose::report::{Image, NodeVerdict, OpenedFile, Outcome, Report, Start};

/// What findings begin with: a severity and an identifier.
const INDENT: usize = 19;
/// Bytes of one text; an image may have names of any length.
const LONGEST: usize = 2000;

pub(super) fn as_json(diagnosis: &Report) -> Value {
    report::merge(json!(diagnosis), json!({"runsHere": diagnosis.runs()}))
}

pub(super) fn as_text(diagnosis: &Report) -> String {
    let mut text = head(diagnosis);
    if !diagnosis.images.is_empty() {
        let _ = write!(text, "\n{}", lines(&images(diagnosis)));
    }
    for finding in &diagnosis.findings {
        text.push('\n');
        text.push_str(&describe(finding));
    }
    text.push('\n');
    match diagnosis.fleet.nodes.as_slice() {
        [node] if !clients_differ(diagnosis) => {
            let _ = writeln!(text, "{}", of_node(node));
        }
        [node] => {
            let _ = writeln!(text, "{}\n{}", grid::as_text(&diagnosis.fleet), of_node(node));
        }
        _ => {
            let _ = writeln!(text, "{}", grid::as_text(&diagnosis.fleet));
        }
    }
    text.push_str(&cost(diagnosis));
    text
}

fn head(diagnosis: &Report) -> String {
    let root = match &diagnosis.root {
        Some(root) => match root.entries {
            Some(1) => format!("index {}, 1 entry", root.digest),
            Some(entries) => format!("index {}, {entries} entries", root.digest),
            None => format!("a single manifest {}", root.digest),
        },
        None => "cannot be read as an image".into(),
    };
    format!("{}  {root}\n", style(&diagnosis.reference).bold())
}

fn images(diagnosis: &Report) -> Table {
    let mut table = report::table();
    table.set_header(["", "ENTRY", "DECLARED", "CONFIG", "SIZE", "STARTS"]);
    for image in &diagnosis.images {
        let chosen =
            diagnosis.fleet.nodes.iter().any(|node| node.outcome != Outcome::Refused && node.entry == image.entry);
        let or_none = |text: &Option<String>| text.as_ref().map_or_else(|| "-".into(), |text| one_line(text, WIDTH));
        table.add_row([
            if chosen { "->".into() } else { String::new() },
            or_none(&image.entry),
            or_none(&image.declared),
            or_none(&image.config),
            bytes(image.size),
            starts(image),
        ]);
    }
    table
}

fn starts(image: &Image) -> String {
    if let Some(problem) = &image.problem {
        return one_line(problem, LONGEST);
    }
    image.start.as_ref().map_or_else(|| "not looked into".into(), |start| started(start).join("\n"))
}

/// What is opened when an image is started, a line for each file.
pub(in crate::cli) fn started(start: &Start) -> Vec<String> {
    let mut lines = opened(&start.files, start.stopped.as_ref(), start.loader.as_ref());
    for then in &start.then {
        let may = if then.certain { "" } else { "may start " };
        lines.push(format!("{may}{}", then.way));
        lines.extend(opened(&then.files, then.stopped.as_ref(), then.loader.as_ref()));
    }
    lines.iter().map(|line| one_line(line, LONGEST)).collect()
}

/// The files of one program.
fn opened(files: &[OpenedFile], stopped: Option<&String>, loader: Option<&String>) -> Vec<String> {
    let files = files.iter().map(|file| format!("{}: {}", file.path, file.description));
    let loader = loader.map(|loader| format!("loaded by {loader}"));
    files.chain(stopped.cloned()).chain(loader).collect()
}

/// A finding with what shows it, and what to do about it.
pub(in crate::cli) fn describe(finding: &Finding) -> String {
    let name = finding.severity.name();
    let look = match finding.severity {
        Severity::Error => Style::new().red(),
        Severity::Warning => Style::new().yellow(),
        Severity::Note => Style::new().cyan(),
    };
    // Many messages name the entry that they are about.
    let entry = finding.entry.iter().map(|entry| format!("entry {entry}"));
    let about = entry.filter(|entry| !finding.message.contains(entry)).chain(finding.node.clone());
    let about: String = about.map(|about| format!("{about}: ")).collect();
    let label = format!("{} {:<9}", look.bold().apply_to(format!("{name:<7}")), finding.id.code());
    let mut text = wrapped(&format!("{label}  "), &format!("{about}{}", finding.message));
    for evidence in &finding.evidence {
        text.push_str(&wrapped(&format!("{:>1$}", "seen: ", INDENT), &shown(evidence)));
    }
    for remedy in &finding.remedies {
        text.push_str(&wrapped(&format!("{:>1$}", "do: ", INDENT), &remedy.text));
        text.push_str(&commands(remedy));
    }
    text
}

/// Commands are never wrapped: they are to be copied.
fn commands(remedy: &Remedy) -> String {
    remedy
        .commands
        .iter()
        .map(|command| format!("{:INDENT$}{}\n", "", style(without_controls(command)).bold()))
        .collect()
}

fn shown(evidence: &Evidence) -> String {
    let mut text = evidence.what.clone();
    if let Some(bytes) = &evidence.bytes {
        let _ = write!(text, " {bytes}");
    }
    if let Some(offset) = evidence.offset.filter(|offset| *offset > 0) {
        let _ = write!(text, " at byte {offset}");
    }
    let place = [evidence.path.clone(), evidence.digest.as_ref().map(|digest| digest.short().to_owned())];
    let place: Vec<String> = place.into_iter().flatten().collect();
    if !place.is_empty() {
        let _ = write!(text, " ({})", place.join(" in "));
    }
    if !evidence.verified {
        text.push_str(", unverified: only a part of the layer was read");
    }
    text
}

/// Text behind a label. What images say does not steer the terminal.
fn wrapped(label: &str, text: &str) -> String {
    wrap(label, &one_line(text, LONGEST))
}

fn of_node(node: &NodeVerdict) -> String {
    let (words, look) = match node.outcome {
        Outcome::Runs => ("runs", Style::new().green()),
        Outcome::RunsEmulated => ("runs under an emulator", Style::new().green()),
        Outcome::Runs32Bit => ("runs, in the CPU's 32-bit mode", Style::new().green()),
        Outcome::Fails => ("does not run", Style::new().red()),
        Outcome::Refused => ("nothing to run", Style::new().red()),
        Outcome::Unknown => ("not known whether it runs", Style::new().yellow()),
    };
    let entry = node.entry.as_ref().map(|entry| format!(", entry {entry}")).unwrap_or_default();
    let reason = node.reason.as_ref().map(|reason| format!(": {}", one_line(reason, LONGEST))).unwrap_or_default();
    format!("{} ({}{entry}): {}{reason}", style(&node.name).bold(), node.platform, look.bold().apply_to(words))
}

fn cost(diagnosis: &Report) -> String {
    let read = &diagnosis.bytes;
    let mut text = format!("read {} of documents", bytes(read.documents));
    if read.layers_total > 0 {
        let _ = write!(text, ", and {} of {} of layers", bytes(read.layers_fetched), bytes(read.layers_total));
    }
    if read.layers_read > 0 {
        let _ = write!(text, "; {} were here already", bytes(read.layers_read));
    }
    if read.budget_per_image != u64::MAX {
        let (layer, image) = (bytes(read.budget_per_layer), bytes(read.budget_per_image));
        let _ = write!(text, " (budget {image} an image, {layer} a layer)");
    }
    text.push('\n');
    text
}

/// Whether some client does otherwise than lighterman.
fn clients_differ(diagnosis: &Report) -> bool {
    let cells = diagnosis.fleet.clients.iter().flat_map(|row| row.cells.iter().zip(&diagnosis.fleet.nodes));
    cells.filter(|(cell, node)| cell.outcome != node.outcome).count() > 0
}

/// The failure that the command ends with; `None` where it runs on every node.
pub(super) fn verdict(diagnosis: &Report) -> Option<WillNotRun> {
    let nodes: Vec<String> =
        diagnosis.fleet.nodes.iter().filter(|node| !node.outcome.may_run()).map(|node| node.name.clone()).collect();
    let reference = diagnosis.reference.clone();
    (!nodes.is_empty()).then_some(WillNotRun { reference, nodes })
}

/// The image does not run where it should.
#[derive(Debug, thiserror::Error)]
#[error("{reference} does not run on {}", .nodes.join(", "))]
pub(super) struct WillNotRun {
    reference: String,
    nodes: Vec<String>,
}

impl Classify for WillNotRun {
    fn kind(&self) -> Kind {
        Kind::PlatformMismatch
    }

    fn blame(&self) -> Blame {
        Blame::Image
    }

    fn hint(&self) -> Option<String> {
        Some("the findings say why, and what to do about it".into())
    }
}
