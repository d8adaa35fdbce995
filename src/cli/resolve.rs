//! `lighterman resolve`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::reference::Reference;
use crate::fetch::progress::Silent;
use crate::resolve::choice::{self, Choice, Wish};
use crate::resolve::{Image, Reading, Resolver};

use super::args::ResolveArgs;
use super::context::{self, Context};
use super::{Failure, explain, report};

pub(super) async fn run(context: &Context, args: &ResolveArgs) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse()?;
    let host = context.host().await;
    let platform = args.platform.as_deref().map(|text| context::platform(text, &host)).transpose()?;
    let wish = Wish { platform, level: args.matching.level(), on_mismatch: args.matching.on_mismatch() };
    let limits = context::limits(context, None, None);
    let engine = context.engine(&args.registry, limits)?;
    let fetcher = context.fetcher(&engine, &reference, &args.registry, Arc::new(Silent))?;
    let resolver = Resolver { fetcher: &fetcher, store: None, limits };
    let matcher = wish.matcher(&host);
    let reading = if args.explain { Reading::Everything } else { Reading::Deciding(&matcher) };
    let image = resolver.image(&reference, reading).await?;
    let outcome = choice::choose(&image, &wish, &host);
    if args.explain {
        let explanation = choice::explain(&image, &wish, &host, outcome.as_ref().ok());
        if context.global.json {
            let choice = outcome.as_ref().ok();
            report::result(&pretty(&report::merge(result(&image, choice), explain::as_json(&explanation))));
        } else {
            report::result(&explain::as_text(&image, &explanation));
        }
    }
    let choice = outcome?;
    for warning in &choice.warnings {
        report::warning(warning);
    }
    match (context.global.json, args.explain) {
        (true, false) => report::result(&pretty(&result(&image, Some(&choice)))),
        (false, _) => report::result(&format!("{} {}", choice.descriptor.digest, choice.platform)),
        (true, true) => {}
    }
    Ok(())
}

fn result(image: &Image, choice: Option<&Choice>) -> Value {
    let root = &image.root;
    json!({
        "reference": image.reference.to_string(),
        "root": {"digest": root.digest, "mediaType": root.media_type, "size": root.size},
        "manifest": choice.map(|choice| {
            let manifest = &choice.descriptor;
            json!({"digest": manifest.digest, "mediaType": manifest.media_type, "size": manifest.size})
        }),
        "platform": choice.map(|choice| choice.platform.to_string()),
        "warnings": choice.map(|choice| choice.warnings.clone()).unwrap_or_default(),
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
