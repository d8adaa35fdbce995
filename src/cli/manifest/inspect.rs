//! `lighterman manifest inspect`.

use console::style;
use serde_json::{Value, json};

use crate::core::descriptor::Descriptor;
use crate::core::manifest::{ImageConfig, Manifest};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select::Entry;
use crate::core::text::{one_line, without_controls};
use crate::publish::coverage::{self, Row};
use crate::resolve::{Image, Reading, ResolveError, Resolver};

use super::super::context::{self, Context};
use super::super::{Failure, report};
use super::args::InspectArgs;
use super::prepare::reader;
use super::show::{coverage_text, declared, noted, platform_text};

/// A manifest and its config.
type Behind = Result<(Manifest, ImageConfig), ResolveError>;

/// An entry with what is behind it.
struct Seen {
    entry: Descriptor,
    /// Whether the repository has it.
    is_there: bool,
    /// Its config's platform, where it is an image that names one.
    config: Option<Platform>,
    /// Bytes of its layers.
    size: Option<u64>,
    /// Why it cannot be read, where it cannot.
    problem: Option<String>,
}

pub(super) async fn run(context: &Context, args: &InspectArgs) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse()?;
    let fetcher = reader(context, &args.registry, &reference)?;
    if args.raw {
        let root = fetcher.root(&reference).await?;
        report::document(root.content.content());
        return Ok(());
    }
    let limits = context::limits(context, None, None, None);
    let resolver = Resolver { fetcher: &fetcher, store: None, check_access: false, limits };
    let mut image = Box::pin(resolver.image(&reference, Reading::Everything)).await?;
    let entries: Vec<Descriptor> = match image.entries() {
        [] => vec![image.root.clone()],
        entries => entries.iter().map(|entry: &Entry| entry.descriptor.clone()).collect(),
    };
    let is_image = |entry: &&Descriptor| entry.media_type.is_manifest() && !entry.is_attestation();
    let images: Vec<Descriptor> = entries.iter().filter(is_image).cloned().collect();
    let mut behind = Box::pin(resolver.behind_each(&mut image, &images)).await.into_iter();
    let mut seen = Vec::with_capacity(entries.len());
    for entry in entries {
        let read = if is_image(&&entry) { behind.next() } else { None };
        let is_there = match &read {
            Some(Ok(_)) => true,
            _ => fetcher.digest_of(&reference.with_digest(entry.digest.clone())).await?.is_some(),
        };
        seen.push(Seen::new(entry, is_there, read));
    }
    let coverage = coverage::of(&image.root, &seen.iter().map(|seen| seen.entry.clone()).collect::<Vec<_>>());
    if context.global.json {
        report::result(&format!("{:#}", as_json(&image, &seen, &coverage)));
    } else {
        report::result(&as_text(&image, &seen, &coverage));
    }
    Ok(())
}

impl Seen {
    fn new(entry: Descriptor, is_there: bool, read: Option<Behind>) -> Self {
        let (config, size, problem) = match read {
            Some(Ok((manifest, config))) => {
                let named = Some(config.platform).filter(|platform| !platform.architecture.is_empty());
                let size = manifest.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
                (named, Some(size), None)
            }
            Some(Err(error)) if is_there => (None, None, Some(error.to_string())),
            _ => (None, None, None),
        };
        Self { entry, is_there, config, size, problem }
    }

    fn state(&self) -> String {
        match &self.problem {
            _ if !self.is_there => style("missing").red().bold().to_string(),
            Some(problem) => one_line(problem, super::LONGEST_PROBLEM),
            None => "there".into(),
        }
    }

    /// Index and config name different architectures.
    fn is_contradictory(&self) -> bool {
        let named = |platform: &Platform| (platform.normalized().os, platform.normalized().architecture);
        let declared = self.entry.platform.as_ref().filter(|platform| !platform.is_unknown());
        declared.zip(self.config.as_ref()).is_some_and(|(declared, config)| named(declared) != named(config))
    }
}

fn as_text(image: &Image, seen: &[Seen], coverage: &[Row]) -> String {
    let root = &image.root;
    let media_type = without_controls(root.media_type.as_str());
    let mut text = format!("{}\n  {}\n  {}\n\n", style(image.reference.familiar()).bold(), root.digest, media_type);
    let mut table = report::table();
    table.set_header(["ENTRY", "PLATFORM", "CONFIG SAYS", "LAYERS", "DIGEST", ""]);
    for (at, seen) in seen.iter().enumerate() {
        table.add_row([
            at.to_string(),
            declared(&seen.entry),
            seen.config.as_ref().map_or_else(|| "-".into(), platform_text),
            seen.size.map_or("-".into(), report::bytes),
            seen.entry.digest.to_string(),
            seen.state(),
        ]);
    }
    text.push_str(&report::lines(&table));
    if root.media_type.is_index() {
        text.push('\n');
        text.push_str(&coverage_text(coverage));
    }
    let contradictory: Vec<String> =
        (0..seen.len()).filter(|at| seen[*at].is_contradictory()).map(|at| at.to_string()).collect();
    if !contradictory.is_empty() {
        text.push_str(&noted(&format!(
            "index and config name different platforms for entry {}; lighterman diagnose --all-platforms {} looks at the \
             programs, which say which of the two holds",
            contradictory.join(", "),
            image.reference.familiar()
        )));
    }
    text
}

fn as_json(image: &Image, seen: &[Seen], coverage: &[Row]) -> Value {
    let entries: Vec<Value> = seen
        .iter()
        .map(|seen| {
            json!({
                "digest": seen.entry.digest,
                "mediaType": seen.entry.media_type,
                "size": seen.entry.size,
                "platform": seen.entry.platform.as_ref().map(ToString::to_string),
                "attestation": seen.entry.is_attestation(),
                "present": seen.is_there,
                "config": seen.config.as_ref().map(ToString::to_string),
                "layersSize": seen.size,
                "problem": seen.problem,
            })
        })
        .collect();
    let root = &image.root;
    json!({
        "reference": image.reference.to_string(),
        "root": { "digest": root.digest, "mediaType": root.media_type, "size": root.size },
        "entries": entries,
        "coverage": if root.media_type.is_index() { json!(coverage) } else { Value::Null },
    })
}
