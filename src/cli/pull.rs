//! `lighterman pull`.

use std::sync::Arc;

use console::style;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::core::digest::Digest;
use crate::core::error::Kind;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::fetch::progress::Observer;
use crate::host::LocalHost;
use crate::pull::{Caller, Planned, Platforms, PullError, PullRequest, Pulled, Puller, tell};
#[cfg(feature = "containerd")]
use crate::service::api::{client::Client, v1};
use crate::service::status::exit_code;

use super::args::PullArgs;
use super::context::{self, Access, ContainerdFlags, Context, Place};
#[cfg(feature = "containerd")]
use super::daemon::first_given;
use super::progress::{self, Progress};
use super::{Failure, report};

pub(super) async fn run(context: &Context, args: &PullArgs) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse()?;
    let place = args.to.as_deref().map_or(Ok(Place::Containerd(None)), Place::parse)?;
    #[cfg(feature = "containerd")]
    if let Some(daemon) = context.daemon(only_here(args, &place)).await? {
        return ask(context, args, (&reference, &place), &daemon).await;
    }
    let host = context.host().await;
    let request = request(context, args, reference, &host)?;
    let flags = ContainerdFlags {
        namespace: args.namespace.clone(),
        snapshotter: args.snapshotter.clone(),
        staging_dir: args.staging_dir.clone(),
        unpack: args.unpack.clone(),
        content: args.content.clone(),
    };
    let limits = context::limits(context, args.max_concurrent_downloads, args.max_bandwidth, args.max_memory);
    let engine = context.engine(&args.registry, limits)?;
    let opened = context.open(&place, flags, Access::Write(&engine)).await?;
    let progress = Arc::new(Progress::new(context.global.json));
    let observer: Arc<dyn Observer> = Arc::<Progress>::clone(&progress);
    let fetcher = context.fetcher(&engine, &request.reference, &args.registry, observer)?;
    let puller = Puller {
        fetcher: &fetcher,
        store: opened.store.as_ref(),
        unpacker: opened.unpacker.as_deref().filter(|_| !args.no_unpack),
        // Who pulls here can read the store himself.
        check_access: false,
        host: &host,
        limits,
        observer: progress.as_ref(),
    };
    let cancel = on_interrupt();
    let caller = Caller { reference: &request.reference, door: "cli", trace: None };
    let work = async {
        let plan = tokio::select! {
            plan = puller.plan(&request) => plan,
            () = cancel.cancelled() => Err(PullError::Cancelled),
        }?;
        let planned = plan.told();
        announce(&progress, &planned);
        let pulled = puller.land(&plan, &cancel).await?;
        Ok::<_, PullError>((planned, pulled))
    };
    let landed = tell(&caller, work).await;
    progress.finish();
    let (planned, pulled) = landed?;
    summarise(context, &progress, (&planned, &pulled), &opened.store.describe());
    Ok(())
}

/// A flag that was given and that only a pull in this process follows.
#[cfg(feature = "containerd")]
fn only_here(args: &PullArgs, place: &Place) -> Option<&'static str> {
    let unpack = &args.unpack;
    let given = [
        (matches!(place, Place::Layout(_)), "--to oci:"),
        (args.max_concurrent_downloads.is_some(), "--max-concurrent-downloads"),
        (args.max_bandwidth.is_some(), "--max-bandwidth"),
        (args.staging_dir.is_some(), "--staging-dir"),
        (args.content.is_some(), "--content"),
        (unpack.unpack.is_some(), "--unpack"),
        (unpack.extract_with.is_some(), "--extract-with"),
        (unpack.sync_snapshots.is_some(), "--sync-snapshots"),
    ];
    first_given(given).or(args.registry.only_here())
}

/// Lets a daemon pull.
#[cfg(feature = "containerd")]
async fn ask(
    context: &Context,
    args: &PullArgs,
    (reference, place): (&Reference, &Place),
    daemon: &Client,
) -> Result<(), Failure> {
    let named = match place {
        Place::Containerd(namespace) => namespace.clone(),
        Place::Layout(_) => None,
    };
    let request = v1::PullRequest {
        reference: reference.to_string(),
        platforms: args.platform.clone(),
        all_platforms: args.all_platforms,
        isa_level: args.matching.isa_level,
        allow_mismatch: args.matching.allow_mismatch,
        namespace: named.or_else(|| args.namespace.clone()).unwrap_or_default(),
        snapshotter: args.snapshotter.clone().unwrap_or_default(),
        no_unpack: args.no_unpack,
        credentials: context.own_credentials(reference, &args.registry).await?,
    };
    let progress = Progress::new(context.global.json);
    let cancel = on_interrupt();
    let pulled = tokio::select! {
        pulled = daemon.pull(request, &progress, |planned| announce(&progress, planned)) => pulled.map_err(Failure::from),
        () = cancel.cancelled() => Err(PullError::Cancelled.into()),
    };
    progress.finish();
    let (planned, pulled, destination) = pulled?;
    summarise(context, &progress, (&planned, &pulled), &destination);
    Ok(())
}

