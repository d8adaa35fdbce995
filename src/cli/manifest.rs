//! `lighterman manifest`: indexes at registries, looked at, made, corrected and pushed.
//!
//! The daemon is not asked: what is pushed is the user's own act, with the user's own credentials.

mod args;
mod inspect;
mod prepare;
mod show;

use serde_json::json;

use crate::core::descriptor::MediaType;
use crate::core::digest::Digest;
use crate::core::draft::{Change, Draft, DraftError, Edit};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text::one_line;
use crate::diagnose::repair::{self, Proposal};
use crate::publish::assemble::{Child, assemble};
use crate::publish::{Publication, PublishError, Publisher, Registries, advice, entry, restore, revise};

use super::args::RegistryArgs;
use super::context::Context;
use super::{Failure, report};
use args::{AnnotateArgs, CreateArgs, ManifestCommand, PushArgs};
use prepare::registries;

pub(super) use args::{ManifestArgs, Then};

/// Bytes of a platform's name that are shown; a publisher may have written anything.
const LONGEST_NAME: usize = 60;
/// Bytes of what is wrong with an entry; registries have a word in it.
const LONGEST_PROBLEM: usize = 300;

pub(super) async fn run(context: &Context, args: &ManifestArgs) -> Result<(), Failure> {
    let work = async {
        match &args.command {
            ManifestCommand::Inspect(args) => inspect::run(context, args).await,
            ManifestCommand::Create(args) => create(context, args).await,
            ManifestCommand::Annotate(args) => annotate(context, args).await,
            ManifestCommand::Push(args) => push(context, args).await,
        }
    };
    tokio::select! {
        done = Box::pin(work) => done,
        // What was copied meanwhile is removed from this machine; blobs that the registry has stay there.
        Ok(()) = tokio::signal::ctrl_c() => Err(PublishError::Cancelled.into()),
    }
}

/// A draft on its way to be shown, kept or pushed.
struct Prepared {
    publication: Publication,
    /// What the tag stands for.
    base: Option<Draft>,
    notes: Vec<String>,
}

async fn create(context: &Context, args: &CreateArgs) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse()?;
    let children = args.children.iter().map(|text| child(text, &reference)).collect::<Result<Vec<_>, _>>()?;
    let others: Vec<&Reference> = children.iter().map(|child| &child.reference).collect();
    let registries = registries(context, &args.registry, &reference, &others)?;
    let kind = args.docker.then_some(MediaType::DockerManifestList);
    let assembled = Box::pin(assemble(&registries, &reference, &children, kind)).await?;
    let base = prepare::base(&registries, &assembled.publication).await?;
    let prepared = Prepared { publication: assembled.publication, base, notes: assembled.notes };
    finish(context, &registries, prepared, &args.then).await
}

/// `REF` or `REF=PLATFORM`; a digest alone is one of the repository itself.
fn child(text: &str, home: &Reference) -> Result<Child, Failure> {
    let (reference, platform) = match text.split_once('=') {
        Some((reference, platform)) => (reference, Some(typed(platform)?)),
        None => (text, None),
    };
    let reference = match reference.parse::<Digest>() {
        Ok(digest) => home.with_digest(digest),
        Err(_) => reference.parse()?,
    };
    Ok(Child { reference, platform })
}

/// A platform as it was typed; what is left out of it is not this node's.
fn typed(text: &str) -> Result<Platform, Failure> {
    Ok(Platform::parse(text, &Platform::linux("amd64", ""))?)
}

async fn annotate(context: &Context, args: &AnnotateArgs) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse()?;
    let also = args.also.iter().map(|text| typed(text)).collect::<Result<Vec<_>, _>>()?;
    let registries = registries(context, &args.registry, &reference, &[])?;
    let mut publication = revise(&registries, &reference).await?;
    let base = publication.draft.clone();
    let positions = entry::find(&reference, &base.entries(), &args.entry)?;
    let failed = |source| PublishError::Draft { reference: reference.familiar(), source };
    let change = change(args);
    for at in &positions {
        publication.draft.change(*at, &change).map_err(failed)?;
    }
    let mut notes = Vec::new();
    if args.features.is_some() && *base.media_type() == MediaType::OciIndex {
        notes.push("features of the CPU are known to Docker's manifest lists, and this is an OCI index".to_owned());
    }
    // Each goes right behind the entry, so that the last comes first.
    for platform in also.iter().rev() {
        let at = positions.first().copied().unwrap_or_default();
        match publication.draft.repeat(at, platform) {
            Err(DraftError::Listed { .. }) => notes.push(format!("it is listed for {platform} already")),
            repeated => repeated.map_err(failed)?,
        }
        notes.extend(of_another_architecture(&publication.draft, at, platform));
    }
    finish(context, &registries, Prepared { publication, base: Some(base), notes }, &args.then).await
}

/// Corrects the index that was diagnosed, and no other that its tag stands for by now.
pub(super) async fn repair(
    context: &Context,
    registry: &RegistryArgs,
    (reference, diagnosed): (&Reference, &Digest),
    proposal: &Proposal,
    then: &Then,
) -> Result<(), Failure> {
    let registries = registries(context, registry, reference, &[])?;
    let mut publication = revise(&registries, reference).await?;
    publication.still_replaces(diagnosed)?;
    let base = publication.draft.clone();
    proposal
        .apply(&mut publication.draft)
        .map_err(|source| PublishError::Draft { reference: reference.familiar(), source })?;
    let reasons =
        proposal.corrections.iter().map(|correction| format!("entry {}: {}", correction.at, correction.reason));
    let notes = reasons.chain(proposal.notes.iter().cloned()).collect();
    finish(context, &registries, Prepared { publication, base: Some(base), notes }, then).await
}

