//! Whether what is pulled runs here: what its claims show before it is fetched, and what its program
//! shows once it is unpacked. Each mismatch is told to whoever watches the pull; what is done about it is
//! the [`Stance`](crate::core::mismatch::Stance) of the request.
//!
//! The look at an unpacked image costs some system calls and at the most a few hundred
//! kilobytes of reading, all of which was just written. An image that cannot be looked at, because its
//! snapshots are nothing that we know how to read, is taken at its word.
//!
//! Of an image that stands already, containerd has to be asked where its files are, and answers by
//! two writes to its database. That is for who would refuse it ([`Since`]): everybody else's pull of
//! what is here stays as cheap as it is.

use std::time::Instant;

use crate::core::manifest::ImageConfig;
use crate::core::mismatch::{Action, Mismatch, Shown, Stance};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::diagnose::contents::{Contents, Start};
use crate::diagnose::finding::{Finding, Id, Severity};
use crate::diagnose::rootfs::directories::Directories;
use crate::diagnose::runs::{self, Node};
use crate::diagnose::{DiagnoseError, checks, start};
use crate::fetch::progress::Event;
use crate::host::{Binfmt, Execution, HostReport};
use crate::resolve::ResolveError;
use crate::unpack::Stack;

use super::{Part, Plan, Platforms, PullError, PullRequest, Puller};

/// An image that was refused for what it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub mismatch: Mismatch,
    /// What can be done about it.
    pub advice: Option<String>,
}

/// Since when an image stands, as a pull finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It was there before. It is looked at where the stance refuses what its program shows.
    Before,
    /// Another pull brought it while this one waited for it. It is looked at as if this one had
    /// brought it: what the other was told, and what was done about it, was by another's stance.
    Meanwhile,
}

impl Since {
    /// Whether an image is looked at, for whoever does this about what its program shows.
    fn is_looked_at(self, action: Action) -> bool {
        match self {
            Self::Before => action == Action::Refuse,
            Self::Meanwhile => action > Action::Allow,
        }
    }
}

