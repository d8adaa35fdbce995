//! `lighterman verify-image`: containerd's word before a pull, whether this node can run the image.
//!
//! containerd 2.0 and newer start every program in the `bin_dir` of its image verifier with the
//! image's name and digest and no word in front, so the flags alone say that it is containerd who
//! calls: a link of any name to lighterman will do there. Exit code 0 lets the pull go on, any other
//! ends it, and the one line on stdout is the reason that the user sees. A verifier that fails
//! or takes too long ends the pull as well, so whatever goes wrong here is answered, in time, as
//! `[verify] on-error` says.
//!
//! Which platform is being pulled is not told. An image is refused only where nothing in it runs on this
//! node, neither on the CPU nor under an emulator; what is no image passes. Where a part of it says of
//! no platform, or cannot be read, and no other part runs here, that is no judgement either way:
//! `[verify] on-error` decides.
//!
//! Facts: containerd 2.0 to 2.3, `docs/image-verification.md`, `pkg/imageverifier/bindir`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;

use crate::config::{FileConfig, OnError};
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::select;
use crate::core::text::one_line;
use crate::host::{Execution, LocalHost};
use crate::resolve::resolution::{ExplainedEntry, Resolution};
use crate::telemetry;

use super::args::{Global, MatchArgs, RegistryArgs, ResolveArgs};
use super::context::Context;
use super::{Failure, report, resolve};

/// The command, as people type it.
const COMMAND: &str = "verify-image";
/// What containerd calls with, and may in the future.
const FLAGS: [&str; 4] = ["-name", "-digest", "-stdin-media-type", "-operation"];
/// containerd waits 10 seconds unless it is told otherwise, and a verifier that is late counts as one
/// that failed.
const PATIENCE: Duration = Duration::from_secs(8);
/// Exit code of a refusal.
const REFUSED: u8 = 1;
/// Bytes of a reason. containerd takes 32 KiB, but it ends up in an event of a pod.
const MAX_REASON: usize = 1024;

#[derive(Debug, Args)]
#[command(
    override_usage = "lighterman verify-image -name REF -digest DIGEST [-stdin-media-type TYPE]",
    after_help = "containerd calls this by itself, without the word verify-image, once a link to lighterman is in the bin_dir
of its image verifier (containerd 2.0 and newer; pulls by its transfer service):
  [plugins.\"io.containerd.image-verifier.v1.bindir\"]
    bin_dir = \"/opt/containerd/image-verifier/bin\"
  ln -s /usr/bin/lighterman /opt/containerd/image-verifier/bin/lighterman

An image passes if anything in it runs on this node, natively or under an emulator. One that
cannot be read passes as well, unless the configuration says [verify] on-error = \"refuse\".

Exit codes:
  0   the pull may go on
  1   it may not; the reason is on stdout"
)]
pub(super) struct VerifyImageArgs {
    /// As containerd's image verifiers are called
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

/// Whether it is containerd who calls, with nothing but its flags.
pub(super) fn is_call(given: &[OsString]) -> bool {
    given.get(1).is_some_and(|first| FLAGS.iter().any(|flag| first == flag))
}

/// The arguments with the command that containerd leaves out.
pub(super) fn spelled_out(given: &[OsString]) -> Vec<OsString> {
    let mut spelled = given.to_vec();
    if is_call(given) {
        spelled.insert(1, COMMAND.into());
    }
    spelled
}

/// Answers a call that could not even be understood, say because of the environment: that is no
/// fault of the image.
pub(super) fn unheard(error: &clap::Error) -> ExitCode {
    report::warning(&format!("the image was not looked at: {error}"));
    ExitCode::SUCCESS
}

/// Answers containerd.
pub(super) fn main(global: Global, args: &VerifyImageArgs) -> ExitCode {
    let file = match FileConfig::load(global.config.as_deref()) {
        Ok(file) => file,
        // Whether errors are to refuse images is in there.
        Err(error) => return Verdict::Unseen(error.to_string()).answer(OnError::default()),
    };
    let level = global.log_level(&file, LevelFilter::WARN);
    let logging = telemetry::start(level, file.log_format.unwrap_or_default());
    let on_error = file.verify_on_error.unwrap_or_default();
    let image = match named(&args.flags) {
        Ok(image) => image,
        Err(reason) => return Verdict::Unseen(reason).answer(on_error),
    };
    judge(Context { global, file, logging }, image).answer(on_error)
}

/// What is said of an image.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// This node runs it, or it is no image.
    Passes(String),
    /// This node cannot run it.
    Refused(String),
    /// It could not be looked at.
    Unseen(String),
}

