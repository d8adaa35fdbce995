//! Which architectures run here, tried out.
//!
//! Tried is what could run: the kernel's 32-bit sibling, every architecture that an
//! enabled handler of binfmt_misc takes, and, where binfmt_misc cannot be seen, all
//! that there is a test program for. The kernel's own architecture is tried only if
//! this very program does not prove it.

use super::arch;
use super::binfmt::{Emulator, Registrations};
use super::execution::Execution;
use super::finding::{Finding, FindingKind};
use super::kernel::KernelView;
use super::program::Program;
use super::report::Runs;
use super::source::{Probe, Source};

/// Errors that say something about permission here, and nothing about an architecture.
const NOT_ALLOWED: [i32; 3] = [nix::libc::EACCES, nix::libc::EPERM, nix::libc::ENOSYS];

/// What is known before anything is tried.
pub(super) struct Context<'a> {
    pub(super) process: &'a str,
    pub(super) kernel: &'a KernelView,
    pub(super) registrations: &'a Registrations,
}

/// What a quick detection can say: what follows from this program running at all.
pub(super) fn known(process: &str, kernel: &KernelView) -> Vec<Runs> {
    let own = Runs {
        architecture: kernel.architecture.clone(),
        execution: Execution::Native,
        known_by: kernel.signal.clone(),
    };
    if process == kernel.architecture {
        return vec![own];
    }
    let execution = if kernel.emulated { unseen_emulator() } else { Execution::Compat };
    let known_by = format!("this program is {process}");
    vec![own, Runs { architecture: process.into(), execution, known_by }]
}

/// Tries everything that could run.
pub(super) fn tried(source: &dyn Source, context: &Context<'_>) -> (Vec<Runs>, Vec<Finding>) {
    let mut runs = Vec::new();
    let mut findings = Vec::new();
    for architecture in candidates(context) {
        let handler = context.registrations.handler(&architecture);
        let (execution, known_by) = match Program::of(&architecture) {
            None if handler.is_none() => native_or_unknown(context, &architecture),
            None => (taken_by(handler), "registered in binfmt_misc; there is no test program for it".into()),
            Some(_) if is_proven(context, &architecture, handler) => {
                (Execution::Native, format!("this program is {architecture}"))
            }
            Some(program) => {
                let outcome = source.probe(program);
                findings.extend(complaint(&architecture, handler, &outcome));
                context.judge(&architecture, handler, outcome)
            }
        };
        runs.push(Runs { architecture, execution, known_by });
    }
    findings.extend(host_only(context.registrations));
    (runs, findings)
}

fn candidates(context: &Context<'_>) -> Vec<String> {
    let kernel = context.kernel.architecture.as_str();
    let hidden = context.registrations.enabled.is_none();
    let certain = [kernel, context.process].into_iter().chain(arch::compat_of(kernel)).map(String::from);
    let possible = Program::architectures().filter(|_| hidden).map(String::from);
    let handled = arch::elf_headers().map(|(architecture, _)| architecture);
    let handled =
        handled.filter(|architecture| context.registrations.handler(architecture).is_some()).map(String::from);
    let mut unique: Vec<String> = Vec::new();
    for architecture in certain.chain(possible).chain(handled) {
        if !unique.contains(&architecture) {
            unique.push(architecture);
        }
    }
    unique
}

fn is_proven(context: &Context<'_>, architecture: &str, handler: Option<&Emulator>) -> bool {
    handler.is_none() && context.process == architecture && context.kernel.architecture == architecture
}

fn native_or_unknown(context: &Context<'_>, architecture: &str) -> (Execution, String) {
    if context.kernel.architecture == architecture {
        return (Execution::Native, context.kernel.signal.clone());
    }
    (Execution::Unknown { reason: "there is no test program for it".into() }, "not tried".into())
}

