//! From flags and configuration to the things that commands work with.

use std::io::Read;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{ConfigError, FileConfig};
use crate::core::limits::Limits;
use crate::core::mismatch::{Action, Asked};
use crate::core::platform::{Platform, PlatformError};
use crate::core::reference::Reference;
use crate::cpu::Cpu;
use crate::fetch::progress::Observer;
use crate::fetch::{Engine, Fetcher};
use crate::host::{LocalHost, System};
#[cfg(feature = "containerd")]
use crate::pulls::PlaceDefaults;
use crate::registry::{Client, ClientCertificate, Credentials, HostOptions, Secret, hosts_for};
use crate::resolve::choice::Level;
use crate::store::Store;
#[cfg(feature = "containerd")]
use crate::store::StoreError;
#[cfg(feature = "containerd")]
use crate::store::containerd::{Containerd, ContainerdOptions, Handover};
use crate::store::layout::Layout;
use crate::telemetry::Logging;
use crate::unpack::Unpack;
#[cfg(feature = "containerd")]
use crate::unpack::containerd::Unpacker;
#[cfg(feature = "containerd")]
use crate::unpack::options::{Durability, Options};

use super::Failure;
use super::args::{Global, MatchArgs, RegistryArgs, UnpackArgs};

const CONTAINERD_ADDRESS: &str = "/run/containerd/containerd.sock";
/// Where containerd and docker keep per-registry settings.
const HOSTS_DIRS: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];
/// No password is longer; a mistaken pipe should not fill memory.
const MAX_PASSWORD: u64 = 64 * 1024;

/// What was asked for, by flags and by file.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) global: Global,
    pub(super) file: FileConfig,
    #[cfg_attr(not(feature = "containerd"), expect(dead_code, reason = "only the daemon changes it"))]
    pub(super) logging: Logging,
}

/// Where images are landed or looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Layout(PathBuf),
    Containerd(Option<String>),
}

/// An open place.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Box<dyn Store>,
    pub(super) unpacker: Option<Box<dyn Unpack>>,
}

/// Flags that only matter for containerd. A build without it takes them too, so that the
/// error says what is missing instead of calling a flag unknown.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "containerd"), expect(dead_code, reason = "see above"))]
pub(super) struct ContainerdFlags {
    pub(super) namespace: Option<String>,
    pub(super) snapshotter: Option<String>,
    pub(super) staging_dir: Option<PathBuf>,
    pub(super) unpack: UnpackArgs,
    pub(super) content: Option<String>,
}

impl Place {
    /// Reads `oci:DIR` or `containerd[:NAMESPACE]`.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some(("oci", dir)) if !dir.is_empty() => Ok(Self::Layout(dir.into())),
            Some(("containerd", namespace)) if !namespace.is_empty() => Ok(Self::Containerd(Some(namespace.into()))),
            None if text == "containerd" => Ok(Self::Containerd(None)),
            _ => Err(ConfigError::Flags(format!(
                "{text:?} is no place for images: use oci:DIR, containerd or containerd:NAMESPACE"
            ))),
        }
    }
}

impl Context {
    /// containerd's socket.
    pub(super) fn containerd_address(&self) -> &Path {
        let named = self.global.containerd_address.as_deref().or(self.file.containerd_address.as_deref());
        named.unwrap_or(Path::new(CONTAINERD_ADDRESS))
    }

    /// This node, with containerd's own view where its socket answers.
    pub(super) async fn host(&self) -> LocalHost {
        let host = LocalHost::new(Box::new(System::default()));
        match self.containerd_platform().await {
            Some(platform) => host.with_containerd(platform),
            None => host,
        }
    }

    #[cfg(feature = "containerd")]
    async fn containerd_platform(&self) -> Option<Platform> {
        if !self.containerd_address().exists() {
            return None;
        }
        let asked = async { self.containerd(None, ContainerdFlags::default()).await?.platform().await };
        match asked.await {
            Ok(platform) => platform,
            Err(error) => {
                // The ordinary case for a user who is not root; `host` shows that it was not asked.
                tracing::info!("containerd could not be asked what it matches with: {error}");
                None
            }
        }
    }

    #[cfg(not(feature = "containerd"))]
    async fn containerd_platform(&self) -> Option<Platform> {
        None
    }

