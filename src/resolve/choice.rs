//! The decision: which manifest of an image, for which wish, on which host.
//!
//! One rule for every door: containerd's `Only`. A lone manifest is held to it as well,
//! by the platform of its config: the branch that other clients leave out, and the one that
//! ends in `exec format error`.

use crate::core::descriptor::Descriptor;
use crate::core::image_name::ArchName;
use crate::core::mismatch::{Action, Shown, Stance};
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
    /// What to do with an image that does not run here.
    pub on_mismatch: Stance,
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
    /// It does not run here by its own word, and nobody asked for its platform.
    pub mismatch: Option<RuledOut>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What is done about a choice that does not run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuledOut {
    /// That.
    pub action: Action,
    /// Why it does not run.
    pub message: String,
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
    let containerd = Matcher::only(&host.report().matching_platform());
    let pin = select::choose(entries, &containerd, Eligible::Everything).as_ref() != Some(&path);
    let execution = host.execution_of(&platform);
    let mut choice = Choice {
        path: Some(path),
        descriptor: entry.descriptor.clone(),
        platform,
        pin,
        execution,
        mismatch: None,
        warnings: Vec::new(),
    };
    if wish.platform.is_none() {
        choice.judge(image, wish.on_mismatch)?;
    }
    Ok(choice)
}

impl Choice {
    /// Holds it against what runs here. A platform that the caller named is his affair: the image may
    /// be meant for another machine.
    fn judge(&mut self, image: &Image, stance: Stance) -> Result<(), ResolveError> {
        match &self.execution {
            Execution::Emulated { interpreter, usable_in_containers, .. } => {
                let warning = emulation_warning(&self.platform, interpreter.as_deref(), *usable_in_containers);
                self.warnings.push(warning);
            }
            Execution::No { reason } => {
                let (action, message) = (stance.on(Shown::Claims), cannot_run(&self.platform, reason));
                match action {
                    Action::Refuse => return Err(self.refused(image, reason)),
                    Action::Warn => self.warnings.push(message.clone()),
                    Action::Allow => {}
                }
                self.mismatch = Some(RuledOut { action, message });
            }
            Execution::Native | Execution::Compat | Execution::Unknown { .. } => {}
        }
        Ok(())
    }

    /// The same where its platform was asked for by its name, and images are run.
    ///
    /// # Errors
    /// [`ResolveError::CannotRun`] where a stance of the user's own refuses it.
    pub fn judge_asked(&mut self, image: &Image, stance: Stance) -> Result<(), ResolveError> {
        if let Execution::No { reason } = &self.execution {
            match stance.on(Shown::Request) {
                Action::Refuse => return Err(self.refused(image, reason)),
                Action::Warn => self.warnings.push(cannot_run(&self.platform, reason)),
                Action::Allow => {}
            }
        }
        Ok(())
    }

    fn refused(&self, image: &Image, reason: &str) -> ResolveError {
        let (reference, reason) = (image.reference.familiar(), reason.to_owned());
        ResolveError::CannotRun { reference, image: self.platform.clone(), reason }
    }
}

/// The warning about a platform that this node does not execute.
fn cannot_run(platform: &Platform, reason: &str) -> String {
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

/// An image that offers no choice. Containers are made of it whatever its config says, so the
/// question is not whether it is the wanted platform but whether it runs here. What was asked for
/// by name, it has to be.
fn lone_manifest(image: &Image, platform: &Platform, wish: &Wish, host: &LocalHost) -> Result<Choice, ResolveError> {
    let normal = platform.normalized();
    let mut choice = Choice {
        path: None,
        descriptor: image.root.clone(),
        execution: host.execution_of(&normal),
        platform: normal,
        pin: false,
        mismatch: None,
        warnings: Vec::new(),
    };
    let fits = wish.matcher(host).slot(platform).is_some();
    let claim = match platform.architecture.as_str() {
        "" => "names no platform at all; it may be an artifact and no image".to_owned(),
        _ => format!("is an image for {} alone", choice.platform),
    };
    let wanted = wish.wanted(host);
    let (reason, action) = match (&wish.platform, &choice.execution) {
        (Some(_), _) if fits => return Ok(choice),
        // Another answer than was asked for is never taken without a word.
        (Some(asked), _) => (format!("{asked} is asked for"), wish.on_mismatch.on(Shown::Claims).max(Action::Warn)),
        (None, _) if fits => return choice.judge(image, wish.on_mismatch).map(|()| choice),
        (None, Execution::No { reason }) => {
            (format!("this node is {wanted}: {reason}"), wish.on_mismatch.on(Shown::Claims))
        }
        (None, Execution::Emulated { interpreter: Some(emulator), usable_in_containers: false, .. }) => (
            format!("this node is {wanted}: {emulator} is not for containers, being registered without the flag F"),
            wish.on_mismatch.on(Shown::Claims),
        ),
        (None, Execution::Native | Execution::Compat | Execution::Emulated { .. }) => {
            return choice.judge(image, wish.on_mismatch).map(|()| choice);
        }
        // What nobody knows is no reason to refuse, but one to speak.
        (None, Execution::Unknown { reason }) => (
            format!("this node is {wanted}; whether it runs here is not known: {reason}"),
            wish.on_mismatch.on(Shown::Claims).min(Action::Warn),
        ),
    };
    let message = format!("the image {claim}, and {reason}: taken all the same");
    match action {
        Action::Refuse => {
            let (reference, advice) = (image.reference.familiar(), Some(lone_advice(image, wish, host)));
            return Err(ResolveError::Mismatch { reference, image: choice.platform, claim, reason, advice });
        }
        Action::Warn => choice.warnings.push(message.clone()),
        Action::Allow => {}
    }
    let is_ruled_out = wish.platform.is_none() && !matches!(choice.execution, Execution::Unknown { .. });
    choice.mismatch = is_ruled_out.then_some(RuledOut { action, message });
    Ok(choice)
}

fn lone_advice(image: &Image, wish: &Wish, host: &LocalHost) -> String {
    match contradicting_name(image, &wish.matcher(host)) {
        Some(name) => format!("try the multi-arch name: {}", name.multi_arch.familiar()),
        None => format!(
            "ask the publisher for a {} build; --allow-mismatch pulls it all the same, and it would end in \"exec format error\"",
            wish.wanted(host)
        ),
    }
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
