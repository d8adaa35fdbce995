//! A node that was written down: uname's machine, the auxiliary vector's platform, /proc/cpuinfo,
//! and registrations of binfmt_misc, with a zero byte between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::host::{Depth, HostReport, Recorded, detect};
use lighterman_fuzz::Sizes;

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
const PROCESSES: [&str; 8] = ["amd64", "386", "arm", "arm64", "ppc64le", "s390x", "riscv64", "mips"];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let mut sizes = Sizes::of(data);
    let process = PROCESSES[sizes.below(PROCESSES.len())];
    let mut board = Recorded { process_architecture: process.into(), personality: Some(0), ..Recorded::default() };
    board.uname.machine = part();
    board.auxv.platform = Some(part()).filter(|platform| !platform.is_empty());
    board.auxv.hwcap = sizes.below(usize::MAX) as u64;
    board.auxv.page_size = 4096;
    board.files.insert("/proc/cpuinfo".into(), Ok(part()));
    board.files.insert(format!("{BINFMT}/status"), Ok("enabled\n".into()));
    let mut names = vec!["register".to_owned(), "status".to_owned()];
    for (number, registration) in parts.take(8).enumerate() {
        let name = format!("qemu-{number}");
        board.files.insert(format!("{BINFMT}/{name}"), Ok(registration.into()));
        names.push(name);
    }
    let registrations = names.len() - 2;
    board.directories.insert(BINFMT.into(), names);

    let report = detect(&board, Depth::Full);
    assert!(!report.kernel.platform.architecture.is_empty());
    assert!(report.emulators.len() <= registrations);
    for emulator in &report.emulators {
        assert!(!emulator.interpreter.is_empty());
        let _ = emulator.matches(data);
    }
    for platform in [report.platform(), report.matching_platform(), report.isa_platform()] {
        assert_eq!(platform.os, "linux");
        assert!(!platform.architecture.is_empty());
    }
    let json = serde_json::to_string(&report).expect("is written");
    assert_eq!(serde_json::from_str::<HostReport>(&json).expect("is read"), report);
    // Detecting twice, or first quickly and then in full, finds the same.
    let mut quick = detect(&board, Depth::Quick);
    quick.complete(&board);
    assert_eq!(quick, report);
});
