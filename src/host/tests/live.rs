//! This machine: what must hold wherever the tests run.

use crate::host::{Depth, Execution, Probe, Program, Source, System, detect, probe};

#[test]
fn this_machine_is_consistent() {
    let source = System::default();
    let report = detect(&source, Depth::Full);
    let own = report.runs.iter().find(|runs| runs.architecture == source.process_architecture()).expect("looked at");
    assert!(matches!(own.execution, Execution::Native | Execution::Compat | Execution::Emulated { .. }), "{own:?}");
    assert!(report.page_size.is_some_and(|size| size.is_power_of_two() && size >= 4096));
    assert!(!report.kernel.release.is_empty() && !report.kernel.machine.is_empty());
    assert!(!report.evidence.is_empty());
}

#[test]
fn our_own_test_program_runs() {
    let source = System::default();
    let Some(program) = Program::of(source.process_architecture()) else { return };
    assert_eq!(source.probe(program), Probe::Ran);
}

#[test]
fn what_is_no_program_is_not_handed_to_a_shell() {
    assert_eq!(probe::run(b"exit 0\n"), Probe::NoExec);
    assert_eq!(probe::run(b""), Probe::NoExec);
}

#[test]
fn a_missing_root_is_a_machine_without_proc() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = System::with_root(folder.path());
    assert!(source.read("/proc/cpuinfo", 10).is_err() && source.list("/proc/sys").is_err());
    std::fs::create_dir(folder.path().join("proc")).expect("an empty folder");
    std::fs::write(folder.path().join("proc/cpuinfo"), "CPU architecture: 8\n").expect("a file");
    assert_eq!(source.read("/proc/cpuinfo", 3).expect("is there"), "CPU");
}

/// The exits that a test program can make, with machine code of the one architecture that is everywhere.
#[cfg(target_arch = "x86_64")]
mod ends {
    use std::time::Duration;

    use super::{Probe, Program, probe};

    /// The amd64 program with other code in place of its 7 bytes.
    fn program(code: [u8; 7]) -> Vec<u8> {
        let mut bytes = Program::of("amd64").expect("has a test program").bytes();
        let at = bytes.len() - code.len();
        bytes[at..].copy_from_slice(&code);
        bytes
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        // push 60; pop rax; mov edi, eax; syscall
        assert_eq!(probe::run(&program([0x6a, 0x3c, 0x58, 0x89, 0xc7, 0x0f, 0x05])), Probe::Exited(60));
        // ud2
        assert_eq!(probe::run(&program([0x0f, 0x0b, 0, 0, 0, 0, 0])), Probe::Killed(nix::libc::SIGILL));
        // A jump to itself.
        let endless = program([0xeb, 0xfe, 0, 0, 0, 0, 0]);
        assert_eq!(probe::run_within(&endless, Duration::from_millis(50)), Probe::TimedOut);
    }

    #[test]
    fn an_interpreter_that_is_missing_is_refused() {
        assert_eq!(probe::run(b"#!/nonexistent/interpreter\n"), Probe::Refused(nix::libc::ENOENT));
    }
}
