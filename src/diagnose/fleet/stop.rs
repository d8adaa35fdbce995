//! What cannot run for another reason than its platform.

use super::{ClientCell, Fleet, NodeVerdict};
use crate::diagnose::finding::{Finding, Severity};
use crate::diagnose::report::{Image, Outcome};

impl Fleet {
    /// Marks images that an error stops: errors of their files stop them everywhere, others on
    /// the node that they are about.
    pub fn stop(&mut self, findings: &[Finding]) {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        for finding in errors.filter(|finding| finding.id.is_of_files() || finding.node.is_some()) {
            for (column, node) in self.nodes.iter_mut().enumerate() {
                if finding.node.as_ref().is_some_and(|name| *name != node.name) {
                    continue;
                }
                let reason = || Some(finding.message.clone());
                node.stop(finding);
                let rows = self.images.iter_mut().filter(|row| row.entry == finding.entry);
                for cell in rows.filter_map(|row| row.cells.get_mut(column)).filter(|cell| cell.outcome.may_run()) {
                    (cell.outcome, cell.reason) = (Outcome::Fails, reason());
                }
                let cells = self.clients.iter_mut().filter_map(|row| row.cells.get_mut(column));
                for cell in cells.filter(|cell| cell.outcome.may_run() && cell.brings(finding)) {
                    (cell.outcome, cell.reason) = (Outcome::Fails, reason());
                }
            }
        }
    }
}

impl Fleet {
    /// Marks an image whose manifest or config cannot be had.
    pub fn lose(&mut self, image: &Image) {
        let reason = || Some(image.problem.clone().unwrap_or_else(|| "it cannot be read".into()));
        for node in self.nodes.iter_mut().filter(|node| node.outcome != Outcome::Refused && node.entry == image.entry) {
            (node.outcome, node.reason) = (Outcome::Fails, reason());
        }
        for cell in self.images.iter_mut().filter(|row| row.entry == image.entry).flat_map(|row| &mut row.cells) {
            (cell.outcome, cell.reason) = (Outcome::Fails, reason());
        }
        let takes = |cell: &&mut ClientCell| cell.takes.first() == image.entry.as_ref();
        for cell in self.clients.iter_mut().flat_map(|row| &mut row.cells).filter(takes) {
            if cell.outcome != Outcome::Refused {
                (cell.outcome, cell.reason) = (Outcome::Fails, reason());
            }
        }
    }
}

impl NodeVerdict {
    fn stop(&mut self, finding: &Finding) {
        if self.outcome.may_run() && self.entry == finding.entry {
            (self.outcome, self.reason) = (Outcome::Fails, Some(finding.message.clone()));
        }
    }
}

impl ClientCell {
    /// Whether it takes what the finding is about.
    fn brings(&self, finding: &Finding) -> bool {
        match &finding.entry {
            Some(entry) => self.takes.first() == Some(entry),
            None => self.takes.is_empty(),
        }
    }
}
