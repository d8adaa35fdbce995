//! Which layer is read next, and how far.

use crate::diagnose::DiagnoseError;
use crate::diagnose::tree::{Name, normal};

use super::layer::{Layer, Step};
use super::layers::Layers;
use super::wanted::Wanted;

/// Bytes of each large layer that are read before any of them is read further.
const PROBE: u64 = 512 * 1024;
/// Names merged to find an answer early. Beyond that, layers are read to their ends first, so
/// that names which seem to matter again and again cost nobody hours.
const MERGED: usize = 16 * 1024 * 1024;

impl Layers {
    /// Reads on until a name comes that may change the answer; false where nothing can be read.
    pub(super) fn read_on(&mut self, order: &[usize], paths: &[String]) -> Result<bool, DiagnoseError> {
        let wanted = self.wanted(paths);
        let most = self.effort.per_layer;
        for first in [PROBE.min(most), most] {
            for &index in order {
                // One that can be read whole is: it leaves no doubt.
                let allowance = if self.layers[index].descriptor.size <= most { most } else { first };
                if self.layers[index].unreadable().is_some() {
                    continue;
                }
                self.layers[index].stream.allow(most);
                if self.layers[index].read_toc(&self.effort.limits) {
                    self.recount(index)?;
                    return Ok(true);
                }
                self.layers[index].stream.allow(allowance);
                if self.read_layer(index, allowance, &wanted)? {
                    return Ok(true);
                }
            }
        }
        self.read_listed(order)
    }

    /// Reads one layer on, if it is allowed more bytes than were not enough before.
    fn read_layer(&mut self, index: usize, allowance: u64, wanted: &Wanted) -> Result<bool, DiagnoseError> {
        let is_local = self.layers[index].stream.is_local();
        while !self.layers[index].is_whole() && !self.layers[index].is_listed() {
            if !is_local && self.layers[index].stuck_at >= allowance {
                return Ok(false);
            }
            self.turn_to(index);
            match self.layers[index].next(&self.effort.limits)? {
                Step::Name => {
                    self.hold(index)?;
                    let last = self.layers[index].names.last();
                    if self.merged < MERGED && last.is_some_and(|name| wanted.concerns(name)) {
                        return Ok(true);
                    }
                }
                Step::End => self.is_stale = true,
                Step::OverBudget => self.layers[index].stuck_at = allowance,
                Step::TooLarge => return Ok(false),
            }
        }
        Ok(false)
    }

    /// What is not in a table of contents may be in the layer, which is read in its place where
    /// that is within the budget.
    fn read_listed(&mut self, order: &[usize]) -> Result<bool, DiagnoseError> {
        for &index in order {
            let layer = &mut self.layers[index];
            layer.stream.allow(self.effort.per_layer);
            if layer.is_listed() && layer.unreadable().is_none() && layer.descriptor.size <= layer.stream.left() {
                layer.forget_toc();
                self.recount(index)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Only one layer holds a decoder at a time.
    pub(super) fn turn_to(&mut self, index: usize) {
        if let Some(before) = self.open.replace(index).filter(|before| *before != index) {
            self.layers[before].rest();
        }
    }

    pub(super) fn allow(&self, bytes: u64) {
        self.layers.iter().for_each(|layer| layer.stream.allow(bytes));
    }

    /// Counts the last name of a layer.
    fn hold(&mut self, index: usize) -> Result<(), DiagnoseError> {
        self.is_stale = true;
        self.held += self.layers[index].names.last().map_or(0, Name::cost);
        self.check_held(index)
    }

    /// Counts all names anew, because those of a layer were replaced.
    pub(super) fn recount(&mut self, index: usize) -> Result<(), DiagnoseError> {
        self.is_stale = true;
        self.held = self.layers.iter().map(Layer::held).sum();
        self.check_held(index)
    }

    fn check_held(&self, index: usize) -> Result<(), DiagnoseError> {
        let limit = self.effort.limits.tree_bytes;
        if self.held > limit {
            return Err(DiagnoseError::TooLarge { layer: index + 1, what: "file names", limit });
        }
        Ok(())
    }

    /// The names that may change what the paths lead to.
    fn wanted(&self, paths: &[String]) -> Wanted {
        let mut wanted = Wanted::default();
        for path in paths {
            wanted.add(normal(path.as_bytes()));
            wanted.add(self.tree.look(path.as_bytes()).path);
        }
        wanted
    }

    /// Reads a layer to its end where that costs nothing over the network, so that its digest can
    /// be checked; false where there was nothing to do.
    pub(super) fn read_to_end(&mut self, index: usize) -> Result<bool, DiagnoseError> {
        let layer = &self.layers[index];
        if layer.is_whole() || layer.is_listed() || !layer.stream.is_here() {
            return Ok(false);
        }
        self.turn_to(index);
        while self.layers[index].next(&self.effort.limits)? == Step::Name {
            self.hold(index)?;
        }
        Ok(true)
    }
}
