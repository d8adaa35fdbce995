//! `lighterman serve`: the daemon, from flags and file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;

use crate::app::{self, ApiSocket, Exporter, Signals};
use crate::config::keys::Key;
use crate::config::{self, FileConfig};
use crate::pulls::{Pulls, Settings};
use crate::telemetry::metrics::Metrics;

use super::args::RegistryArgs;
use super::context::{self, ContainerdFlags, Context};
use super::{Failure, daemon};

/// What is logged unless somebody says otherwise: an operator wants to see every pull.
pub(super) const LEVEL: LevelFilter = LevelFilter::INFO;
/// The group whose members may use the socket.
const GROUP: &str = "lighterman";
/// Whole pulls at a time. Each has blobs of its own to wait for, and they share the CPUs anyway.
const PULLS: usize = 16;
/// As long as containerd's own `image_pull_progress_timeout`.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// For "never": longer than any machine runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman serve
  lighterman serve --listen ./lighterman.sock --containerd-address /run/k3s/containerd/containerd.sock

SIGHUP reads the configuration again; pulls that are under way go on as they began. SIGTERM ends
it once they are done, 20 seconds later at the latest; a second SIGTERM ends it at once.")]
pub(super) struct ServeArgs {
    /// Unix socket of the API [default: /run/lighterman/lighterman.sock]
    #[arg(long, value_name = "SOCKET")]
    listen: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) async fn run(context: &Context, args: &ServeArgs) -> Result<(), Failure> {
    // Before the socket is there: whoever starts us may stop us as soon as it is.
    let signals = Signals::new()?;
    let file = &context.file;
    let path = args.listen.clone().or_else(|| file.serve_listen.clone()).unwrap_or_else(|| daemon::SOCKET.into());
    let engine = context.engine(&args.registry, context::limits(context, None, None, None))?;
    let places = context.place_defaults(&ContainerdFlags::default());
    let at_once = file.max_pulls.unwrap_or(PULLS);
    let metrics = Metrics::default();
    metrics.watch_engine(&engine);
    let pulls = Pulls::new(engine, places, settings(context, &args.registry)?, at_once, Arc::new(metrics.clone()));
    let _exporter = Exporter::start(file.metrics_listen.as_deref().unwrap_or_default(), &metrics).await?;
    let socket = ApiSocket::bind(&path, file.serve_group.as_deref().unwrap_or(GROUP))?;
    let mut now = context.file.clone();
    let reloaded = pulls.clone();
    app::run(pulls, socket, signals, || reload(context, args, &mut now, &reloaded)).await?;
    Ok(())
}

fn settings(context: &Context, args: &RegistryArgs) -> Result<Settings, Failure> {
    let timeout = context.file.pull_progress_timeout.unwrap_or(PROGRESS_TIMEOUT);
    Ok(Settings {
        hosts: context.host_options(args),
        credentials: context.credentials(args)?,
        unpack: context.unpack_options(&ContainerdFlags::default().unpack),
        progress_timeout: if timeout.is_zero() { NEVER } else { timeout },
    })
}

/// Takes over what the file says now; a file with mistakes changes nothing.
fn reload(context: &Context, args: &ServeArgs, now: &mut FileConfig, pulls: &Pulls) {
    let read = FileConfig::load(context.global.config.as_deref()).map_err(Failure::from);
    let applied = read.and_then(|file| {
        let changes = config::changes(now, &file);
        let changed = Context { file: changes.apply(now, &file), ..context.clone() };
        pulls.set(settings(&changed, &args.registry)?);
        changed.logging.set_level(changed.global.log_level(&changed.file, LEVEL));
        Ok((changed.file, changes))
    });
    match applied {
        Ok((file, changes)) => {
            let names = |keys: &[&Key]| keys.iter().map(|key| key.path()).collect::<Vec<_>>().join(", ");
            tracing::info!(changed = names(&changes.now), "the configuration was read again");
            if !changes.restart.is_empty() {
                tracing::warn!("these settings count from the next start on: {}", names(&changes.restart));
            }
            *now = file;
        }
        Err(error) => tracing::error!("the configuration stays as it was: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Arguments, Command};
    use super::*;

    fn context(file: FileConfig) -> (Context, ServeArgs) {
        let arguments = Arguments::try_parse_from(["lighterman", "serve"]).expect("a command line");
        let Command::Serve(args) = arguments.command else { panic!("another command") };
        (Context { global: arguments.global, file, logging: crate::telemetry::Logging::default() }, args)
    }

    /// What the table of keys calls a default is what holds without a file.
    #[test]
    fn a_file_of_defaults_changes_nothing() {
        let [without, with] = [FileConfig::default(), FileConfig::defaults()].map(|file| {
            let (context, args) = context(file);
            let settings = settings(&context, &args.registry).ok();
            let places = context.place_defaults(&ContainerdFlags::default());
            let limits = context::limits(&context, None, None, None);
            format!("{settings:#?} {places:#?} {limits:#?}")
        });
        assert_eq!(without, with);
        let defaults = FileConfig::defaults();
        assert_eq!(defaults.serve_listen.as_deref(), Some(std::path::Path::new(daemon::SOCKET)));
        assert_eq!((defaults.serve_group.as_deref(), defaults.max_pulls), (Some(GROUP), Some(PULLS)));
        assert_eq!(defaults.pull_progress_timeout, Some(PROGRESS_TIMEOUT));
    }
}
