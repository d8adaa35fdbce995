//! Who is asked, with whose credentials.

use std::sync::Arc;

use crate::core::draft::Draft;
use crate::core::reference::Reference;
use crate::fetch::Fetcher;
use crate::fetch::progress::Silent;
use crate::publish::{Publication, PublishError, Registries};
use crate::registry::Credentials;

use super::super::Failure;
use super::super::args::RegistryArgs;
use super::super::context::{self, Context};

/// The registry of `target`, asked as the flags say and past its mirrors, and those of `others`.
pub(super) fn registries(
    context: &Context,
    args: &RegistryArgs,
    target: &Reference,
    others: &[&Reference],
) -> Result<Registries, Failure> {
    let limits = context::limits(context, None, None, None);
    let engine = context.engine(args, limits)?;
    let mut registries = Registries::new(limits);
    let own = context.fetcher(&engine, target, args, Arc::new(Silent))?;
    registries.add(target, own.at_the_registry(target)?);
    // A login, a certificate, mirrors, and plain HTTP or no verification are for the registry that is
    // pushed to: whoever allows that there has not allowed it for the logins of others.
    let elsewhere = RegistryArgs {
        hosts_dir: args.hosts_dir.clone(),
        tlscacert: args.tlscacert.clone(),
        ..RegistryArgs::default()
    };
    let engine = engine.with_credentials(Credentials::from_environment());
    for other in others {
        if !registries.knows(other) {
            registries.add(other, context.fetcher(&engine, other, &elsewhere, Arc::new(Silent))?);
        }
    }
    Ok(registries)
}

/// Who is asked about an index that is only looked at: the registry itself, if it may be.
pub(super) fn reader(context: &Context, args: &RegistryArgs, reference: &Reference) -> Result<Fetcher, Failure> {
    let engine = context.engine(args, context::limits(context, None, None, None))?;
    let any = context.fetcher(&engine, reference, args, Arc::new(Silent))?;
    Ok(any.at_the_registry(reference).unwrap_or(any))
}

/// What the publication replaces, where that is an index.
pub(super) async fn base(registries: &Registries, publication: &Publication) -> Result<Option<Draft>, PublishError> {
    let Some(digest) = &publication.replaces else { return Ok(None) };
    let before = publication.reference.with_digest(digest.clone());
    let root = registries.of(&before)?.root(&before).await?;
    // A single image under the tag, or something else altogether, is replaced as a whole.
    Ok(Draft::parse(root.content.content(), root.media_type.as_ref(), registries.limits()).ok())
}
