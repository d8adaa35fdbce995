//! Runs a program that came out of an image, to see whether this CPU can.
//!
//! Not a container: no namespaces, no limits. It is meant for the demo's own programs,
//! which write one word and exit, and must not be given anything else.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempPath;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::DemoError;

/// Bytes of output that are read; a program that writes more is stopped.
const OUTPUT: u64 = 4096;
/// Attempts to start a program whose file is still open for writing elsewhere.
const BUSY_ATTEMPTS: usize = 100;
/// Time between two of them.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How an attempt to run a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end.
    Finished {
        /// What it wrote to standard output, at most 4 KiB.
        stdout: String,
        /// Its exit status; `None` where a signal ended it.
        code: Option<i32>,
    },
    /// The kernel cannot execute this kind of program: "exec format error".
    ExecFormat,
}

/// Writes `program` to a temporary file and runs it without arguments and environment.
///
/// # Errors
/// [`DemoError`] where the file cannot be written, or started for another reason than its format.
pub async fn run(program: &[u8]) -> Result<Outcome, DemoError> {
    let path = store(program).map_err(|(path, source)| DemoError::File { action: "write", path, source })?;
    let failed = |source| DemoError::Run { path: path.to_path_buf(), source };
    match spawn(&path).await {
        Ok(child) => finish(child).await.map_err(failed),
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32) => Ok(Outcome::ExecFormat),
        Err(error) => Err(failed(error)),
    }
}

/// A file that only this user can read and execute, no longer open.
fn store(program: &[u8]) -> Result<TempPath, (std::path::PathBuf, io::Error)> {
    let create =
        || tempfile::Builder::new().prefix("lighterman-demo-").permissions(Permissions::from_mode(0o700)).tempfile();
    let mut file = create().map_err(|source| (std::env::temp_dir(), source))?;
    file.write_all(program).map_err(|source| (file.path().into(), source))?;
    Ok(file.into_temp_path())
}

async fn spawn(path: &Path) -> io::Result<Child> {
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut attempts = 1;
    loop {
        match command.spawn() {
            // Another thread of this process that forked while the file was being written holds a
            // copy of its descriptor until that child execs. This passes by itself.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < BUSY_ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn finish(mut child: Child) -> io::Result<Outcome> {
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // The pipe closes here, so that a program with more to say ends with SIGPIPE.
        stdout.take(OUTPUT).read_to_end(&mut output).await?;
    }
    let status = child.wait().await?;
    Ok(Outcome::Finished { stdout: String::from_utf8_lossy(&output).into_owned(), code: status.code() })
}

#[cfg(test)]
mod tests {
    use super::super::programs;
    use super::*;

    #[tokio::test]
    async fn runs_the_program_of_this_cpu() {
        let (program, name) = match std::env::consts::ARCH {
            "x86_64" => (programs::amd64(), "amd64\n"),
            "aarch64" => (programs::arm64(), "arm64\n"),
            "arm" => (programs::arm_v7(), "arm\n"),
            other => panic!("the demo has no program for {other}"),
        };
        let outcome = run(&program.bytes).await.expect("it starts");
        assert_eq!(outcome, Outcome::Finished { stdout: name.into(), code: Some(0) });
    }

    #[tokio::test]
    async fn tells_a_foreign_format_from_other_failures() {
        // A machine that nobody has and no emulator is registered for.
        let mut nobodys = programs::amd64().bytes;
        nobodys[0x12..0x14].copy_from_slice(&[0xfe, 0xfe]);
        assert_eq!(run(&nobodys).await.expect("the kernel refuses it"), Outcome::ExecFormat);
        assert_eq!(run(b"echo not a program").await.expect("the kernel refuses it"), Outcome::ExecFormat);
        let error = run(b"#!/nonexistent/interpreter\n").await.expect_err("no such interpreter");
        assert!(matches!(error, DemoError::Run { .. }), "{error}");
    }

    #[tokio::test]
    async fn bounds_the_output_and_reports_the_status() {
        let outcome = run(b"#!/bin/sh\nwhile :; do echo 0123456789abcdef; done\n").await.expect("it starts");
        assert!(matches!(&outcome, Outcome::Finished { stdout, .. } if stdout.len() == 4096), "{outcome:?}");
        let outcome = run(b"#!/bin/sh\nexit 3\n").await.expect("it starts");
        assert_eq!(outcome, Outcome::Finished { stdout: String::new(), code: Some(3) });
    }
}
