//! This very node: looked at quickly, and further only when somebody needs to know.

use std::fmt;
use std::sync::OnceLock;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::core::platform::Platform;

use super::{Binfmt, Depth, Execution, HostReport, Source, detect};

/// A node that can be asked what it runs. Test programs are only started for questions that
/// need them, so resolving an image for the kernel's own architecture costs none.
pub struct LocalHost {
    source: Box<dyn Source + Send + Sync>,
    report: HostReport,
    complete: OnceLock<HostReport>,
}

impl LocalHost {
    /// Looks at the machine behind `source`, quickly.
    #[must_use]
    pub fn new(source: Box<dyn Source + Send + Sync>) -> Self {
        let report = detect(source.as_ref(), Depth::Quick);
        Self { source, report, complete: OnceLock::new() }
    }

    /// Adds what containerd says it matches with.
    #[must_use]
    pub fn with_containerd(self, platform: Platform) -> Self {
        Self { report: self.report.with_containerd(platform), complete: OnceLock::new(), ..self }
    }

    /// What is known so far.
    #[must_use]
    pub fn report(&self) -> &HostReport {
        self.complete.get().unwrap_or(&self.report)
    }

    /// Everything that can be known. It starts test programs the first time and blocks for them;
    /// called by a task, it lets the other tasks of its thread go on elsewhere.
    pub fn complete(&self) -> &HostReport {
        if let Some(report) = self.complete.get() {
            return report;
        }
        let look = || {
            self.complete.get_or_init(|| {
                let mut report = self.report.clone();
                report.complete(self.source.as_ref());
                report
            })
        };
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(look),
            _ => look(),
        }
    }

    /// Whether and how images of a platform run here.
    #[must_use]
    pub fn execution_of(&self, platform: &Platform) -> Execution {
        match self.report().execution_of(platform) {
            Execution::Unknown { .. } if self.report().binfmt == Binfmt::NotRead => {
                self.complete().execution_of(platform)
            }
            known => known,
        }
    }
}

impl fmt::Debug for LocalHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalHost").field("report", self.report()).finish_non_exhaustive()
    }
}
