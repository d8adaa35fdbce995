//! What the clients of common nodes would take of an index, and how it goes there by its labels: a
//! table of client and node.
//!
//! The verdicts are those of a diagnosis, [`fleet`](crate::diagnose::fleet), of an index whose images
//! nobody looked into.

use serde::Serialize;

use crate::core::descriptor::Descriptor;
use crate::core::platform::Platform;
use crate::core::predict::{Client, HostView, Outcome as Predicted};
use crate::core::select::{Entry, EntryPath, path_text};
use crate::core::text::one_line;
use crate::diagnose::fleet::{Image, host_view};
use crate::diagnose::report::Outcome;
use crate::host::Node;

/// Nodes that every index is held against, besides those that it is for.
const NODES: [(&str, &str); 4] = [("amd64", ""), ("arm64", ""), ("arm", "v7"), ("arm", "v6")];

/// Nodes in a table. Public indexes have thirty platforms at the most.
const MOST_NODES: usize = 40;

/// Bytes of a platform's name that are shown; a publisher may have written anything.
const LONGEST_NAME: usize = 40;

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What its containerd matches with.
    pub node: String,
    /// What each client takes there, in the order of [`Client::ALL`].
    pub clients: Vec<Taken>,
}

/// What a client takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// The client's stable name.
    pub client: &'static str,
    /// Positions of the entries, from 0; none where it finds nothing or fails.
    pub entries: Vec<String>,
    /// How that goes, if the image is what its label says; `None` for nodes of which nothing is
    /// known but their platform.
    pub outcome: Option<Outcome>,
    /// In a few words: the platform as it is declared, or what goes wrong.
    pub text: String,
}

/// A node, as far as it is known.
struct Column {
    name: String,
    view: HostView,
    node: Option<Node>,
}

/// What clients would take of an index with these entries.
#[must_use]
pub fn of(root: &Descriptor, entries: &[Descriptor]) -> Vec<Row> {
    let mut nodes: Vec<Platform> =
        NODES.iter().map(|(architecture, variant)| Platform::linux(architecture, variant)).collect();
    for entry in entries.iter().filter(|entry| !entry.is_attestation()) {
        let Some(platform) = &entry.platform else { continue };
        let node = Platform { os_version: String::new(), os_features: Vec::new(), ..platform.normalized() };
        if nodes.len() < MOST_NODES && !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    let entries: Vec<Entry> = entries.iter().cloned().map(Entry::unread).collect();
    let image = Image { root, entries: &entries, contents: &[] };
    nodes.into_iter().map(|platform| row(image, &Column::of(platform))).collect()
}

impl Column {
    fn of(platform: Platform) -> Self {
        let name = one_line(&platform.to_string(), LONGEST_NAME);
        let node = Node::known(&platform.to_string()).ok();
        let unknown = || HostView { containerd: platform.clone(), isa: platform.clone() };
        Self { name, view: node.as_ref().map_or_else(unknown, host_view), node }
    }
}

fn row(image: Image<'_>, column: &Column) -> Row {
    let clients = Client::ALL.map(|client| {
        let paths = match image.predicted(client, &column.view) {
            Predicted::Takes(paths) => Ok(paths),
            Predicted::TakesUnchecked => Err("unchecked".into()),
            Predicted::NoMatch => Err("-".into()),
            Predicted::Fails(why) => Err(format!("fails: {why}")),
        };
        let cell = column.node.as_ref().map(|node| image.with_client(client, node));
        let outcome = cell.map(|cell| cell.outcome);
        let entries = paths.iter().flatten().map(|path| path_text(path)).collect();
        let names = |paths: Vec<EntryPath>| {
            let names: Vec<String> = paths.iter().map(|path| name(image.entries, path)).collect();
            format!("{}{}", names.join(" and "), remark(outcome))
        };
        Taken { client: client.name(), entries, outcome, text: paths.map_or_else(|text| text, names) }
    });
    Row { node: column.name.clone(), clients: clients.into() }
}

/// What is worth a word, of how it goes with what is taken.
fn remark(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None | Some(Outcome::Runs) => "",
        Some(Outcome::RunsEmulated) => " (emulated)",
        Some(Outcome::Runs32Bit) => " (32-bit)",
        Some(Outcome::Fails) => " (FAILS)",
        Some(Outcome::Refused) => " (refused)",
        Some(Outcome::Unknown) => " (?)",
    }
}

