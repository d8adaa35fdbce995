//! Connecting the node's container runtimes to lighterman, and taking that back.
//!
//! [`Facts`] are what is on the node, read once through a [`Root`]. [`plan`] is a pure function
//! from them to the [`Step`]s that are missing: none on a node that is connected. [`carry_out`]
//! makes the steps and keeps a ledger of what was there before, from which [`undo`] restores it.
//!
//! Files of our own carry a marker in their first lines, and are only changed where it is
//! there. A file that a person wrote is changed by one key, if that can be shown to change
//! nothing else; otherwise the step is an advice, with the text to paste.
//!
//! Nothing is restarted here, and no daemon is asked anything.
//!
//! Specifications: containerd docs/hosts.md and docs/cri/registry.md; KubeletConfiguration
//! v1beta1; dockerd(8), "daemon configuration file"; containers-registries.conf(5).

mod containerd;
mod differ;
mod docker;
mod edit;
mod facts;
mod kubelet;
mod ledger;
mod podman;
mod root;
mod runtime;
mod version;

pub use facts::{Containerd, Docker, Facts, Found, Kubelet, Podman};
pub use kubelet::names_endpoint;
pub use ledger::{LEDGER, Outcome, Undone, carry_out, plan_undo, undo};
pub use root::{Content, Root};
pub use runtime::RuntimeConfig;
pub use version::Version;

/// The line that says whose a file is.
const MARKER: &str = "Written by `lighterman setup`";

/// What the node is to be connected to.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `host:port` of the mirror.
    pub mirror: String,
    /// Path of the daemon's socket.
    pub socket: String,
    /// Path of this program.
    pub program: String,
    /// This program can verify images for containerd.
    pub verifier: bool,
    /// containerd's own pulls are to be unpacked by the daemon.
    pub differ: bool,
}

/// What a step is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Topic {
    /// containerd's hosts.toml.
    #[default]
    Hosts,
    /// Whether containerd's CRI reads it.
    ConfigPath,
    /// Where the service may write.
    Unit,
    /// Who verifies images for containerd.
    Verifier,
    /// Who unpacks layers for containerd.
    Differ,
    /// Through which socket kubelet pulls.
    Kubelet,
    /// docker's mirrors.
    Docker,
    /// podman's mirrors.
    Podman,
}

impl Topic {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hosts => "containerd-hosts",
            Self::ConfigPath => "containerd-config-path",
            Self::Unit => "service-writes",
            Self::Verifier => "containerd-verifier",
            Self::Differ => "containerd-differ",
            Self::Kubelet => "kubelet-endpoint",
            Self::Docker => "docker-mirror",
            Self::Podman => "podman-mirror",
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give a file this content.
    Write {
        /// What it is about.
        topic: Topic,
        /// The file.
        path: String,
        /// What it has to contain for that; `None` where it must not exist.
        before: Option<String>,
        /// Its new content.
        after: String,
        /// The mode of a new file.
        mode: u32,
        /// What it is good for.
        why: String,
        /// The command that makes whoever reads the file notice; `None` where it is read anew
        /// each time.
        then: Option<&'static str>,
    },
    /// Ask a person to change a file of theirs.
    Advise {
        /// What it is about.
        topic: Topic,
        /// The file.
        path: String,
        /// Why we do not.
        why: String,
        /// What belongs into it.
        paste: String,
    },
}

/// Everything to do, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    steps: Vec<Step>,
    /// What is being planned.
    topic: Topic,
}

/// What is missing on a node.
#[must_use]
pub fn plan(facts: &Facts, wanted: &Wanted) -> Steps {
    let mut steps = Steps::default();
    if let Some(node) = &facts.containerd {
        containerd::plan(node, wanted, &mut steps);
    }
    if let Some(node) = &facts.kubelet {
        kubelet::plan(node, wanted, &mut steps);
    }
    if let Some(node) = &facts.docker {
        docker::plan(node, wanted, &mut steps);
    }
    if let Some(node) = &facts.podman {
        podman::plan(node, wanted, &mut steps);
    }
    steps
}

/// The first lines of a file of ours.
fn header(comment: &str) -> String {
    format!(
        "{comment} {MARKER}; `lighterman setup --undo` removes it.\n{comment} Without this line it is yours, and left alone.\n"
    )
}

impl Steps {
    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Commands that make the services notice, once the steps are made; each once.
    #[must_use]
    pub fn commands(&self) -> Vec<&'static str> {
        let all = self.steps.iter().filter_map(|step| match step {
            Step::Write { then, .. } => *then,
            Step::Advise { .. } => None,
        });
        let mut commands = Vec::new();
        for command in all {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        commands
    }

    /// What comes is about this.
    fn about(&mut self, topic: Topic) {
        self.topic = topic;
    }

    fn write(&mut self, path: &str, (before, after): (Option<String>, String), mode: u32, why: String) {
        // A second edit goes on where the first one stopped.
        let earlier = self.steps.iter_mut().find_map(|step| match step {
            Step::Write { path: other, after, why, .. } if other == path => Some((after, why)),
            _ => None,
        });
        match earlier {
            Some((text, reason)) => {
                *text = after;
                *reason = format!("{reason}; {why}");
            }
            None => {
                let (topic, path) = (self.topic, path.into());
                self.steps.push(Step::Write { topic, path, before, after, mode, why, then: None });
            }
        }
    }

    fn create(&mut self, path: &str, text: String, why: String) {
        self.write(path, (None, text), 0o644, why);
    }

    fn edit(&mut self, path: &str, before: &str, after: String, why: String) {
        self.write(path, (Some(before.into()), after), 0o644, why);
    }

    fn advise(&mut self, path: &str, why: String, paste: String) {
        self.steps.push(Step::Advise { topic: self.topic, path: path.into(), why, paste });
    }

    /// Whoever reads the file that was just written has to be told by this command.
    fn then(&mut self, path: &str, command: &'static str) {
        for step in &mut self.steps {
            match step {
                Step::Write { path: other, then, .. } if other == path => *then = Some(command),
                _ => {}
            }
        }
    }

    /// What a file will contain, where a step changes it.
    fn text_of(&self, path: &str) -> Option<&str> {
        self.steps.iter().find_map(|step| match step {
            Step::Write { path: other, after, .. } if other == path => Some(after.as_str()),
            _ => None,
        })
    }

    /// A whole file of ours. What a person has in its place is left, with advice where it does
    /// not do what ours would.
    fn own(&mut self, own: Own<'_>, does: impl Fn(&str) -> bool) {
        let Own { file, mode, text, why, paste } = own;
        match &file.content {
            Content::Absent => self.write(&file.path, (None, text), mode, why),
            Content::Text(there) if *there == text => {}
            Content::Text(there) if there.lines().take(3).any(|line| line.contains(MARKER)) => {
                self.write(&file.path, (Some(there.clone()), text), mode, why);
            }
            Content::Text(there) | Content::Linked(there) if does(there) => {}
            Content::Text(_) | Content::Linked(_) => self.advise(&file.path, "a person wrote it".into(), paste),
            Content::Unreadable(reason) => self.advise(&file.path, format!("it cannot be read ({reason})"), paste),
        }
    }
}

/// A file that is wholly ours.
struct Own<'a> {
    file: &'a Found,
    mode: u32,
    text: String,
    why: String,
    /// What has to be in a person's file in its place.
    paste: String,
}

#[cfg(test)]
mod tests;
