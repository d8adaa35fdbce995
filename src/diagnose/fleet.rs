//! One reference held against many nodes, and against the clients that might pull it there.
//!
//! Which entry a client takes is its own rule ([`mod@predict`]); whether that then runs is a question
//! to its program ([`runs::on`]), and only where nobody looked into it to its label. Nothing is
//! decided here for the sake of a grid: a cell says what would happen, and why.

mod stop;

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::report::{NodeVerdict, Outcome, entry_text};
use super::runs::{self, Node};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::platform::{Matcher, Platform};
use crate::core::predict::{self, Client, HostView, predict};
use crate::core::select::{self, Eligible, Entry, EntryPath};
use crate::host::Execution;

/// What becomes of an image on every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// The nodes, the columns of both grids, each with what lighterman would do there.
    pub nodes: Vec<NodeVerdict>,
    /// Every image of the index, in its order; one for a lone manifest. Called `grid` where it
    /// travels, because a report has its images beside it.
    #[serde(rename = "grid")]
    pub images: Vec<ImageRow>,
    /// Every client.
    pub clients: Vec<ClientRow>,
}

/// One image of the index on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRow {
    /// Its place in the index, positions from 0 joined by dots; `None` for a lone manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Its manifest.
    pub digest: Digest,
    /// The platform that clients go by, normalised; `None` where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// One for each node.
    pub cells: Vec<ImageCell>,
}

/// One image on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageCell {
    /// How it goes where this image is pulled; never `refused`.
    pub outcome: Outcome,
    /// The node accepts the platform that it is listed under.
    pub offered: bool,
    /// It is the one that is taken there.
    pub taken: bool,
    /// Why, where it does not simply run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One client on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRow {
    /// Its stable name.
    pub client: String,
    /// What people call it.
    pub label: String,
    /// One for each node.
    pub cells: Vec<ClientCell>,
}

/// One client on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCell {
    /// How it goes.
    pub outcome: Outcome,
    /// The entries that it fetches, in the order of the index; none for a lone manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<String>,
    /// Why, where it does not simply run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A reference, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// What the reference stands for.
    pub root: &'a Descriptor,
    /// The entries of its index; none for a lone manifest.
    pub entries: &'a [Entry],
    /// The manifests that were looked into.
    pub contents: &'a [Contents],
}

impl Fleet {
    /// Holds an image against nodes.
    #[must_use]
    pub fn of(image: Image<'_>, nodes: &[Node]) -> Self {
        let client = |client| ClientRow {
            client: Client::name(client).into(),
            label: label(client).into(),
            cells: nodes.iter().map(|node| image.with_client(client, node)).collect(),
        };
        Self {
            nodes: nodes.iter().map(|node| image.verdict(node)).collect(),
            images: image.rows(nodes),
            clients: Client::ALL.into_iter().map(client).collect(),
        }
    }
}

/// What clients go by on a node.
#[must_use]
pub fn host_view(node: &Node) -> HostView {
    HostView { containerd: node.report.matching_platform(), isa: node.report.isa_platform() }
}

/// CRI before containerd 2.1 pulls as `ctr` does.
fn label(client: Client) -> &'static str {
    match client {
        Client::Ctr => "ctr, nerdctl, CRI before 2.1",
        Client::Cri => "CRI from containerd 2.1",
        Client::Docker | Client::Podman => client.label(),
    }
}

