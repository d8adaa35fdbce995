//! Finding and reading the directory that describes a registry's hosts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Entry, HostsError, Identity, file, pem, read_bounded};

/// What the first of `roots` that knows `registry` says; `None` where none does.
pub(super) fn entries(roots: &[PathBuf], registry: &str) -> Result<Option<Vec<Entry>>, HostsError> {
    for directory in roots.iter().flat_map(|root| candidates(root, registry)) {
        match fs::metadata(&directory) {
            Ok(_) => return load(&directory).map(Some),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => return Err(HostsError::Read { path: directory, source }),
        }
    }
    Ok(None)
}

/// `host_port_` (for file systems without colons), `host:port`, `_default`.
fn candidates(root: &Path, registry: &str) -> Vec<PathBuf> {
    let escaped = registry.rfind(':').filter(|at| *at > 0).map(|at| {
        let (host, port) = (&registry[..at], &registry[at + 1..]);
        root.join(format!("{host}_{port}_"))
    });
    escaped.into_iter().chain([root.join(registry), root.join("_default")]).collect()
}

fn load(directory: &Path) -> Result<Vec<Entry>, HostsError> {
    let path = directory.join("hosts.toml");
    match read_bounded(&path) {
        Ok(bytes) if !bytes.is_empty() => file::entries(&path, &bytes),
        Ok(_) => certificates(directory).map(|entry| vec![entry]),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            certificates(directory).map(|entry| vec![entry])
        }
        Err(source) => Err(HostsError::Read { path, source }),
    }
}

/// docker's layout: `*.crt` are authorities, `*.cert` our certificates, each with its `*.key`.
fn certificates(directory: &Path) -> Result<Entry, HostsError> {
    let read = |source| HostsError::Read { path: directory.into(), source };
    let mut names: Vec<PathBuf> = fs::read_dir(directory)
        .map_err(read)?
        .map(|item| item.map(|item| item.path()))
        .collect::<Result<_, _>>()
        .map_err(read)?;
    // The order of a directory is accidental.
    names.sort();
    let mut entry = Entry::default();
    for name in names {
        match name.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => entry.authorities.push(pem(&name)?),
            Some("cert") => {
                let key = name.with_extension("key");
                let key = if key.exists() { key } else { name.clone() };
                entry.identities.push(Identity { certificate: pem(&name)?, key: pem(&key)? });
            }
            _ => {}
        }
    }
    Ok(entry)
}
