//! The decision: which manifest of an image, for which wish, on which host.
//!
//! One rule for every door: containerd's `Only`. A lone manifest is held to it as well,
//! by the platform of its config: the branch that other clients leave out, and the one that
//! ends in `exec format error`.

use crate::core::descriptor::Descriptor;
use crate::core::image_name::ArchName;
use crate::core::platform::{Matcher, Platform};
use crate::core::predict::{Client, HostView, Outcome, predict};
use crate::core::select::{self, Eligible, Entry, EntryPath, Inner, Row, Verdict};
use crate::host::{Execution, LocalHost};

use super::{Image, ResolveError, Root};

/// What the caller asks for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// A platform, or what this node matches with.
    pub platform: Option<Platform>,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What to do with an image that is for another platform.
    pub on_mismatch: OnMismatch,
}

/// Which level of the CPU counts when no platform is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// containerd's view, which knows none on amd64.
    #[default]
    Containerd,
    /// The CPU's own: `amd64/v3` on a v3 machine.
    Cpu,
}

/// What to do with an image that is for another platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnMismatch {
    /// Refuse it, unless an emulator runs it.
    #[default]
    Refuse,
    /// Take it with a warning.
    Allow,
}

/// The manifest that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it stands in the index; `None` for a lone manifest.
    pub path: Option<EntryPath>,
    /// Its descriptor, as the index has it.
    pub descriptor: Descriptor,
    /// What it is for, normalised.
    pub platform: Platform,
    /// containerd, looking the image up by its root, would come to another entry.
    pub pin: bool,
    /// Whether and how it runs on this node.
    pub execution: Execution,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Wish {
    /// The platform that is matched for.
    #[must_use]
    pub fn wanted(&self, host: &LocalHost) -> Platform {
        match (&self.platform, self.level) {
            (Some(platform), _) => platform.clone(),
            (None, Level::Containerd) => host.report().matching_platform(),
            (None, Level::Cpu) => host.report().isa_platform(),
        }
    }

    /// The platforms that are acceptable, best first.
    #[must_use]
    pub fn matcher(&self, host: &LocalHost) -> Matcher {
        Matcher::only(&self.wanted(host))
    }
}

/// Chooses, or refuses with what to do instead.
///
/// # Errors
/// [`ResolveError::NoMatch`], [`ResolveError::Mismatch`] or [`ResolveError::CannotRun`].
pub fn choose(image: &Image, wish: &Wish, host: &LocalHost) -> Result<Choice, ResolveError> {
    let mut choice = match &image.content {
        Root::Manifest(_, platform) => lone_manifest(image, platform, wish, host)?,
        Root::Index(entries) => from_index(image, entries, wish, host)?,
    };
    if let Some(name) = contradicting_name(image, &wish.matcher(host)) {
        choice.warnings.push(format!(
            "the name says {}, and {} is wanted; the multi-arch image is usually {}",
            name.platform,
            wish.wanted(host),
            name.multi_arch.familiar()
        ));
    }
    Ok(choice)
}

fn from_index(image: &Image, entries: &[Entry], wish: &Wish, host: &LocalHost) -> Result<Choice, ResolveError> {
    let matcher = wish.matcher(host);
    let found = select::choose(entries, &matcher, Eligible::Images);
    let Some((path, entry)) = found.and_then(|path| select::at(entries, &path).map(|entry| (path, entry))) else {
        return Err(no_match(image, entries, wish, host));
    };
    let platform = entry.platform().map(Platform::normalized).unwrap_or_default();
    let (execution, warnings) = check_execution(image, &platform, wish, host)?;
    let containerd = Matcher::only(&host.report().matching_platform());
    let pin = select::choose(entries, &containerd, Eligible::Everything).as_ref() != Some(&path);
    Ok(Choice { path: Some(path), descriptor: entry.descriptor.clone(), platform, pin, execution, warnings })
}

