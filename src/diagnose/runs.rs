//! Whether what an image starts runs on a node: its claims, corrected by what its program is.

use super::contents::Contents;
use super::evidence::{flags, name, of_file};
use super::finding::Evidence;
use super::needs::{Certainty, Demand, Need, Needs};
use super::rootfs::File;
use crate::core::elf::{Binary, Interpreter, LoongArchWorld, Misfit};
use crate::core::platform::Platform;
use crate::host::{Execution, HostReport};

pub use crate::host::Node;

/// What keeps a program from running on a node whose architecture is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What kind of thing.
    pub kind: ObstacleKind,
    /// What it comes to.
    pub weight: Weight,
    /// What is wrong, as a part of a sentence.
    pub reason: String,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

/// What an obstacle comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The program will not run.
    Certain,
    /// It may not run: what speaks of the need may have come in by accident.
    Hinted,
    /// Nobody can tell: what is known of the node does not say whether it has what is needed.
    Unknown,
}

impl Weight {
    /// Of something that a program needs and a node does not have, as far as that is known.
    fn of(is_known: bool, certainty: Certainty) -> Self {
        match (is_known, certainty > Certainty::Hinted) {
            (false, _) => Self::Unknown,
            (true, true) => Self::Certain,
            (true, false) => Self::Hinted,
        }
    }
}

/// Kinds of obstacles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObstacleKind {
    /// The CPU is below the level that the program needs.
    Level,
    /// The CPU lacks a feature.
    Feature,
    /// The CPU has no such floating-point unit.
    Float,
    /// An ABI of the architecture that the kernel does not have: the old one of ARM, or the other one of
    /// LoongArch.
    OtherAbi,
    /// The kernel's pages are too large for the program's segments.
    PageSize,
}

/// Whether and how the image's program runs on a host. Where no program was found, what the image
/// claims counts.
#[must_use]
pub fn on(contents: &Contents, host: &HostReport) -> Execution {
    let each = contents.binaries().map(|(file, binary)| of_program(contents, (file, binary), host));
    // All of them have to run; the first that hinders is the one to be told about.
    let worst = each.reduce(|one, other| if hindrance(&other) > hindrance(&one) { other } else { one });
    worst.unwrap_or_else(|| claimed(contents.descriptor.platform.as_ref().unwrap_or(&contents.config.platform), host))
}

/// How little of a program runs that is executed like this.
fn hindrance(execution: &Execution) -> u8 {
    match execution {
        Execution::Native => 0,
        Execution::Compat => 1,
        Execution::Emulated { usable_in_containers: true, .. } => 2,
        Execution::Unknown { .. } => 3,
        Execution::Emulated { usable_in_containers: false, .. } => 4,
        Execution::No { .. } => 5,
    }
}

fn of_program(contents: &Contents, (file, binary): (&File, &Binary), host: &HostReport) -> Execution {
    if let Some(what) = binary.no_program() {
        return Execution::No { reason: format!("{} is {what}", name(file)) };
    }
    let Some(platform) = binary.platform() else {
        return Execution::Unknown {
            reason: format!("{} is {binary}, which is no platform that is known", name(file)),
        };
    };
    let execution = host.execution_of(&lowest(platform));
    let obstacles = of_one(contents, (file, binary), host);
    match obstacles.iter().find(|obstacle| obstacle.weight == Weight::Certain).or(obstacles.first()) {
        Some(Obstacle { weight: Weight::Certain, reason, .. }) => Execution::No { reason: reason.clone() },
        Some(Obstacle { reason, .. }) => Execution::Unknown { reason: reason.clone() },
        None => execution,
    }
}

/// Whether an image that claims this runs on a host, where its program is not known. Clients take a
/// bare `arm` for v7, which is no word of the publisher's: any ARM may do.
#[must_use]
pub fn claimed(claim: &Platform, host: &HostReport) -> Execution {
    let execution = host.execution_of(claim);
    let is_bare = claim.architecture == "arm" && claim.variant.is_empty();
    let least = || host.execution_of(&lowest(claim.clone()));
    match execution {
        Execution::No { .. } if is_bare && !matches!(least(), Execution::No { .. }) => Execution::Unknown {
            reason: "its program was not looked into, and arm without a variant may need any of them".into(),
        },
        execution => execution,
    }
}

