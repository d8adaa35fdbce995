//! Diagnoses as messages, and back. The whole report travels as JSON; what programs act on is
//! told in fields as well.

use super::convert::{self, Unintelligible};
use super::request::{BadRequest, check_nodes, check_platforms};
use super::v1;
use crate::core::limits::Limits;
use crate::core::reference::Reference;
use crate::diagnose::finding::{Evidence, Finding, Remedy};
use crate::diagnose::report::{NodeVerdict, Report};
use crate::diagnose::rootfs::layers::Effort;
use crate::host::Node;
use crate::pulls::{Doubt, Place};

impl TryFrom<v1::DiagnoseRequest> for Doubt {
    type Error = BadRequest;

    fn try_from(request: v1::DiagnoseRequest) -> Result<Self, BadRequest> {
        check_platforms(request.all_platforms, &request.platforms)?;
        check_nodes(request.nodes.len())?;
        let reference: Reference = request.reference.parse()?;
        Ok(Self {
            reference,
            platforms: request.platforms,
            all_platforms: request.all_platforms,
            nodes: request.nodes.into_iter().map(node).collect::<Result<_, _>>()?,
            deep: request.deep,
            effort: match (request.deep, request.budget) {
                (true, _) => Effort::everything(&Limits::default()),
                (false, Some(bytes)) => Effort { per_layer: bytes, per_image: bytes, ..Effort::default() },
                (false, None) => Effort::default(),
            },
            place: Place { namespace: convert::some(request.namespace), snapshotter: None },
            credentials: convert::credentials(request.credentials),
        })
    }
}

/// A name is never taken for a file: callers do not read the daemon's.
fn node(node: v1::Node) -> Result<Node, BadRequest> {
    if node.report_json.is_empty() {
        return Ok(Node::known(&node.name)?);
    }
    let report = Node::reported(&node.name, node.report_json.as_bytes());
    report.map_err(|why| BadRequest::Report { name: node.name, why })
}

impl From<&Node> for v1::Node {
    fn from(node: &Node) -> Self {
        Self { name: node.name.clone(), report_json: serde_json::json!(node.report).to_string() }
    }
}

impl From<&Report> for v1::DiagnoseResponse {
    fn from(report: &Report) -> Self {
        Self {
            runs: report.runs(),
            nodes: report.fleet.nodes.iter().map(Into::into).collect(),
            findings: report.findings.iter().map(Into::into).collect(),
            report_json: serde_json::json!(report).to_string(),
        }
    }
}

impl TryFrom<v1::DiagnoseResponse> for Report {
    type Error = Unintelligible;

    fn try_from(message: v1::DiagnoseResponse) -> Result<Self, Unintelligible> {
        serde_json::from_str(&message.report_json).map_err(|_| Unintelligible("its report is of another form"))
    }
}

impl From<&NodeVerdict> for v1::NodeVerdict {
    fn from(verdict: &NodeVerdict) -> Self {
        Self {
            name: verdict.name.clone(),
            platform: verdict.platform.clone(),
            entry: verdict.entry.clone().unwrap_or_default(),
            outcome: verdict.outcome.name().into(),
            reason: verdict.reason.clone().unwrap_or_default(),
        }
    }
}

impl From<&Finding> for v1::Finding {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.code().into(),
            severity: finding.severity.name().into(),
            entry: finding.entry.clone().unwrap_or_default(),
            node: finding.node.clone().unwrap_or_default(),
            message: finding.message.clone(),
            evidence: finding.evidence.iter().map(Into::into).collect(),
            remedies: finding.remedies.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Evidence> for v1::Evidence {
    fn from(evidence: &Evidence) -> Self {
        Self {
            what: evidence.what.clone(),
            digest: evidence.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
            path: evidence.path.clone().unwrap_or_default(),
            offset: evidence.offset,
            bytes: evidence.bytes.clone().unwrap_or_default(),
            verified: evidence.verified,
        }
    }
}

impl From<&Remedy> for v1::Remedy {
    fn from(remedy: &Remedy) -> Self {
        Self { text: remedy.text.clone(), commands: remedy.commands.clone() }
    }
}
