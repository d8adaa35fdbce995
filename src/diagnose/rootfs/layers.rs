//! The files of an image out of its layers, which are read only as far as they have to be.
//!
//! Layers are read where a file probably is (`order`), else from the top, and no further than to
//! the file's deciding bytes. What is known of their names is merged by the same
//! [`Tree`] whether that is everything or not: then a file is told as certain only where
//! every layer above it was looked through, and absence only where all were read whole.
//!
//! What lies on this machine costs no network. There reading goes on until the answer is certain.

use std::sync::Arc;

use crate::core::descriptor::Descriptor;
use crate::core::extract::Extract;
use crate::core::limits::Limits;
use crate::diagnose::DiagnoseError;
use crate::diagnose::tree::{End, FileAt, Name, Tree, Way, normal};

use super::blobs::Blobs;
use super::layer::{Further, Layer, Step};
use super::order::order;
use super::stream::{Budget, Stream};
use super::wanted::{Wanted, may_be_the_same};
use super::{Cost, File, Look, NotRead, RootFs};

/// Bytes of each large layer that are read before any of them is read further.
const PROBE: u64 = 512 * 1024;
/// Names merged to find an answer early. Beyond that, layers are read to their ends first, so
/// that names which seem to matter again and again cost nobody hours.
const MERGED: usize = 16 * 1024 * 1024;

/// How much may be read of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Bytes over the network for one layer.
    pub per_layer: u64,
    /// Bytes over the network for all layers of an image.
    pub per_image: u64,
    /// Whether parts of a program that are far behind its start are fetched.
    pub beyond_start: bool,
    /// Bounds on what is in the layers.
    pub limits: Limits,
}

impl Default for Effort {
    fn default() -> Self {
        let mib = 1024 * 1024;
        Self { per_layer: 4 * mib, per_image: 16 * mib, beyond_start: true, limits: Limits::default() }
    }
}

impl Effort {
    /// Everything, whatever it costs.
    #[must_use]
    pub fn everything(limits: &Limits) -> Self {
        Self { per_layer: u64::MAX, per_image: u64::MAX, beyond_start: true, limits: *limits }
    }
}

/// The layers of an image.
pub struct Layers {
    pub(super) layers: Vec<Layer>,
    /// The commands that brought the layers.
    commands: Vec<String>,
    pub(super) effort: Effort,
    /// Of the names that were known when it was made.
    pub(super) tree: Tree,
    is_stale: bool,
    /// Bytes that all names take.
    held: u64,
    /// Names merged so far, those of every tree.
    merged: usize,
    /// Which layer is being read.
    open: Option<usize>,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").field("effort", &self.effort).field("cost", &self.cost()).finish_non_exhaustive()
    }
}

/// An answer to one of the paths that were asked for.
struct Answer {
    asked: usize,
    way: Way,
}

impl Layers {
    /// The layers of an image, lowest first, and the commands that brought them
    /// ([`ImageConfig::layer_commands`](crate::core::manifest::ImageConfig::layer_commands)).
    /// Reads nothing of them. Blocks.
    ///
    /// # Errors
    /// [`DiagnoseError`] where a store does not answer.
    pub fn new(
        descriptors: &[Descriptor],
        commands: Vec<String>,
        blobs: &mut dyn Blobs,
        effort: Effort,
    ) -> Result<Self, DiagnoseError> {
        let budget = Arc::new(Budget::new(effort.per_image));
        let mut layers = Vec::with_capacity(descriptors.len());
        for (index, descriptor) in descriptors.iter().enumerate() {
            let blob = blobs.open(descriptor).map_err(|source| DiagnoseError::Read { layer: index + 1, source })?;
            let stream = Stream::new(descriptor, blob, Arc::clone(&budget));
            stream.allow(effort.per_layer);
            layers.push(Layer::new(descriptor.clone(), stream, index));
        }
        let tree = Tree::default();
        Ok(Self { layers, commands, effort, tree, is_stale: false, held: 0, merged: 0, open: None })
    }

    /// The first of the paths that leads to something, as far as is known.
    fn answer(&self, paths: &[String]) -> Option<Answer> {
        let ways = paths.iter().map(|path| self.tree.look(path.as_bytes()));
        let mut answers = ways.enumerate().map(|(asked, way)| Answer { asked, way });
        answers.find(|answer| answer.way.end != End::Nothing)
    }

