//! What one node takes of the image, and where that is nothing, or not what it should be.

use super::{built_for, configured, declared, entry, listed, names, platforms};
use crate::core::image_name::ArchName;
use crate::core::platform::{Matcher, Platform};
use crate::core::reference::Reference;
use crate::core::select::{self, EntryPath};
use crate::core::text::shell_word;
use crate::diagnose::checks::{node as nodes, remedies, shown};
use crate::diagnose::contents::Contents;
use crate::diagnose::finding::{Finding, Id, Remedy, Severity};
use crate::diagnose::fleet::{Image, outcome};
use crate::diagnose::report::Outcome;
use crate::diagnose::runs::Node;
use crate::host::Execution;

pub(super) fn check(reference: &Reference, image: Image<'_>, node: &Node) -> Option<Finding> {
    let choice = Choice { reference, image, node, wanted: node.report.matching_platform() };
    let finding = match (image.taken(node), image.lone()) {
        (Some(path), _) => choice.fallback(&path)?,
        (None, Some(lone)) => choice.single(lone),
        (None, None) => choice.nothing(),
    };
    Some(finding.on(&node.name))
}

struct Choice<'a> {
    reference: &'a Reference,
    image: Image<'a>,
    node: &'a Node,
    /// What the node matches images with.
    wanted: Platform,
}

