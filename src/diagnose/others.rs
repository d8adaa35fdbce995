//! Every binary of an image, beside the one that it starts: one helper program that was downloaded
//! for the builder's own CPU is enough to break an image that seems to run.

use super::DiagnoseError;
use super::contents::{Start, What};
use super::rootfs::RootFs as _;
use super::rootfs::layers::Layers;
use super::start::classify;

/// Binaries that are remembered. Who has that many wrong ones has a wrong base image.
const MAX: usize = 100;

/// Adds those that are not of the program's architecture. Reads all layers.
pub(super) fn find(layers: &mut Layers, mut start: Start) -> Result<Start, DiagnoseError> {
    let Some(program) = start.steps.last().and_then(|step| step.what.binary()).and_then(|binary| binary.architecture())
    else {
        return Ok(start);
    };
    let mut others = Vec::new();
    // What could not be read is told by what the image starts.
    layers.binaries(&mut |file| {
        if let What::Elf(binary) = classify(&file.content)
            && others.len() < MAX
            && binary.architecture().is_some_and(|architecture| architecture != program)
        {
            others.push((file, binary));
        }
    })?;
    start.others = others;
    start.cost = layers.cost();
    Ok(start)
}
