//! The program against one node.

use super::super::super::contents::Contents;
use super::super::super::finding::{Finding, Id, Severity};
use super::super::super::runs::{Node, Obstacle, ObstacleKind, obstacles};
use super::remedies;
use crate::core::elf::Binary;

pub(super) fn check(contents: &Contents, binary: &Binary, node: &Node) -> Vec<Finding> {
    let architecture = binary.architecture().unwrap_or_default();
    let finding = |obstacle: Obstacle| {
        let id = id(obstacle.kind, architecture)?;
        let severity = if obstacle.certain { Severity::Error } else { Severity::Warning };
        let remedies = remedies::on_node(&obstacle, architecture, node.report.page_size);
        let mut finding = Finding::new(id, severity, format!("{}: {}", node.name, obstacle.reason)).on(&node.name);
        finding.evidence = obstacle.evidence;
        finding.remedies = remedies;
        Some(finding)
    };
    obstacles(contents, &node.report).into_iter().filter_map(finding).collect()
}

/// That a level is not known is nothing that is wrong.
fn id(kind: ObstacleKind, architecture: &str) -> Option<Id> {
    Some(match (kind, architecture) {
        (ObstacleKind::LevelUnknown, _) => return None,
        (ObstacleKind::PageSize, _) => Id::PageAlignment,
        (ObstacleKind::OldAbi | ObstacleKind::Float, _) => Id::ArmFloatAbi,
        (ObstacleKind::Level, "arm") => Id::VariantTooHigh,
        (ObstacleKind::Level | ObstacleKind::Feature, "amd64") => Id::X86Level,
        (ObstacleKind::Level | ObstacleKind::Feature, "arm64") => Id::Arm64Level,
        (ObstacleKind::Feature, "arm") => Id::ArmFloatAbi,
        (ObstacleKind::Level | ObstacleKind::Feature, _) => Id::CpuGeneration,
    })
}
