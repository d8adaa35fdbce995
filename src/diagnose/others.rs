//! Every binary of an image, beside the one that it starts: one helper program that was downloaded
//! for the builder's own CPU is enough to break an image that seems to run.

use std::collections::BTreeMap;

use super::contents::{Other, Start, What};
use super::rootfs::File;
use super::rootfs::layers::Layers;
use super::start::classify;
use super::{DiagnoseError, entrypoint, loaders};
use crate::core::elf::Binary;
use crate::core::manifest::ImageConfig;

/// Binaries of one architecture that are remembered, and as many again of those that lie where
/// others look for them. Who has that many wrong ones has a wrong base image.
const MAX: usize = 100;

/// Every binary, as many of each architecture as are remembered. Reads all layers; what could not
/// be read is told by what the image starts.
pub(super) fn all(layers: &mut Layers, config: &ImageConfig) -> Result<Vec<(File, Box<Binary>)>, DiagnoseError> {
    let (mut binaries, mut counts) = (Vec::new(), BTreeMap::new());
    let places = Places::of(config);
    let claimed = config.platform.normalized().architecture;
    layers.binaries(&mut |file| {
        let What::Elf(binary) = classify(&file.content) else { return };
        let is_near = places.are_searched_for(&file, &claimed);
        let count = counts.entry((binary.architecture(), is_near)).or_insert(0);
        *count += 1;
        if *count <= MAX {
            binaries.push((file, binary));
        }
    })?;
    Ok(binaries)
}

/// The same with those that are not of the program's architecture.
pub(super) fn add(binaries: Vec<(File, Box<Binary>)>, config: &ImageConfig, mut start: Start) -> Start {
    let program = start.certain().filter_map(|chain| chain.binary()?.1.architecture()).next();
    let Some(program) = program else { return start };
    let places = Places::of(config);
    let is_started = |file: &File| {
        let chains = [&start.first].into_iter().chain(start.next.iter().map(|next| &next.chain));
        chains.flat_map(|chain| &chain.steps).any(|step| step.file.path == file.path)
    };
    let foreign = |(file, binary): &(File, Box<Binary>)| {
        binary.architecture().is_some_and(|architecture| architecture != program) && !is_started(file)
    };
    let others = binaries.into_iter().filter(foreign).map(|(file, binary)| {
        // Kernels for amd64 run such programs, and loaders pass over such libraries.
        let is_guest = (program, binary.architecture()) == ("amd64", Some("386"));
        let in_the_way = !is_guest && places.are_searched_for(&file, program);
        Other { file, binary, in_the_way }
    });
    start.others = others.collect();
    start
}

/// Directories in which files are looked for by their bare names.
struct Places {
    programs: Vec<String>,
    /// Of `LD_LIBRARY_PATH`.
    libraries: Vec<String>,
}

impl Places {
    fn of(config: &ImageConfig) -> Self {
        let programs = entrypoint::directories(config);
        let variable = config.config.env.iter().flatten().rev().find_map(|it| it.strip_prefix("LD_LIBRARY_PATH="));
        let libraries = variable.iter().flat_map(|paths| paths.split(':')).take(entrypoint::DIRECTORIES);
        Self { programs, libraries: libraries.map(trimmed).collect() }
    }

    /// A file lies right in one of them; for libraries, in those of this architecture's loader.
    fn are_searched_for(&self, file: &File, architecture: &str) -> bool {
        let Some((directory, _)) = file.path.rsplit_once('/') else { return false };
        let named = self.programs.iter().chain(&self.libraries);
        named.chain(&loaders::libraries(architecture)).any(|place| place == directory)
    }
}

fn trimmed(directory: &str) -> String {
    directory.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