/// What the flags change.
fn change(args: &AnnotateArgs) -> Change {
    let list = |values: &Option<Vec<String>>, clear| Edit::of(values.clone(), clear);
    Change {
        os: Edit::of(args.os.clone(), args.clear_os),
        architecture: Edit::of(args.arch.clone(), args.clear_arch),
        variant: Edit::of(args.variant.clone(), args.clear_variant),
        os_version: Edit::of(args.os_version.clone(), args.clear_os_version),
        os_features: list(&args.os_features, args.clear_os_features),
        features: list(&args.features, args.clear_features),
    }
}

/// A warning where an image is listed for an architecture that it is not built for.
fn of_another_architecture(draft: &Draft, at: usize, platform: &Platform) -> Option<String> {
    let own = draft.entries().get(at)?.platform.clone()?;
    (own.normalized().architecture != platform.normalized().architecture).then(|| {
        format!(
            "an image for {} is listed for {platform} too: clients will pull it there without a word, \
             and it runs only where the CPU runs such programs as well",
            one_line(&own.to_string(), LONGEST_NAME)
        )
    })
}

async fn push(context: &Context, args: &PushArgs) -> Result<(), Failure> {
    let limits = super::context::limits(context, None, None, None);
    let to = args.reference.as_deref().map(str::parse::<Reference>).transpose()?;
    let path = std::path::Path::new(&args.source);
    let from = args.source.parse::<Reference>().ok().filter(|from| from.digest().is_some() && !path.exists());
    if let Some(from) = from {
        let to = to.ok_or_else(|| PublishError::NoTag { reference: from.familiar() })?;
        let registries = registries(context, &args.registry, &to, &[&from])?;
        let publication = restore(&registries, &from, &to).await?;
        let base = prepare::base(&registries, &publication).await?;
        let prepared = Prepared { publication, base, notes: Vec::new() };
        return finish(context, &registries, prepared, &Then { push: true, out: None }).await;
    }
    let saved = Publication::load(path, &limits)?;
    let reference = to.as_ref().unwrap_or(&saved.reference);
    let mut others: Vec<&Reference> = saved.sources.values().collect();
    others.push(&saved.reference);
    let registries = registries(context, &args.registry, reference, &others)?;
    let publication = saved.clone().aimed(&registries, to.as_ref()).await?;
    // What a tag stood for may be gone where it stands for something else.
    Publisher { registries: &registries }.compare(&publication).await?;
    let base = prepare::base(&registries, &publication).await?;
    let failed = |source| PublishError::Draft { reference: args.source.clone(), source };
    publication.draft.check_against(base.as_ref()).map_err(failed)?;
    let prepared = Prepared { publication, base, notes: Vec::new() };
    finish(context, &registries, prepared, &Then { push: true, out: None }).await
}

/// Shows what a draft changes, and keeps or pushes it where that was asked for.
async fn finish(context: &Context, registries: &Registries, prepared: Prepared, then: &Then) -> Result<(), Failure> {
    let Prepared { publication, base, mut notes } = prepared;
    let platforms: Vec<Platform> = publication.draft.entries().into_iter().filter_map(|entry| entry.platform).collect();
    let reach = repair::reach(&platforms).into_iter().filter(|note| !notes.contains(note));
    notes.extend(reach.collect::<Vec<_>>());
    let publisher = Publisher { registries };
    let elsewhere = Box::pin(publisher.rehearse(&publication)).await?;
    let shown = show::Shown { publication: &publication, base: base.as_ref(), notes: &notes, elsewhere: &elsewhere };
    let json = context.global.json;
    if !json && then.push {
        // Before anything is written; the result comes after it.
        report::message(shown.as_text(false).trim_end());
    }
    if let Some(path) = &then.out {
        publication.save(path)?;
    }
    let pushed = if then.push { Some(Box::pin(publisher.push(&publication)).await?) } else { None };
    if json {
        let mut document = shown.as_json();
        document["written"] = json!(then.out);
        document["pushed"] = json!(pushed.as_ref().map(|pushed| !pushed.already));
        document["brought"] = json!(pushed.as_ref().map(|pushed| &pushed.brought));
        report::result(&format!("{document:#}"));
        return Ok(());
    }
    match (&pushed, &then.out) {
        (Some(pushed), _) => {
            report::message(&show::pushed(&publication.reference, pushed));
            if let Some(before) = pushed.replaced.as_ref().filter(|before| **before != pushed.digest) {
                report::message(&format!(
                    "to go back: {}",
                    advice::go_back(&publication.reference, before, &pushed.digest)
                ));
            }
            report::result(&pushed.digest.to_string());
        }
        (None, Some(path)) => {
            let next = format!("the draft is in {0}; lighterman manifest push {0} pushes it", path.display());
            report::result(&format!("{}{next}", shown.as_text(true)));
        }
        (None, None) => {
            let next = "nothing was written: --push pushes it, --out FILE keeps it for lighterman manifest push";
            report::result(&format!("{}{next}", shown.as_text(true)));
        }
    }
    Ok(())
}