fn request(context: &Context, args: &PullArgs, reference: Reference, host: &LocalHost) -> Result<PullRequest, Failure> {
    let platforms = Platforms::asked(args.all_platforms, &args.platform, host)?;
    let on_mismatch = context.file.mismatch_policy().stance(&reference, args.matching.on_mismatch());
    Ok(PullRequest { reference, platforms, level: args.matching.level(), on_mismatch })
}

/// Cancels on the first SIGINT or SIGTERM, so that nothing half-made is left; the second one
/// ends the process where it stands.
fn on_interrupt() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let cancel = CancellationToken::new();
    let told = cancel.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return; // Without handlers the signals end the process, which is safe as well.
        };
        for last in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            told.cancel();
            if last {
                exit_now();
            }
        }
    });
    cancel
}

#[expect(clippy::exit, reason = "the user asked twice; whatever is waited for does not come")]
fn exit_now() {
    std::process::exit(i32::from(exit_code(Kind::Cancelled)));
}

fn announce(progress: &Progress, planned: &Planned) {
    progress.expect(planned.bytes);
    if matches!(progress, Progress::Events) {
        progress::emit(&json!({
            "event": "resolved",
            "reference": planned.reference,
            "root": planned.root,
            "images": images(planned),
            "blobs": planned.blobs,
        }));
    }
    for warning in &planned.warnings {
        progress.warn(warning);
    }
}

fn images(planned: &Planned) -> Vec<Value> {
    let image = |(digest, platform): &(Digest, Platform)| json!({"digest": digest, "platform": platform.to_string()});
    planned.images.iter().map(image).collect()
}

fn summarise(context: &Context, progress: &Progress, (planned, pulled): (&Planned, &Pulled), destination: &str) {
    for warning in &pulled.warnings {
        progress.warn(warning);
    }
    let traffic = pulled.traffic;
    let seconds = pulled.elapsed.as_secs_f64();
    if context.global.json {
        progress::emit(&json!({
            "event": "pulled",
            "reference": planned.reference,
            "root": planned.root,
            "target": pulled.target,
            "images": images(planned),
            "chainIds": pulled.unpacked,
            "bytesFetched": traffic.bytes_fetched,
            "bytesPresent": traffic.bytes_present,
            "blobsFetched": traffic.blobs_fetched,
            "blobsPresent": traffic.blobs_present,
            "contentLinked": pulled.content.linked,
            "contentWritten": pulled.content.written,
            "layersUnpacked": pulled.layers.grafted,
            "layersUnpackedByContainerd": pulled.layers.applied,
            "layersPresent": pulled.layers.present,
            "seconds": seconds,
            "destination": destination,
        }));
        return;
    }
    let platforms: Vec<String> = planned.images.iter().map(|(_, platform)| platform.to_string()).collect();
    let fetched = match (traffic.bytes_fetched, traffic.blobs_fetched) {
        (0, _) => "nothing to fetch".to_owned(),
        (count, 0) => format!("{} of documents fetched in {seconds:.1} s", report::bytes(count)),
        (count, _) => {
            // Milliseconds, so that a rate needs no floating point; a pull takes at least one.
            let rate =
                count.saturating_mul(1000) / u64::try_from(pulled.elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
            format!("{} fetched in {seconds:.1} s ({}/s)", report::bytes(count), report::bytes(rate))
        }
    };
    report::message(&format!(
        "{} {} for {}: {fetched}, {} of {} blobs already present, in {destination}",
        style("pulled").for_stderr().green().bold(),
        planned.reference,
        platforms.join(", "),
        traffic.blobs_present,
        traffic.blobs_present + traffic.blobs_fetched,
    ));
    report::result(&pulled.target.to_string());
}
