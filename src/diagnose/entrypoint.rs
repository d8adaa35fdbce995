//! Where the program that an image starts may lie.
//!
//! Specification: OCI image-spec, config.md, "Entrypoint", "Cmd", "WorkingDir" and "Env";
//! a bare name is looked up along PATH, as runc does it.

use crate::core::manifest::ImageConfig;

/// Where runtimes look when the image sets no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Directories of a PATH that are looked into. The longest in public images have about thirty.
pub(super) const DIRECTORIES: usize = 256;

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
    directories(config).into_iter().map(|directory| format!("{directory}/{program}")).collect()
}

/// The directories of the image's PATH, or of the one that runtimes use in its place, in their order.
#[must_use]
pub fn directories(config: &ImageConfig) -> Vec<String> {
    let directories = search_path(config).unwrap_or(DEFAULT_PATH).split(':').take(DIRECTORIES);
    let inside = |directory: &str| absolute(directory, config).trim_end_matches('/').to_owned();
    directories.map(inside).collect()
}

/// The PATH that the image sets.
#[must_use]
pub fn search_path(config: &ImageConfig) -> Option<&str> {
    config.config.env.iter().flatten().rev().find_map(|variable| variable.strip_prefix("PATH="))
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

#[cfg(test)]
mod tests;
