//! How an image fares on many nodes: two grids of words, readable without colour.

use std::fmt::Write as _;
use std::ops::Range;

use crate::cli::report::{self, WIDTH};
use crate::core::text::one_line;
use crate::diagnose::fleet::{ClientCell, Fleet, ImageCell, ImageRow};
use crate::diagnose::report::{NodeVerdict, Outcome};

/// Letters of a node's name above its column.
const NAME: usize = 20;
/// What stands between columns.
const GAP: usize = 2;

const ON_REQUEST: &str = "if asked";
const NOT_FOR_IT: &str = "-";
const TAKEN: &str = "*";

/// What the words mean, in the order in which they are explained.
const LEGEND: [(&str, &str); 8] = [
    ("runs", "on the CPU"),
    ("32-bit", "runs in the CPU's 32-bit mode"),
    ("emulated", "runs under an emulator"),
    ("FAILS", "is pulled, and does not run"),
    ("refused", "nothing is taken"),
    ("?", "cannot be told from what is known"),
    (ON_REQUEST, "runs, and is taken only with --platform"),
    (NOT_FOR_IT, "is not for this node"),
];

/// Rows of words, a column for each node.
struct Grid {
    title: &'static str,
    rows: Vec<(String, Vec<String>)>,
}

/// Both grids, what their words mean, and why something does not run. Ends in a newline.
pub(super) fn as_text(fleet: &Fleet) -> String {
    let names: Vec<String> = fleet.nodes.iter().map(|node| one_line(&node.name, NAME)).collect();
    let grids = [images(fleet), clients(fleet)];
    let mut text: String = grids.iter().map(|grid| grid.as_text(&names)).collect();
    text.push_str(&legend(&grids));
    text.push_str(&reasons(fleet));
    text
}

fn images(fleet: &Fleet) -> Grid {
    let row = |row: &ImageRow| (image_name(row), row.cells.iter().map(image_cell).collect());
    Grid { title: "each image on each node", rows: fleet.images.iter().map(row).collect() }
}

fn image_name(row: &ImageRow) -> String {
    let platform = row.platform.as_deref().map_or_else(|| "no platform".into(), |name| one_line(name, 2 * NAME));
    match &row.entry {
        Some(entry) => format!("{entry}  {platform}"),
        None => platform,
    }
}

fn image_cell(cell: &ImageCell) -> String {
    let runs = matches!(cell.outcome, Outcome::Runs | Outcome::Runs32Bit | Outcome::RunsEmulated);
    match (cell.offered || cell.taken, runs) {
        (true, _) if cell.taken => format!("{}{TAKEN}", word(cell.outcome)),
        (true, _) => word(cell.outcome).into(),
        (false, true) => ON_REQUEST.into(),
        (false, false) => NOT_FOR_IT.into(),
    }
}

fn clients(fleet: &Fleet) -> Grid {
    let ours = fleet.nodes.iter().map(node_cell).collect();
    let others = fleet.clients.iter().map(|row| (row.label.clone(), row.cells.iter().map(client_cell).collect()));
    let rows = std::iter::once(("lighterman".to_owned(), ours)).chain(others).collect();
    Grid { title: "each client on each node, with the entries that it takes", rows }
}

fn node_cell(node: &NodeVerdict) -> String {
    let taken = node.entry.as_ref().filter(|_| node.outcome != Outcome::Refused);
    with_entries(node.outcome, taken.map(String::as_str).unwrap_or_default())
}

fn client_cell(cell: &ClientCell) -> String {
    with_entries(cell.outcome, &cell.takes.join(","))
}

fn with_entries(outcome: Outcome, entries: &str) -> String {
    format!("{} {}", word(outcome), one_line(entries, NAME)).trim_end().to_owned()
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Runs => "runs",
        Outcome::RunsEmulated => "emulated",
        Outcome::Runs32Bit => "32-bit",
        Outcome::Fails => "FAILS",
        Outcome::Refused => "refused",
        Outcome::Unknown => "?",
    }
}

impl Grid {
    fn as_text(&self, names: &[String]) -> String {
        let mut text = format!("{}\n", self.title);
        for part in self.parts(names) {
            text.push_str(&self.part(names, part));
            text.push('\n');
        }
        text
    }

    /// Neighbouring nodes that fit beside each other.
    fn parts(&self, names: &[String]) -> Vec<Range<usize>> {
        let first = self.rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0) + GAP;
        let cells = |at: usize| self.rows.iter().filter_map(move |(_, cells)| cells.get(at)).map(|cell| width(cell));
        let mut parts = Vec::new();
        let (mut start, mut used) = (0, first);
        for (at, name) in names.iter().enumerate() {
            let column = cells(at).chain([width(name)]).max().unwrap_or(0) + GAP;
            if at > start && used + column > WIDTH {
                parts.push(start..at);
                (start, used) = (at, first);
            }
            used += column;
        }
        parts.push(start..names.len());
        parts
    }

    fn part(&self, names: &[String], nodes: Range<usize>) -> String {
        let mut table = report::table();
        table.set_header(std::iter::once("").chain(names[nodes.clone()].iter().map(String::as_str)));
        for (name, cells) in &self.rows {
            let cells = cells.get(nodes.clone()).unwrap_or_default();
            table.add_row(std::iter::once(name).chain(cells));
        }
        report::lines(&table)
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The words that occur, and nothing else.
fn legend(grids: &[Grid]) -> String {
    let cells = || grids.iter().flat_map(|grid| &grid.rows).flat_map(|(_, cells)| cells);
    let has = |word: &str| {
        cells().any(|cell| cell.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphabetic)))
    };
    let mut explained: Vec<String> =
        LEGEND.iter().filter(|(word, _)| has(word)).map(|(word, means)| format!("{word}: {means}")).collect();
    if cells().any(|cell| cell.ends_with(TAKEN)) {
        explained.push(format!("{TAKEN}: is what the node takes"));
    }
    let mut text = String::new();
    let mut column = 0;
    for part in explained {
        if column > 0 && column + 3 + width(&part) > WIDTH {
            text.push('\n');
            column = 0;
        }
        let between = if column > 0 { "   " } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{between}{part}");
        column += between.len() + width(&part);
    }
    text.push('\n');
    text
}

