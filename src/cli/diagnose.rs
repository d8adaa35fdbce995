//! `lighterman diagnose`.

mod grid;
pub(super) mod text;

use std::sync::Arc;

use clap::Args;

use crate::config::ConfigError;
use crate::core::limits::Limits;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::diagnose::diagnosis::{Diagnoser, Question, Wanted};
use crate::diagnose::repair::Proposal;
use crate::diagnose::report::Report;
use crate::diagnose::rootfs::layers::Effort;
use crate::fetch::Fetcher;
use crate::fetch::progress::Silent;
use crate::host::{LocalHost, Node};
#[cfg(feature = "containerd")]
use crate::service::api::{client::Client, v1};
use crate::store::Store;

use super::args::RegistryArgs;
use super::context::{self, Access, ContainerdFlags, Context, Place};
use super::manifest::{self, Then};
use super::{Failure, report};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman diagnose busybox                                  will it run here?
  lighterman diagnose --all-platforms registry.example/app:1   what is wrong with any of its images?
  lighterman diagnose app --host pi.json --host raspberry-pi-zero --host linux/arm/v6
  lighterman host --json > pi.json                             on the other node: its description
  lighterman diagnose app --from oci:./app --deep              every file of it, from a directory
  lighterman diagnose registry.example/app:1 --fix             what would make its index right

Exit codes:
  0   it runs, or nothing that is known speaks against it
  67  it does not run on this node, or on one of those named by --host; --fix ends with 0 all
      the same, once the index says what is in it
  and those of `lighterman --help`")]
pub(super) struct DiagnoseArgs {
    /// Image reference; docker.io/library/ and :latest may be left out
    #[arg(value_name = "REF")]
    reference: String,
    /// Look into the image for this platform, OS/ARCH[/VARIANT]; may be repeated [default: those
    /// that the nodes would take]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Look into every image of the index
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// A node in place of this one: the output of `lighterman host --json` there, a platform, or
    /// a board's name; may be repeated
    #[arg(long, value_name = "FILE|SPEC")]
    host: Vec<String>,
    /// Where the image is, if not at its registry: oci:DIR or containerd[:NAMESPACE]
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// containerd namespace [default: default]
    #[arg(short, long, env = "CONTAINERD_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Bytes of layers that may be fetched of one image; 0 reads documents alone [default: 16MiB,
    /// and 4MiB of one layer]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    budget: Option<u64>,
    /// Read all layers, and look at every binary in them
    #[arg(long, conflicts_with = "budget")]
    deep: bool,
    /// Show what would make the index right: every image of it is looked into. With --push, do it
    #[arg(long, conflicts_with_all = ["platform", "from"])]
    fix: bool,
    #[command(flatten)]
    then: Then,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Bytes that a person typed.
fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| "has to be a size, as in 16MiB".into())
}

pub(super) async fn run(context: &Context, args: &DiagnoseArgs) -> Result<(), Failure> {
    let then = &args.then;
    if (then.push || then.out.is_some()) && !args.fix {
        return Err(ConfigError::Flags("--push and --out say what becomes of a --fix: give that too".into()).into());
    }
    if args.fix {
        return fix(context, args).await;
    }
    show(context, &diagnose(context, args).await?)
}

/// Shows it, and fails where the image does not run.
fn show(context: &Context, diagnosis: &Report) -> Result<(), Failure> {
    if context.global.json {
        report::result(&format!("{:#}", text::as_json(diagnosis)));
    } else {
        report::result(&text::as_text(diagnosis));
    }
    show_verdict(diagnosis)
}

