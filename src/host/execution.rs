//! Does an image's platform run here?

use serde::{Deserialize, Serialize};

use super::level::{self, Fit};
use super::report::{Binfmt, HostReport};
use crate::core::platform::Platform;

/// How programs of a platform run on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Execution {
    /// They are the kernel's own.
    Native,
    /// The CPU runs them in its 32-bit mode, at full speed.
    Compat,
    /// An emulator runs them: slower, and not everything works (ptrace, io_uring).
    Emulated {
        /// Name in binfmt_misc; `None` where it works and cannot be seen from here.
        handler: Option<String>,
        /// Path of the emulator; `None` likewise.
        interpreter: Option<String>,
        /// Flags of the registration, letters of POCF.
        flags: String,
        /// Known to work in containers, whose root file system does not have the interpreter (flag F).
        usable_in_containers: bool,
    },
    /// They do not run.
    No {
        /// Why not.
        reason: String,
    },
    /// It cannot be told from here.
    Unknown {
        /// Why not.
        reason: String,
    },
}

impl HostReport {
    /// Whether and how images of a platform run on this node, whatever containerd would match.
    ///
    /// The CPU's level is held against the image's variant. Levels of an emulated CPU
    /// are the emulator's own and are not known. After a quick detection everything
    /// but the kernel's architecture is `Unknown`; see [`HostReport::complete`].
    #[must_use]
    pub fn execution_of(&self, image: &Platform) -> Execution {
        let image = image.normalized();
        if image.os != "linux" {
            return Execution::No { reason: format!("{image} needs another kernel than Linux") };
        }
        let known = self.runs.iter().find(|runs| runs.architecture == image.architecture);
        let execution = match known {
            Some(runs) => runs.execution.clone(),
            None => self.unlisted(&image.architecture),
        };
        match execution {
            Execution::Native => self.at_level(&image),
            // A 64-bit kernel's 32-bit mode is ARMv8's; nothing of 32-bit arm is above it.
            Execution::Compat if image.architecture == "arm" => judge(Execution::Compat, "arm", Some("v8"), &image),
            other => other,
        }
    }

    fn at_level(&self, image: &Platform) -> Execution {
        let level = self.isa.level.as_deref().filter(|_| self.isa.architecture == image.architecture);
        judge(Execution::Native, &image.architecture, level, image)
    }

    fn unlisted(&self, architecture: &str) -> Execution {
        match self.binfmt {
            Binfmt::NotRead => Execution::Unknown { reason: format!("{architecture} has not been tried yet") },
            Binfmt::Unavailable => Execution::Unknown {
                reason: format!("emulators of {architecture} cannot be seen: no binfmt_misc here"),
            },
            Binfmt::Enabled | Binfmt::Disabled => Execution::No {
                reason: format!(
                    "{architecture} is not an architecture of this CPU, and binfmt_misc has no emulator enabled for it"
                ),
            },
        }
    }
}

fn judge(fits: Execution, architecture: &str, level: Option<&str>, image: &Platform) -> Execution {
    let has = level.unwrap_or("unknown");
    match level::fit(architecture, level, &image.variant) {
        Fit::Within => fits,
        Fit::Above => {
            Execution::No { reason: format!("{image} needs more than this CPU has, which is {architecture}/{has}") }
        }
        Fit::Unknown => {
            Execution::Unknown { reason: format!("{image} cannot be compared with this CPU, whose level is {has}") }
        }
    }
}
