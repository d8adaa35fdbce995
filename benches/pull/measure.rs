//! What a process costs: seconds, CPU seconds, peak memory.
//!
//! A measured command is started by a small process of its own (this program again), which
//! asks the kernel afterwards what its only child has used.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use super::sandbox::{OURSELVES, run};

/// First argument of the small process.
const WRAPPER: &str = "measure-one-command";

/// What one command cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub(crate) peak: u64,
}

/// Whether this process is the small one.
pub(crate) fn is_wrapper() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == WRAPPER)
}

/// What the small process does: `measure-one-command RESULT PROGRAM ARGUMENTS…`.
#[expect(clippy::exit, reason = "passes on how the command ended")]
pub(crate) fn wrap() -> ! {
    let mut arguments = std::env::args_os().skip(2);
    let result = arguments.next().expect("where the result goes");
    let program = arguments.next().expect("a program");
    let started = Instant::now();
    let status = Command::new(&program).args(arguments).status();
    let wall = started.elapsed();
    let status: ExitStatus = status.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let cpu = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    let figures = json!({
        "wall_ns": u64::try_from(wall.as_nanos()).expect("less than centuries"),
        "cpu_us": cpu.iter().sum::<i64>(),
        "peak_kib": usage.max_rss(),
    });
    std::fs::write(result, figures.to_string()).expect("a writable scratch folder");
    std::process::exit(status.code().unwrap_or(1));
}

/// Runs a command, which has to succeed, and says what it cost.
pub(crate) fn measured(command: &Command, scratch: &Path) -> Cost {
    let result = scratch.join("cost.json");
    let mut wrapped = Command::new(OURSELVES);
    wrapped.arg(WRAPPER).arg(&result).arg(command.get_program()).args(command.get_args());
    wrapped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    run(&mut wrapped);
    let text = std::fs::read(&result).expect("the wrapper has written it");
    let figures: Value = serde_json::from_slice(&text).expect("our own JSON");
    let figure = |name: &str| figures[name].as_u64().expect("a figure");
    Cost {
        wall: Duration::from_nanos(figure("wall_ns")),
        cpu: Duration::from_micros(figure("cpu_us")),
        peak: figure("peak_kib") << 10,
    }
}

/// CPU time that a running process and its ended children have used; the kernel counts it in
/// hundredths of a second.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, which may hold blanks.
    let (_, fields) = text.rsplit_once(')').unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// The most memory that was ever resident in a running process, in bytes.
pub(crate) fn peak_of(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

/// Bytes that have gone over the loopback interface so far.
pub(crate) fn loopback_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