    /// Opens a place to read from or to pull into.
    pub(super) async fn open(
        &self,
        place: &Place,
        flags: ContainerdFlags,
        access: Access<'_>,
    ) -> Result<Opened, Failure> {
        match (place, access) {
            (Place::Layout(dir), Access::Read) => Ok(Opened { store: Box::new(Layout::open(dir)?), unpacker: None }),
            (Place::Layout(dir), Access::Write(_)) => {
                Ok(Opened { store: Box::new(Layout::open_or_create(dir)?), unpacker: None })
            }
            // What is written behind the colon wins over a flag, and over the environment.
            (Place::Containerd(namespace), access) => self.open_containerd(namespace.clone(), flags, access).await,
        }
    }

    #[cfg(feature = "containerd")]
    async fn open_containerd(
        &self,
        namespace: Option<String>,
        flags: ContainerdFlags,
        access: Access<'_>,
    ) -> Result<Opened, Failure> {
        let options = self.unpack_options(&flags.unpack);
        let containerd = self.containerd(namespace, flags).await?;
        let unpacker: Option<Box<dyn Unpack>> = match access {
            Access::Read => None,
            Access::Write(engine) => Some(Box::new(Unpacker::new(containerd.clone(), engine.clone(), options))),
        };
        Ok(Opened { store: Box::new(containerd), unpacker })
    }

    #[cfg(feature = "containerd")]
    pub(super) fn unpack_options(&self, args: &UnpackArgs) -> Options {
        let file = &self.file;
        let durability = |synced| if synced { Durability::Synced } else { Durability::Cached };
        Options {
            extractor: args.extract_with.or(file.extract_with).unwrap_or_default(),
            start: args.unpack.or(file.unpack).unwrap_or_default(),
            durability: args.sync_snapshots.or(file.sync_snapshots).map(durability).unwrap_or_default(),
        }
    }

    #[cfg(feature = "containerd")]
    pub(super) async fn containerd(
        &self,
        namespace: Option<String>,
        flags: ContainerdFlags,
    ) -> Result<Containerd, StoreError> {
        let PlaceDefaults { address, namespace: usual, snapshotter, staging, content } = self.place_defaults(&flags);
        let options = ContainerdOptions { namespace: namespace.unwrap_or(usual), snapshotter, staging, content };
        Containerd::connect(&address, options).await
    }

    /// Where images go in containerd unless somebody says otherwise.
    #[cfg(feature = "containerd")]
    pub(super) fn place_defaults(&self, flags: &ContainerdFlags) -> PlaceDefaults {
        let file = &self.file;
        // Both readers let nothing else through.
        let content = match flags.content.as_ref().or(file.content.as_ref()).map(String::as_str) {
            Some("write") => Handover::Write,
            _ => Handover::Link,
        };
        let named = |flag: &Option<String>, file: &Option<String>, default: &str| {
            flag.as_ref().or(file.as_ref()).cloned().unwrap_or_else(|| default.into())
        };
        PlaceDefaults {
            address: self.containerd_address().into(),
            namespace: named(&flags.namespace, &file.namespace, "default"),
            snapshotter: named(&flags.snapshotter, &file.snapshotter, "overlayfs"),
            staging: flags.staging_dir.clone().or_else(|| file.staging_dir.clone()),
            content,
        }
    }

    #[cfg(not(feature = "containerd"))]
    async fn open_containerd(
        &self,
        _namespace: Option<String>,
        _flags: ContainerdFlags,
        _access: Access<'_>,
    ) -> Result<Opened, Failure> {
        Err(ConfigError::Flags(
            "this lighterman was built without containerd (feature \"containerd\"): use --to oci:DIR".into(),
        )
        .into())
    }

    /// What all fetching and unpacking of this process shares.
    pub(super) fn engine(&self, args: &RegistryArgs, limits: Limits) -> Result<Engine, Failure> {
        let client = Client::new(self.credentials(args)?, limits)?;
        Ok(Engine::new(client, Cpu::new(), limits))
    }

