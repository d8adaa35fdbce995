//! A containerd of our own: private root, state and socket in a temporary folder.
//!
//! Needs root, and containerd and runc on the PATH. Containers run with `--cgroup ""`, so that they are
//! placed below the test's own cgroup and leave no directories behind.
//!
//! Another version than the machine's is a folder with its programs (containerd, ctr,
//! containerd-shim-runc-v2): [`newer`] names those that are at hand. All tests run with one that
//! is first on the PATH.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::disk::{Disk, Journal, unmount_below};

/// Whether the daemon also serves Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cri {
    /// Not at all.
    Off,
    /// Its image service answers; without network plug-ins it can start pods in the host's network
    /// only, from [`PAUSE_IMAGE`].
    On,
}

/// Configuration under which a namespace gets no content of another one without its bytes.
pub(crate) const ISOLATED: &str =
    "[plugins.\"io.containerd.metadata.v1.bolt\"]\n  content_sharing_policy = \"isolated\"\n";
/// What pods start with: a name that nobody serves, so that the image has to be there.
pub(crate) const PAUSE_IMAGE: &str = "lighterman.invalid/pause:1";

/// Where `tests/fetch-containerd` puts other versions.
const OTHERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/containerd");
/// A folder of programs to take in their place.
const NAMED: &str = "LIGHTERMAN_TEST_CONTAINERD";

/// Another containerd than the machine's.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    dir: PathBuf,
    /// Major and minor number.
    pub(crate) version: (u32, u32),
}

impl Programs {
    fn at(dir: PathBuf) -> Option<Self> {
        let told = Command::new(dir.join("containerd")).arg("--version").output().ok()?;
        let told = String::from_utf8(told.stdout).ok()?;
        let mut words = told.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
        let number = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let mut parts = number.split('.').map_while(|part| part.parse().ok());
        Some(Self { dir, version: (parts.next()?, parts.next()?) })
    }
}

/// The containerds with this version or a newer one that are at hand besides the machine's own,
/// oldest first: one at least.
pub(crate) fn newer(than: (u32, u32)) -> Vec<Programs> {
    let dirs: Vec<PathBuf> = match std::env::var_os(NAMED) {
        Some(dir) => vec![dir.into()],
        None => ["1.7", "2"].map(|version| Path::new(OTHERS).join(version)).into(),
    };
    let (major, minor) = than;
    let found = dirs.into_iter().filter_map(Programs::at).filter(|programs| programs.version >= than);
    let found: Vec<Programs> = found.collect();
    assert!(
        !found.is_empty(),
        "this needs containerd {major}.{minor} or newer: run `tests/run --install`, which gets it"
    );
    found
}

/// A running containerd; stopped, with everything that it mounted, when dropped.
#[derive(Debug)]
pub(crate) struct ContainerdDaemon {
    folder: TempDir,
    child: Child,
    programs: Option<Programs>,
    /// Where its root is, if that is a disk of its own.
    disk: Option<Disk>,
}

