//! `lighterman serve`: the daemon, from flags and file.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;

use crate::accept;
use crate::app::{self, ApiSocket, Doors, Exporter, MirrorMeter, Signals, cores};
use crate::config::keys::Key;
use crate::config::{self, ConfigError, FileConfig};
use crate::fetch::Engine;
use crate::node::systemd::{Notify, Sockets};
use crate::pulls::{Place, Pulls, Settings};
use crate::registry::HostOptions;
use crate::service::mirror::{self, Mirror};
use crate::store::Store;
use crate::store::containerd::Containerd;
use crate::telemetry::metrics::Metrics;

use super::args::RegistryArgs;
use super::context::{self, ContainerdFlags, Context};
use super::{Failure, daemon};

/// What is logged unless somebody says otherwise: an operator wants to see every pull.
pub(super) const LEVEL: LevelFilter = LevelFilter::INFO;
/// The group whose members may use the socket.
const GROUP: &str = "lighterman";
/// Pulls from one registry at a time. Each has blobs of its own to wait for, and they share the CPUs
/// and connections anyway.
const PULLS: usize = 16;
/// As long as containerd's own `image_pull_progress_timeout`.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Where the daemon keeps what it may lose.
const STATE: &str = "/var/lib/lighterman";
/// Namespaces of containerd that other clients keep images in: kubelet's and docker's.
const NAMESPACES: [&str; 2] = ["k8s.io", "moby"];
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
    /// Loopback address of the mirror, as in 127.0.0.1:577; may be repeated [default: no mirror]
    #[arg(long, value_name = "ADDRESS")]
    mirror_listen: Vec<SocketAddr>,
    /// Registry of requests to the mirror that name none [default: docker.io]
    #[arg(long, value_name = "REGISTRY")]
    mirror_upstream: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) async fn run(context: &Context, args: &ServeArgs) -> Result<(), Failure> {
    // First, so that no program that we start inherits them.
    let inherited = Sockets::inherited()?;
    accept::raise_limit();
    cores::leave_none();
    // Before the socket is there: whoever starts us may stop us as soon as it is.
    let signals = Signals::new()?;
    let file = &context.file;
    let path = args.listen.clone().or_else(|| file.serve_listen.clone()).unwrap_or_else(|| daemon::SOCKET.into());
    let engine = context.engine(&args.registry, context::limits(context, None, None, None))?;
    let places = context.place_defaults(&ContainerdFlags::default());
    let at_once = file.max_pulls.unwrap_or(PULLS);
    let metrics = Metrics::default();
    metrics.watch_engine(&engine);
    let scraped = app::listeners(file.metrics_listen.as_deref().unwrap_or_default(), inherited.metrics).await?;
    let _exporter = Exporter::start(scraped, &metrics);
    let mirror = mirror(context, args, (&engine, &metrics), inherited.mirror).await?;
    let own: Vec<SocketAddr> = mirror.1.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let pulls = Pulls::new(engine, places, settings(context, &args.registry, &own), at_once, Arc::new(metrics));
    let socket = match inherited.api {
        Some(listener) => {
            held_where_configured(&listener, (args.listen.is_some(), &path))?;
            ApiSocket::inherited(path, listener)
        }
        None => ApiSocket::bind(&path, file.serve_group.as_deref().unwrap_or(GROUP))?,
    };
    let mut now = context.file.clone();
    let (reloaded_pulls, reloaded_mirror) = (pulls.clone(), mirror.0.clone());
    let set = |changed: &Context| {
        reloaded_pulls.set(settings(changed, &args.registry, &own));
        reloaded_mirror.set(mirror_settings(changed, args));
    };
    let containerd: PathBuf = context.containerd_address().into();
    let cri = file.cri_endpoint.clone().unwrap_or_else(|| containerd.clone());
    let is_flag = context.global.containerd_address.is_some();
    for (key, theirs, is_flag) in [("containerd.address", &containerd, is_flag), ("cri.endpoint", &cri, false)] {
        not_our_own((is_flag || args.listen.is_some(), key), theirs, socket.path())?;
    }
    let doors = Doors { pulls, socket, containerd, cri, mirror };
    app::run(doors, Notify::from_environment(), signals, || reload(context, &set, &mut now)).await?;
    Ok(())
}

/// Whoever passes calls on to himself is never done with the first one.
fn not_our_own((by_flag, key): (bool, &str), theirs: &Path, ours: &Path) -> Result<(), ConfigError> {
    let file = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    match (file(theirs), file(ours)) {
        (Some(one), Some(other)) if one == other => {
            let message = format!("{key} is to be containerd's socket, and {} is lighterman's own", theirs.display());
            Err(ConfigError::contradiction(by_flag, message))
        }
        _ => Ok(()),
    }
}

