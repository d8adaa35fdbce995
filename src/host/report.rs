//! The report: a plain document, the same in memory and as JSON.

use serde::{Deserialize, Serialize};

use super::binfmt::Emulator;
use super::execution::Execution;
use super::finding::{Evidence, Finding, FindingKind};
use super::{arch, isa};
use crate::core::platform::Platform;

/// What one node can run. Its JSON is stable: another node's report can be read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// The kernel.
    pub kernel: Kernel,
    /// The program that asked.
    pub process: Process,
    /// What the CPU has.
    pub isa: Isa,
    /// What containerd says it matches with; `None` where it was not asked.
    #[serde(default)]
    pub containerd: Option<Platform>,
    /// Size of a memory page in bytes; `None` where nobody looked, and the kernel may have one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u64>,
    /// Architectures that were looked at, the kernel's own first.
    pub runs: Vec<Runs>,
    /// Whether emulators can be seen.
    pub binfmt: Binfmt,
    /// What is registered in binfmt_misc, newest first.
    pub emulators: Vec<Emulator>,
    /// What is worth knowing.
    pub findings: Vec<Finding>,
    /// Where the conclusions come from.
    pub evidence: Vec<Evidence>,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Its own platform; the variant is there for arm only.
    pub platform: Platform,
    /// `uname -m` as it was seen, which setarch and emulators bend.
    pub machine: String,
    /// `uname -r`.
    pub release: String,
}

/// The program that asked, and with it the userland around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// What containerd would match with if it were a program like this one.
    pub platform: Platform,
    /// It runs under an emulator.
    pub emulated: bool,
    /// Its personality is PER_LINUX32.
    pub linux32: bool,
}

/// Instructions of the CPU, as far as the kernel shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Isa {
    /// Architecture that the level belongs to.
    pub architecture: String,
    /// `v3` of amd64, `v8.2` of arm64, `v7` of arm, `power9`, `z14`, `rva22u64`; at least this one.
    #[serde(default)]
    pub level: Option<String>,
    /// Names of features, spelt as `/proc/cpuinfo` spells them; empty where they are not known.
    pub features: Vec<String>,
}

impl Isa {
    /// Whether the CPU has a feature; `None` where that is not known. Where no features are listed,
    /// those count that its level is made of.
    #[must_use]
    pub fn has(&self, feature: &str) -> Option<bool> {
        if !self.features.is_empty() {
            return Some(self.features.iter().any(|has| has == feature));
        }
        let implied = isa::implied(&self.architecture, self.level.as_deref()?);
        implied.iter().any(|has| has == feature).then_some(true)
    }
}

/// Whether and how programs of one architecture run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    /// GOARCH.
    pub architecture: String,
    /// How.
    pub execution: Execution,
    /// How that is known.
    pub known_by: String,
}

/// State of binfmt_misc as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binfmt {
    /// Not looked at yet (a quick detection).
    NotRead,
    /// Not mounted here, hidden, or not in the kernel.
    Unavailable,
    /// Switched off.
    Disabled,
    /// In use.
    Enabled,
}

impl HostReport {
    /// What containerd would match with on this host, when it cannot be asked: the
    /// architecture of this program, with the variant that containerd gives to arm.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.process.platform.normalized()
    }

    /// What images are matched with: containerd's own answer where there is one.
    #[must_use]
    pub fn matching_platform(&self) -> Platform {
        self.containerd.as_ref().map_or_else(|| self.platform(), Platform::normalized)
    }

    /// [`Self::matching_platform`] with the level of the CPU as its variant (`linux/amd64/v3`).
    ///
    /// Only for amd64, arm and arm64, where containerd's `Only` counts down from a
    /// variant. Elsewhere a variant would accept nothing but itself.
    #[must_use]
    pub fn isa_platform(&self) -> Platform {
        let platform = self.matching_platform();
        let counted_down = matches!(platform.architecture.as_str(), "amd64" | "arm" | "arm64");
        match &self.isa.level {
            Some(level) if counted_down && self.isa.architecture == platform.architecture => {
                Platform { variant: level.clone(), ..platform }.normalized()
            }
            _ => platform,
        }
    }

    /// Adds what containerd's introspection said, and says so where it is not what the kernel is.
    #[must_use]
    pub fn with_containerd(mut self, platform: Platform) -> Self {
        let told = platform.normalized();
        let kernel = self.kernel.platform.normalized();
        self.findings.retain(|finding| finding.kind != FindingKind::ContainerdDiffers);
        // A variant of amd64 or arm64 is a level of the same architecture, not another view of the kernel.
        let differs = told.os != kernel.os
            || told.architecture != kernel.architecture
            || (told.architecture == "arm" && told.variant != kernel.variant);
        if differs {
            let message = format!(
                "containerd matches images with {told}, and the kernel is {kernel}: images for {kernel} are chosen only when asked for with --platform"
            );
            self.findings.push(Finding { kind: FindingKind::ContainerdDiffers, message });
        }
        self.containerd = Some(platform);
        self
    }

    /// The sizes in bytes that its memory pages may have, the smallest first: a single one where it
    /// is known.
    #[must_use]
    pub fn page_sizes(&self) -> &[u64] {
        match &self.page_size {
            Some(known) => std::slice::from_ref(known),
            None => arch::page_sizes(&self.kernel.platform.architecture),
        }
    }

    /// It was put together from a name, and nobody looked at the machine: every kernel has a release.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.kernel.release.is_empty()
    }

    /// Whether a finding of this kind was made.
    #[must_use]
    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }
}