impl Verdict {
    fn answer(self, on_error: OnError) -> ExitCode {
        let (reason, code) = match self {
            Self::Passes(reason) => (reason, ExitCode::SUCCESS),
            Self::Refused(reason) => (reason, ExitCode::from(REFUSED)),
            Self::Unseen(reason) => {
                let reason = format!("the image could not be looked at: {reason}");
                report::warning(&reason);
                (reason, if on_error == OnError::Allow { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
            }
        };
        report::result(&one_line(&reason, MAX_REASON));
        code
    }
}

/// The image that containerd means: by its digest, whatever its tag is by now. Flags that are
/// not known yet are for others.
fn named(flags: &[OsString]) -> Result<Reference, String> {
    let value = |name: &str| {
        let at = flags.iter().position(|flag| flag.to_str().is_some_and(|flag| flag.trim_start_matches('-') == name));
        at.and_then(|at| flags.get(at + 1)?.to_str())
    };
    let name = value("name").ok_or("there is no -name")?;
    let digest = value("digest").ok_or("there is no -digest")?;
    let digest: Digest = digest.parse().map_err(|error| format!("{error}"))?;
    let reference: Reference = name.parse().map_err(|error| format!("{error}"))?;
    Ok(reference.with_digest(digest))
}

/// Looks at an image for as long as containerd has patience.
fn judge(context: Context, image: Reference) -> Verdict {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Verdict::Unseen(error.to_string()),
    };
    // A task of its own: detecting what the node runs blocks.
    let looking = runtime.spawn(async move { look(&context, &image).await });
    let verdict = match runtime.block_on(async { tokio::time::timeout(PATIENCE, looking).await }) {
        Ok(Ok(Ok(verdict))) => verdict,
        Ok(Ok(Err(error))) => Verdict::Unseen(error.to_string()),
        Ok(Err(error)) => Verdict::Unseen(error.to_string()),
        Err(_) => Verdict::Unseen(format!("nothing was known after {} s", PATIENCE.as_secs())),
    };
    runtime.shutdown_background();
    verdict
}

async fn look(context: &Context, image: &Reference) -> Result<Verdict, Failure> {
    let mut args = ResolveArgs {
        reference: image.to_string(),
        platform: None,
        matching: MatchArgs::default(),
        explain: false,
        registry: RegistryArgs::default(),
    };
    let (refusal, chosen) = match Box::pin(resolve::look_up(context, &args)).await {
        Ok((resolution, refusal)) => (refusal, resolution.chosen),
        Err(error) => (Some(error), None),
    };
    match (refusal, chosen) {
        (None, Some((_, platform))) => return Ok(Verdict::Passes(format!("this node runs {platform}"))),
        (None, None) => return Ok(Verdict::Unseen("nothing was chosen of it".into())),
        (Some(error), _) if !is_of_platform(error.as_ref()) => return Err(error),
        (Some(_), _) => {}
    }
    // Not what containerd would choose by itself, but he who pulls may have named a platform.
    (args.explain, args.matching.allow_mismatch) = (true, true);
    let (resolution, _) = Box::pin(resolve::look_up(context, &args)).await?;
    let host = context.host().await;
    Ok(of_platforms(&resolution, &host))
}

fn is_of_platform(error: &(dyn Classify + Send + Sync)) -> bool {
    matches!(error.kind(), Kind::NoMatchingPlatform | Kind::PlatformMismatch)
}

/// What all platforms of an image come to.
fn of_platforms(resolution: &Resolution, host: &LocalHost) -> Verdict {
    let node = host.report().matching_platform();
    let platforms = platforms(resolution, &node);
    if platforms.iter().any(|platform| platform.architecture.is_empty()) {
        return Verdict::Passes("it names no platform".into());
    }
    if let Some(platform) = platforms.iter().find(|platform| runs(host, platform)) {
        return Verdict::Passes(format!("this node runs {platform}, but only if it is asked for"));
    }
    if let Some(entry) = unjudged(resolution) {
        return Verdict::Unseen(format!("entry {} of it names no platform: {}", entry.path, entry.reason));
    }
    if platforms.is_empty() {
        return Verdict::Unseen("there is no image in it".into());
    }
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    Verdict::Refused(format!("this node is {node} and cannot run the image, which is for {}", names.join(", ")))
}

/// An entry that may be for this node, for all that is known of it.
fn unjudged(resolution: &Resolution) -> Option<&ExplainedEntry> {
    let unknown = [select::Verdict::UnknownMediaType.name(), select::Verdict::Unusable.name()];
    let mut entries = resolution.explained.iter().flat_map(|explained| &explained.entries);
    entries.find(|entry| entry.normalized.is_none() && unknown.contains(&entry.verdict.as_str()))
}

/// Every platform that an image has, normalised: that of a lone manifest, or those of its entries.
fn platforms(resolution: &Resolution, node: &Platform) -> Vec<Platform> {
    let entries = resolution.explained.iter().flat_map(|explained| &explained.entries);
    let listed = entries.filter_map(|entry| Platform::parse(entry.normalized.as_deref()?, node).ok());
    // That of what is attached to an image.
    let listed = listed.filter(|platform| platform.architecture != "unknown");
    let mut all: Vec<Platform> = Vec::new();
    for platform in resolution.chosen.iter().map(|(_, platform)| platform.clone()).chain(listed) {
        if !all.contains(&platform) {
            all.push(platform);
        }
    }
    all
}

fn runs(host: &LocalHost, platform: &Platform) -> bool {
    match host.execution_of(platform) {
        Execution::Native | Execution::Compat | Execution::Unknown { .. } => true,
        // One that cannot be seen from here works all the same, in containers as well for all we know.
        Execution::Emulated { usable_in_containers, handler, .. } => usable_in_containers || handler.is_none(),
        Execution::No { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Arguments, Command};

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn containerds_call_is_known_by_its_flags() {
        let digest = Digest::of(b"image").to_string();
        let call = os(&["anything", "-name", "quay.io/a/b:1", "-digest", &digest, "-stdin-media-type", "x"]);
        assert!(is_call(&call));
        assert_eq!(spelled_out(&call)[1..3], os(&["verify-image", "-name"]));
        let person = os(&["lighterman", "verify-image", "-name", "a"]);
        assert_eq!(spelled_out(&person), person);
        for other in [&["lighterman"][..], &["lighterman", "host"], &["lighterman", "--name", "a"]] {
            assert!(!is_call(&os(other)), "{other:?}");
        }
        let image = named(&call[1..]).expect("is well formed");
        assert_eq!(image.to_string(), format!("quay.io/a/b@{digest}"));
    }

    #[test]
    fn every_flag_of_the_call_gets_through_the_command_line() {
        use clap::Parser as _;
        let digest = Digest::of(b"image").to_string();
        let flags = os(&["-name", "a", "-digest", &digest, "-stdin-media-type", "x", "-operation", "pull", "--help"]);
        for own in [&["any"][..], &["lighterman", "verify-image"], &["lighterman", "--json", "verify-image"]] {
            let spelled = spelled_out(&[os(own), flags.clone()].concat());
            let arguments = Arguments::try_parse_from(spelled).expect("is understood");
            let Command::VerifyImage(args) = arguments.command else { panic!("another command") };
            assert_eq!(args.flags, flags, "{own:?}");
        }
    }

    #[test]
    fn flags_of_later_versions_are_for_others() {
        let digest = Digest::of(b"image").to_string();
        let flags = os(&["-operation", "run", "-digest", &digest, "-new", "-name", "a"]);
        assert!(named(&flags).is_ok());
        for flags in [
            &["-name", "a"][..],
            &["-digest", &digest],
            &["-name", "a", "-digest"],
            &["-name", "A//", "-digest", &digest],
        ] {
            named(&os(flags)).expect_err("says too little");
        }
        named(&os(&["-name", "a", "-digest", "md5:1"])).expect_err("is no digest");
    }
}
