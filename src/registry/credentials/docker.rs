//! docker's `config.json`.
//!
//! Own reading instead of the `docker_credential` crate: that one matches keys less
//! leniently than docker, knows no registry tokens, does not fall back from an empty store
//! to the file, and puts a failing helper's whole output in its errors.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::{Credential, CredentialsError};
use crate::registry::hosts::read_bounded;
use crate::registry::secret::Secret;

/// Under which docker keeps the login of docker.io.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// The parts of the file that are about credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    auths: HashMap<String, Auth>,
    creds_store: String,
    cred_helpers: HashMap<String, String>,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl Config {
    /// The file at `path`; `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(source) => return Err(CredentialsError::Read { path: path.into(), source }),
        };
        Self::parse(path, &bytes).map(Some)
    }

    /// What the file at `path` says.
    ///
    /// # Errors
    /// [`CredentialsError::Malformed`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CredentialsError> {
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|error| CredentialsError::Malformed { path: path.into(), line: error.line() })?;
        Ok(Self { path: path.into(), ..config })
    }

    /// The helper for `authority`: its own, or else the common store.
    #[must_use]
    pub fn helper(&self, authority: &str) -> Option<&str> {
        let alike = self.cred_helpers.iter().filter(|(key, _)| same_registry(key, authority));
        // A stable choice where several fit.
        let own = alike.min_by_key(|(key, _)| *key).map(|(_, name)| name);
        own.or(Some(&self.creds_store)).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// What the file itself holds for `authority`.
    ///
    /// # Errors
    /// [`CredentialsError::Auth`] where that cannot be read.
    pub fn stored(&self, authority: &str) -> Result<Option<Credential>, CredentialsError> {
        let exact = self.auths.get_key_value(server_address(authority));
        // Keys may be URLs with a path; a stable choice where several fit.
        let alike = || self.auths.iter().filter(|(key, _)| same_registry(key, authority)).min_by_key(|(key, _)| *key);
        match exact.or_else(alike) {
            Some((server, auth)) => self.credential(server, auth),
            None => Ok(None),
        }
    }

    fn credential(&self, server: &str, auth: &Auth) -> Result<Option<Credential>, CredentialsError> {
        let given = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.reveal().is_empty());
        if let Some(token) = given(&auth.identitytoken) {
            return Ok(Some(Credential::Identity(token)));
        }
        if let Some(token) = given(&auth.registrytoken) {
            return Ok(Some(Credential::Registry(token)));
        }
        if let Some(encoded) = given(&auth.auth) {
            let bad = || CredentialsError::Auth { path: self.path.clone(), server: server.into() };
            return decode(encoded.reveal()).map(Some).ok_or_else(bad);
        }
        match (&auth.username, given(&auth.password)) {
            (Some(user), Some(password)) => Ok(Some(Credential::Basic { user: user.clone(), password })),
            _ => Ok(None),
        }
    }
}

/// `name:password` in base64, padded or not. docker pads passwords with NUL bytes.
#[must_use]
pub fn decode(text: &str) -> Option<Credential> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(text.trim()).ok()?;
    let plain = String::from_utf8(bytes).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some(Credential::Basic { user: user.into(), password: Secret::new(password.trim_matches('\0')) })
}

/// What docker calls the server at `authority`, in its file and to helpers.
pub(super) fn server_address(authority: &str) -> &str {
    if is_docker_hub(authority) { DOCKER_HUB_SERVER } else { authority }
}

fn is_docker_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Whether `key`, a host name or a URL, means the registry at `authority`; docker.io has several names.
pub(super) fn same_registry(key: &str, authority: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = bare.split('/').next().unwrap_or_default();
    host == authority || (is_docker_hub(host) && is_docker_hub(authority))
}
