//! `lighterman doctor`: the findings, for a person or as JSON. The exit code is that of the worst.

use std::fmt::Write;
use std::path::Path;

use console::style;
use serde_json::json;

use super::context::Context;
use super::{Failure, report, setup};
use crate::node::doctor::{Facts, Finding, Runtime, Severity, Unwell, examine};
use crate::node::setup::Root;

/// Runs `lighterman doctor`.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let root = Root::open(Path::new("/"))?;
    let host = context.host().await;
    let emulators = host.complete().emulators.clone();
    let containerd = (runtime(context).await, context.file.staging_dir.as_deref());
    let facts = Facts::gather(&root, &setup::wanted(&context.file), containerd, emulators).await;
    let findings = examine(&facts);
    let outcome = Unwell::unless_well(&findings);
    if context.global.json {
        let list: Vec<_> = findings.iter().map(as_json).collect();
        report::result(&format!("{:#}", json!({"well": outcome.is_ok(), "findings": list})));
    } else {
        report::result(&render(&findings));
    }
    Ok(outcome?)
}

/// What containerd says of itself, with a real link and a real rename.
#[cfg(feature = "containerd")]
async fn runtime(context: &Context) -> Runtime {
    use super::context::ContainerdFlags;
    use crate::unpack::containerd::grafts;

    let address = context.containerd_address().display().to_string();
    let store = match context.containerd(None, ContainerdFlags::default()).await {
        Ok(store) => store,
        Err(error) => return Runtime { address, version: Err(error.to_string()), links: None, renames: None },
    };
    let version = store.version().await.map_err(|error| error.to_string());
    // Copying on purpose is nothing to find.
    let links = if context.file.content.as_deref() == Some("write") { None } else { Some(store.links().await) };
    Runtime { address, version, links, renames: grafts(&store).await.ok() }
}

#[cfg(not(feature = "containerd"))]
async fn runtime(context: &Context) -> Runtime {
    let address = context.containerd_address().display().to_string();
    let version = Err("this lighterman was built without containerd".to_owned());
    Runtime { address, version, links: None, renames: None }
}

fn render(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing is wrong on this node".into();
    }
    let mut out = String::new();
    for Finding { id, severity, message, fix, .. } in findings {
        let name = match severity {
            Severity::Error => style("error:").red().bold(),
            Severity::Warning => style("warning:").yellow().bold(),
            Severity::Note => style("note:").bold(),
        };
        let fix = fix.trim_end().replace('\n', "\n    ");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name} {message} [{id}]\n  {fix}");
    }
    out
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let Finding { id, severity, kind, message, fix } = finding;
    json!({"id": id, "severity": severity, "kind": kind.name(), "message": message, "fix": fix})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::Kind;

    #[test]
    fn findings_are_readable_and_go_by_their_ids() {
        let finding = Finding {
            id: "disk-full",
            severity: Severity::Error,
            kind: Kind::StoreFull,
            message: "0 B are free".into(),
            fix: "write into x:\na = 1\n".into(),
        };
        let text = console::strip_ansi_codes(&render(std::slice::from_ref(&finding))).into_owned();
        assert_eq!(text, "error: 0 B are free [disk-full]\n  write into x:\n    a = 1\n");
        assert_eq!(as_json(&finding)["severity"], "error");
        assert_eq!(as_json(&finding)["kind"], "store-full");
        assert_eq!(render(&[]), "nothing is wrong on this node");
    }
}
