//! From a row of the table to the report that such a machine would give.

use super::machines::{Compat, Machine};
use crate::core::platform::Platform;
use crate::host::{Binfmt, Evidence, Execution, HostReport, Isa, Kernel, Process, Runs, arch, isa};

impl Machine<'_> {
    /// The report: no emulators, nothing out of the ordinary, and every conclusion from the table.
    pub(super) fn report(&self) -> HostReport {
        let known_by = match self.names {
            [] => "the platform that was named; the machine was not looked at".to_owned(),
            [name, ..] => format!("what is known of {name}; the machine was not looked at"),
        };
        // An arm kernel has a variant, which is the CPU's level.
        let variant = if self.architecture == "arm" { self.level } else { "" };
        let kernel = Platform::linux(self.architecture, variant).normalized();
        let process = if self.userland32 { Platform::linux("arm", "v8") } else { kernel.clone() };
        let isa = self.isa();
        let told = [
            ("kernel", true),
            ("matching", true),
            ("ISA level", isa.level.is_some()),
            ("page size", self.page_size.is_some()),
        ];
        let evidence = |about: &str| Evidence { about: about.into(), signal: known_by.clone() };
        HostReport {
            kernel: Kernel { platform: kernel, machine: self.uname(), release: String::new() },
            process: Process { platform: process, emulated: false, linux32: false },
            isa,
            containerd: None,
            page_size: self.page_size,
            runs: self.runs(&known_by),
            binfmt: Binfmt::Enabled,
            emulators: Vec::new(),
            findings: Vec::new(),
            evidence: told.iter().filter(|(_, told)| *told).map(|(about, _)| evidence(about)).collect(),
        }
    }

    fn isa(&self) -> Isa {
        let level = (!self.level.is_empty()).then(|| self.level.to_owned());
        let features = match (self.features, self.names) {
            // A platform may have more than its level is made of.
            ("", []) => Vec::new(),
            ("", _) => isa::implied(self.architecture, self.level),
            (listed, _) => listed.split_whitespace().map(str::to_owned).collect(),
        };
        Isa { architecture: self.architecture.into(), level, features }
    }

    fn runs(&self, known_by: &str) -> Vec<Runs> {
        let runs = |architecture: &str, execution| Runs {
            architecture: architecture.into(),
            execution,
            known_by: known_by.to_owned(),
        };
        let own = runs(self.architecture, Execution::Native);
        let Some(compat) = arch::compat_of(self.architecture) else { return vec![own] };
        let execution = match self.compat {
            Compat::Runs => Execution::Compat,
            Compat::Lacking => Execution::No { reason: format!("this CPU has no 32-bit mode for {compat} programs") },
            Compat::Unknown => Execution::Unknown {
                reason: format!("some {} CPUs and kernels run {compat} programs, and some do not", self.architecture),
            },
        };
        vec![own, runs(compat, execution)]
    }

    /// What `uname -m` prints there.
    fn uname(&self) -> String {
        match (self.architecture, self.level) {
            ("arm", "v5") => "armv5tel".into(),
            ("arm", level) => format!("arm{level}l"),
            (architecture, _) => arch::machine_of(architecture).into(),
        }
    }
}
