//! Private mount namespaces: a full disk, a read-only one, a node with or without emulators.
//!
//! A shell holds the namespace open and waits on a pipe from us. However we end, it
//! reads the end of that pipe, undoes what is machine-wide, and the kernel drops the rest.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::tool;

/// Where the kernel lists emulators.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// A mount namespace that commands can run in.
pub(crate) struct Sandbox {
    holder: Child,
    release: Option<ChildStdin>,
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("procfs").uid() == 0
}

impl Sandbox {
    /// A file system of so many KiB at `dir`.
    pub(crate) fn small_disk(dir: &Path, kib: u32) -> Self {
        Self::must(&format!("mount -t tmpfs -o size={kib}k,mode=755 lighterman-test '{}'", dir.display()))
    }

    /// A file system of its own at `dir`, and `mounted` seen through a mount of its own.
    #[cfg(feature = "containerd")]
    pub(crate) fn divided(dir: &Path, mounted: &Path) -> Self {
        let (dir, mounted) = (dir.display(), mounted.display());
        Self::must(&format!(
            "mount -t tmpfs -o mode=755 lighterman-test '{dir}' && mount --bind '{mounted}' '{mounted}'"
        ))
    }

    /// Nothing can be written below `dir`, not even by root.
    pub(crate) fn read_only(dir: &Path) -> Self {
        let dir = dir.display();
        Self::must(&format!("mount --bind '{dir}' '{dir}' && mount -o remount,bind,ro '{dir}'"))
    }

    /// `dir` is where the journal's socket is looked for.
    pub(crate) fn with_journal(dir: &Path) -> Self {
        let (dir, journal) = (dir.display(), "/run/systemd/journal");
        Self::must(&format!(
            "mount -t tmpfs lighterman-test /run && mkdir -p {journal} && mount --bind '{dir}' {journal}"
        ))
    }

    /// `file` says which names lead where.
    pub(crate) fn with_hosts(file: &Path) -> Self {
        Self::must(&format!("mount --bind '{}' /etc/hosts", file.display()))
    }

    /// No emulator is to be seen, whatever is registered on this machine.
    pub(crate) fn without_emulators() -> Self {
        Self::must(&format!("mount -t tmpfs lighterman-test {BINFMT}"))
    }

    fn must(setup: &str) -> Self {
        Self::start(setup, ":").unwrap_or_else(|said| {
            panic!("this test needs mount namespaces (root, or unprivileged user namespaces): {said}")
        })
    }

    /// Runs `setup` in a new namespace, and `cleanup` when this is dropped; or says why `setup` failed.
    fn start(setup: &str, cleanup: &str) -> Result<Self, String> {
        // A Ctrl-C for the tests also reaches this shell, which must not skip its cleanup.
        let script = format!("trap '' INT TERM HUP; {{ {setup}; }} 2>&1 && echo ready && read -r _; {cleanup}");
        let mut command = Command::new(tool("unshare", "util-linux"));
        if !is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", &script]);
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("unshare starts");
        let release = holder.stdin.take();
        let mut said = BufReader::new(holder.stdout.take().expect("a pipe"));
        let mut first = String::new();
        said.read_line(&mut first).expect("a readable pipe");
        if first == "ready\n" {
            return Ok(Self { holder, release });
        }
        said.read_to_string(&mut first).expect("a readable pipe");
        drop(release);
        holder.wait().expect("unshare was started");
        Err(first)
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(tool("nsenter", "util-linux"));
        // The holder's root too: entering a mount namespace alone ends in the machine's root,
        // which is not ours where the tests run in a chroot.
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--root"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// A path as it is seen inside.
    pub(crate) fn path(&self, inside: &Path) -> PathBuf {
        let relative = inside.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(relative)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.release.take());
        // It ends by itself now; waiting keeps the next test from meeting our emulator.
        let _ = self.holder.wait();
    }
}

#[cfg(feature = "containerd")]
pub(crate) use emulator::with_emulator;

#[cfg(feature = "containerd")]
mod emulator {
    use super::super::{Machine, tool};
    use super::{BINFMT, Sandbox};
    use std::path::PathBuf;

    /// Registers qemu for a machine's programs, for all of this computer, while the sandbox lives;
    /// or says why the kernel does not let us.
    ///
    /// The handler has a name of its own and is the first that the kernel tries, so it
    /// neither replaces nor disturbs another one for the same machine, be it the
    /// computer's own or that of a second run of these tests. The `F` flag makes the
    /// kernel open qemu now, so containers need not have it; `P` keeps `argv[0]`, by
    /// which busybox knows what it is. Debian registers qemu with both.
    pub(crate) fn with_emulator(machine: Machine) -> Result<Sandbox, String> {
        let name = format!("lighterman-test-{}-{}", machine.qemu, std::process::id());
        // ELF64, little-endian, an executable or a shared object of the machine.
        let magic =
            format!(r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x{:02x}\x00", machine.elf);
        let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        let rule = format!(":{name}:M::{magic}:{mask}:{}:PF", qemu(machine).display());
        Sandbox::start(
            &format!("mount -t binfmt_misc lighterman-test {BINFMT} && printf %s '{rule}' > {BINFMT}/register"),
            &format!("[ ! -e {BINFMT}/{name} ] || echo -1 > {BINFMT}/{name}"),
        )
    }

    /// Debian 12 adds `-static` to the names of the programs that need no libraries; later all are such.
    fn qemu(machine: Machine) -> PathBuf {
        let plain = PathBuf::from(format!("/usr/bin/qemu-{}", machine.qemu));
        let suffixed = PathBuf::from(format!("{}-static", plain.display()));
        match (suffixed.exists(), plain.exists()) {
            (false, true) => plain,
            _ => tool(&format!("qemu-{}-static", machine.qemu), "qemu-user-static"),
        }
    }
}
