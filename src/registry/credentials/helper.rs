//! Credential helpers: programs called `docker-credential-NAME` that keep the secrets.
//!
//! Protocol: the server's address on stdin, JSON with `Username` and `Secret` on stdout;
//! on failure the message is on stdout too.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{Credential, CredentialsError};
use crate::registry::reply;
use crate::registry::secret::Secret;

/// Helpers of clouds ask a server; one that takes longer waits for somebody at a keyboard.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer. Tokens of clouds have a few KiB.
const MAX_ANSWER: u64 = 64 * 1024;
/// What every helper says when it has nothing for a server.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

/// Asks the helper `name` for the credentials of `server`; `None` where it has none.
pub(super) async fn get(
    name: &str,
    server: &str,
    search_path: Option<&OsStr>,
) -> Result<Option<Credential>, CredentialsError> {
    let helper = format!("docker-credential-{name}");
    let start = |source| CredentialsError::HelperStart { helper: helper.clone(), source };
    if name.contains('/') {
        return Err(start(io::Error::new(io::ErrorKind::InvalidInput, "a helper's name has no slash")));
    }
    let mut command = Command::new(&helper);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(path) = search_path {
        command.env("PATH", path);
    }
    let child = command.spawn().map_err(start)?;
    let (status, output) = tokio::time::timeout(PATIENCE, converse(child, server))
        .await
        .map_err(|_| CredentialsError::HelperTimeout { helper: helper.clone(), after: PATIENCE })?
        .map_err(start)?;
    if !status.success() {
        let message = reply::clean(&String::from_utf8_lossy(&output));
        if message.contains(NOT_FOUND) {
            return Ok(None);
        }
        return Err(CredentialsError::HelperFailed { helper, status: status.to_string(), message });
    }
    let answer: Answer =
        serde_json::from_slice(&output).map_err(|_| CredentialsError::HelperReply { helper: helper.clone() })?;
    Ok(match (answer.username, answer.secret) {
        // Some helpers report success with empty fields for a server that they do not know.
        (_, secret) if secret.reveal().is_empty() => None,
        (user, secret) if user == TOKEN_USER => Some(Credential::Identity(secret)),
        (user, password) => Some(Credential::Basic { user, password }),
    })
}

async fn converse(mut child: Child, server: &str) -> io::Result<(std::process::ExitStatus, Vec<u8>)> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()).await {
            // A helper may answer without reading the question.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => drop(stdin),
        }
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut output).await?;
    }
    Ok((child.wait().await?, output))
}
