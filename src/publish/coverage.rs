//! What the clients of common nodes would take of an index: a table of client and node.
//!
//! Pure, by the rules of [`predict`](crate::core::predict). That a manifest is taken does not mean
//! that it runs.

use serde::Serialize;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::platform::Platform;
use crate::core::predict::{Client, HostView, Outcome, predict};
use crate::core::select::{Entry, EntryPath, path_text};
use crate::core::text::one_line;

/// Nodes that every index is held against, besides those that it is for.
const NODES: [(&str, &str); 4] = [("amd64", ""), ("arm64", ""), ("arm", "v7"), ("arm", "v6")];

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
    /// In a few words: the platform as it is declared, or what goes wrong.
    pub text: String,
}

/// What clients would take of an index of this type, OCI's or Docker's, with these entries.
#[must_use]
pub fn of(kind: &MediaType, entries: &[Descriptor]) -> Vec<Row> {
    let mut nodes: Vec<Platform> =
        NODES.iter().map(|(architecture, variant)| Platform::linux(architecture, variant)).collect();
    for entry in entries.iter().filter(|entry| !entry.is_attestation()) {
        let Some(platform) = &entry.platform else { continue };
        let node = Platform { os_version: String::new(), os_features: Vec::new(), ..platform.normalized() };
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    let entries: Vec<Entry> = entries.iter().cloned().map(Entry::unread).collect();
    nodes.iter().map(|node| row(kind, &entries, node)).collect()
}

fn row(kind: &MediaType, entries: &[Entry], node: &Platform) -> Row {
    let host = HostView { containerd: node.clone(), isa: node.clone() };
    let clients = Client::ALL.map(|client| {
        let (paths, text) = match predict(client, kind, entries, &host) {
            Outcome::Takes(paths) => {
                let names: Vec<String> = paths.iter().map(|path| name(entries, path)).collect();
                (paths, names.join(" and "))
            }
            Outcome::TakesUnchecked => (Vec::new(), "unchecked".into()),
            Outcome::NoMatch => (Vec::new(), "-".into()),
            Outcome::Fails(why) => (Vec::new(), format!("fails: {why}")),
        };
        Taken { client: client.name(), entries: paths.iter().map(|path| path_text(path)).collect(), text }
    });
    Row { node: one_line(&node.to_string(), LONGEST_NAME), clients: clients.into() }
}

fn name(entries: &[Entry], path: &EntryPath) -> String {
    let entry = path.first().and_then(|at| entries.get(*at));
    let platform = entry.and_then(|entry| entry.descriptor.platform.as_ref());
    platform.map_or_else(|| format!("entry {}", path_text(path)), |platform| one_line(&platform.arch(), LONGEST_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::Digest;

    fn entries(platforms: &[(&str, &str)]) -> Vec<Descriptor> {
        let entry = |(architecture, variant): &(&str, &str)| Descriptor {
            platform: Some(Platform::linux(architecture, variant)),
            ..Descriptor::new(MediaType::OciManifest, Digest::of(b"x"), 1)
        };
        platforms.iter().map(entry).collect()
    }

    fn cell(rows: &[Row], node: &str, client: &str) -> String {
        let row = rows.iter().find(|row| row.node == node).unwrap_or_else(|| panic!("no {node} in {rows:?}"));
        row.clients.iter().find(|taken| taken.client == client).expect("every client").text.clone()
    }

    #[test]
    fn the_blogs_index_before_and_after() {
        let before = of(&MediaType::DockerManifestList, &entries(&[("amd64", ""), ("arm64", "")]));
        assert_eq!(cell(&before, "linux/arm64", "podman"), "arm64");
        assert_eq!(cell(&before, "linux/arm/v7", "ctr"), "-");
        let after = of(&MediaType::DockerManifestList, &entries(&[("amd64", ""), ("arm", "v6")]));
        let rows = [
            ("linux/amd64", "ctr", "amd64"),
            ("linux/arm/v7", "ctr", "arm/v6"),
            ("linux/arm/v7", "cri", "-"),
            ("linux/arm/v6", "cri", "arm/v6"),
            ("linux/arm64", "docker", "arm/v6"),
            ("linux/arm64", "cri", "-"),
            ("linux/arm64", "podman", "-"),
        ];
        for (node, client, expected) in rows {
            assert_eq!(cell(&after, node, client), expected, "{node} {client}");
        }
        let portable =
            of(&MediaType::DockerManifestList, &entries(&[("amd64", ""), ("arm", "v7"), ("arm", "v6"), ("s390x", "")]));
        assert_eq!(cell(&portable, "linux/arm/v7", "cri"), "arm/v7");
        assert_eq!(cell(&portable, "linux/s390x", "cri"), "s390x");
    }
}