/// What keeps the image's program from running on a host whose kernel and CPU are of its
/// architecture; nothing where they are not, or where an emulator has the last word.
#[must_use]
pub fn obstacles(contents: &Contents, host: &HostReport) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = Vec::new();
    for program in contents.binaries() {
        // Several programs that lack the same are one thing that is wrong.
        let own = of_one(contents, program, host);
        let is_new = |one: &Obstacle| found.iter().all(|other| other.kind != one.kind);
        let own: Vec<Obstacle> = own.into_iter().filter(is_new).collect();
        found.extend(own);
    }
    found
}

fn of_one(contents: &Contents, (file, binary): (&File, &Binary), host: &HostReport) -> Vec<Obstacle> {
    let Some(needs) = Needs::of_program(contents, file, binary) else { return Vec::new() };
    let lowest = lowest(needs.platform.clone());
    let execution = host.execution_of(&lowest);
    if !matches!(execution, Execution::Native | Execution::Compat) {
        return Vec::new();
    }
    let cpu = Cpu { host, architecture: &lowest.architecture, compat: execution == Execution::Compat };
    let mut found = Vec::new();
    found.extend(other_abi(file, binary, &cpu));
    found.extend(cpu.level(file, &needs));
    // A CPU of a lower level lacks features as well, which is no second thing that is wrong.
    if found.is_empty() {
        found.extend(cpu.features(file, &needs));
    }
    found.extend(page_size(file, binary, host.page_sizes()));
    found
}

/// The least of an architecture. A bare `arm` stands for v7 everywhere else, and no header says that.
fn lowest(platform: Platform) -> Platform {
    let variant = if platform.architecture == "arm" { "v5".into() } else { String::new() };
    Platform { variant, ..platform }
}

struct Cpu<'a> {
    host: &'a HostReport,
    architecture: &'a str,
    /// It runs the program in its 32-bit mode.
    compat: bool,
}

impl Cpu<'_> {
    fn level(&self, file: &File, needs: &Needs) -> Option<Obstacle> {
        let levels = needs.because.iter().filter_map(|need| match &need.demand {
            Demand::Level(level) => Some((need, level.as_str())),
            Demand::Features(_) => None,
        });
        let (mut above, mut unknown) = (Vec::new(), Vec::new());
        for (need, level) in levels {
            match self.host.execution_of(&Platform::linux(self.architecture, level)) {
                Execution::No { .. } => above.push((need, level)),
                Execution::Unknown { .. } => unknown.push((need, level)),
                _ => {}
            }
        }
        let (is_known, wanting) = if above.is_empty() { (false, unknown) } else { (true, above) };
        let (first, level) = wanting.iter().max_by_key(|(need, _)| need.certainty)?;
        let reason = format!(
            "{} needs {}/{level} ({}), and this CPU is {}",
            name(file),
            self.architecture,
            first.evidence.what,
            self.name()
        );
        Some(Obstacle {
            kind: ObstacleKind::Level,
            weight: Weight::of(is_known, first.certainty),
            reason,
            evidence: wanting.iter().map(|(need, _)| need.evidence.clone()).collect(),
        })
    }

    /// Nothing lists the features that a 32-bit program finds on a 64-bit CPU.
    fn features(&self, file: &File, needs: &Needs) -> Option<Obstacle> {
        let isa = &self.host.isa;
        if isa.architecture != self.architecture {
            return None;
        }
        let wanting = |need: &Need| match &need.demand {
            Demand::Features(wanted) => {
                let that = |answer| wanted.iter().find(|feature| isa.has(feature) == answer).copied();
                that(Some(false)).map(|feature| (true, feature)).or_else(|| that(None).map(|feature| (false, feature)))
            }
            Demand::Level(_) => None,
        };
        let missing = needs.because.iter().filter_map(|need| Some((need, wanting(need)?)));
        // The last of equals is taken, and the first to be found is the program's own word.
        let (need, (is_known, feature)) = missing.rev().max_by_key(|(need, (known, _))| (*known, need.certainty))?;
        let but = if is_known { "this CPU does not have" } else { "this CPU may not have: that is not known" };
        let float = self.architecture == "arm" && feature.starts_with("vfp");
        Some(Obstacle {
            kind: if float { ObstacleKind::Float } else { ObstacleKind::Feature },
            weight: Weight::of(is_known, need.certainty),
            reason: format!("{} needs {feature} ({}), which {but}", name(file), need.evidence.what),
            evidence: vec![need.evidence.clone()],
        })
    }

    fn name(&self) -> String {
        match &self.host.isa.level {
            _ if self.compat => format!("{} in its 32-bit mode", self.host.kernel.platform.architecture),
            Some(level) => format!("{}/{level}", self.architecture),
            None => "of a level that is not known".into(),
        }
    }
}

