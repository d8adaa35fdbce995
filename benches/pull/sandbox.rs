//! Namespaces of our own: mounts, processes and network.
//!
//! The benchmark starts itself again as the first process of a new process namespace. When
//! that ends, for whatever reason, the kernel ends all that it started, takes its mounts away,
//! and with them the loop devices. All its files lie on a private tmpfs, which goes too. The
//! network has nothing but a loopback interface, so that its counters are ours alone.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};

/// Tells the inner process that it is inside, and where it may mount.
const INSIDE: &str = "LIGHTERMAN_BENCH_INSIDE";

/// This program, also after it was built again.
pub(crate) const OURSELVES: &str = "/proc/self/exe";

/// The inside.
pub(crate) struct Sandbox {
    scratch: PathBuf,
}

/// Starts this program again inside.
#[expect(clippy::exit, reason = "nothing is open yet")]
pub(crate) fn enter() -> ! {
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
        eprintln!("this benchmark mounts disks and starts containerd: run it as root");
        std::process::exit(1);
    }
    let mount_point = std::env::temp_dir().join(format!("lighterman-bench-{}", std::process::id()));
    std::fs::create_dir(&mount_point).expect("a writable temporary folder");
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::fs::read_link(OURSELVES).expect("our own path"))
        .args(std::env::args_os().skip(1))
        .env(INSIDE, &mount_point)
        .exec();
    panic!("cannot run unshare (util-linux): {error}");
}

impl Sandbox {
    /// The sandbox, if this process is inside.
    pub(crate) fn entered() -> Option<Self> {
        let scratch = PathBuf::from(std::env::var_os(INSIDE)?);
        leave_on_interrupt(scratch.clone());
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=700,size=80%", "tmpfs"]).arg(&scratch));
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        Some(Self { scratch })
    }

    /// A folder in memory that is gone afterwards.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        remove(&self.scratch);
    }
}

/// Only an empty mount point is left of us outside.
fn remove(mount_point: &Path) {
    // Whatever fails here, the namespace is about to end.
    let _ = Command::new("umount").arg("--lazy").arg(mount_point).status();
    let _ = std::fs::remove_dir(mount_point);
}

/// The first process of a namespace gets no signal that it does not ask for.
#[expect(clippy::exit, reason = "the user interrupts, and the kernel ends what runs in the namespace")]
fn leave_on_interrupt(mount_point: PathBuf) {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().expect("signals can be blocked");
    std::thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("interrupted by {signal:?}");
        remove(&mount_point);
        std::process::exit(130);
    });
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}\n{said}{complaint}", output.status);
    said
}