impl Context<'_> {
    /// What an outcome means. The kernel asks binfmt_misc first, so a handler that
    /// takes an architecture is what ran, even where the CPU could do it itself.
    fn judge(&self, architecture: &str, handler: Option<&Emulator>, outcome: Probe) -> (Execution, String) {
        let no = |reason: String| (Execution::No { reason }, "a test program was tried".into());
        match outcome {
            Probe::Ran if handler.is_some() => (taken_by(handler), "a test program ran".into()),
            Probe::Ran => (self.without_handler(architecture), "a test program ran".into()),
            Probe::NoExec => no("the kernel cannot start such programs (ENOEXEC)".into()),
            Probe::Refused(errno) if NOT_ALLOWED.contains(&errno) => {
                self.undecided(architecture, handler, &error_name(errno))
            }
            Probe::Refused(errno) => match handler {
                Some(emulator) => {
                    no(format!("its emulator {} cannot be started ({})", emulator.interpreter, error_name(errno)))
                }
                None => self.undecided(architecture, None, &error_name(errno)),
            },
            Probe::Killed(nix::libc::SIGSYS) => self.undecided(architecture, handler, "killed by a seccomp filter"),
            Probe::Killed(signal) => no(format!("its test program was killed by {}", signal_name(signal))),
            Probe::Exited(code) => no(format!("its test program ended with code {code} instead of 0")),
            Probe::TimedOut => no("its test program did not end in time".into()),
            Probe::NotTried(why) => self.undecided(architecture, handler, &why),
        }
    }

    fn without_handler(&self, architecture: &str) -> Execution {
        let kernel = self.kernel.architecture.as_str();
        if architecture == kernel {
            Execution::Native
        } else if arch::compat_of(kernel) == Some(architecture) {
            Execution::Compat
        } else {
            unseen_emulator()
        }
    }

    /// Nothing could be tried: what is known without it.
    fn undecided(&self, architecture: &str, handler: Option<&Emulator>, why: &str) -> (Execution, String) {
        if handler.is_some() {
            return (taken_by(handler), format!("registered in binfmt_misc; a test program could not be tried: {why}"));
        }
        if architecture == self.kernel.architecture {
            return (Execution::Native, self.kernel.signal.clone());
        }
        if architecture == self.process {
            return (self.without_handler(architecture), format!("this program is {architecture}"));
        }
        let reason = format!("a test program could not be tried: {why}");
        (Execution::Unknown { reason: reason.clone() }, reason)
    }
}

fn taken_by(handler: Option<&Emulator>) -> Execution {
    handler.map_or_else(unseen_emulator, |emulator| Execution::Emulated {
        handler: Some(emulator.name.clone()),
        interpreter: Some(emulator.interpreter.clone()),
        flags: emulator.flags.clone(),
        usable_in_containers: emulator.usable_in_containers(),
    })
}

fn unseen_emulator() -> Execution {
    Execution::Emulated { handler: None, interpreter: None, flags: String::new(), usable_in_containers: false }
}

/// A handler that is enabled and did not deliver.
fn complaint(architecture: &str, handler: Option<&Emulator>, outcome: &Probe) -> Option<Finding> {
    let emulator = handler?;
    let what = match outcome {
        Probe::Refused(errno) if NOT_ALLOWED.contains(errno) => return None,
        Probe::Ran | Probe::NotTried(_) | Probe::Killed(nix::libc::SIGSYS) => return None,
        Probe::Refused(errno) if !emulator.interpreter_exists && !emulator.usable_in_containers() => {
            format!("{} does not exist here ({})", emulator.interpreter, error_name(*errno))
        }
        Probe::Refused(errno) => format!("{} cannot be started ({})", emulator.interpreter, error_name(*errno)),
        Probe::NoExec => format!("the kernel cannot start {} itself (ENOEXEC)", emulator.interpreter),
        Probe::Exited(code) => format!("{} ended with code {code}", emulator.interpreter),
        Probe::Killed(signal) => format!("{} was killed by {}", emulator.interpreter, signal_name(*signal)),
        Probe::TimedOut => format!("{} did not end in time", emulator.interpreter),
    };
    let message = format!(
        "{} is registered for {architecture} programs and does not work: {what}. Register it again, with its interpreter fixed (flag F)",
        emulator.name
    );
    Some(Finding { kind: FindingKind::EmulatorBroken, message })
}

/// The handlers in use that work on the host and in no container.
fn host_only(registrations: &Registrations) -> Option<Finding> {
    let in_use = arch::elf_headers().filter_map(|(architecture, _)| registrations.handler(architecture));
    let mut names: Vec<&str> =
        in_use.filter(|used| !used.usable_in_containers()).map(|used| used.name.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "registered without flag F, so containers cannot use it unless their image has the interpreter: {}",
        names.join(", ")
    );
    Some(Finding { kind: FindingKind::EmulatorNotInContainers, message })
}

fn error_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string())
}
