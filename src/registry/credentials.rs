//! Which credentials we have, and which host gets them.
//!
//! Credentials that were given explicitly, and those stored for the reference's registry,
//! go to that registry and to its token server. A mirror gets only what is stored for the
//! mirror's own host name, and so does not learn the password of the registry that it mirrors.
//!
//! Callers of CRI do not say for which host of a reference their credentials are: kubelet takes
//! them from a secret for the image's name, and containerd gives them to whichever host asks, so
//! that is how people open their mirrors. [`Audience`] has the rule for those.
//!
//! Stored credentials are docker's: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`
//! with its helpers. The file is read when a host first asks for credentials, so that a
//! broken one does not stop the pull of a public image from a registry without logins.

pub mod docker;
mod helper;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use docker::same_registry;

use super::hosts::Host;
use super::secret::Secret;
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};

/// What proves who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password or access token.
        password: Secret,
    },
    /// A refresh token, exchanged by OAuth2 POST.
    Identity(Secret),
    /// A bearer token that the registry takes as it is.
    Registry(Secret),
}

impl Credential {
    /// Tells credentials apart in a cache without keeping them there.
    pub(super) fn fingerprint(&self) -> Digest {
        let (tag, user, secret) = match self {
            Self::Basic { user, password } => ("basic", user.as_str(), password),
            Self::Identity(token) => ("identity", "", token),
            Self::Registry(token) => ("registry", "", token),
        };
        Digest::of([tag, user, secret.reveal()].join("\0").as_bytes())
    }

    /// How many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Basic { user, password } => user.len() + password.reveal().len(),
            Self::Identity(token) | Self::Registry(token) => token.reveal().len(),
        }
    }
}

/// Whom explicit credentials are for, of the hosts of a reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Audience {
    /// The registry that the reference names.
    #[default]
    Registry,
    /// The registry, and every mirror of it that asks for them and with which nobody listens in:
    /// by verified TLS, or on this machine. containerd tells them to other mirrors as well.
    Hosts,
    /// The host of this name or URL alone, be it the registry or a mirror, as containerd takes the
    /// server address of a caller of CRI.
    Server(String),
}

impl Audience {
    fn includes(&self, host: &Host) -> bool {
        match self {
            Self::Registry => host.is_upstream(),
            Self::Hosts => host.is_upstream() || host.keeps_secrets(),
            Self::Server(server) => same_registry(server, &host.authority),
        }
    }
}

/// Where credentials come from.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    explicit: Option<Credential>,
    audience: Audience,
    /// Directory of docker's config.json.
    directory: Option<PathBuf>,
    /// Where helpers are looked for instead of `PATH`.
    search_path: Option<OsString>,
}

/// Why stored credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is not docker's configuration. The parser's words could quote a secret, so only the place is told.
    #[error("{path}:{line}: not a docker configuration", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An `auth` that is not base64 of `name:password`.
    #[error("{path}: the auth of {server:?} is not base64 of NAME:PASSWORD", path = path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// The entry.
        server: String,
    },
    /// A helper that cannot be started.
    #[error("cannot run the credential helper {helper}: {source}")]
    HelperStart {
        /// Name of the program.
        helper: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A helper that failed.
    #[error("the credential helper {helper} failed ({status}): {message}")]
    HelperFailed {
        /// Name of the program.
        helper: String,
        /// How it ended.
        status: String,
        /// Its own words, bounded and cleaned.
        message: String,
    },
    /// A helper that does not come back.
    #[error("the credential helper {helper} did not answer within {} s", .after.as_secs())]
    HelperTimeout {
        /// Name of the program.
        helper: String,
        /// The bound.
        after: Duration,
    },
    /// A helper whose answer is not what the protocol says.
    #[error("the credential helper {helper} gave an unusable answer")]
    HelperReply {
        /// Name of the program.
        helper: String,
    },
}