impl Puller<'_> {
    /// Tells what the claims of an image show, where this node's platform was wanted.
    pub(super) fn tell_of_claims(&self, request: &PullRequest, plan: &Result<Plan, PullError>) {
        if request.platforms != Platforms::Host {
            return;
        }
        let image = request.reference.familiar();
        let tell = |id: Id, platform: &Platform, message: String, action| {
            let (id, platform, node) = (id.code().into(), platform.clone(), node_name());
            self.tell(&Mismatch { id, action, image: image.clone(), platform, node, message });
        };
        match plan {
            Ok(plan) => {
                for choice in plan.parts.iter().map(|part| &part.choice) {
                    let id =
                        if choice.path.is_none() { Id::SingleArchMismatch } else { self.too_far(&choice.platform) };
                    if let Some(ruled_out) = &choice.mismatch {
                        tell(id, &choice.platform, ruled_out.message.clone(), ruled_out.action);
                    }
                }
            }
            Err(PullError::Resolve(error @ ResolveError::Mismatch { image, .. })) => {
                tell(Id::SingleArchMismatch, image, error.to_string(), Action::Refuse);
            }
            Err(PullError::Resolve(error @ ResolveError::CannotRun { image, .. })) => {
                tell(self.too_far(image), image, error.to_string(), Action::Refuse);
            }
            Err(_) => {}
        }
    }

    /// What containerd's rule falls back to: a lower architecture, or a variant that is too high.
    fn too_far(&self, platform: &Platform) -> Id {
        let own = &self.host.report().kernel.platform.architecture;
        if *own == platform.architecture { Id::VariantTooHigh } else { Id::Fallback32Bit }
    }

    fn tell(&self, mismatch: &Mismatch) {
        let Mismatch { id, action, image, platform, node, message } = mismatch;
        tracing::debug!(%image, id, %action, %platform, node, message, "the image is not for this node");
        self.observer.notify(Event::Mismatch(mismatch));
    }

    /// Holds the programs of an image that stands against this node, where somebody wants to know.
    ///
    /// # Errors
    /// [`PullError::Mismatch`] where one is refused, and those of the store.
    pub(super) async fn judge_standing(&self, plan: &Plan, since: Since) -> Result<Vec<String>, PullError> {
        let wanted = plan.judged.is_some_and(|stance| since.is_looked_at(stance.on(Shown::Program)));
        let Some(unpacker) = self.unpacker.filter(|_| wanted) else { return Ok(Vec::new()) };
        let mut warnings = Vec::new();
        for part in plan.runnable() {
            let config = self.config_of(part).await?;
            let stack = unpacker.stack(&part.manifest, &config).await?;
            warnings.extend(self.judge(plan, part, (&config, stack)).await?);
        }
        Ok(warnings)
    }

    /// Holds the program that an unpacked image starts against this node: what the user should know.
    ///
    /// # Errors
    /// [`PullError::Mismatch`] where it is refused.
    pub(super) async fn judge(
        &self,
        plan: &Plan,
        part: &Part,
        (config, stack): (&ImageConfig, Option<Stack>),
    ) -> Result<Vec<String>, PullError> {
        let (Some(stance), Some(stack)) = (plan.judged, stack) else { return Ok(Vec::new()) };
        let began = Instant::now();
        let start = match examine(stack, part, config.clone()).await {
            Ok(start) => start,
            Err(error) => {
                tracing::debug!(error, "what the image starts cannot be looked at");
                return Ok(Vec::new());
            }
        };
        let (seconds, read) = (began.elapsed().as_secs_f64(), start.cost.read);
        tracing::debug!(seconds, read, "looked at what the image starts");
        let contents = Contents {
            path: part.choice.path.clone().unwrap_or_default(),
            descriptor: part.choice.descriptor.clone(),
            manifest: part.manifest.clone(),
            config: config.clone(),
            start: Some(start),
        };
        let verdicts = verdicts(&plan.image.reference, &contents, (self.report_for(&contents), stance));
        let mut warnings = Vec::new();
        for (finding, action) in verdicts {
            let mismatch = Mismatch {
                id: finding.id.code().into(),
                action,
                image: plan.image.reference.familiar(),
                platform: part.choice.platform.clone(),
                node: node_name(),
                message: finding.message,
            };
            self.tell(&mismatch);
            match action {
                Action::Allow => {}
                Action::Warn => warnings.push(mismatch.to_string()),
                Action::Refuse => {
                    let advice = finding.remedies.into_iter().next().map(|remedy| remedy.text);
                    return Err(PullError::Mismatch(Box::new(Refused { mismatch, advice })));
                }
            }
        }
        Ok(warnings)
    }

    /// What is known of this node, as far as it takes to judge: test programs are only started, and
    /// waited for, where a program is not the kernel's own.
    fn report_for(&self, contents: &Contents) -> &HostReport {
        let quick = self.host.report();
        match runs::on(contents, quick) {
            Execution::Unknown { .. } if quick.binfmt == Binfmt::NotRead => self.host.complete(),
            _ => quick,
        }
    }
}

/// What is found about a program, the worst first, and what is done about each.
///
/// Only what does not run here is refused, and only where the claims had promised that it does:
/// otherwise the user knows it by now. Of the rest, what is wrong everywhere and what may be wrong here
/// are worth a warning; what is wrong elsewhere is for whoever diagnoses the image.
fn verdicts(
    reference: &Reference,
    contents: &Contents,
    (report, stance): (&HostReport, Stance),
) -> Vec<(Finding, Action)> {
    let is_no = |execution: Execution| matches!(execution, Execution::No { .. });
    let promised = !is_no(report.execution_of(&contents.claimed()));
    let broken = promised && is_no(runs::on(contents, report));
    let node = Node::this(report.clone());
    let nodes: &[Node] = if promised { &[node] } else { &[] };
    let mut found = checks::binary::check(reference, contents, &nodes.iter().collect::<Vec<_>>());
    found.retain(|finding| match finding.severity {
        Severity::Error => true,
        Severity::Warning => broken || finding.node.is_some(),
        Severity::Note => false,
    });
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let action = stance.on(Shown::Program);
    let judged = |(index, finding)| (finding, if broken && index == 0 { action } else { action.min(Action::Warn) });
    found.into_iter().enumerate().map(judged).collect()
}

/// What an unpacked image starts, looked at on a thread that may block.
async fn examine(stack: Stack, part: &Part, config: ImageConfig) -> Result<Start, String> {
    let (layers, manifest) = (part.manifest.layers.clone(), part.choice.descriptor.digest.clone());
    let look = move || -> Result<Start, DiagnoseError> {
        start::examine(&mut Directories::open(&stack, &layers, &manifest)?, &config)
    };
    let looked = tokio::task::spawn_blocking(look).await.map_err(|error| error.to_string())?;
    looked.map_err(|error| error.to_string())
}

/// What this machine calls itself.
fn node_name() -> String {
    nix::sys::utsname::uname().map(|uname| uname.nodename().to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