fn name(entries: &[Entry], path: &EntryPath) -> String {
    let entry = path.first().and_then(|at| entries.get(*at));
    let platform = entry.and_then(|entry| entry.descriptor.platform.as_ref());
    platform.map_or_else(|| format!("entry {}", path_text(path)), |platform| one_line(&platform.arch(), LONGEST_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;
    use crate::core::digest::Digest;
    use crate::diagnose::fleet::Fleet;

    fn entries(platforms: &[(&str, &str)]) -> Vec<Descriptor> {
        let entry = |(architecture, variant): &(&str, &str)| Descriptor {
            platform: Some(Platform::linux(architecture, variant)),
            ..Descriptor::new(MediaType::OciManifest, Digest::of(b"x"), 1)
        };
        platforms.iter().map(entry).collect()
    }

    fn list() -> Descriptor {
        Descriptor::new(MediaType::DockerManifestList, Digest::of(b"list"), 1)
    }

    fn taken<'a>(rows: &'a [Row], node: &str, client: &str) -> &'a Taken {
        let row = rows.iter().find(|row| row.node == node).unwrap_or_else(|| panic!("no {node} in {rows:?}"));
        row.clients.iter().find(|taken| taken.client == client).expect("every client")
    }

    #[test]
    fn the_blogs_index_before_and_after() {
        let before = of(&list(), &entries(&[("amd64", ""), ("arm64", "")]));
        assert_eq!(taken(&before, "linux/arm64", "podman").text, "arm64");
        assert_eq!(taken(&before, "linux/arm/v7", "ctr").text, "-");
        let after = of(&list(), &entries(&[("amd64", ""), ("arm", "v6")]));
        let rows = [
            ("linux/amd64", "ctr", "amd64"),
            ("linux/arm/v7", "ctr", "arm/v6"),
            ("linux/arm/v7", "cri", "-"),
            ("linux/arm/v6", "cri", "arm/v6"),
            ("linux/arm64", "docker", "arm/v6 (?)"),
            ("linux/arm64", "cri", "-"),
            ("linux/arm64", "podman", "-"),
        ];
        for (node, client, expected) in rows {
            assert_eq!(taken(&after, node, client).text, expected, "{node} {client}");
        }
        let portable = of(&list(), &entries(&[("amd64", ""), ("arm", "v7"), ("arm", "v6"), ("s390x", "")]));
        assert_eq!(taken(&portable, "linux/arm/v7", "cri").text, "arm/v7");
        assert_eq!(taken(&portable, "linux/s390x", "cri").text, "s390x");
    }

    #[test]
    fn it_says_what_a_diagnosis_would() {
        let listed = entries(&[("amd64", ""), ("amd64", "v3"), ("arm", "v6"), ("arm64", ""), ("riscv64", "")]);
        let (root, rows) = (list(), of(&list(), &listed));
        let entries: Vec<Entry> = listed.into_iter().map(Entry::unread).collect();
        let nodes: Vec<Node> = rows.iter().map(|row| Node::known(&row.node).expect("a node")).collect();
        let fleet = Fleet::of(Image { root: &root, entries: &entries, contents: &[] }, &nodes);
        assert_eq!(rows.len(), 6, "{rows:?}");
        for client in &fleet.clients {
            for (cell, row) in client.cells.iter().zip(&rows) {
                let taken = taken(std::slice::from_ref(row), &row.node, &client.client);
                assert_eq!(
                    (taken.outcome, &taken.entries),
                    (Some(cell.outcome), &cell.takes),
                    "{} {taken:?}",
                    row.node
                );
            }
        }
    }

    #[test]
    fn nodes_that_nobody_knows_are_matched_all_the_same_and_there_are_only_so_many() {
        let mut odd = entries(&[("amd64", ""), ("am\u{1b}]0;x", "")]);
        odd[0].platform = Some(Platform { os: "windows".into(), ..Platform::linux("amd64", "") });
        let rows = of(&list(), &odd);
        let windows = taken(&rows, "windows/amd64", "ctr");
        assert_eq!((windows.text.as_str(), windows.outcome), ("amd64", None));
        assert_eq!(taken(&rows, "linux/am ]0;x", "ctr").text, "am ]0;x", "no letter steers a terminal");
        let names: Vec<String> = (0..1000).map(|number| format!("cpu{number}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(of(&list(), &entries(&many)).len(), MOST_NODES);
    }
}
