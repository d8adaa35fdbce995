//! `lighterman resolve`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::descriptor::Descriptor;
use crate::core::reference::Reference;
use crate::fetch::progress::Silent;
use crate::resolve::Resolver;
use crate::resolve::choice::Wish;
use crate::resolve::resolution::Resolution;
#[cfg(feature = "containerd")]
use crate::service::api::{client::Client, v1};

use super::args::ResolveArgs;
use super::context::{self, Context};
use super::{Failure, explain, report};

pub(super) async fn run(context: &Context, args: &ResolveArgs) -> Result<(), Failure> {
    let (resolution, refusal) = look_up(context, args).await?;
    show(context, &resolution);
    refusal.map_or(Ok(()), Err)
}

/// What a reference stands for, by the daemon's word where one does the work. A refusal is the second value.
pub(super) async fn look_up(context: &Context, args: &ResolveArgs) -> Result<(Resolution, Option<Failure>), Failure> {
    let reference: Reference = args.reference.parse()?;
    #[cfg(feature = "containerd")]
    if let Some(daemon) = context.daemon(args.registry.only_here()).await? {
        return ask(context, args, &reference, &daemon).await;
    }
    let host = context.host().await;
    let platform = args.platform.as_deref().map(|text| context::platform(text, &host)).transpose()?;
    let on_mismatch = context.file.mismatch_policy().stance(&reference, args.matching.on_mismatch());
    let wish = Wish { platform, level: args.matching.level(), on_mismatch };
    let limits = context::limits(context, None, None, None);
    let engine = context.engine(&args.registry, limits)?;
    let fetcher = context.fetcher(&engine, &reference, &args.registry, Arc::new(Silent))?;
    let resolver = Resolver { fetcher: &fetcher, store: None, check_access: false, limits };
    let (resolution, refusal) = resolver.resolution(&reference, &wish, &host, args.explain).await?;
    Ok((resolution, refusal.map(Failure::from)))
}

#[cfg(feature = "containerd")]
async fn ask(
    context: &Context,
    args: &ResolveArgs,
    reference: &Reference,
    daemon: &Client,
) -> Result<(Resolution, Option<Failure>), Failure> {
    let request = v1::ResolveRequest {
        reference: reference.to_string(),
        platform: args.platform.clone().unwrap_or_default(),
        isa_level: args.matching.isa_level,
        allow_mismatch: args.matching.allow_mismatch,
        explain: args.explain,
        credentials: context.own_credentials(reference, &args.registry).await?,
    };
    let (resolution, refusal) = daemon.resolve(request).await?;
    Ok((resolution, refusal.map(Failure::from)))
}

/// The explanation where there is one, then what was chosen, if anything was.
fn show(context: &Context, resolution: &Resolution) {
    if let (Some(explained), false) = (&resolution.explained, context.global.json) {
        report::result(&explain::as_text(&resolution.reference, explained));
    }
    for warning in &resolution.warnings {
        report::warning(warning);
    }
    match (&resolution.chosen, context.global.json) {
        // A refusal is told as an error, and explained where that was asked for.
        (None, true) if resolution.explained.is_none() => {}
        (_, true) => report::result(&format!("{:#}", as_json(resolution))),
        (Some((manifest, platform)), false) => report::result(&format!("{} {platform}", manifest.digest)),
        (None, false) => {}
    }
}

fn as_json(resolution: &Resolution) -> Value {
    let plain = |descriptor: &Descriptor| json!({"digest": descriptor.digest, "mediaType": descriptor.media_type, "size": descriptor.size});
    let chosen = resolution.chosen.as_ref();
    let result = json!({
        "reference": resolution.reference,
        "root": plain(&resolution.root),
        "manifest": chosen.map(|(manifest, _)| plain(manifest)),
        "platform": chosen.map(|(_, platform)| platform.to_string()),
        "warnings": resolution.warnings,
    });
    match &resolution.explained {
        Some(explained) => report::merge(result, explain::as_json(explained)),
        None => result,
    }
}