/// Clients are led to what the configuration says: systemd has to hold the socket there.
fn held_where_configured(listener: &UnixListener, (by_flag, path): (bool, &Path)) -> Result<(), ConfigError> {
    let held = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    match held {
        Some(held) if held != path => {
            let message = format!(
                "the socket is to be {}, and systemd holds {}: change lighterman.socket (systemctl edit), or take \
                 serve.listen out of the configuration",
                path.display(),
                held.display()
            );
            Err(ConfigError::contradiction(by_flag, message))
        }
        _ => Ok(()),
    }
}

/// The mirror and its listeners.
async fn mirror(
    context: &Context,
    args: &ServeArgs,
    (engine, metrics): (&Engine, &Metrics),
    inherited: Vec<TcpListener>,
) -> Result<(Mirror, Vec<tokio::net::TcpListener>), Failure> {
    let file = &context.file;
    let named = Some(args.mirror_listen.as_slice()).filter(|addresses| !addresses.is_empty());
    let by_flag = named.is_some();
    let addresses = named.or(file.mirror_listen.as_deref()).unwrap_or_default();
    let held: Vec<SocketAddr> = inherited.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    if let Some(exposed) = addresses.iter().chain(&held).find(|address| !address.ip().is_loopback()) {
        let message = format!("the mirror is for this node only, and {exposed} is no loopback address");
        return Err(ConfigError::contradiction(by_flag, message).into());
    }
    // Others are led to what the configuration says: nobody but us may hold that port.
    if let Some(unheld) = addresses.iter().find(|address| !held.is_empty() && !held.contains(address)) {
        let message = format!(
            "the mirror is to listen at {unheld}, and systemd holds {} for it: change lighterman-mirror.socket \
             (systemctl edit), or take mirror.listen out of the configuration",
            held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        return Err(ConfigError::contradiction(by_flag, message).into());
    }
    let listeners = app::listeners(addresses, inherited).await?;
    let places = context.place_defaults(&ContainerdFlags::default());
    let state = places.staging.as_deref().and_then(Path::parent).unwrap_or(Path::new(STATE));
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    let namespaces: BTreeSet<&str> = std::iter::once(places.namespace.as_str()).chain(NAMESPACES).collect();
    for namespace in namespaces {
        let place = Place { namespace: Some(namespace.into()), snapshotter: None };
        stores.push(Arc::new(Containerd::later(&places.address, places.options(&place))?));
    }
    let home = mirror::Home {
        listen: listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
        cache: state.join("mirror"),
        stores,
        meter: Arc::new(MirrorMeter::new(metrics)),
    };
    Ok((Mirror::new(engine, home, mirror_settings(context, args)), listeners))
}

fn mirror_settings(context: &Context, args: &ServeArgs) -> mirror::Settings {
    let file = &context.file;
    let mut settings = mirror::Settings {
        hosts: context.host_options(&args.registry),
        allow: file.mirror_allow.clone().unwrap_or_default(),
        ..mirror::Settings::default()
    };
    if let Some(upstream) = args.mirror_upstream.as_ref().or(file.mirror_upstream.as_ref()) {
        settings.upstream.clone_from(upstream);
        // Whoever names it vouches for it.
        settings.allow.push(upstream.clone());
    }
    settings
}

fn settings(context: &Context, args: &RegistryArgs, own: &[SocketAddr]) -> Settings {
    let timeout = context.file.pull_progress_timeout.unwrap_or(PROGRESS_TIMEOUT);
    Settings {
        // setup leads everybody's pulls to our mirror, and ours need not go there.
        hosts: HostOptions { own: own.into(), ..context.host_options(args) },
        unpack: context.unpack_options(&ContainerdFlags::default().unpack),
        progress_timeout: if timeout.is_zero() { NEVER } else { timeout },
        mismatch: context.file.mismatch_policy(),
        delegate: context.file.cri_delegate.unwrap_or(false),
    }
}

/// Takes over what the file says now; a file with mistakes changes nothing.
fn reload(context: &Context, set: &dyn Fn(&Context), now: &mut FileConfig) {
    let read = FileConfig::load(context.global.config.as_deref()).map_err(Failure::from);
    let applied = read.map(|file| {
        let changes = config::changes(now, &file);
        let changed = Context { file: changes.apply(now, &file), ..context.clone() };
        set(&changed);
        changed.logging.set_level(changed.global.log_level(&changed.file, LEVEL));
        (changed.file, changes)
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
            let settings = settings(&context, &args.registry, &[]);
            let mirror = mirror_settings(&context, &args);
            assert_eq!(mirror.upstream, "docker.io");
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
