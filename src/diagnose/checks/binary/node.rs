//! The program against one node.

use super::Subject;
use crate::diagnose::finding::{Finding, Id, Severity};
use crate::diagnose::runs::{Node, Obstacle, ObstacleKind, Weight, obstacles};

pub(super) fn check(subject: &Subject<'_>, node: &Node) -> Vec<Finding> {
    let found = obstacles(subject.contents, &node.report);
    found.into_iter().filter_map(|obstacle| finding(subject, node, obstacle)).collect()
}

fn finding(subject: &Subject<'_>, node: &Node, obstacle: Obstacle) -> Option<Finding> {
    let id = id(obstacle.kind, subject.binary.architecture()?);
    let severity = if obstacle.weight == Weight::Certain { Severity::Error } else { Severity::Warning };
    let mut finding = Finding::new(id, severity, obstacle.reason).on(&node.name);
    finding.remedies = match obstacle.weight {
        Weight::Unknown if node.report.is_assumed() => subject.remedies().ask(obstacle.kind),
        _ => subject.remedies().on_node(obstacle.kind, node.report.page_size),
    };
    finding.evidence = obstacle.evidence;
    Some(finding)
}

fn id(kind: ObstacleKind, architecture: &str) -> Id {
    match (kind, architecture) {
        (ObstacleKind::PageSize, _) => Id::PageAlignment,
        (ObstacleKind::OtherAbi, "loong64") => Id::CpuGeneration,
        (ObstacleKind::OtherAbi | ObstacleKind::Float, _) => Id::ArmFloatAbi,
        (ObstacleKind::Level | ObstacleKind::Feature, "arm") => Id::VariantTooHigh,
        (ObstacleKind::Level | ObstacleKind::Feature, "amd64") => Id::X86Level,
        (ObstacleKind::Level | ObstacleKind::Feature, "arm64") => Id::Arm64Level,
        (ObstacleKind::Level | ObstacleKind::Feature, _) => Id::CpuGeneration,
    }
}
