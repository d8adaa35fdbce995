//! `lighterman inspect`.

use std::fmt::Write as _;
use std::sync::Arc;

use console::style;

use crate::core::limits::Limits;
use crate::core::reference::Reference;
use crate::core::text::{one_line, without_controls};
use crate::diagnose::inspect::{ImageFacts, InspectError, Inspection, inspect};
use crate::store::Store;

use super::args::InspectArgs;
use super::context::{Access, ContainerdFlags, Context, Place};
use super::{Failure, report};

/// Bytes of a name that some other tool has given.
const LONGEST: usize = 500;

pub(super) async fn run(context: &Context, args: &InspectArgs) -> Result<(), Failure> {
    let place = Place::parse(&args.from)?;
    let flags = ContainerdFlags { namespace: args.namespace.clone(), ..ContainerdFlags::default() };
    let opened = context.open(&place, flags, Access::Read).await?;
    let store: Arc<dyn Store> = opened.store.into();
    let names = match &args.reference {
        Some(name) => vec![name.parse::<Reference>()?.to_string()],
        None => store.names().await?,
    };
    if names.is_empty() {
        return Err(InspectError::Empty { store: store.describe() }.into());
    }
    for name in names {
        let inspection = inspect(&store, &name, &Limits::default()).await?;
        if context.global.json {
            report::result(&serde_json::json!(inspection).to_string());
        } else {
            report::result(&as_text(&inspection));
        }
    }
    Ok(())
}

pub(super) fn as_text(inspection: &Inspection) -> String {
    let mut text = format!("{}\n", style(one_line(&inspection.reference, LONGEST)).bold());
    if inspection.target.media_type.is_index() {
        text.push_str(&format!("  {:<10} {}\n", "index", inspection.target.digest));
    }
    for image in &inspection.images {
        describe(&mut text, image);
    }
    for finding in &inspection.findings {
        text.push('\n');
        text.push_str(&super::diagnose::text::describe(finding));
    }
    text
}

fn describe(text: &mut String, image: &ImageFacts) {
    let declared = image.declared.as_ref().map_or("not declared".into(), |platform| platform.normalized().to_string());
    // What images and their builders wrote does not steer the terminal.
    let mut row = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:<10} {}", without_controls(value));
    };
    row("manifest", &image.digest.to_string());
    row("image ID", &image.id.to_string());
    row("platform", &format!("{declared} by the index, {} by the config", image.config.normalized()));
    if let Some(created) = &image.created {
        row("created", created);
    }
    let bytes = image.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    row("layers", &format!("{}, {} compressed", image.layers.len(), report::bytes(bytes)));
    for layer in &image.layers {
        row("", &format!("{} {:>10}", layer.digest, report::bytes(layer.size)));
    }
    row("starts", &if image.argv.is_empty() { "nothing by itself".into() } else { image.argv.join(" ") });
    let program = image.start.as_ref().map(super::diagnose::text::started);
    for (at, line) in program.unwrap_or_else(|| vec!["not looked into".into()]).iter().enumerate() {
        row(if at == 0 { "program" } else { "" }, line);
    }
    row(
        "verified",
        &format!("{} blobs, {}: sizes and digests hold", image.blobs_verified, report::bytes(image.bytes_verified)),
    );
}