/// Whether what the rule chose runs here. A platform that the caller named is his affair: the
/// image may be meant for another machine.
fn check_execution(
    image: &Image,
    platform: &Platform,
    wish: &Wish,
    host: &LocalHost,
) -> Result<(Execution, Vec<String>), ResolveError> {
    let execution = host.execution_of(platform);
    let warnings = match &execution {
        _ if wish.platform.is_some() => Vec::new(),
        Execution::Emulated { interpreter, usable_in_containers, .. } => {
            vec![emulation_warning(platform, interpreter.as_deref(), *usable_in_containers)]
        }
        Execution::No { reason } if wish.on_mismatch == OnMismatch::Allow => vec![cannot_run(platform, reason)],
        Execution::No { reason } => {
            let (reference, reason) = (image.reference.familiar(), reason.clone());
            return Err(ResolveError::CannotRun { reference, image: platform.clone(), reason });
        }
        Execution::Native | Execution::Compat | Execution::Unknown { .. } => Vec::new(),
    };
    Ok((execution, warnings))
}

/// The warning about a platform that this node does not execute.
#[must_use]
pub fn cannot_run(platform: &Platform, reason: &str) -> String {
    format!("this node cannot run {platform}: {reason}")
}

fn emulation_warning(platform: &Platform, interpreter: Option<&str>, usable_in_containers: bool) -> String {
    let by = interpreter.unwrap_or("an emulator");
    let caveat = if usable_in_containers {
        "slower than native, and without ptrace or io_uring"
    } else {
        "but not in containers: it is registered without the flag F (fix-binary)"
    };
    format!("{platform} runs here only under {by}, {caveat}")
}

fn lone_manifest(image: &Image, platform: &Platform, wish: &Wish, host: &LocalHost) -> Result<Choice, ResolveError> {
    let wanted = wish.wanted(host);
    let normal = platform.normalized();
    let choice = |execution, warnings| Choice {
        path: None,
        descriptor: image.root.clone(),
        platform: normal.clone(),
        pin: false,
        execution,
        warnings,
    };
    if wish.matcher(host).slot(platform).is_some() {
        let (execution, warnings) = check_execution(image, &normal, wish, host)?;
        return Ok(choice(execution, warnings));
    }
    let execution = host.execution_of(&normal);
    let claim = match platform.architecture.as_str() {
        "" => "names no platform at all; it may be an artifact and no image".to_owned(),
        _ => format!("is an image for {normal} alone"),
    };
    if wish.on_mismatch == OnMismatch::Allow {
        let warning = format!("the image {claim}, and {wanted} is wanted: taken all the same");
        return Ok(choice(execution, vec![warning]));
    }
    let reason = match (&wish.platform, &execution) {
        (Some(asked), _) => format!("{asked} is asked for"),
        (None, Execution::Emulated { interpreter, usable_in_containers: true, .. }) => {
            let warning = emulation_warning(&normal, interpreter.as_deref(), true);
            return Ok(choice(execution, vec![warning]));
        }
        (None, Execution::No { reason }) => format!("this node is {wanted}: {reason}"),
        (None, _) => format!("this node is {wanted}"),
    };
    let advice = match contradicting_name(image, &wish.matcher(host)) {
        Some(name) => format!("try the multi-arch name: {}", name.multi_arch.familiar()),
        None => format!(
            "ask the publisher for a {wanted} build; --allow-mismatch pulls it all the same, and it would end in \"exec format error\""
        ),
    };
    let reference = image.reference.familiar();
    Err(ResolveError::Mismatch { reference, claim, reason, advice: Some(advice) })
}

/// A name that carries an architecture which is not acceptable.
fn contradicting_name(image: &Image, matcher: &Matcher) -> Option<ArchName> {
    ArchName::find(&image.reference).filter(|name| matcher.slot(&name.platform).is_none())
}

fn no_match(image: &Image, entries: &[Entry], wish: &Wish, host: &LocalHost) -> ResolveError {
    let mut available: Vec<String> = Vec::new();
    for path in select::images(entries) {
        let platform =
            select::at(entries, &path).and_then(Entry::platform).map(|platform| platform.normalized().to_string());
        let platform = platform.unwrap_or_else(|| "an entry without platform".into());
        if !available.contains(&platform) {
            available.push(platform);
        }
    }
    ResolveError::NoMatch {
        reference: image.reference.familiar(),
        wanted: wish.wanted(host),
        available,
        advice: Some(advice(image, entries, wish, host)),
    }
}

