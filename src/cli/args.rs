//! Every flag, called what ctr, crane and kubectl call it.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::completions::{CompletionsArgs, ManArgs};
use super::diagnose::DiagnoseArgs;
use super::manifest::ManifestArgs;
use super::setup::SetupArgs;
use crate::config::{self, FileConfig};
use crate::unpack::options::{Extractor, Start};

#[cfg(feature = "containerd")]
use super::daemon::CancelArgs;
#[cfg(feature = "containerd")]
use super::serve::ServeArgs;
use super::verify_image::VerifyImageArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  64  malformed command line, reference, platform or digest
  65  bad content: digest or size mismatch, malformed or oversized document, schema 1
  66  not found: unknown repository, tag or digest
  67  platform: nothing for this node, or the image is for another one
  69  unavailable: registry or containerd cannot be reached
  70  a bug in lighterman
  73  the destination is no OCI layout, is not writable, or was changed by somebody else meanwhile
  74  local disk: I/O error, no space left
  75  try again later: rate limit, timeout
  76  the registry's certificate is not trusted
  77  credentials missing, wrong or insufficient
  78  configuration: config file, hosts.toml, certificates, docker's config.json
  130 interrupted";

/// Resolves, pulls and verifies multi-arch container images for the CPU at hand.
#[derive(Debug, Parser)]
#[command(name = "lighterman", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// Configuration file [default: /etc/lighterman/config.toml, if it exists]
    #[arg(long, global = true, env = "LIGHTERMAN_CONFIG", value_name = "FILE", help_heading = "Global options")]
    pub(super) config: Option<PathBuf>,
    /// What to log on stderr [default: warn; info for serve]
    #[arg(long, global = true, env = "LIGHTERMAN_LOG", value_name = "LEVEL", help_heading = "Global options")]
    log_level: Option<LogLevel>,
    /// Results as JSON on stdout, errors as JSON on stderr
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) json: bool,
    /// Colours and progress bars: on a terminal, always, or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    pub(super) color: Color,
    /// containerd's socket [default: /run/containerd/containerd.sock]
    #[arg(long, global = true, env = "CONTAINERD_ADDRESS", value_name = "SOCKET", help_heading = "Global options")]
    pub(super) containerd_address: Option<PathBuf>,
    /// Socket of the daemon that is to do the work, or "none" to do it in this process
    /// [default: the daemon of /run/lighterman/lighterman.sock, if it answers]
    #[cfg(feature = "containerd")]
    #[arg(long, global = true, env = "LIGHTERMAN_ADDRESS", value_name = "SOCKET", help_heading = "Global options")]
    pub(super) address: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// When to colour.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Sets it for the whole process; `auto` leaves it to the terminal, NO_COLOR and CLICOLOR.
    pub(super) fn apply(self) {
        match self {
            Self::Auto => {}
            Self::Always => set_colors(true),
            Self::Never => set_colors(false),
        }
    }
}

/// Bytes of memory that a person typed.
fn memory(text: &str) -> Result<u32, String> {
    config::memory(text).ok_or_else(|| format!("has to be {}", config::MEMORY))
}

/// Bytes per second that a person typed.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    config::rate(text).ok_or_else(|| format!("has to be {}", config::RATE))
}

fn set_colors(enabled: bool) {
    console::set_colors_enabled(enabled);
    console::set_colors_enabled_stderr(enabled);
}

