//! The commands that are compared: lighterman's, and its peers'.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::Containerd;
use super::disk::Disk;
use super::image::architecture;

/// Where the image is to be afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// In containerd, unpacked.
    Unpacked,
    /// In containerd's content store.
    Content,
    /// In an OCI layout.
    Layout,
}

/// Who pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Puller {
    /// This lighterman.
    Ours(PathBuf, Trees),
    /// An earlier lighterman.
    Before(PathBuf),
    /// `ctr`, or skopeo for a layout.
    Peer,
}

/// What of unpacked trees is on the disk when the pull has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trees {
    /// What the kernel has got round to; containerd 1.6 knows no other way.
    Cached,
    /// All of it.
    Synced,
}

/// Where a pull lands.
pub(crate) struct Landing {
    /// Not for layouts. Before the disk, so that it ends before that goes.
    pub(crate) daemon: Option<Containerd>,
    pub(crate) disk: Disk,
}

/// One pull.
pub(crate) struct Task<'a> {
    pub(crate) reference: &'a str,
    pub(crate) goal: Goal,
    pub(crate) landing: &'a Landing,
    pub(crate) scratch: &'a Path,
}

impl Puller {
    /// The command for a pull.
    pub(crate) fn command(&self, task: &Task<'_>) -> Command {
        let mut command = match self {
            Self::Ours(program, trees) => lighterman(program, *trees, task),
            Self::Before(program) => lighterman(program, Trees::Cached, task),
            Self::Peer if task.goal == Goal::Layout => skopeo(task),
            Self::Peer => ctr(task),
        };
        environment(&mut command, task.scratch);
        command
    }
}

/// Nothing of this machine's own settings.
pub(crate) fn environment(command: &mut Command, scratch: &Path) {
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", scratch)
        .env("DOCKER_CONFIG", scratch)
        .env("CONTAINERD_ADDRESS", scratch.join("containerd.sock"))
        .env("TMPDIR", scratch);
}

/// A configuration file that says nothing.
pub(crate) fn empty_config(scratch: &Path) -> PathBuf {
    let config = scratch.join("lighterman.toml");
    std::fs::write(&config, "").expect("a writable scratch folder");
    config
}

fn lighterman(program: &Path, trees: Trees, task: &Task<'_>) -> Command {
    let mut command = Command::new(program);
    // Of an earlier one as well: it reads this key, whatever its flags.
    let config = task.scratch.join("lighterman-pull.toml");
    let text = format!("[containerd]\nsync-snapshots = {}\n", trees == Trees::Synced);
    std::fs::write(&config, text).expect("a writable scratch folder");
    command.arg("--config").arg(config).args(["pull", "--plain-http", task.reference, "--to"]);
    let disk = task.landing.disk.path();
    match task.goal {
        Goal::Layout => command.arg(format!("oci:{}", disk.join("layout").display())),
        Goal::Unpacked => command.arg("containerd"),
        Goal::Content => command.args(["containerd", "--no-unpack"]),
    };
    if task.goal != Goal::Layout {
        command.arg("--staging-dir").arg(disk.join("staging"));
    }
    command
}

fn ctr(task: &Task<'_>) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(task.landing.daemon.as_ref().expect("ctr needs containerd").address());
    match task.goal {
        Goal::Content => command.args(["content", "fetch"]),
        _ => command.args(["images", "pull"]),
    };
    let platform = format!("linux/{}", architecture());
    command.args(["--plain-http", "--platform", &platform, task.reference]);
    command
}

fn skopeo(task: &Task<'_>) -> Command {
    let target = format!("oci:{}:bench", task.landing.disk.path().join("layout").display());
    let source = format!("docker://{}", task.reference);
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &source, &target]);
    command
}