impl<'a> Image<'a> {
    /// The only manifest, where the reference stands for one and no index.
    #[must_use]
    pub fn lone(&self) -> Option<&'a Contents> {
        self.contents.iter().find(|contents| contents.path.is_empty()).filter(|_| self.entries.is_empty())
    }

    /// What was looked into at this place.
    #[must_use]
    pub fn contents_at(&self, path: &[usize]) -> Option<&'a Contents> {
        self.contents.iter().find(|contents| contents.path == path)
    }

    /// The platform that clients go by, normalised: the declared one, else the config's.
    #[must_use]
    pub fn claimed(&self, path: &[usize]) -> Option<Platform> {
        let listed = select::at(self.entries, path).and_then(Entry::platform).map(Platform::normalized);
        listed.or_else(|| self.contents_at(path).map(Contents::claimed))
    }

    /// Whether and how the image at this place runs on a node, whoever brings it there.
    #[must_use]
    pub fn execution(&self, path: &[usize], node: &Node) -> Execution {
        let listed = select::at(self.entries, path).and_then(Entry::platform);
        match (self.contents_at(path), listed) {
            (Some(contents), _) => runs::on(contents, &node.report),
            (None, Some(claim)) => runs::claimed(claim, &node.report),
            (None, None) => Execution::Unknown { reason: "nothing says which platform it is for".into() },
        }
    }

    /// What lighterman takes on a node, which is what containerd would find there again; a lone
    /// manifest counts where its config fits, or where an emulator runs it. Empty path for that.
    #[must_use]
    pub fn taken(&self, node: &Node) -> Option<EntryPath> {
        let matcher = Matcher::only(&node.report.matching_platform());
        let Some(lone) = self.lone() else { return select::choose(self.entries, &matcher, Eligible::Images) };
        let fits = matcher.slot(&lone.config.platform).is_some();
        let emulated = || {
            let claimed = node.report.execution_of(&lone.config.platform);
            matches!(claimed, Execution::Emulated { usable_in_containers: true, .. })
        };
        (fits || emulated()).then(Vec::new)
    }

    /// What becomes of the reference on a node when lighterman pulls it.
    #[must_use]
    pub fn verdict(&self, node: &Node) -> NodeVerdict {
        let taken = self.taken(node);
        let (outcome, reason) = match &taken {
            Some(path) => match self.refused_by_label(path, node) {
                Some(reason) => (Outcome::Refused, Some(reason)),
                None => outcome(self.execution(path, node)),
            },
            None => (Outcome::Refused, Some(self.nothing_for(node))),
        };
        NodeVerdict {
            name: node.name.clone(),
            platform: node.report.matching_platform().to_string(),
            entry: taken.as_deref().and_then(entry_text),
            outcome,
            reason,
        }
    }

    /// lighterman refuses what the node cannot run by its platform alone, before it fetches it.
    fn refused_by_label(&self, path: &[usize], node: &Node) -> Option<String> {
        match node.report.execution_of(&self.claimed(path)?) {
            Execution::No { reason } => Some(reason),
            _ => None,
        }
    }

    fn nothing_for(&self, node: &Node) -> String {
        let wanted = node.report.matching_platform();
        match self.lone() {
            Some(lone) => {
                format!("the image is for {} alone, and the node is {wanted}", lone.config.platform.normalized())
            }
            None => format!("the index has nothing for {wanted}"),
        }
    }

    /// Places of all images; the root's own is empty.
    fn paths(&self) -> Vec<EntryPath> {
        if self.lone().is_some() { vec![Vec::new()] } else { select::images(self.entries) }
    }

    fn rows(&self, nodes: &[Node]) -> Vec<ImageRow> {
        // Choosing looks at every entry: once for a node, and not for each of its cells.
        let taken: Vec<Option<EntryPath>> = nodes.iter().map(|node| self.taken(node)).collect();
        let matchers: Vec<Matcher> = nodes.iter().map(|node| Matcher::only(&node.report.matching_platform())).collect();
        let row = |path: &EntryPath| {
            let listed = select::at(self.entries, path).map_or(self.root, |entry| &entry.descriptor);
            let claimed = self.claimed(path);
            let cells = nodes.iter().zip(&matchers).zip(&taken).map(|((node, matcher), taken)| {
                let (outcome, reason) = outcome(self.execution(path, node));
                let offered = claimed.as_ref().is_some_and(|claimed| matcher.slot(claimed).is_some());
                ImageCell { outcome, offered, taken: taken.as_ref() == Some(path), reason }
            });
            ImageRow {
                entry: entry_text(path),
                digest: listed.digest.clone(),
                platform: claimed.as_ref().map(ToString::to_string),
                cells: cells.collect(),
            }
        };
        self.paths().iter().map(row).collect()
    }

    /// What a client would take, wherever it runs.
    #[must_use]
    pub fn predicted(&self, client: Client, host: &HostView) -> predict::Outcome {
        match self.lone() {
            Some(_) => predict::Outcome::TakesUnchecked,
            None => predict(client, &self.root.media_type, self.entries, host),
        }
    }

    /// What a client takes on a node, and what becomes of it there.
    #[must_use]
    pub fn with_client(&self, client: Client, node: &Node) -> ClientCell {
        let host = host_view(node);
        let refused =
            |takes: Vec<String>, reason: String| ClientCell { outcome: Outcome::Refused, takes, reason: Some(reason) };
        let fetched = match self.predicted(client, &host) {
            predict::Outcome::TakesUnchecked => vec![Vec::new()],
            predict::Outcome::Takes(paths) => paths,
            predict::Outcome::NoMatch => return refused(Vec::new(), self.nothing_for(node)),
            predict::Outcome::Fails(why) => return refused(Vec::new(), why.into()),
        };
        let takes: Vec<String> = fetched.iter().filter_map(|path| entry_text(path)).collect();
        match self.used(client, &fetched, &host) {
            Some(path) => {
                let (outcome, reason) = outcome(self.execution(path, node));
                ClientCell { outcome, takes, reason }
            }
            None => refused(takes, "it fetches manifests and then finds none of them right".into()),
        }
    }

    /// Which of the fetched manifests is started. Newer CRI fetches every match, and looks the
    /// image up by containerd's `Only` afterwards, among all that the index lists.
    fn used<'p>(&self, client: Client, fetched: &'p [EntryPath], host: &HostView) -> Option<&'p EntryPath> {
        if client != Client::Cri || self.lone().is_some() {
            return fetched.first();
        }
        let found = select::choose(self.entries, &Matcher::only(&host.containerd), Eligible::Everything)?;
        fetched.iter().find(|path| **path == found)
    }
}

/// The outcome of a pull, told from how its program is executed.
#[must_use]
pub fn outcome(execution: Execution) -> (Outcome, Option<String>) {
    match execution {
        Execution::Native => (Outcome::Runs, None),
        Execution::Compat => (Outcome::Runs32Bit, None),
        Execution::Emulated { interpreter, usable_in_containers: true, .. } => {
            (Outcome::RunsEmulated, Some(format!("by {}", interpreter.as_deref().unwrap_or("an emulator"))))
        }
        Execution::Emulated { handler: Some(handler), .. } => {
            let reason =
                format!("its emulator {handler} is registered without flag F, so that containers do not have it");
            (Outcome::Fails, Some(reason))
        }
        Execution::Emulated { handler: None, .. } => {
            let reason = "an emulator that cannot be seen runs it; whether it does so in containers is not known";
            (Outcome::Unknown, Some(reason.into()))
        }
        Execution::No { reason } => (Outcome::Fails, Some(reason)),
        Execution::Unknown { reason } => (Outcome::Unknown, Some(reason)),
    }
}

#[cfg(test)]
mod tests;