impl Classify for CredentialsError {
    fn kind(&self) -> Kind {
        Kind::InvalidConfiguration
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::Malformed { .. } | Self::Auth { .. } => {
                "correct the file, log in again with docker login, or point DOCKER_CONFIG at another directory".into()
            }
            Self::HelperStart { helper, .. } => {
                format!(
                    "install {helper} in PATH, or remove it from credsStore and credHelpers of docker's config.json"
                )
            }
            Self::HelperFailed { helper, .. } | Self::HelperTimeout { helper, .. } | Self::HelperReply { helper } => {
                format!("try it by hand: echo REGISTRY | {helper} get")
            }
        })
    }
}

impl Credentials {
    /// None at all.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Those of docker, from `$DOCKER_CONFIG` or `~/.docker`.
    #[must_use]
    pub fn from_environment() -> Self {
        let named = std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || {
            std::env::var_os("HOME").filter(|value| !value.is_empty()).map(|home| PathBuf::from(home).join(".docker"))
        };
        Self { directory: named.or_else(home), ..Self::default() }
    }

    /// Those of the `config.json` in `directory`.
    #[must_use]
    pub fn from_docker_config(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), ..Self::default() }
    }

    /// The same, with a name and password for the registry of the reference, before anything stored.
    #[must_use]
    pub fn with_login(self, user: impl Into<String>, password: Secret) -> Self {
        Self { explicit: Some(Credential::Basic { user: user.into(), password }), ..self }
    }

    /// The same, with what was given explicitly going to others than the registry.
    #[must_use]
    pub fn for_audience(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// The same, with a refresh token (docker's `identitytoken`) for the registry of the reference.
    #[must_use]
    pub fn with_identity_token(self, token: Secret) -> Self {
        Self { explicit: Some(Credential::Identity(token)), ..self }
    }

    /// The same, with a bearer token that the registry of the reference takes as it is.
    #[must_use]
    pub fn with_registry_token(self, token: Secret) -> Self {
        Self { explicit: Some(Credential::Registry(token)), ..self }
    }

    /// The same, with docker's `auth`, which is base64 of a name, a colon and a password; `None`
    /// where it is not.
    #[must_use]
    pub fn with_auth(self, encoded: &Secret) -> Option<Self> {
        Some(Self { explicit: Some(docker::decode(encoded.reveal())?), ..self })
    }

    /// Tells explicit credentials and whom they are for apart without keeping them; `None` where
    /// there are none.
    pub(super) fn fingerprint(&self) -> Option<Digest> {
        let explicit = self.explicit.as_ref()?.fingerprint();
        Some(Digest::of(format!("{explicit} {:?}", self.audience).as_bytes()))
    }

    /// The same, with credential helpers looked for in `search_path` instead of `PATH`.
    #[must_use]
    pub fn with_helper_path(self, search_path: impl Into<OsString>) -> Self {
        Self { search_path: Some(search_path.into()), ..self }
    }

    /// What `host` gets.
    ///
    /// # Errors
    /// [`CredentialsError`] where what is stored cannot be read.
    pub async fn for_host(&self, host: &Host) -> Result<Option<Credential>, CredentialsError> {
        if let (Some(explicit), true) = (&self.explicit, self.audience.includes(host)) {
            return Ok(Some(explicit.clone()));
        }
        if self.explicit.is_some() && self.audience == Audience::Hosts {
            tracing::warn!(%host, "the caller's credentials are kept from a mirror without verified TLS");
        }
        let Some(directory) = &self.directory else { return Ok(None) };
        let Some(config) = docker::Config::read(&directory.join("config.json"))? else { return Ok(None) };
        let server = docker::server_address(&host.authority);
        if let Some(name) = config.helper(&host.authority)
            && let Some(found) = helper::get(name, server, self.search_path.as_deref()).await?
        {
            return Ok(Some(found));
        }
        config.stored(&host.authority)
    }
}

#[cfg(test)]
mod tests;