impl ContainerdDaemon {
    /// Starts containerd without CRI and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(Cri::Off)
    }

    /// Starts containerd and waits until it answers.
    pub(crate) fn start_with(cri: Cri) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), cri)
    }

    /// Starts containerd with its data on a disk of its own that is soon full.
    pub(crate) fn start_with_small_disk(mebibytes: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).expect("creates the mount point");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&root).status();
        assert!(mounted.expect("mount is installed").success(), "mounts a small disk");
        Self::start_in(folder, Cri::Off)
    }

    /// Starts containerd without CRI, with more lines of configuration.
    pub(crate) fn start_configured(lines: &str) -> Self {
        Self::launch(tempfile::tempdir().expect("a temporary folder"), Cri::Off, lines)
    }

    /// Starts containerd with CRI, with more lines of configuration.
    pub(crate) fn start_cri_configured(lines: &str) -> Self {
        Self::launch(tempfile::tempdir().expect("a temporary folder"), Cri::On, lines)
    }

    /// Starts another version, with what `configure` makes of its configuration.
    pub(crate) fn start_other(programs: &Programs, cri: Cri, configure: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = configure(configuration(folder.path(), cri));
        Self::begin(folder, &text, Some(programs.clone()))
    }

    /// Starts containerd, or another version of it, without CRI and with its data on a disk of its
    /// own, with what `configure` makes of its configuration.
    pub(crate) fn start_on_disk(
        programs: Option<&Programs>,
        mebibytes: u64,
        configure: impl FnOnce(String) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).expect("creates the mount point");
        let disk = Disk::at(&root, mebibytes);
        let text = configure(configuration(folder.path(), Cri::Off));
        let mut daemon = Self::begin(folder, &text, programs.cloned());
        daemon.disk = Some(disk);
        daemon.wait_for_answer();
        // It writes its own identity when it is first asked, and never again: an empty one, which a
        // loss of power leaves, it would refuse for ever.
        daemon.disk().sync();
        daemon
    }

    /// The disk that its data is on.
    pub(crate) fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was started on one")
    }

    /// Loses the power of its disk under it, and starts it on what is left. `end_others` ends whoever
    /// else uses the disk.
    pub(crate) fn lose_power(&mut self, journal: Journal, end_others: impl FnOnce()) {
        self.disk().lose_power(journal);
        end_others();
        self.kill();
        self.disk().restore();
        self.start_again();
        self.wait_for_answer();
    }

    /// Waits until all of it has started.
    fn wait_for_answer(&mut self) {
        while !self.ctr(&["version"]).status.success() {
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "containerd ended with {ended:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn start_in(folder: TempDir, cri: Cri) -> Self {
        Self::launch(folder, cri, "")
    }

    fn launch(folder: TempDir, cri: Cri, more: &str) -> Self {
        let text = configuration(folder.path(), cri) + more;
        Self::begin(folder, &text, None)
    }

    fn begin(folder: TempDir, configuration: &str, programs: Option<Programs>) -> Self {
        configure(folder.path(), configuration);
        let child = run(folder.path(), programs.as_ref());
        let mut daemon = Self { folder, child, programs, disk: None };
        daemon.wait();
        daemon
    }

    /// Starts it again, after [`Self::kill`], with all that it had.
    pub(crate) fn start_again(&mut self) {
        self.child = run(self.folder.path(), self.programs.as_ref());
        self.wait();
    }

    /// Stops it in good order, and starts another version over all that it had.
    pub(crate) fn upgrade(&mut self, programs: &Programs) {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("ends");
        self.programs = Some(programs.clone());
        self.start_again();
        self.wait_for_answer();
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts it again where it was, without CRI and with these lines of configuration, after
    /// stopping it if it runs.
    pub(crate) fn restart_configured(&mut self, lines: &str) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
        configure(self.folder.path(), &(configuration(self.folder.path(), Cri::Off) + lines));
        self.start_again();
    }

    /// Waits until it answers.
    fn wait(&mut self) {
        while UnixStream::connect(self.address()).is_err() {
            if let Some(status) = self.child.try_wait().expect("its state") {
                panic!("containerd ended with {status}: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The socket.
    pub(crate) fn address(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    /// A folder that is removed with the daemon.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its content lies.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.path().join("root/io.containerd.content.v1.content/blobs/sha256")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs ctr against it.
    pub(crate) fn ctr(&self, args: &[&str]) -> Output {
        self.ctr_command(args).output().expect("ctr is installed")
    }

    /// The command, for who does not want to wait for its end.
    pub(crate) fn ctr_command(&self, args: &[&str]) -> Command {
        let mut command = program(self.programs.as_ref(), "ctr");
        command.arg("--address").arg(self.address()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs ctr, which must succeed, and returns what it prints.
    pub(crate) fn ctr_prints(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "ctr {args:?}: {text}{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        text
    }

    /// Has its collector run now, to the end: what nobody holds is gone then.
    pub(crate) fn collect(&self, namespace: &str) {
        // Ending a lease in step with the collector is the way to ask. After any other lease it
        // comes when it finds the time.
        self.ctr_prints(&["-n", namespace, "leases", "create", "--id", "collect"]);
        self.ctr_prints(&["-n", namespace, "leases", "delete", "--sync", "collect"]);
    }

    /// Runs an image to its end and returns what it prints. `args` are flags, the image, a
    /// name for the container, and optionally what to run instead of the image's program.
    pub(crate) fn run(&self, namespace: &str, args: &[&str]) -> String {
        // runc keeps its containers by name for the whole machine unless told where, and two
        // runs of these tests at once use the same names.
        let root = self.folder.path().join("runc");
        let root = root.to_str().expect("UTF-8");
        let run = ["-n", namespace, "run", "--rm", "--cgroup", "", "--runc-root", root];
        self.ctr_prints(&[&run[..], args].concat())
    }

    /// Stops it the hard way, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("is running");
        self.child.wait().expect("ends");
    }

    /// Stops it as whoever upgrades it does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("ends");
    }

    /// Holds it still, in whatever it does, until [`Self::resume`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("is our child");
    }

    fn stop_containers(&self) {
        let listed = |args: &[&str]| String::from_utf8_lossy(&self.ctr(args).stdout).into_owned();
        for namespace in listed(&["namespaces", "ls", "-q"]).split_whitespace() {
            for task in listed(&["-n", namespace, "tasks", "ls", "-q"]).split_whitespace() {
                self.ctr(&["-n", namespace, "tasks", "rm", "--force", task]);
            }
        }
    }
}

impl Drop for ContainerdDaemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop_containers();
            self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
        unmount_below(self.folder.path());
    }
}

fn configure(folder: &Path, text: &str) {
    std::fs::write(folder.join("config.toml"), text).expect("writes the configuration");
}

/// Starts it as it is configured.
fn run(folder: &Path, programs: Option<&Programs>) -> Child {
    let log = File::create(folder.join("log")).expect("creates the log");
    let mut containerd = program(programs, "containerd");
    // What containerd takes should not depend on the decompressors of this machine.
    containerd.env("CONTAINERD_DISABLE_PIGZ", "1").env("CONTAINERD_DISABLE_IGZIP", "1");
    containerd.arg("--config").arg(folder.join("config.toml")).stdin(Stdio::null());
    containerd.stdout(log.try_clone().expect("a second handle")).stderr(log);
    containerd.spawn().expect("containerd is installed")
}

/// A program of containerd's, which looks for others of its own on the PATH.
fn program(programs: Option<&Programs>, name: &str) -> Command {
    let Some(Programs { dir, .. }) = programs else { return Command::new(name) };
    let mut path = OsString::from(dir);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(dir.join(name));
    command.env("PATH", path);
    command
}

fn configuration(folder: &Path, cri: Cri) -> String {
    let folder = folder.display();
    // Three plug-ins since 2.0, and one before.
    let names = ["grpc.v1.cri", "cri.v1.images", "cri.v1.runtime"];
    let disabled = names.map(|name| format!("\"io.containerd.{name}\"")).join(", ");
    let disabled = if cri == Cri::Off { disabled.as_str() } else { "" };
    // Every version reads the second version of the configuration. NRI, which is on since 2.0,
    // would open its socket outside of the folder.
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [{disabled}]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  sandbox_image = "{PAUSE_IMAGE}"
  disable_cgroup = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{folder}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/cni"
    conf_dir = "{folder}/cni"
"#
    )
}