impl Choice<'_> {
    /// PLAT-001.
    fn nothing(&self) -> Finding {
        let mut message = format!("nothing in the image is for {}; it has {}", self.wanted, listed(self.image));
        let runnable: Vec<(EntryPath, Outcome)> =
            select::images(self.image.entries).into_iter().map(|path| (path.clone(), self.outcome(&path))).collect();
        // A program under a wrong label is a fault of the label, which is an error of its own.
        let hidden = runnable.iter().find(|(path, outcome)| runs(*outcome) && self.is_mislabelled(path));
        let severity = if hidden.is_some() { Severity::Warning } else { Severity::Error };
        if let Some((path, _)) = hidden {
            message.push_str(&format!(". The program of {} would run, and its label keeps it away", entry(path)));
        }
        let mut finding = Finding::new(Id::NoMatch, severity, message);
        finding.evidence =
            select::images(self.image.entries).iter().take(3).map(|path| declared(self.image, path)).collect();
        finding.remedies = self.ways_out(&runnable);
        finding
    }

    fn ways_out(&self, runnable: &[(EntryPath, Outcome)]) -> Vec<Remedy> {
        let mut remedies: Vec<Remedy> = self.other_name().into_iter().collect();
        remedies.extend(runnable.iter().filter_map(|(path, outcome)| self.asked_for(path, *outcome)).take(3));
        let nothing_runs = remedies.is_empty();
        let platforms = platforms(self.image);
        remedies.push(remedies::build(self.reference, &platforms, &self.wanted));
        if let Some(platform) = platforms.iter().find(|platform| nothing_runs && platform.os == "linux") {
            let text = format!("or run {} under an emulator, slower, and ask for it with --platform", shown(platform));
            remedies.push(remedies::register_emulator(&platform.architecture, &text));
        }
        remedies
    }

    /// Takes what no rule takes by itself.
    fn asked_for(&self, path: &[usize], outcome: Outcome) -> Option<Remedy> {
        let claimed = self.image.claimed(path)?;
        let how = match outcome {
            Outcome::Runs | Outcome::Runs32Bit => "",
            Outcome::RunsEmulated => " under an emulator",
            _ => return None,
        };
        let remedy = Remedy::new(format!("ask for it: {} runs on this node{how}", entry(path)));
        // Of entries without platform only the first is tried, whatever is asked for.
        let is_fit = Matcher::only(&self.wanted).slot(&claimed).is_some();
        let digest = select::at(self.image.entries, path).map(|entry| entry.descriptor.digest.clone());
        Some(match digest.filter(|_| is_fit) {
            Some(digest) => {
                remedy.command(format!("lighterman pull {}", self.reference.with_digest(digest).familiar()))
            }
            None => remedy.command(format!(
                "lighterman pull {} --platform {}",
                self.reference.familiar(),
                shell_word(&claimed.to_string())
            )),
        })
    }

    /// PLAT-011: the branch that other clients leave out.
    fn single(&self, lone: &Contents) -> Finding {
        let outcome = self.outcome(&[]);
        let emulator_is_at_fault = nodes::broken_emulator(&lone.config.platform, self.node).is_some();
        let severity = match outcome {
            Outcome::Fails if !emulator_is_at_fault => Severity::Error,
            _ => Severity::Warning,
        };
        let claim = match lone.config.platform.architecture.as_str() {
            "" => "names no platform at all; it may be no image".to_owned(),
            _ => format!("is for {} alone", shown(&lone.config.platform.normalized())),
        };
        let ends = match outcome {
            Outcome::Fails => "and it does not run",
            Outcome::Unknown => "and whether it runs is not known",
            _ => "though its program would run",
        };
        let message = format!(
            "the image {claim}, and the node is {}: clients other than lighterman pull it without a word, {ends}",
            self.wanted
        );
        let mut finding = Finding::new(Id::SingleArchMismatch, severity, message).shown_by(configured(lone));
        finding.remedies.extend(self.other_name());
        let own = lone.config.platform.normalized();
        let has = if own.architecture.is_empty() { Vec::new() } else { vec![own] };
        finding.mended_by(remedies::build(self.reference, &has, &self.wanted))
    }

    /// PLAT-012.
    fn fallback(&self, path: &[usize]) -> Option<Finding> {
        let claimed = self.image.claimed(path)?;
        let accepted = Matcher::only(&self.wanted).slot(&claimed).is_some();
        if !accepted || claimed.architecture == self.wanted.architecture {
            return None;
        }
        let own = self.node.report.runs.iter().find(|runs| runs.architecture == claimed.architecture);
        let own = own.map(|runs| &runs.execution);
        let runs_all_the_same = self.image.contents_at(path).is_some() && runs(self.outcome(path));
        let mut message = format!(
            "the image has nothing for {}, and containerd falls back to its 32-bit {}",
            self.wanted,
            shown(&claimed)
        );
        let severity = match own {
            Some(Execution::No { reason }) if !runs_all_the_same => {
                message.push_str(&format!(", which does not run here: {reason}"));
                Severity::Error
            }
            Some(Execution::Unknown { reason }) => {
                message.push_str(&format!(", of which it is not known whether it runs here: {reason}"));
                Severity::Warning
            }
            _ => {
                message.push_str("; CRI from containerd 2.1, podman and CRI-O find no match instead");
                Severity::Warning
            }
        };
        let evidence = match self.image.lone() {
            Some(lone) => configured(lone),
            None => declared(self.image, path),
        };
        Some(Finding::new(Id::Fallback32Bit, severity, message).at(path).shown_by(evidence).mended_by(remedies::build(
            self.reference,
            &platforms(self.image),
            &self.wanted,
        )))
    }

    fn outcome(&self, path: &[usize]) -> Outcome {
        outcome(self.image.execution(path, self.node)).0
    }

    fn is_mislabelled(&self, path: &[usize]) -> bool {
        let claimed = self.image.claimed(path).map(|platform| platform.architecture);
        built_for(self.image, path).is_some_and(|built| claimed.as_deref() != Some(built))
    }

    /// The multi-arch image, where the name is that of another architecture.
    fn other_name(&self) -> Option<Remedy> {
        let name = ArchName::find(self.reference)?;
        let foreign = Matcher::only(&self.wanted).slot(&name.platform).is_none();
        foreign.then(|| names::multi_arch(&name))
    }
}

fn runs(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Runs | Outcome::Runs32Bit)
}
