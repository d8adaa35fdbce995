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
use crate::core::elf;
use crate::core::limits::Limits;
use crate::diagnose::DiagnoseError;
use crate::diagnose::tree::{End, FileAt, Tree, Way};

use super::blobs::Blobs;
use super::layer::{Content, Layer};
use super::order::order;
use super::stream::{Budget, Stream};
use super::wanted::may_be_the_same;
use super::{Cost, File, Look, NotRead, RootFs};

/// How much programs shrink in common packings. What lies so far inside that the budget would be
/// spent on the way to it is not begun with.
const SHRINKS: u64 = 3;
/// Linux takes no longer path, its end included, whatever is in the image (`ENAMETOOLONG`).
const PATH_MAX: usize = 4096;

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
    pub(super) is_stale: bool,
    /// Bytes that all names take, without those of the tree.
    pub(super) held: u64,
    /// Names merged so far, those of every tree.
    pub(super) merged: usize,
    /// Which layer is being read.
    pub(super) open: Option<usize>,
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

    /// Makes the tree of all names that are known.
    ///
    /// # Errors
    /// [`DiagnoseError::TooLarge`]: symbolic links make paths longer than they are in the layers.
    pub(super) fn merge(&mut self) -> Result<(), DiagnoseError> {
        if !std::mem::take(&mut self.is_stale) {
            return Ok(());
        }
        let limit = self.effort.limits.tree_bytes;
        self.tree = Tree::default();
        for (index, layer) in self.layers.iter().enumerate() {
            layer.check_interest()?;
            for (position, name) in layer.names.iter().enumerate() {
                self.tree.apply(name, index, position);
                if self.tree.bytes() > limit {
                    return Err(DiagnoseError::TooLarge { layer: index + 1, what: "file names", limit });
                }
            }
            self.merged += layer.names.len();
        }
        Ok(())
    }

    /// Nothing that was not looked through can make another answer.
    fn is_certain(&self, answer: &Answer) -> bool {
        // What a table of contents leaves out is in the layer all the same.
        if self.layers.iter().all(Layer::is_whole) {
            return true;
        }
        let Some([own, above @ ..]) = self.layers.get(answer.way.lowest..) else { return false };
        answer.asked == 0
            && !own.is_listed()
            && above.iter().all(Layer::is_whole)
            && !above.iter().any(|layer| may_be_the_same(&layer.names, &answer.way.path))
    }

    /// Whether the bytes of all layers are on this machine.
    fn is_local(&self) -> bool {
        self.layers.iter().all(|layer| layer.stream.is_local())
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
            verified: layer.verifies(&content),
            content: content.extract,
            certain,
        })))
    }

    fn content(&mut self, file: FileAt) -> Result<Option<Content>, DiagnoseError> {
        self.turn_to(file.layer);
        let layer = &mut self.layers[file.layer];
        layer.stream.allow(self.effort.per_layer);
        let is_free = layer.stream.is_local() || layer.stream.is_here();
        // Chunks that are listed are read where they are; of a stream, all that is before.
        let reach = match layer.stream.left() {
            _ if is_free || layer.is_listed() => u64::MAX,
            left => left.saturating_mul(SHRINKS),
        };
        let is_wanted = is_free || self.effort.beyond_start;
        let further = |start: &[u8], size: u64| {
            let parts = if is_wanted { elf::further(start, size) } else { Vec::new() };
            parts.into_iter().filter(|part| part.end <= reach).collect()
        };
        layer.content(file, &further, &self.effort.limits)
    }

    /// Why it is not known whether there is something; `None` where all layers were read whole.
    pub(super) fn not_read(&self) -> Option<NotRead> {
        let foreign = self.layers.iter().find_map(|layer| {
            let reason = layer.unreadable()?;
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
        let paths: Vec<String> = paths.iter().filter(|path| path.len() < PATH_MAX).cloned().collect();
        let paths = paths.as_slice();
        if paths.is_empty() {
            return Ok(Look::Absent);
        }
        let order = order(paths, &self.commands, self.layers.len());
        loop {
            self.merge()?;
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

pub(super) fn absolute(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests;
