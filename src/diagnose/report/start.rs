//! What an image starts, for a report.

use serde::{Deserialize, Serialize};

use crate::core::digest::Digest;
use crate::core::elf::Binary;
use crate::diagnose::contents::{self, Stopped};

/// What an image starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The files that the kernel opens, in order: the program, interpreters of scripts.
    pub files: Vec<OpenedFile>,
    /// Why it ends before a binary, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The dynamic loader that the binary asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// The programs that are started in its place, one by the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Started>,
    /// The distribution, as it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Bytes of layers that came over the network.
    pub bytes_fetched: u64,
    /// Bytes of layers that were read from this machine.
    pub bytes_read: u64,
}

/// A program that the one before it starts in its own place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// How it was got to: `entrypoint.sh -> exec "$@" -> postgres`.
    pub way: String,
    /// It is started, whatever else happens. Otherwise it may be.
    pub certain: bool,
    /// The files that the kernel opens, in order.
    pub files: Vec<OpenedFile>,
    /// Why it ends before a binary, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The dynamic loader that the binary asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenedFile {
    /// The path that was asked for.
    pub path: String,
    /// What it is, in words.
    pub description: String,
    /// What it is built for, as far as its header says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The layer that has it.
    pub layer: Digest,
    /// The layer was read whole and its digest held.
    pub verified: bool,
    /// Nothing that was left unread can hide it.
    pub certain: bool,
}

impl From<&contents::Start> for Start {
    fn from(start: &contents::Start) -> Self {
        Self {
            argv: start.argv.clone(),
            files: start.first.steps.iter().map(OpenedFile::from).collect(),
            stopped: start.first.stopped.as_ref().map(stopped_text),
            loader: start.first.loader.as_ref().map(|loader| loader.asked.clone()),
            then: start.next.iter().map(Started::from).collect(),
            distribution: start.distribution.as_ref().map(|distribution| distribution.name.clone()),
            bytes_fetched: start.cost.fetched,
            bytes_read: start.cost.read,
        }
    }
}

impl From<&contents::Next> for Started {
    fn from(next: &contents::Next) -> Self {
        Self {
            way: next.way.clone(),
            certain: next.certain,
            files: next.chain.steps.iter().map(OpenedFile::from).collect(),
            stopped: next.chain.stopped.as_ref().map(stopped_text),
            loader: next.chain.loader.as_ref().map(|loader| loader.asked.clone()),
        }
    }
}

impl From<&contents::Step> for OpenedFile {
    fn from(step: &contents::Step) -> Self {
        let platform = step.what.binary().and_then(Binary::platform);
        Self {
            path: step.file.asked.clone(),
            description: step.what.to_string(),
            platform: platform.map(|platform| platform.to_string()),
            layer: step.file.layer.clone(),
            verified: step.file.verified,
            certain: step.file.certain,
        }
    }
}

fn stopped_text(stopped: &Stopped) -> String {
    match stopped {
        Stopped::NoProgram => "the image names no program".into(),
        Stopped::Absent { asked } => format!("not in the image: {}", asked.join(", ")),
        Stopped::Other { asked, kind } => format!("{asked} is {kind}"),
        Stopped::Loop { asked } => format!("{asked} is a symbolic link that leads to itself"),
        Stopped::TooDeep => "interpreters of interpreters, deeper than Linux follows".into(),
        Stopped::NotRead { why, .. } => format!("not found out: {why}"),
    }
}