    /// A fetcher for the registry of a reference.
    pub(super) fn fetcher(
        &self,
        engine: &Engine,
        reference: &Reference,
        args: &RegistryArgs,
        observer: Arc<dyn Observer>,
    ) -> Result<Fetcher, Failure> {
        let hosts = hosts_for(reference, &self.host_options(args))?;
        Ok(Fetcher::new(engine.clone(), hosts, observer))
    }

    pub(super) fn host_options(&self, args: &RegistryArgs) -> HostOptions {
        let file = &self.file;
        let named_dirs =
            Some(args.hosts_dir.clone()).filter(|dirs| !dirs.is_empty()).or_else(|| file.hosts_dirs.clone());
        let mirrors = Some(args.mirror.clone()).filter(|list| !list.is_empty()).or_else(|| file.mirrors.clone());
        let certificate =
            args.tlscert.as_ref().or(file.tlscert.as_ref()).zip(args.tlskey.as_ref().or(file.tlskey.as_ref()));
        HostOptions {
            hosts_dirs: named_dirs.unwrap_or_else(|| HOSTS_DIRS.map(PathBuf::from).to_vec()),
            mirrors: mirrors.unwrap_or_default(),
            plain_http: args.plain_http || file.plain_http.unwrap_or(false),
            skip_verify: args.skip_verify || file.skip_verify.unwrap_or(false),
            ca: args.tlscacert.iter().chain(&file.tlscacert).cloned().collect(),
            client: certificate.map(|(cert, key)| ClientCertificate { cert: cert.clone(), key: key.clone() }),
            // The service's own mirror would only do what is done here.
            own: file.mirror_listen.clone().unwrap_or_default(),
        }
    }

    pub(super) fn credentials(&self, args: &RegistryArgs) -> Result<Credentials, Failure> {
        let Some(user) = &args.user else { return Ok(Credentials::from_environment()) };
        if user.contains(':') {
            return Err(ConfigError::Flags(
                "--user takes the name alone: a password on the command line is seen by everyone on this machine; \
                 pipe it in with --password-stdin"
                    .into(),
            )
            .into());
        }
        if !args.password_stdin {
            return Err(ConfigError::Flags("--user needs --password-stdin".into()).into());
        }
        Ok(Credentials::from_environment().with_login(user, read_password()?))
    }
}

/// What a place is opened for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access<'a> {
    Read,
    /// What lands there is fetched, and unpacked, by this engine.
    #[cfg_attr(not(feature = "containerd"), expect(dead_code, reason = "only containerd's images are unpacked"))]
    Write(&'a Engine),
}

fn read_password() -> Result<Secret, ConfigError> {
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_PASSWORD).read_to_string(&mut text);
    let password = text.trim_end_matches(['\r', '\n']);
    match read {
        Ok(_) if !password.is_empty() => Ok(Secret::new(password.to_owned())),
        Ok(_) => Err(ConfigError::Flags("--password-stdin: nothing came on stdin".into())),
        Err(error) => Err(ConfigError::Flags(format!("--password-stdin: {error}"))),
    }
}

/// Reads a platform that a person typed; what is left out is this node's.
pub(super) fn platform(text: &str, host: &LocalHost) -> Result<Platform, PlatformError> {
    Platform::parse(text, &host.report().matching_platform())
}

/// The limits that flags and file leave.
pub(super) fn limits(
    context: &Context,
    downloads: Option<u16>,
    bandwidth: Option<NonZeroU64>,
    memory: Option<u32>,
) -> Limits {
    let (defaults, file) = (Limits::default(), &context.file);
    Limits {
        concurrent_downloads: downloads
            .map(usize::from)
            .or(file.max_concurrent_downloads)
            .unwrap_or(defaults.concurrent_downloads),
        connections_per_host: file.max_connections_per_host.unwrap_or(defaults.connections_per_host),
        connections: file.max_connections.unwrap_or(defaults.connections),
        bandwidth: bandwidth.or(file.max_bandwidth),
        buffer_bytes: memory.or(file.max_memory).unwrap_or(defaults.buffer_bytes),
        ..defaults
    }
}

impl MatchArgs {
    pub(super) fn level(&self) -> Level {
        if self.isa_level { Level::Cpu } else { Level::Containerd }
    }

    pub(super) fn on_mismatch(&self) -> Asked {
        if self.allow_mismatch { Asked::User(Action::Allow) } else { Asked::Nobody }
    }
}
