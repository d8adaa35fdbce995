//! Flags of `lighterman manifest`, called what docker manifest calls them.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::super::args::RegistryArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman manifest inspect registry.example/app
  lighterman manifest create registry.example/app:1 registry.example/app:1-amd64 registry.example/app:1-arm
  lighterman manifest annotate registry.example/app:1 --entry linux/arm64 --arch arm --variant v6 --push")]
pub(in crate::cli) struct ManifestArgs {
    #[command(subcommand)]
    pub(super) command: ManifestCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ManifestCommand {
    /// Show the entries of an index, whether their images are there, and what clients take
    Inspect(InspectArgs),
    /// Make an index of images, with platforms from their configs and programs
    Create(CreateArgs),
    /// Change what an entry of an index says that its image runs on
    Annotate(AnnotateArgs),
    /// Push a draft that was kept with --out, or set a tag to an index by its digest
    Push(PushArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman manifest inspect busybox
  lighterman manifest inspect --raw registry.example/app:1 | sha256sum")]
pub(super) struct InspectArgs {
    /// Image reference; docker.io/library/ and :latest may be left out
    #[arg(value_name = "REF")]
    pub(super) reference: String,
    /// The document alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    pub(super) raw: bool,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Nothing is written without --push or --out: the index is shown, what clients would take of it,
and how other tools would make it.

Examples:
  lighterman manifest create registry.example/app:1 registry.example/app:1-amd64 registry.example/app:1-arm
  lighterman manifest create registry.example/app:1 registry.example/app:1-arm=linux/arm/v6 --push
  lighterman manifest create registry.example/app:1 quay.io/org/app@sha256:... --out app.json")]
pub(super) struct CreateArgs {
    /// What to make: a repository and a tag
    #[arg(value_name = "REF")]
    pub(super) reference: String,
    /// An image, or an index whose entries are taken over; a digest alone is one of this repository.
    /// =PLATFORM says what it runs on where it does not say so itself. Images of other repositories
    /// are mounted or copied by the push
    #[arg(value_name = "CHILD[=PLATFORM]", required = true)]
    pub(super) children: Vec<String>,
    /// Make a Docker manifest list [default: what the images are; an OCI index where they differ]
    #[arg(long)]
    pub(super) docker: bool,
    #[command(flatten)]
    pub(super) then: Then,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("change").required(true).multiple(true)),
    after_help = "Nothing is written without --push or --out: the difference is shown, what clients would take of the
index after it, and how other tools would make the change. The tag is compared immediately before it is
set; registries cannot do both at once, so a change in that very moment is overwritten.

Examples:
  lighterman manifest annotate registry.example/app:1 --entry linux/arm64 --arch arm --variant v6
  lighterman manifest annotate registry.example/app:1 --entry 2 --clear-variant --push
  lighterman manifest annotate registry.example/app:1 --entry arm/v6 --also arm/v7 --push"
)]
pub(super) struct AnnotateArgs {
    /// The index: a repository and a tag
    #[arg(value_name = "REF")]
    pub(super) reference: String,
    /// Which entry: its position from 0, its digest (all entries with it), or its platform
    #[arg(long, value_name = "ENTRY")]
    pub(super) entry: String,
    /// Set the operating system
    #[arg(long, value_name = "OS", group = "change")]
    pub(super) os: Option<String>,
    /// Set the architecture
    #[arg(long, value_name = "ARCH", group = "change")]
    pub(super) arch: Option<String>,
    /// Set the variant
    #[arg(long, value_name = "VARIANT", group = "change")]
    pub(super) variant: Option<String>,
    /// Set the version of the operating system
    #[arg(long, value_name = "VERSION", group = "change")]
    pub(super) os_version: Option<String>,
    /// Set the features of the operating system
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', group = "change")]
    pub(super) os_features: Option<Vec<String>>,
    /// Set the features of the CPU, which only Docker's manifest lists know
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', group = "change")]
    pub(super) features: Option<Vec<String>>,
    /// Take the operating system away
    #[arg(long, conflicts_with = "os", group = "change")]
    pub(super) clear_os: bool,
    /// Take the architecture away
    #[arg(long, conflicts_with = "arch", group = "change")]
    pub(super) clear_arch: bool,
    /// Take the variant away
    #[arg(long, conflicts_with = "variant", group = "change")]
    pub(super) clear_variant: bool,
    /// Take the version of the operating system away
    #[arg(long, conflicts_with = "os_version", group = "change")]
    pub(super) clear_os_version: bool,
    /// Take the features of the operating system away
    #[arg(long, conflicts_with = "os_features", group = "change")]
    pub(super) clear_os_features: bool,
    /// Take the features of the CPU away
    #[arg(long, conflicts_with = "features", group = "change")]
    pub(super) clear_features: bool,
    /// List the same image for this platform as well; may be repeated
    #[arg(long, value_name = "PLATFORM", group = "change")]
    pub(super) also: Vec<String>,
    #[command(flatten)]
    pub(super) then: Then,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman manifest push app.json
  lighterman manifest push app.json registry.example/app:2
  lighterman manifest push registry.example/app@sha256:... registry.example/app:1   back to what it was
  lighterman manifest push app.json registry.example/app:1@sha256:...   only while the tag stands for that")]
pub(super) struct PushArgs {
    /// A file that --out wrote, or an index by its digest
    #[arg(value_name = "FILE|REF@DIGEST")]
    pub(super) source: String,
    /// Where to [default: as the draft says]
    #[arg(value_name = "REF")]
    pub(super) reference: Option<String>,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

/// What becomes of a draft.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Then {
    /// Push it, unless the tag was moved meanwhile
    #[arg(long)]
    pub(in crate::cli) push: bool,
    /// Keep it in a new file
    #[arg(long, value_name = "FILE", conflicts_with = "push")]
    pub(in crate::cli) out: Option<PathBuf>,
}
