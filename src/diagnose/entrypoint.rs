//! The program that an image starts, and its first bytes.
//!
//! Specification: OCI image-spec, config.md, "Entrypoint", "Cmd", "WorkingDir" and "Env";
//! a bare name is looked up along PATH, as runc does it.

use std::io::{self, Read};

use super::DiagnoseError;
use super::layer::Entries;
use super::tree::Tree;
use crate::core::limits::Limits;
use crate::core::manifest::ImageConfig;

/// Where runtimes look when the image sets no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Directories of a PATH that are looked into. The longest in public images have about thirty.
const DIRECTORIES: usize = 256;

/// A program of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path that led to it, before symbolic links were followed.
    pub path: String,
    /// Index of the layer that holds its content, 0 is the lowest.
    pub layer: usize,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// The start of its content: all of it, or [`Limits::program_bytes`].
    pub prefix: Vec<u8>,
}

impl Found {
    /// Somebody may execute it.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// The whole content, if it is not longer than what was read of it.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        (self.prefix.len() as u64 == self.size).then_some(&self.prefix)
    }
}

/// The paths at which the image's program may lie, in the order in which a runtime tries
/// them; empty where the image names no program.
#[must_use]
pub fn candidates(config: &ImageConfig) -> Vec<String> {
    match config.argv().into_iter().next().filter(|program| !program.is_empty()) {
        Some(program) => candidates_of(&program, config),
        None => Vec::new(),
    }
}

/// The same for any program that the image may start.
#[must_use]
pub fn candidates_of(program: &str, config: &ImageConfig) -> Vec<String> {
    if program.contains('/') {
        return vec![absolute(program, config)];
    }
    let set = config.config.env.iter().flatten().rev().find_map(|variable| variable.strip_prefix("PATH="));
    let directories = set.unwrap_or(DEFAULT_PATH).split(':').take(DIRECTORIES);
    let inside = |directory: &str| match directory {
        "" => absolute(program, config),
        directory => absolute(&format!("{directory}/{program}"), config),
    };
    directories.map(inside).collect()
}

/// A path as seen from where the image's program starts.
#[must_use]
pub fn absolute(path: &str, config: &ImageConfig) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let directory = config.config.working_dir.as_deref().filter(|directory| !directory.is_empty()).unwrap_or("/");
    format!("{}/{path}", directory.trim_end_matches('/'))
}

/// Finds the first of `candidates` that is a regular file in the image and reads its start.
///
/// `open` yields the reader of one of the `layers`, 0 is the lowest; the layer with the
/// program is opened twice. Blocks.
///
/// # Errors
/// [`DiagnoseError`] where a layer cannot be read; no such file is `Ok(None)`.
pub fn find<R: Read>(
    layers: usize,
    mut open: impl FnMut(usize) -> io::Result<R>,
    candidates: &[String],
    limits: &Limits,
) -> Result<Option<Found>, DiagnoseError> {
    let tree = Tree::read(layers, &mut open, limits)?;
    let found = candidates.iter().find_map(|path| Some((path, tree.file(path.as_bytes())?)));
    let Some((path, file)) = found else { return Ok(None) };
    let layer = file.layer + 1;
    let reader = open(file.layer).map_err(|source| DiagnoseError::Read { layer, source })?;
    let mut entries = Entries::open(reader, layer, limits)?;
    for _ in 0..=file.entry {
        entries.advance()?;
    }
    let prefix = entries.content(limits.program_bytes)?;
    Ok(Some(Found { path: path.clone(), layer: file.layer, mode: file.mode, size: file.size, prefix }))
}

#[cfg(test)]
mod tests;
