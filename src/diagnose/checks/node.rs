//! The nodes themselves: what about them bends which image is taken, and whether it runs.

use crate::core::platform::Platform;
use crate::core::select;
use crate::core::text::shell_word;
use crate::diagnose::finding::{Evidence, Finding, Id, Remedy, Severity};
use crate::diagnose::fleet::Image;
use crate::diagnose::runs::Node;
use crate::host::{Binfmt, Emulator, Execution};

use super::{remedies, shown};

/// The findings about nodes, as far as they matter to this image.
#[must_use]
pub fn check(image: Image<'_>, nodes: &[Node]) -> Vec<Finding> {
    let of = |node: &Node| {
        let emulation = emulated(image, node).into_iter().map(|finding| finding.on(&node.name));
        split(image, node).map(|finding| finding.on(&node.name)).into_iter().chain(emulation).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of).collect()
}

/// PLAT-013, where the image has something for the kernel's own architecture.
fn split(image: Image<'_>, node: &Node) -> Option<Finding> {
    let report = &node.report;
    let (kernel, matching) = (report.kernel.platform.normalized(), report.matching_platform());
    let seen_through_an_emulator = report.process.emulated && report.containerd.is_none();
    if kernel.architecture == matching.architecture || seen_through_an_emulator {
        return None;
    }
    let taken = image.taken(node).and_then(|path| image.claimed(&path)).map(|platform| platform.architecture);
    let offered = select::images(image.entries)
        .iter()
        .any(|path| image.claimed(path).is_some_and(|platform| platform.architecture == kernel.architecture));
    if !offered || taken.as_deref() == Some(&kernel.architecture) {
        return None;
    }
    let message = format!(
        "containerd matches images with {matching}, and the kernel is {kernel}: the image for {kernel} is passed over"
    );
    let evidence = Evidence {
        what: format!("uname -m says {}; this userland is {}", report.kernel.machine, report.process.platform.arch()),
        verified: true,
        ..Evidence::default()
    };
    let finding = Finding::new(Id::HostUserlandSplit, Severity::Warning, message).shown_by(evidence);
    Some(
        finding
            .mended_by(Remedy::new(format!("install the {} build of containerd and its userland", kernel.architecture)))
            .mended_by(Remedy::new(format!(
                "or ask for what runs without it: --platform {kernel} where programs bring their libraries along"
            ))),
    )
}

/// PLAT-017 and PLAT-019, for what is taken by the node, or for the lone manifest.
fn emulated(image: Image<'_>, node: &Node) -> Option<Finding> {
    let path = image.taken(node).or_else(|| image.lone().map(|_| Vec::new()))?;
    let claimed = image.claimed(&path)?;
    if let Some(broken) = broken_emulator(&claimed, node) {
        return Some(broken.at(&path));
    }
    let Execution::Emulated { interpreter, flags, handler, .. } = image.execution(&path, node) else { return None };
    let by = interpreter.as_deref().unwrap_or("an emulator that cannot be seen");
    let message = format!(
        "{} runs under {by} here: several times slower, without ptrace and io_uring, and uname shows the node's kernel",
        shown(&claimed)
    );
    let severity = if handler.is_some() { Severity::Note } else { Severity::Warning };
    let evidence = Evidence {
        what: match handler {
            Some(handler) => format!("/proc/sys/fs/binfmt_misc/{handler}: flags {flags}"),
            None => "a test program ran, and no registration of it can be seen".into(),
        },
        verified: true,
        ..Evidence::default()
    };
    Some(Finding::new(Id::Emulated, severity, message).at(&path).shown_by(evidence))
}

/// PLAT-019: an emulator that is there for a platform and does not work in containers.
pub(super) fn broken_emulator(platform: &Platform, node: &Node) -> Option<Finding> {
    let architecture = platform.normalized().architecture;
    let report = &node.report;
    let takes = |emulator: &&Emulator| emulator.enabled && emulator.architectures.contains(&architecture);
    let emulator = report.emulators.iter().find(takes).filter(|_| report.binfmt == Binfmt::Enabled)?;
    let execution = report.runs.iter().find(|runs| runs.architecture == architecture).map(|runs| &runs.execution)?;
    let what = match execution {
        Execution::Emulated { usable_in_containers: false, .. } => {
            "is registered without flag F (fix-binary), so that containers look for it in their own files".to_owned()
        }
        Execution::No { reason } => format!("is registered and does not work: {reason}"),
        _ => return None,
    };
    let Emulator { name, interpreter, flags, .. } = emulator;
    let message = format!("{interpreter}, the emulator of {architecture} here, {what}");
    let evidence = Evidence {
        what: format!("/proc/sys/fs/binfmt_misc/{name}: interpreter {interpreter}, flags {flags:?}"),
        verified: true,
        ..Evidence::default()
    };
    let mut remedy =
        remedies::register_emulator(&architecture, "register it anew with flag F, opened once and for all");
    // One that is there already is left as it is.
    remedy
        .commands
        .insert(0, format!("docker run --privileged --rm tonistiigi/binfmt --uninstall {}", shell_word(name)));
    Some(Finding::new(Id::BinfmtBroken, Severity::Error, message).shown_by(evidence).mended_by(remedy))
}

#[cfg(test)]
mod tests;