/// `compat_elf_check_arch` of 64-bit kernels wants a version of the embedded ABI. The kernels of
/// LoongArch's two worlds differ in system calls and in the size of signal sets; which of them a
/// static program is of cannot be told, since Go's linker left out the flag that others set.
fn other_abi(file: &File, binary: &Binary, cpu: &Cpu<'_>) -> Option<Obstacle> {
    let old_arm = binary.arm_abi().is_some_and(|abi| abi.eabi == 0) && cpu.compat;
    let world = binary.loongarch_world().filter(|_| matches!(binary.interpreter, Interpreter::Path(_)));
    let what = match (world, is_old_world(&cpu.host.kernel.release)) {
        _ if old_arm => "of ARM's old ABI, which a 64-bit kernel does not take",
        (Some(LoongArchWorld::Old), false) => "of LoongArch's old world, for vendors' kernels before 5.19",
        (Some(LoongArchWorld::New), true) => "of LoongArch's new world, which begins with Linux 5.19",
        _ => return None,
    };
    let mut evidence = vec![flags(file, binary)];
    if let (Interpreter::Path(path), false) = (&binary.interpreter, old_arm) {
        evidence.push(of_file(file, format!("PT_INTERP: {path}")));
    }
    let reason = format!("{} is {what}", name(file));
    Some(Obstacle { kind: ObstacleKind::OtherAbi, weight: Weight::Certain, reason, evidence })
}

/// A LoongArch kernel from before the architecture was upstream. Nobody simulates one.
fn is_old_world(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (5, 19),
        _ => false,
    }
}

/// `sizes` are those that the node's pages may have, the smallest first. What does not fit a small page
/// fits no larger one.
fn page_size(file: &File, binary: &Binary, sizes: &[u64]) -> Option<Obstacle> {
    let misfits = |(at, page): (usize, &u64)| Some((at, *page, binary.misfit(*page)?));
    let (at, page, misfit) = sizes.iter().enumerate().find_map(misfits)?;
    let (weight, but) = match at {
        0 => (Weight::Certain, ""),
        _ => (Weight::Unknown, ", and how large those of this node are is not known"),
    };
    let (what, load) = match misfit {
        Misfit::Shifted(load) => ("does not lie in its page as in the file", load),
        Misfit::Shared(_, load) => ("begins in the page in which the one before it ends", load),
    };
    let shown = format!(
        "PT_LOAD at offset {:#x} for address {:#x}, p_align {:#x}, {what}",
        load.offset, load.address, load.align
    );
    Some(Obstacle {
        kind: ObstacleKind::PageSize,
        weight,
        reason: format!("{} cannot be mapped with pages of {} KiB{but}", name(file), page / 1024),
        evidence: vec![of_file(file, shown)],
    })
}

#[cfg(test)]
mod tests;
