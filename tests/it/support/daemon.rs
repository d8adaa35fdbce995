//! A lighterman daemon of our own, next to a containerd of our own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::containerd::ContainerdDaemon;
use super::lighterman::{Lighterman, Outcome, Running};

/// How often it is looked whether something that is waited for is so.
const LOOK: Duration = Duration::from_millis(5);

/// A running daemon; killed when dropped. Its user is whoever administers the node.
pub(crate) struct Daemon<'a> {
    administrator: Lighterman<'a>,
    staging: PathBuf,
    flags: Vec<String>,
    level: &'static str,
    running: Option<Running>,
}

impl Daemon<'static> {
    /// Starts one next to `containerd`, and waits until it answers.
    pub(crate) fn start(containerd: &ContainerdDaemon) -> Self {
        Self::start_as(Lighterman::new(), containerd, "")
    }

    /// The same with more lines at the top of its configuration.
    pub(crate) fn start_configured(containerd: &ContainerdDaemon, lines: &str) -> Self {
        Self::start_as(Lighterman::new(), containerd, lines)
    }
}

impl<'a> Daemon<'a> {
    /// Starts one as this administrator.
    pub(crate) fn start_as(administrator: Lighterman<'a>, containerd: &ContainerdDaemon, lines: &str) -> Self {
        Self::start_at(administrator, &containerd.address(), lines)
    }

    /// The same before a socket where nobody need be.
    pub(crate) fn start_at(administrator: Lighterman<'a>, containerd: &Path, lines: &str) -> Self {
        Self::start_with(administrator, containerd, lines, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(administrator: Lighterman<'a>, containerd: &Path, lines: &str, flags: &[&str]) -> Self {
        let staging = administrator.path("staging");
        Self::start_anew(administrator, (containerd, &staging), lines, flags)
    }

    /// Starts one that downloads to this folder.
    pub(crate) fn start_staging_in(
        administrator: Lighterman<'a>,
        containerd: &ContainerdDaemon,
        staging: &Path,
        lines: &str,
    ) -> Self {
        Self::start_anew(administrator, (&containerd.address(), staging), lines, &[])
    }

    fn start_anew(
        administrator: Lighterman<'a>,
        (containerd, staging): (&Path, &Path),
        lines: &str,
        flags: &[&str],
    ) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut daemon = Self { administrator, staging: staging.into(), flags, level: "info", running: None };
        daemon.write_configuration(containerd, lines);
        daemon.restart();
        daemon
    }

    /// Writes its configuration; it reads it at its start and when it is told to.
    pub(crate) fn configure(&self, containerd: &ContainerdDaemon, lines: &str) {
        self.write_configuration(&containerd.address(), lines);
    }

    fn write_configuration(&self, address: &Path, lines: &str) {
        let staging = &self.staging;
        let text = format!("{lines}\n[containerd]\naddress = {address:?}\nstaging-dir = {staging:?}\n");
        std::fs::write(self.configuration(), text).expect("a writable home");
    }

    /// Starts it again; the one before has ended.
    pub(crate) fn restart(&mut self) {
        let (config, socket) = (self.configuration(), self.socket());
        let [config, socket] = [&config, &socket].map(|path| path.to_str().expect("UTF-8"));
        let args = ["--config", config, "--log-level", self.level, "serve", "--listen", socket];
        let mut command = self.administrator.command(&args);
        command.args(&self.flags);
        // The daemon finds containerd by its configuration.
        let log = std::fs::File::create(self.administrator.path("log")).expect("a writable home");
        command.env_remove("CONTAINERD_ADDRESS").stdout(std::process::Stdio::null()).stderr(log);
        let mut running = Running::of(command);
        while UnixStream::connect(self.socket()).is_err() {
            assert!(!running.has_ended(), "the daemon ended: {}", self.log());
            std::thread::sleep(LOOK);
        }
        self.running = Some(running);
    }

    /// Kills it and starts it again, to log as much as that.
    pub(crate) fn restart_at(&mut self, level: &'static str) {
        self.take().kill();
        self.level = level;
        self.restart();
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.administrator.path("lighterman.sock")
    }

    /// Where it keeps what it downloads.
    pub(crate) fn staging(&self) -> PathBuf {
        self.staging.clone()
    }

    fn configuration(&self) -> PathBuf {
        self.administrator.path("config.toml")
    }

    /// What it has logged since its start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.administrator.path("log")).unwrap_or_default()
    }

    /// Waits until it has logged something.
    pub(crate) fn wait_for_log(&self, part: &str) {
        while !self.log().contains(part) {
            std::thread::sleep(LOOK);
        }
    }

    /// The address in the line that says `part`.
    pub(crate) fn logged_address(&self, part: &str) -> std::net::SocketAddr {
        self.wait_for_log(part);
        let log = self.log();
        let line = log.lines().find(|line| line.contains(part)).expect("it was logged");
        let address = line.split("address=Some(").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Makes it read another configuration, and waits until it has.
    pub(crate) fn reload(&mut self, containerd: &Path, lines: &str) {
        const READ: &str = "the configuration was read again";
        let before = self.log().matches(READ).count();
        self.write_configuration(containerd, lines);
        self.process().signal(nix::sys::signal::Signal::SIGHUP);
        while self.log().matches(READ).count() == before {
            std::thread::sleep(LOOK);
        }
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Running {
        self.running.as_mut().expect("it runs")
    }

    /// Takes the process, to wait for its end.
    pub(crate) fn take(&mut self) -> Running {
        self.running.take().expect("it runs")
    }

    /// A user of this daemon.
    pub(crate) fn user(&self) -> Lighterman<'static> {
        Lighterman::new().with("LIGHTERMAN_ADDRESS", self.socket().to_str().expect("UTF-8"))
    }

    /// What is under way.
    pub(crate) fn pulls(&self) -> Vec<Value> {
        let outcome: Outcome = self.user().run(&["pulls", "--json"]).succeeds();
        outcome.json().as_array().expect("a list").clone()
    }

    /// Waits until what is under way is so.
    pub(crate) fn wait_for_pulls(&self, so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        loop {
            let pulls = self.pulls();
            if so(&pulls) {
                return pulls;
            }
            std::thread::sleep(LOOK);
        }
    }
}
