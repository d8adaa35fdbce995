//! Whether a daemon does the work, and how it is asked.
//!
//! A daemon that was named has to do it. One that merely runs does it where it can: it has its
//! own configuration, so flags that say how this process is to work keep the work here.

use std::path::{Path, PathBuf};

use clap::Args;
use console::style;
use serde_json::{Value, json};

use crate::config::ConfigError;
use crate::core::reference::Reference;
use crate::registry::{Credential, hosts_for};
use crate::service::api::client::{Client, ClientError};
use crate::service::api::v1;

use super::args::RegistryArgs;
use super::context::Context;
use super::{Failure, report};

/// Where a daemon listens when nobody says otherwise.
pub(super) const SOCKET: &str = "/run/lighterman/lighterman.sock";
/// Instead of a socket: do not look for a daemon.
const NONE: &str = "none";

/// Cancels a pull of the daemon.
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// Number of the pull, as `lighterman pulls` shows it
    #[arg(value_name = "ID")]
    id: u64,
}

impl Context {
    /// The daemon that is to do the work, or `None` where this process does it. `here` names a
    /// flag that only this process can follow.
    pub(super) async fn daemon(&self, here: Option<&str>) -> Result<Option<Client>, Failure> {
        let named = self.global.address.as_deref();
        match (named, here) {
            (Some(address), _) if address == Path::new(NONE) => Ok(None),
            (Some(_), Some(flag)) => Err(ConfigError::Flags(format!(
                "{flag} says how this process is to pull, and --address leaves that to a daemon: leave one of them out"
            ))
            .into()),
            (Some(address), None) => Ok(Some(Client::connect(address).await?)),
            (None, Some(_)) => Ok(None),
            // Whoever names a containerd, often by its variable, means that one and not the daemon's.
            (None, None) if self.global.containerd_address.is_some() => Ok(None),
            (None, None) => Ok(self.running_daemon().await?),
        }
    }

    /// The daemon that merely runs. One that hangs is an error: it may hold what this process would need.
    async fn running_daemon(&self) -> Result<Option<Client>, ClientError> {
        let address = self.socket();
        if !address.exists() {
            return Ok(None);
        }
        match Client::connect(&address).await {
            Ok(client) => Ok(Some(client)),
            Err(error @ ClientError::Unreachable { .. }) => {
                // The ordinary case for a user who may not use it.
                tracing::info!("working in this process: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn socket(&self) -> PathBuf {
        let named = self.global.address.clone().or_else(|| self.file.serve_listen.clone());
        named.unwrap_or_else(|| SOCKET.into())
    }

    /// What the user has for the registry of a reference. A daemon has its own, but not his.
    pub(super) async fn own_credentials(
        &self,
        reference: &Reference,
        args: &RegistryArgs,
    ) -> Result<Option<v1::Credentials>, Failure> {
        use v1::credentials::Kind;
        let credentials = self.credentials(args)?;
        let hosts = hosts_for(reference, &self.host_options(args))?;
        let Some(registry) = hosts.iter().find(|host| host.is_upstream()) else { return Ok(None) };
        let kind = credentials.for_host(registry).await?.map(|credential| match credential {
            Credential::Basic { user, password } => {
                Kind::Login(v1::Login { username: user, password: password.reveal().into() })
            }
            Credential::Identity(token) => Kind::IdentityToken(token.reveal().into()),
            Credential::Registry(token) => Kind::RegistryToken(token.reveal().into()),
        });
        Ok(kind.map(|kind| v1::Credentials { kind: Some(kind) }))
    }
}

impl RegistryArgs {
    /// A flag that was given and that only a pull in this process follows.
    pub(super) fn only_here(&self) -> Option<&'static str> {
        let given = [
            (!self.hosts_dir.is_empty(), "--hosts-dir"),
            (!self.mirror.is_empty(), "--mirror"),
            (self.plain_http, "--plain-http"),
            (self.skip_verify, "--skip-verify"),
            (self.tlscacert.is_some(), "--tlscacert"),
            (self.tlscert.is_some(), "--tlscert"),
        ];
        first_given(given)
    }
}

/// The first of some flags that was given.
pub(super) fn first_given<const N: usize>(flags: [(bool, &'static str); N]) -> Option<&'static str> {
    flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
}

/// `lighterman pulls`: what the daemon is at.
pub(super) async fn pulls(context: &Context) -> Result<(), Failure> {
    let pulls = context.named_or_running().await?.pulls().await?;
    if context.global.json {
        report::result(&format!("{:#}", Value::Array(pulls.iter().map(as_json).collect())));
        return Ok(());
    }
    if pulls.is_empty() {
        report::message("nothing is being pulled");
        return Ok(());
    }
    let mut table = report::table();
    table.set_header(["ID", "REFERENCE", "NAMESPACE", "PHASE", "BYTES", "LAYERS", "ASKED BY"]);
    for pull in &pulls {
        table.add_row([
            pull.id.to_string(),
            pull.reference.clone(),
            pull.namespace.clone(),
            phase(pull).into(),
            format!("{} of {}", report::bytes(pull.bytes_done), report::bytes(pull.bytes_total)),
            format!("{} of {}", pull.layers_done, pull.layers_total),
            pull.door.clone(),
        ]);
    }
    report::result(&table.to_string());
    Ok(())
}

/// `lighterman cancel`.
pub(super) async fn cancel(context: &Context, args: &CancelArgs) -> Result<(), Failure> {
    context.named_or_running().await?.cancel(args.id).await?;
    report::message(&format!("{} pull {}", style("cancelled").for_stderr().green().bold(), args.id));
    Ok(())
}

impl Context {
    async fn named_or_running(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket()).await
    }
}

fn phase(pull: &v1::RunningPull) -> &'static str {
    match pull.phase() {
        v1::Phase::Resolving => "resolving",
        v1::Phase::Queued => "queued",
        v1::Phase::Landing => "landing",
        v1::Phase::Unspecified => "unknown",
    }
}

fn as_json(pull: &v1::RunningPull) -> Value {
    json!({
        "id": pull.id,
        "reference": pull.reference,
        "namespace": pull.namespace,
        "snapshotter": pull.snapshotter,
        "started": pull.started.map(|time| time.to_string()),
        "door": pull.door,
        "phase": phase(pull),
        "bytesDone": pull.bytes_done,
        "bytesTotal": pull.bytes_total,
        "layersDone": pull.layers_done,
        "layersTotal": pull.layers_total,
    })
}