/// The nearest thing to what was wanted, in the order in which it is likely to help.
fn advice(image: &Image, entries: &[Entry], wish: &Wish, host: &LocalHost) -> String {
    let matcher = wish.matcher(host);
    let rows = select::explain(entries, &matcher, None);
    if let Some(name) = contradicting_name(image, &matcher) {
        return format!("try the multi-arch name: {}", name.multi_arch.familiar());
    }
    if let Some(row) = rows.iter().find(|row| row.verdict == Verdict::NotTried && fits(&row.entry, &matcher)) {
        return format!(
            "an entry without platform has a config that fits, but only the first such entry is ever tried; name it: {}",
            image.reference.with_digest(row.entry.descriptor.digest.clone()).familiar()
        );
    }
    if let Some(Inner::Unusable(why)) =
        rows.iter().map(|row| &row.entry.inner).find(|inner| matches!(inner, Inner::Unusable(_)))
    {
        return format!("an entry that might fit cannot be read: {why}");
    }
    let mut too_high =
        rows.iter().filter(|row| row.verdict == Verdict::VariantTooHigh).filter_map(|row| row.entry.platform());
    let cpu = Matcher::only(&host.report().isa_platform());
    if let Some(platform) = too_high.clone().find(|platform| wish.platform.is_none() && cpu.slot(platform).is_some()) {
        return format!("the nearest is {platform}, which this CPU runs: --isa-level takes it");
    }
    if let Some(platform) = too_high.next_back() {
        return format!("the nearest is {platform}, which needs more than {} has", wish.wanted(host));
    }
    let emulated = rows
        .iter()
        .filter_map(|row| row.entry.platform())
        .find(|platform| matches!(host.execution_of(platform), Execution::Emulated { usable_in_containers: true, .. }));
    match emulated {
        Some(platform) => format!("{platform} runs here under emulation: --platform {platform}"),
        None => "ask the publisher for this platform, or run the image on a node of a platform that it has".into(),
    }
}

fn fits(entry: &Entry, matcher: &Matcher) -> bool {
    matches!(&entry.inner, Inner::Config(platform) if matcher.slot(platform).is_some())
}

/// Everything that `--explain` shows.
#[derive(Debug)]
pub struct Explanation {
    /// What is acceptable, best first.
    pub matcher: Matcher,
    /// Every entry with its verdict; empty for a lone manifest.
    pub rows: Vec<Row>,
    /// What other clients would do.
    pub predictions: Vec<(Client, Outcome)>,
    /// A better entry for the real CPU, which was passed over.
    pub passed_over: Option<EntryPath>,
    /// Two entries claim one platform.
    pub duplicates: bool,
}

/// Explains a choice, or why there is none.
#[must_use]
pub fn explain(image: &Image, wish: &Wish, host: &LocalHost, chosen: Option<&Choice>) -> Explanation {
    let matcher = wish.matcher(host);
    let entries = image.entries();
    let path = chosen.and_then(|choice| choice.path.as_deref());
    let rows = select::explain(entries, &matcher, path);
    let view = HostView { containerd: host.report().matching_platform(), isa: host.report().isa_platform() };
    let outcome = |client| match &image.content {
        Root::Manifest(..) => Outcome::TakesUnchecked,
        Root::Index(entries) => predict(client, &image.root.media_type, entries, &view),
    };
    let best = select::choose(entries, &Matcher::only(&view.isa), Eligible::Images);
    Explanation {
        predictions: Client::ALL.into_iter().map(|client| (client, outcome(client))).collect(),
        passed_over: best.filter(|best| wish.platform.is_none() && path.is_some_and(|path| path != best)),
        duplicates: rows.iter().any(|row| row.verdict == Verdict::Duplicate),
        matcher,
        rows,
    }
}

#[cfg(test)]
mod tests;