impl Global {
    /// What flag, variable or file say, else what is usual.
    pub(super) fn log_level(&self, file: &FileConfig, usual: LevelFilter) -> LevelFilter {
        let named = file.log_level.as_deref().and_then(|text| LogLevel::from_str(text, true).ok());
        match self.log_level.or(named) {
            None => usual,
            Some(LogLevel::Error) => LevelFilter::ERROR,
            Some(LogLevel::Warn) => LevelFilter::WARN,
            Some(LogLevel::Info) => LevelFilter::INFO,
            Some(LogLevel::Debug) => LevelFilter::DEBUG,
            Some(LogLevel::Trace) => LevelFilter::TRACE,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say what this node can run, and how that is known
    #[command(after_help = "Examples:\n  lighterman host\n  lighterman host --json > this-node.json")]
    Host,
    /// Find the manifest for a platform, and explain the choice
    Resolve(ResolveArgs),
    /// Fetch, verify and land an image in containerd or in an OCI layout
    Pull(PullArgs),
    /// Serve pulls to others on this node: the daemon
    #[cfg(feature = "containerd")]
    Serve(ServeArgs),
    /// Show what the daemon is pulling
    #[cfg(feature = "containerd")]
    Pulls,
    /// Cancel a pull of the daemon
    #[cfg(feature = "containerd")]
    Cancel(CancelArgs),
    /// Say whether an image will run, why not, and what to do about it
    Diagnose(DiagnoseArgs),
    /// Verify an image that was pulled, and show what it is
    Inspect(InspectArgs),
    /// Look at, make, correct and push the indexes of multi-arch images
    Manifest(ManifestArgs),
    /// Check the configuration, or show what holds
    Config(super::config::ConfigArgs),
    /// Tell containerd whether this node can run an image: its image verifier
    VerifyImage(VerifyImageArgs),
    /// A tour without network, containerd or root: what multi-arch images are and how they go wrong
    #[command(after_help = "Examples:\n  lighterman demo")]
    Demo,
    /// Connect this node's containerd, kubelet, docker and podman to lighterman, or take that back
    Setup(SetupArgs),
    /// Say what is wrong on this node, in order of importance, with what helps
    Doctor,
    /// Print completions for a shell
    #[command(after_help = "Examples:\n  lighterman completions bash > /etc/bash_completion.d/lighterman")]
    Completions(CompletionsArgs),
    /// Write man pages into a folder
    Man(ManArgs),
}

impl Command {
    /// What a command logs unless somebody says otherwise.
    pub(super) fn usual_level(&self) -> LevelFilter {
        match self {
            #[cfg(feature = "containerd")]
            Self::Serve(_) => super::serve::LEVEL,
            _ => LevelFilter::WARN,
        }
    }
}

/// How to reach a registry.
#[derive(Debug, Default, Args)]
pub(super) struct RegistryArgs {
    /// Directories of hosts.toml files, as containerd's config_path [default: /etc/containerd/certs.d:/etc/docker/certs.d]
    #[arg(long, value_name = "DIR", value_delimiter = ':', help_heading = "Registry options")]
    pub(super) hosts_dir: Vec<PathBuf>,
    /// A mirror to try before the registry; may be repeated, in order
    #[arg(long, value_name = "URL", help_heading = "Registry options")]
    pub(super) mirror: Vec<String>,
    /// Speak plain HTTP to the registry (loopback registries need no flag)
    #[arg(long, help_heading = "Registry options")]
    pub(super) plain_http: bool,
    /// Do not verify the registry's certificate
    #[arg(short = 'k', long, help_heading = "Registry options")]
    pub(super) skip_verify: bool,
    /// CA certificates to trust besides the system's, PEM
    #[arg(long, value_name = "FILE", help_heading = "Registry options")]
    pub(super) tlscacert: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tlskey", help_heading = "Registry options")]
    pub(super) tlscert: Option<PathBuf>,
    /// Key of the client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tlscert", help_heading = "Registry options")]
    pub(super) tlskey: Option<PathBuf>,
    /// User name at the registry; the password is read with --password-stdin.
    /// Without it, docker's config.json is used ($DOCKER_CONFIG or ~/.docker)
    #[arg(short, long, value_name = "NAME", help_heading = "Registry options")]
    pub(super) user: Option<String>,
    /// Read the password from stdin
    #[arg(long, requires = "user", help_heading = "Registry options")]
    pub(super) password_stdin: bool,
}

/// What to match.
#[derive(Debug, Default, Args)]
pub(super) struct MatchArgs {
    /// Match the real CPU: amd64/v3 on a v3 machine, where containerd only asks for amd64
    #[arg(long)]
    pub(super) isa_level: bool,
    /// Take an image that does not run here without a word, whatever the configuration says
    #[arg(long)]
    pub(super) allow_mismatch: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman resolve busybox
  lighterman resolve --explain --platform linux/arm/v7 quay.io/prometheus/busybox
  lighterman resolve --json ghcr.io/org/app:1.2")]
pub(super) struct ResolveArgs {
    /// Image reference; docker.io/library/ and :latest may be left out
    #[arg(value_name = "REF")]
    pub(super) reference: String,
    /// Platform to match, OS/ARCH[/VARIANT] [default: what containerd matches with on this node]
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<String>,
    #[command(flatten)]
    pub(super) matching: MatchArgs,
    /// Show every entry, why it was chosen or not, and what other clients would choose
    #[arg(long)]
    pub(super) explain: bool,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman pull busybox                              into containerd, namespace default
  lighterman pull busybox --to oci:./busybox           into a directory: no containerd, no root
  lighterman pull -n k8s.io registry.example:5000/app  where kubelet sees it
  lighterman pull busybox --platform linux/arm64 --platform linux/arm/v7 --to oci:./boards")]
pub(super) struct PullArgs {
    /// Image reference; docker.io/library/ and :latest may be left out
    #[arg(value_name = "REF")]
    pub(super) reference: String,
    /// Platform to pull, OS/ARCH[/VARIANT]; may be repeated [default: what containerd matches with on this node]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(super) platform: Vec<String>,
    /// Pull every manifest of the image
    #[arg(long, conflicts_with_all = ["platform", "isa_level"])]
    pub(super) all_platforms: bool,
    #[command(flatten)]
    pub(super) matching: MatchArgs,
    /// Where to: oci:DIR or containerd[:NAMESPACE] [default: containerd, if its socket answers]
    #[arg(long, value_name = "DESTINATION")]
    pub(super) to: Option<String>,
    /// containerd namespace [default: default]
    #[arg(short, long, env = "CONTAINERD_NAMESPACE", value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// containerd snapshotter to unpack with [default: overlayfs]
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", value_name = "NAME")]
    pub(super) snapshotter: Option<String>,
    /// Only fetch and name the image; containerd unpacks it when a container is made of it
    #[arg(long)]
    pub(super) no_unpack: bool,
    /// Blobs downloaded at a time [default: 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) max_concurrent_downloads: Option<u16>,
    /// Bytes per second that all downloads together may take, as in 20MB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub(super) max_bandwidth: Option<NonZeroU64>,
    /// Bytes of memory for downloads and unpacking, as in 64MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(super) max_memory: Option<u32>,
    /// Where partial downloads for containerd are kept [default: /var/lib/lighterman/staging, or
    /// beside containerd's content where that is another file system]
    #[arg(long, value_name = "DIR")]
    pub(super) staging_dir: Option<PathBuf>,
    /// How containerd gets blobs: by a hard link, or written through its API [default: link]
    #[arg(long, value_name = "WAY", value_parser = ["link", "write"])]
    pub(super) content: Option<String>,
    #[command(flatten)]
    pub(super) unpack: UnpackArgs,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

/// How layers become snapshots of containerd.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct UnpackArgs {
    /// When to unpack a layer: while it arrives, or once its digest held [default: arriving]
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    pub(super) unpack: Option<Start>,
    /// Who extracts layers: lighterman, or containerd's diff-service [default: lighterman]
    #[arg(long, value_name = "WHO", hide_possible_values = true)]
    pub(super) extract_with: Option<Extractor>,
    /// Write unpacked layers through to the disk before the image gets its name [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) sync_snapshots: Option<bool>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman inspect --from oci:./busybox
  lighterman inspect busybox --from containerd:k8s.io")]
pub(super) struct InspectArgs {
    /// Image reference [default: every image of the layout]
    #[arg(value_name = "REF")]
    pub(super) reference: Option<String>,
    /// Where it is: oci:DIR or containerd[:NAMESPACE]
    #[arg(long, value_name = "SOURCE")]
    pub(super) from: String,
    /// containerd namespace [default: default]
    #[arg(short, long, env = "CONTAINERD_NAMESPACE", value_name = "NAME")]
    pub(super) namespace: Option<String>,
}