/// Why what a node would take does not run there, or may not; each reason once.
fn reasons(fleet: &Fleet) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut say = |whose: String, reason: &str| {
        let line = format!(" {whose}: {}", one_line(reason, 4 * WIDTH));
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    for (at, node) in fleet.nodes.iter().enumerate() {
        let name = one_line(&node.name, NAME);
        if let Some(reason) = node.reason.as_ref().filter(|_| node.outcome != Outcome::Runs32Bit) {
            say(name.clone(), reason);
        }
        // What is not taken is an image that somebody may ask for.
        for row in &fleet.images {
            let cell = row.cells.get(at).filter(|cell| cell.offered && !cell.taken && doubtful(cell.outcome));
            if let (Some(entry), Some(reason)) = (&row.entry, cell.and_then(|cell| cell.reason.as_ref())) {
                say(format!("{name}, entry {entry}"), reason);
            }
        }
    }
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}

fn doubtful(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fails | Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::Digest;
    use crate::diagnose::fleet::ClientRow;

    use Outcome::{Fails, Refused, Runs, Runs32Bit, Unknown};

    /// A node, how two images go there and whether they are offered, and how a client does.
    type Column<'a> = (&'a str, [(Outcome, bool); 2], Outcome);

    fn fleet(columns: &[Column<'_>]) -> Fleet {
        let reason = |outcome: Outcome| doubtful(outcome).then(|| "this CPU has no 32-bit mode".to_owned());
        let image = |at: usize, platform: &str| ImageRow {
            entry: Some(at.to_string()),
            digest: Digest::of(platform.as_bytes()),
            platform: Some(platform.into()),
            cells: columns
                .iter()
                .map(|(_, cells, _)| {
                    let (outcome, offered) = cells[at];
                    ImageCell { outcome, offered, taken: offered, reason: reason(outcome) }
                })
                .collect(),
        };
        let node = |(name, cells, _): &Column<'_>| {
            let taken = cells.iter().position(|(_, offered)| *offered);
            NodeVerdict {
                name: (*name).into(),
                platform: "linux/arm64".into(),
                entry: taken.map(|at| at.to_string()),
                outcome: taken.map_or(Refused, |at| cells[at].0),
                reason: taken.map_or(Some("the index has nothing for it".into()), |at| reason(cells[at].0)),
            }
        };
        let client = |(_, _, outcome): &Column<'_>| ClientCell {
            outcome: *outcome,
            takes: if *outcome == Refused { Vec::new() } else { vec!["0".into(), "1".into()] },
            reason: reason(*outcome),
        };
        let clients = vec![ClientRow {
            client: "cri".into(),
            label: "CRI from containerd 2.1".into(),
            cells: columns.iter().map(client).collect(),
        }];
        Fleet {
            nodes: columns.iter().map(node).collect(),
            images: vec![image(0, "linux/amd64"), image(1, "linux/arm/v7")],
            clients,
        }
    }

    #[test]
    fn a_fleet_is_told_in_words() {
        let text = as_text(&fleet(&[
            ("attic", [(Runs, true), (Fails, false)], Runs),
            ("raspberry-pi-4", [(Fails, false), (Runs32Bit, true)], Refused),
            ("apple-silicon", [(Fails, false), (Fails, true)], Refused),
            ("linux/arm64", [(Fails, false), (Unknown, true)], Unknown),
            ("raspberry-pi-zero", [(Fails, false), (Runs, false)], Refused),
        ]));
        let expected = "\
each image on each node
                  attic  raspberry-pi-4  apple-silicon  linux/arm64  raspberry-pi-zero
 0  linux/amd64   runs*  -               -              -            -
 1  linux/arm/v7  -      32-bit*         FAILS*         ?*           if asked

each client on each node, with the entries that it takes
                          attic     raspberry-pi-4  apple-silicon  linux/arm64  raspberry-pi-zero
 lighterman               runs 0    32-bit 1        FAILS 1        ? 1          refused
 CRI from containerd 2.1  runs 0,1  refused         refused        ? 0,1        refused

 runs: on the CPU   32-bit: runs in the CPU's 32-bit mode   FAILS: is pulled, and does not run
 refused: nothing is taken   ?: cannot be told from what is known
 if asked: runs, and is taken only with --platform   -: is not for this node
 *: is what the node takes

 apple-silicon: this CPU has no 32-bit mode
 linux/arm64: this CPU has no 32-bit mode
 raspberry-pi-zero: the index has nothing for it
";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn many_nodes_and_long_names_stay_within_the_width() {
        let names: Vec<String> = (0..12).map(|at| format!("node-{at}.cluster.internal.example")).collect();
        for count in 0..=12 {
            let columns: Vec<_> =
                names[..count].iter().map(|name| (name.as_str(), [(Runs, true), (Fails, true)], Runs)).collect();
            let text = as_text(&fleet(&columns));
            assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
            assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
            for name in &names[..count] {
                let shown = one_line(name, NAME);
                assert_eq!(
                    text.lines()
                        .take_while(|line| !line.starts_with(" runs:"))
                        .filter(|line| line.contains(&shown))
                        .count(),
                    2,
                    "{shown} in {text}"
                );
            }
        }
    }
}
