//! Runs the program under test as a user would, with nothing of the machine's own settings.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::files_below;
use super::sandbox::Sandbox;

/// Exit codes that the tests name; the whole table is in the README.
pub(crate) mod exit {
    pub(crate) const OK: i32 = 0;
    pub(crate) const USAGE: i32 = 64;
    pub(crate) const CONTENT: i32 = 65;
    pub(crate) const NOT_FOUND: i32 = 66;
    pub(crate) const PLATFORM: i32 = 67;
    pub(crate) const UNAVAILABLE: i32 = 69;
    pub(crate) const DESTINATION: i32 = 73;
    pub(crate) const LOCAL_IO: i32 = 74;
    pub(crate) const TRY_LATER: i32 = 75;
    pub(crate) const UNTRUSTED: i32 = 76;
    pub(crate) const CREDENTIALS: i32 = 77;
    pub(crate) const CONFIGURATION: i32 = 78;
    pub(crate) const INTERRUPTED: i32 = 130;
}

/// A user with an empty home, who runs lighterman.
pub(crate) struct Lighterman<'a> {
    home: TempDir,
    sandbox: Option<&'a Sandbox>,
    variables: Vec<(String, String)>,
}

impl<'a> Lighterman<'a> {
    /// A new user.
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("lighterman-home-").tempdir().expect("a temporary folder");
        for name in ["docker", "tmp"] {
            std::fs::create_dir(home.path().join(name)).expect("a writable temporary folder");
        }
        Self { home, sandbox: None, variables: Vec::new() }
    }

    /// A new user inside a sandbox.
    pub(crate) fn inside(sandbox: &'a Sandbox) -> Self {
        Self { sandbox: Some(sandbox), ..Self::new() }
    }

    /// Sets an environment variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Writes docker's config.json.
    pub(crate) fn with_docker_config(self, config: &Value) -> Self {
        std::fs::write(self.home.path().join("docker/config.json"), config.to_string()).expect("a writable home");
        self
    }

    /// Puts a program onto the user's PATH, such as a credential helper.
    pub(crate) fn with_program(self, name: &str, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.path(name);
        std::fs::write(&file, script).expect("a writable home");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a file of ours");
        self
    }

    /// A path in the user's home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A directory that does not exist yet and the `oci:DIR` that names it.
    pub(crate) fn layout(&self, name: &str) -> (PathBuf, String) {
        let dir = self.path(name);
        let destination = format!("oci:{}", dir.display());
        (dir, destination)
    }

    /// What lighterman left in the temporary folder that it was given.
    pub(crate) fn left_in_tmp(&self) -> Vec<String> {
        files_below(&self.path("tmp"))
    }

    /// The command, for what [`Lighterman::run`] cannot do.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_lighterman"));
        let mut command = match self.sandbox {
            Some(sandbox) => sandbox.command(program),
            None => Command::new(program),
        };
        command
            .args(args)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.home.path().display()))
            .env("HOME", self.home.path())
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("TMPDIR", self.path("tmp"))
            .env("CONTAINERD_ADDRESS", self.path("no-containerd.sock"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs lighterman to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).output().expect("lighterman starts");
        Outcome::new(args, &output)
    }

    /// Runs lighterman to its end with this on its standard input.
    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Outcome {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("lighterman starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        // It may end without reading, which is for the test to judge by its outcome.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        Outcome::new(args, &child.wait_with_output().expect("lighterman ends"))
    }

    /// Starts lighterman and leaves it running.
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }
}

/// A lighterman that runs; it is killed when this is dropped.
pub(crate) struct Running(Option<Child>);

impl Running {
    /// Starts a command.
    pub(crate) fn of(mut command: Command) -> Self {
        Self(Some(command.spawn().expect("lighterman starts")))
    }

    /// Its process.
    #[cfg(feature = "containerd")]
    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().expect("it was not waited for").id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let child = self.0.as_ref().expect("it was not waited for");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("it still runs");
    }

    /// Sends the signal that Ctrl-C sends, and waits for the end.
    pub(crate) fn interrupt(mut self) -> Outcome {
        self.signal(nix::sys::signal::Signal::SIGINT);
        let child = self.0.take().expect("interrupted once");
        Outcome::new(&["interrupted"], &child.wait_with_output().expect("lighterman ends"))
    }

    /// Kills it as the kernel does when memory runs out: it cannot do anything about it.
    pub(crate) fn kill(mut self) {
        let mut child = self.0.take().expect("killed once");
        child.kill().expect("is our child");
        child.wait().expect("ends");
    }

    /// Ends it as a library does that finds itself broken, where cores may be of any size.
    #[cfg(feature = "containerd")]
    pub(crate) fn abort(mut self) -> std::process::ExitStatus {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let mut child = self.0.take().expect("ended once");
        let limit = Rlimit { current: None, maximum: None };
        prlimit(Some(Pid::from_child(&child)), Resource::Core, limit).expect("root may raise it");
        rustix::process::kill_process(Pid::from_child(&child), rustix::process::Signal::ABORT).expect("it runs");
        child.wait().expect("is our child")
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        let child = self.0.take().expect("waited for once");
        Outcome::new(&["spawned"], &child.wait_with_output().expect("lighterman ends"))
    }

    /// A line of its `/proc/PID/FILE` that starts with `name:`, and of that the first number.
    pub(crate) fn proc_value(&self, file: &str, name: &str) -> Option<u64> {
        let pid = self.0.as_ref()?.id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse().ok()
    }

    /// The most that it had resident until it ended, in KiB.
    pub(crate) fn peak(&mut self) -> u64 {
        let mut peak = 0;
        while !self.has_ended() {
            peak = self.proc_value("status", "VmHWM").unwrap_or(peak);
            // Only to leave the CPU to it.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        peak
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a run ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    args: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    fn new(args: &[&str], output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("lighterman writes UTF-8");
        Self {
            args: args.join(" "),
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Fails the test unless the run ended with this exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        let Self { args, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "lighterman {args}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        self
    }

    /// Fails the test unless the run succeeded.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.ends(exit::OK)
    }

    /// Fails the test unless the run failed with this exit code, and as every failure must:
    /// an error, who is to blame, and no result.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        let outcome = self.ends(code);
        let Self { args, stdout, stderr, .. } = &outcome;
        assert!(stderr.lines().any(|l| l.starts_with("error: ")), "lighterman {args} names no error:\n{stderr}");
        assert!(stderr.lines().any(|l| l.starts_with("  blame: ")), "lighterman {args} blames nobody:\n{stderr}");
        assert!(!stderr.contains("panicked"), "lighterman {args} panicked:\n{stderr}");
        assert_eq!(stdout, "", "lighterman {args} printed a result although it failed");
        outcome
    }

    /// Fails the test unless the messages contain all of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "lighterman {} does not say {part:?}:\n{}", self.args, self.stderr);
        }
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// The JSON documents on stdout, one a line.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The `pulled` event, which comes last.
    #[track_caller]
    pub(crate) fn pulled(&self) -> Value {
        let last = self.events().pop().unwrap_or_else(|| panic!("no event in {self:#?}"));
        assert_eq!(last["event"], "pulled", "{self:#?}");
        last
    }

    /// The `error` object of a run with `--json`.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let found =
            self.stderr.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()?.get("error").cloned());
        found.unwrap_or_else(|| panic!("no error object in {self:#?}"))
    }
}