fn show_verdict(diagnosis: &Report) -> Result<(), Failure> {
    match text::verdict(diagnosis) {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

/// Asks the daemon where one does the work, and looks for itself otherwise.
async fn diagnose(context: &Context, args: &DiagnoseArgs) -> Result<Report, Failure> {
    let reference: Reference = args.reference.parse()?;
    #[cfg(feature = "containerd")]
    if let Some(daemon) = context.daemon(only_here(args)).await? {
        return ask(context, args, &reference, &daemon).await;
    }
    Ok(look(context, args, reference).await?.0)
}

/// Shows what would make the index right, and does it where that was asked for. The daemon is not
/// asked: a push is the user's own act. With `--json`, this is the repair's document.
async fn fix(context: &Context, args: &DiagnoseArgs) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse()?;
    let (diagnosis, proposal) = look(context, args, reference.clone()).await?;
    if !context.global.json {
        report::message(&text::as_text(&diagnosis));
    }
    match (proposal, &diagnosis.root) {
        (Some(proposal), Some(root)) => {
            manifest::repair(context, &args.registry, (&reference, &root.digest), &proposal, &args.then).await
        }
        _ => {
            report::message("every label of the index is right, as far as is known: there is nothing to correct in it");
            show_verdict(&diagnosis)
        }
    }
}

/// Looks for itself.
async fn look(
    context: &Context,
    args: &DiagnoseArgs,
    reference: Reference,
) -> Result<(Report, Option<Proposal>), Failure> {
    let limits = context::limits(context, None, None, None);
    let engine = context.engine(&args.registry, limits)?;
    let place = args.from.as_deref().map(Place::parse).transpose()?;
    let flags = ContainerdFlags { namespace: args.namespace.clone(), ..ContainerdFlags::default() };
    let (store, fetcher) = match &place {
        Some(place) => {
            let opened = context.open(place, flags, Access::Read).await?;
            (Some(opened.store), Fetcher::new(engine, Vec::new(), Arc::new(Silent)))
        }
        None => {
            (at_hand(context, flags).await, context.fetcher(&engine, &reference, &args.registry, Arc::new(Silent))?)
        }
    };
    let host = context.host().await;
    let listed: Vec<Platform> =
        args.platform.iter().map(|text| context::platform(text, &host)).collect::<Result<_, _>>()?;
    let question = Question {
        reference,
        platforms: Wanted::asked(args.all_platforms || args.fix, listed),
        nodes: nodes(args, &host)?,
        effort: args.effort(),
        deep: args.deep,
    };
    let stored = place.is_some();
    let diagnoser = Diagnoser { fetcher, store: store.map(Arc::from), stored, check_access: false, limits, turn: None };
    Ok(diagnoser.diagnose(&question).await?)
}

/// A flag that was given and that only a diagnosis in this process follows.
#[cfg(feature = "containerd")]
fn only_here(args: &DiagnoseArgs) -> Option<&'static str> {
    args.registry.only_here().or_else(|| args.from.is_some().then_some("--from"))
}

#[cfg(feature = "containerd")]
async fn ask(
    context: &Context,
    args: &DiagnoseArgs,
    reference: &Reference,
    daemon: &Client,
) -> Result<Report, Failure> {
    let nodes = args.host.iter().map(|text| Node::named(text)).collect::<Result<Vec<_>, _>>()?;
    let request = v1::DiagnoseRequest {
        reference: reference.to_string(),
        platforms: args.platform.clone(),
        all_platforms: args.all_platforms,
        nodes: nodes.iter().map(Into::into).collect(),
        budget: args.budget,
        deep: args.deep,
        namespace: args.namespace.clone().unwrap_or_default(),
        credentials: context.own_credentials(reference, &args.registry).await?,
    };
    Ok(daemon.diagnose(request).await?)
}

/// containerd of this node, where it answers: what it has need not be fetched.
async fn at_hand(context: &Context, flags: ContainerdFlags) -> Option<Box<dyn Store>> {
    if !context.containerd_address().exists() {
        return None;
    }
    match context.open(&Place::Containerd(None), flags, Access::Read).await {
        Ok(opened) => Some(opened.store),
        Err(error) => {
            tracing::info!("containerd was not asked what it has: {error}");
            None
        }
    }
}

/// Those that were named, else the one at hand.
fn nodes(args: &DiagnoseArgs, host: &LocalHost) -> Result<Vec<Node>, Failure> {
    if args.host.is_empty() {
        return Ok(vec![Node::this(host.complete().clone())]);
    }
    Ok(args.host.iter().map(|text| Node::named(text)).collect::<Result<_, _>>()?)
}

impl DiagnoseArgs {
    fn effort(&self) -> Effort {
        match (self.deep, self.budget) {
            (true, _) => Effort::everything(&Limits::default()),
            (false, Some(bytes)) => Effort { per_layer: bytes, per_image: bytes, ..Effort::default() },
            (false, None) => Effort::default(),
        }
    }
}