    /// Reads on until a name comes that may change the answer; false where nothing can be read.
    fn read_on(&mut self, order: &[usize], paths: &[String]) -> Result<bool, DiagnoseError> {
        let wanted = self.wanted(paths);
        let most = self.effort.per_layer;
        for first in [PROBE.min(most), most] {
            for &index in order {
                // One that can be read whole is: it leaves no doubt.
                let allowance = if self.layers[index].descriptor.size <= most { most } else { first };
                if unreadable(&self.layers[index].descriptor).is_some() {
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
            if layer.is_listed() && layer.descriptor.size <= layer.stream.left() {
                layer.forget_toc();
                self.recount(index)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Only one layer holds a decoder at a time.
    fn turn_to(&mut self, index: usize) {
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
        self.held = self.layers.iter().flat_map(|layer| &layer.names).map(Name::cost).sum();
        self.check_held(index)
    }

    fn check_held(&self, index: usize) -> Result<(), DiagnoseError> {
        let limit = self.effort.limits.tree_bytes;
        if self.held > limit {
            return Err(DiagnoseError::TooLarge { layer: index + 1, what: "file names", limit });
        }
        Ok(())
    }

    /// Makes the tree of all names that are known.
    pub(super) fn merge(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.tree = Tree::default();
        for (index, layer) in self.layers.iter().enumerate() {
            for (position, name) in layer.names.iter().enumerate() {
                self.tree.apply(name, index, position);
            }
            self.merged += layer.names.len();
        }
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

    /// Nothing that was not looked through can make another answer.
    fn is_certain(&self, answer: &Answer) -> bool {
        let seen = |layer: &Layer| layer.is_whole() || layer.is_listed();
        if self.layers.iter().all(seen) {
            return true;
        }
        let above = self.layers.get(answer.way.lowest.saturating_add(1)..).unwrap_or_default();
        answer.asked == 0
            && above.iter().all(seen)
            && !above.iter().any(|layer| may_be_the_same(&layer.names, &answer.way.path))
    }

    /// Whether the bytes of all layers are on this machine.
    fn is_local(&self) -> bool {
        self.layers.iter().all(|layer| layer.stream.is_local())
    }

    /// Reads a layer to its end where that costs nothing over the network, so that its digest can
    /// be checked; false where there was nothing to do.
    fn read_to_end(&mut self, index: usize) -> Result<bool, DiagnoseError> {
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

    /// What an answer comes to; `None` where a table of contents had lied about it.
    fn tell(&mut self, asked: &str, answer: &Answer) -> Result<Option<Look>, DiagnoseError> {
        let asked = asked.to_owned();
        let file = match answer.way.end {
            End::File(file) => file,
            End::Other(kind) => return Ok(Some(Look::Other { asked, kind })),
            End::Loop | End::Nothing => return Ok(Some(Look::Loop { asked })),
        };
        let certain = self.is_certain(answer);
        let content = match self.content(file) {
            Err(error) if self.layers[file.layer].is_listed() => {
                tracing::info!(layer = file.layer + 1, %error, "the table of contents is wrong");
                self.layers[file.layer].forget_toc();
                self.recount(file.layer)?;
                return Ok(None);
            }
            content => content?,
        };
        let Some(content) = content else { return Ok(Some(Look::NotRead(self.left()))) };
        let layer = &self.layers[file.layer];
        Ok(Some(Look::File(File {
            asked,
            path: absolute(&answer.way.path),
            layer: layer.descriptor.digest.clone(),
            mode: file.mode,
            content,
            verified: layer.is_verified(),
            certain,
        })))
    }

    fn content(&mut self, file: FileAt) -> Result<Option<Extract>, DiagnoseError> {
        self.turn_to(file.layer);
        let layer = &mut self.layers[file.layer];
        layer.stream.allow(self.effort.per_layer);
        let is_free = layer.stream.is_local() || layer.stream.is_here();
        let parts: Further = if self.effort.beyond_start || is_free { further } else { |_, _| Vec::new() };
        layer.content(file, parts, &self.effort.limits)
    }

    /// Why it is not known whether there is something; `None` where all layers were read whole.
    pub(super) fn not_read(&self) -> Option<NotRead> {
        let foreign = self.layers.iter().find_map(|layer| {
            let reason = unreadable(&layer.descriptor)?;
            Some(NotRead::Layer { digest: layer.descriptor.digest.clone(), reason })
        });
        foreign.or_else(|| self.layers.iter().any(|layer| !layer.is_whole()).then(|| self.left()))
    }

    fn left(&self) -> NotRead {
        let left = |layer: &Layer| layer.descriptor.size.saturating_sub(layer.stream.cost().fetched);
        let unread = self.layers.iter().filter(|layer| !layer.is_whole() && !layer.stream.is_local());
        NotRead::Budget { left: unread.map(left).fold(0, u64::saturating_add) }
    }
}

impl RootFs for Layers {
    fn look(&mut self, paths: &[String]) -> Result<Look, DiagnoseError> {
        let order = order(paths, &self.commands, self.layers.len());
        loop {
            self.merge();
            let answer = self.answer(paths);
            if let Some(answer) = &answer {
                if let End::File(file) = answer.way.end
                    && self.read_to_end(file.layer)?
                {
                    continue;
                }
                if (!self.is_local() || self.is_certain(answer))
                    && let Some(look) = self.tell(&paths[answer.asked], answer)?
                {
                    return Ok(look);
                }
            }
            if !self.read_on(&order, paths)? && !self.is_stale {
                let Some(answer) = answer else { return Ok(self.not_read().map_or(Look::Absent, Look::NotRead)) };
                if let Some(look) = self.tell(&paths[answer.asked], &answer)? {
                    return Ok(look);
                }
            }
        }
    }

    fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for layer in &self.layers {
            let own = layer.stream.cost();
            cost.total = cost.total.saturating_add(layer.descriptor.size);
            cost.fetched += own.fetched;
            cost.read += own.read;
            cost.requests += own.requests;
            cost.layers += usize::from(own.fetched + own.read > 0);
        }
        cost
    }

    fn is_cheap(&self) -> bool {
        self.layers.iter().all(|layer| layer.is_whole() || layer.stream.is_local() || layer.stream.is_here())
    }
}

/// Why a layer is none that can be read.
pub(super) fn unreadable(layer: &Descriptor) -> Option<String> {
    let media_type = &layer.media_type;
    if media_type.as_str().ends_with("+encrypted") {
        Some("it is encrypted".into())
    } else if !media_type.is_layer() {
        Some(format!("it is of type {media_type}, which is no layer"))
    } else {
        None
    }
}

/// Which parts of a program behind its start are worth reading.
fn further(_prefix: &[u8], _size: u64) -> Vec<std::ops::Range<u64>> {
    Vec::new()
}

pub(super) fn absolute(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
