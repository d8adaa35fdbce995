//! Every binary of an image, beside the one that it starts: one helper program that was downloaded
//! for the builder's own CPU is enough to break an image that seems to run.

use std::collections::BTreeMap;

use super::DiagnoseError;
use super::contents::{Start, What};
use super::rootfs::File;
use super::rootfs::layers::Layers;
use super::start::classify;
use crate::core::elf::Binary;

/// Binaries of one architecture that are remembered. Who has that many wrong ones has a wrong base
/// image.
const MAX: usize = 100;

/// Every binary, as many of each architecture as are remembered. Reads all layers; what could not
/// be read is told by what the image starts.
pub(super) fn all(layers: &mut Layers) -> Result<Vec<(File, Box<Binary>)>, DiagnoseError> {
    let (mut binaries, mut counts) = (Vec::new(), BTreeMap::new());
    layers.binaries(&mut |file| {
        let What::Elf(binary) = classify(&file.content) else { return };
        let count = counts.entry(binary.architecture()).or_insert(0);
        *count += 1;
        if *count <= MAX {
            binaries.push((file, binary));
        }
    })?;
    Ok(binaries)
}

/// The same with those that are not of the program's architecture.
pub(super) fn add(binaries: Vec<(File, Box<Binary>)>, mut start: Start) -> Start {
    let program = start.steps.last().and_then(|step| step.what.binary()).and_then(|binary| binary.architecture());
    let foreign = |binary: &Binary| binary.architecture().is_some() && binary.architecture() != program;
    if program.is_some() {
        start.others = binaries.into_iter().filter(|(_, binary)| foreign(binary)).collect();
    }
    start
}
