//! Every ELF file of an image, for who wants to be sure of all of them.

use std::collections::HashMap;

use crate::core::elf;
use crate::diagnose::DiagnoseError;

use super::layer::Content;
use super::layers::{Layers, absolute};
use super::{File, NotRead};

/// Bytes in memory for what may be asked for afterwards: the starts of 4,000 programs.
const KEPT: u64 = 16 * 1024 * 1024;

impl Layers {
    /// Reads all layers whole, and tells of every ELF file of the merged tree, in order of the
    /// paths, with its first bytes. Says so where not all could be read.
    ///
    /// # Errors
    /// [`DiagnoseError`] where a layer cannot be read at all.
    pub fn binaries(&mut self, each: &mut dyn FnMut(File)) -> Result<Option<NotRead>, DiagnoseError> {
        let mut starts: HashMap<(usize, usize), Content> = HashMap::new();
        let (limits, mut room) = (self.effort.limits, KEPT);
        for index in 0..self.layers.len() {
            self.allow(self.effort.per_layer);
            if self.layers[index].unreadable().is_some() {
                continue;
            }
            self.turn_to(index);
            let found = self.layers[index].binaries(&mut room, &elf::further, &limits)?;
            self.recount(index)?;
            let found = found.into_iter().flatten();
            starts.extend(found.map(|(position, start)| ((index, position), start)));
        }
        self.merge()?;
        let not_read = self.not_read();
        for (path, file) in self.tree.files() {
            let Some(content) = starts.get(&(file.layer, file.entry)) else { continue };
            let path = absolute(path);
            each(File {
                asked: path.clone(),
                path,
                layer: self.layers[file.layer].descriptor.digest.clone(),
                mode: file.mode,
                content: content.extract.clone(),
                verified: self.layers[file.layer].verifies(content),
                certain: not_read.is_none(),
            });
        }
        Ok(not_read)
    }
}
