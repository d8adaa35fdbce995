//! The layout's files: every one whole before it has a name, and on disk before it is told of.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;

use crate::store::StoreError;
use crate::store::staging::Staging;

/// The content of `oci-layout`; the version is of the layout, not of the specification.
const MARKER: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
const MARKER_NAME: &str = "oci-layout";

/// A destination that can become, or is, a layout that we may write to.
pub(super) fn check_destination(root: &Path) -> Result<(), StoreError> {
    match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The parents are made as well, so the nearest one that exists decides.
            let nearest = root.ancestors().skip(1).find(|path| path.exists());
            let parent = nearest.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            check_writable(parent, root)
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(StoreError::NotALayout { path: root.into(), reason: "it is not a directory".into() })
        }
        Err(error) => Err(StoreError::io("open", root, error)),
        Ok(entries) => {
            // An interrupted first pull leaves the staging directory alone.
            let fresh = entries.flatten().all(|entry| entry.file_name() == super::STAGING);
            if !fresh {
                check_layout(root)?;
            }
            check_writable(root, root)
        }
    }
}

/// A directory that is a layout of a version that we know.
pub(super) fn check_layout(root: &Path) -> Result<(), StoreError> {
    let not = |reason: String| StoreError::NotALayout { path: root.into(), reason };
    let bytes = match fs::read(root.join(MARKER_NAME)) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(not(if root.is_dir() {
                "it has no oci-layout file".into()
            } else {
                "it is not a directory".into()
            }));
        }
        Err(error) => return Err(StoreError::io("read", &root.join(MARKER_NAME), error)),
    };
    let marker: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| not(format!("its oci-layout file is malformed: {error}")))?;
    match marker["imageLayoutVersion"].as_str() {
        Some(version) if version.starts_with("1.") => Ok(()),
        version => Err(not(format!("its layout version is {}", version.unwrap_or("missing")))),
    }
}

/// Whether things can be made in `folder`, for the sake of `root`.
fn check_writable(folder: &Path, root: &Path) -> Result<(), StoreError> {
    nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .map_err(|errno| StoreError::io("write to", root, errno.into()))
}

/// What [`create`] had to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Directory,
    Marker,
    Nothing,
}

impl Made {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Marker => "marker",
            Self::Nothing => "nothing",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "directory" => Self::Directory,
            "marker" => Self::Marker,
            _ => Self::Nothing,
        }
    }
}

/// Makes the directory and its marker where they are missing.
pub(super) fn create(root: &Path, staging: &Staging) -> Result<Made, StoreError> {
    let existed = root.exists();
    fs::create_dir_all(root).map_err(|error| StoreError::io("create", root, error))?;
    let marker = root.join(MARKER_NAME);
    if marker.exists() {
        return Ok(Made::Nothing);
    }
    write_whole(staging, &marker, &Bytes::from_static(MARKER.as_bytes()))?;
    Ok(if existed { Made::Marker } else { Made::Directory })
}

/// Takes back what [`create`] made when nothing came of it.
pub(super) fn remove_if_unused(root: &Path, made: Made) {
    let mut entries = fs::read_dir(root).into_iter().flatten().flatten();
    if made == Made::Nothing || !entries.all(|entry| entry.file_name() == MARKER_NAME) {
        return;
    }
    // Another pull that comes between sets the marker again when it sets its name.
    let _ = fs::remove_file(root.join(MARKER_NAME));
    if made == Made::Directory {
        let _ = fs::remove_dir(root);
    }
}

/// Whether a blob of this size is there.
pub(super) fn is_whole(path: &Path, size: u64) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file() && metadata.len() == size),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

/// Reads at most `limit` bytes; `None` where there is no such file.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Bytes>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| StoreError::io("read", path, error))?;
    Ok(Some(bytes.into()))
}

/// Gives a staged blob of `size` bytes its name: synced, readable for all, never replacing
/// what is whole. It keeps the name that it has.
pub(super) fn link_into_place((file, staged): (&File, &Path), path: &Path, size: u64) -> Result<(), StoreError> {
    let folder = make_parent(path)?;
    let at_path = |action| move |error| StoreError::io(action, path, error);
    file.set_permissions(Permissions::from_mode(0o644)).map_err(at_path("set the mode of"))?;
    file.sync_data().map_err(at_path("sync"))?;
    match fs::hard_link(staged, path) {
        Ok(()) => {}
        Err(_) if is_whole(path, size)? => {}
        // A blob of the right name and the wrong size (an unclean stop of some tool) gives way;
        // and there are file systems without hard links (FAT on an SD card, some network mounts).
        Err(_) => fs::rename(staged, path).map_err(at_path("rename to"))?,
    }
    sync_folder(folder)
}

/// Writes a file that appears whole or not at all. Until then it is in the staging directory,
/// so that an unclean stop leaves nothing in the layout proper.
pub(super) fn write_whole(staging: &Staging, path: &Path, bytes: &Bytes) -> Result<(), StoreError> {
    let folder = make_parent(path)?;
    let failed = |error| StoreError::io("write", path, error);
    let mut file = staging.temporary(Permissions::from_mode(0o644))?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_data().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder)
}

fn make_parent(path: &Path) -> Result<&Path, StoreError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| StoreError::io("create", folder, error))?;
    Ok(folder)
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| StoreError::io("sync", folder, error))
}
