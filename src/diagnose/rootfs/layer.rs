//! One layer, as far as it was read: its names, and the parts of files that were asked for.

use std::collections::HashMap;
use std::ops::Range;

use crate::core::descriptor::Descriptor;
use crate::core::extract::Extract;
use crate::core::limits::Limits;
use crate::diagnose::DiagnoseError;
use crate::diagnose::layer::{Entries, is_too_large};
use crate::diagnose::tree::{FileAt, Name};
use crate::unpack::archive::Kind;
use crate::unpack::inflate::InflateError;

use super::stream::{Stream, is_over_budget};
use super::toc::Toc;

/// Bytes of each file that are kept from its start: every header of a program, and more than
/// the kernel reads of a script.
pub(super) const START: u64 = 4096;
/// Bytes that tell what an ELF file is for.
const HEADER: u64 = 64;
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Which other parts of a file, told by its start and its size, are worth reading.
pub(super) type Further<'a> = &'a dyn Fn(&[u8], u64) -> Vec<Range<u64>>;

/// A layer.
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) stream: Stream,
    /// In the order of its entries.
    pub(super) names: Vec<Name>,
    seen: Seen,
    /// Counted from 1, for messages.
    number: usize,
    /// Where reading stopped last.
    walk: Option<Walk>,
    /// By position of the entry.
    contents: HashMap<usize, Content>,
    /// It wants more memory to be inflated than there is for one.
    is_too_large: bool,
    /// Bytes over the network that were not enough to read it to its end.
    pub(super) stuck_at: u64,
    is_toc_tried: bool,
}

/// How much of a layer's names is known.
enum Seen {
    Part,
    /// All that its table of contents names.
    Listed(Toc),
    Whole,
}

/// What was kept of a file.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) extract: Extract,
    /// Every byte from the start of the layer to there was taken for its digest.
    is_hashed: bool,
}

impl Content {
    /// The first bytes of an ELF file.
    fn header(&self) -> Option<Self> {
        let prefix = self.extract.prefix();
        let header = prefix.starts_with(ELF_MAGIC).then(|| prefix[..prefix.len().min(HEADER as usize)].to_vec())?;
        Some(Self { extract: Extract::new(self.extract.size(), header), is_hashed: self.is_hashed })
    }
}

struct Walk {
    entries: Entries<'static>,
    /// Bytes that had come more than once when it began.
    repeated: u64,
    /// Entries that came by.
    at: usize,
    /// The content of the last one was not touched.
    is_fresh: bool,
}

impl Walk {
    /// Keeps the first bytes of the entry at hand, and the parts that `further` names then.
    fn keep(&mut self, start: u64, further: Further<'_>) -> Result<(), DiagnoseError> {
        self.is_fresh = false;
        self.entries.keep_start(start)?;
        let so_far = self.entries.so_far();
        let parts = further(so_far.prefix(), so_far.size());
        self.entries.keep(parts)
    }

    /// Hands out what was kept.
    fn kept(&mut self, stream: &Stream) -> Content {
        Content { extract: self.entries.kept(), is_hashed: stream.repeated() == self.repeated }
    }
}

/// What reading on came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// One name more.
    Name,
    /// There are no more.
    End,
    /// The budget does not reach further.
    OverBudget,
    /// It cannot be inflated in the memory that there is for a layer.
    TooLarge,
}

impl Layer {
    pub(super) fn new(descriptor: Descriptor, stream: Stream, index: usize) -> Self {
        Self {
            descriptor,
            stream,
            names: Vec::new(),
            seen: Seen::Part,
            number: index + 1,
            walk: None,
            contents: HashMap::new(),
            is_too_large: false,
            stuck_at: 0,
            is_toc_tried: false,
        }
    }

    /// Every entry was read.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.seen, Seen::Whole)
    }

    /// Its names are those of its table of contents.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self.seen, Seen::Listed(_))
    }

    /// Every entry was read, the digest held, and this was among the bytes that it was made of.
    pub(super) fn verifies(&self, content: &Content) -> bool {
        content.is_hashed && self.is_whole() && self.stream.verdict() == Some(Ok(()))
    }

    /// Why it is none that can be read.
    pub(super) fn unreadable(&self) -> Option<String> {
        let media_type = &self.descriptor.media_type;
        if media_type.as_str().ends_with("+encrypted") {
            Some("it is encrypted".into())
        } else if !media_type.is_layer() {
            Some(format!("it is of type {media_type}, which is no layer"))
        } else if self.is_too_large {
            Some(InflateError::Window.to_string())
        } else {
            None
        }
    }

    /// Bytes in memory for what is known of its names.
    pub(super) fn held(&self) -> u64 {
        let listed = if let Seen::Listed(toc) = &self.seen { toc.chunk_bytes() } else { 0 };
        self.names.iter().map(Name::cost).sum::<u64>() + listed
    }

    /// Whether anybody waits for what is in it.
    ///
    /// # Errors
    /// [`DiagnoseError::Read`] where nobody does.
    pub(super) fn check_interest(&self) -> Result<(), DiagnoseError> {
        self.stream.check_interest().map_err(|source| DiagnoseError::Read { layer: self.number, source })
    }

    /// Frees what reading on from here would need.
    pub(super) fn rest(&mut self) {
        self.walk = None;
    }

    /// Reads the next name.
    ///
    /// # Errors
    /// [`DiagnoseError`] where the layer is damaged or cannot be had.
    pub(super) fn next(&mut self, limits: &Limits) -> Result<Step, DiagnoseError> {
        let known = self.names.len();
        match self.advance(known, limits) {
            Ok(Some(name)) => {
                self.names.push(name);
                Ok(Step::Name)
            }
            Ok(None) => {
                self.rest();
                if let Some(Err(source)) = self.stream.verdict() {
                    return Err(DiagnoseError::Wrong { layer: self.number, source });
                }
                self.seen = Seen::Whole;
                Ok(Step::End)
            }
            Err(error) if is_budget(&error) => {
                self.rest();
                Ok(Step::OverBudget)
            }
            Err(DiagnoseError::Read { source, .. }) if is_too_large(&source) => {
                self.rest();
                self.is_too_large = true;
                Ok(Step::TooLarge)
            }
            Err(error) => {
                self.rest();
                // Bytes that make no sense may not be the published ones.
                match self.stream.verdict() {
                    Some(Err(source)) => Err(DiagnoseError::Wrong { layer: self.number, source }),
                    _ => Err(error),
                }
            }
        }
    }

    /// The entry at a position, read anew where that is behind us; `None` at the end.
    fn advance(&mut self, position: usize, limits: &Limits) -> Result<Option<Name>, DiagnoseError> {
        if self.walk.as_ref().is_some_and(|walk| walk.at > position) {
            self.walk = None;
        }
        let walk = match &mut self.walk {
            Some(walk) => walk,
            none => {
                let entries = Entries::open(self.stream.from(0), self.number, limits);
                none.insert(Walk { entries, repeated: self.stream.repeated(), at: 0, is_fresh: false })
            }
        };
        while let Some(entry) = walk.entries.advance()? {
            walk.at += 1;
            walk.is_fresh = true;
            if walk.at > position {
                return Ok(Some(entry.into()));
            }
        }
        Ok(None)
    }

    /// The start of a file and the parts of it that `further` names; `None` where the budget does
    /// not reach to its first byte.
    ///
    /// # Errors
    /// [`DiagnoseError`] where it cannot be read. A table of contents is forgotten then, and the
    /// file is to be looked for again.
    pub(super) fn content(
        &mut self,
        file: FileAt,
        further: Further<'_>,
        limits: &Limits,
    ) -> Result<Option<Content>, DiagnoseError> {
        if let Some(content) = self.contents.get(&file.entry) {
            return Ok(Some(content.clone()));
        }
        let mut content = Content { extract: Extract::new(file.size, Vec::new()), is_hashed: false };
        let outcome = match &self.seen {
            Seen::Listed(toc) => toc
                .content(&self.stream, file, further, &mut content.extract)
                .map_err(|source| DiagnoseError::Read { layer: self.number, source }),
            _ => self.streamed(file, further, limits, &mut content),
        };
        match outcome {
            Err(error) if !is_budget(&error) => return Err(error),
            Err(_) if content.extract.prefix().is_empty() && file.size > 0 => return Ok(None),
            Err(_) => {}
            Ok(()) => drop(self.contents.insert(file.entry, content.clone())),
        }
        Ok(Some(content))
    }

    fn streamed(
        &mut self,
        file: FileAt,
        further: Further<'_>,
        limits: &Limits,
        content: &mut Content,
    ) -> Result<(), DiagnoseError> {
        let is_at = |walk: &Walk| walk.at == file.entry + 1 && walk.is_fresh;
        if !self.walk.as_ref().is_some_and(is_at) {
            self.advance(file.entry, limits)?;
        }
        let Some(walk) = &mut self.walk else { return Ok(()) };
        let outcome = walk.keep(START, further);
        *content = walk.kept(&self.stream);
        if outcome.is_err() {
            self.rest();
        }
        outcome
    }

    /// Reads the table of contents that the layer announces, once; false where there is none, or
    /// none that is of use.
    pub(super) fn read_toc(&mut self, limits: &Limits) -> bool {
        let may = !self.is_toc_tried && self.names.is_empty() && Toc::is_announced(&self.descriptor);
        // Who may read everything finds out what is true of all of it.
        if !may || self.stream.is_free() || !self.stream.does_ranges() {
            return false;
        }
        self.is_toc_tried = true;
        match Toc::read(&self.descriptor, &self.stream, limits) {
            Ok(mut toc) => {
                self.names = std::mem::take(&mut toc.names);
                self.seen = Seen::Listed(toc);
                true
            }
            Err(error) => {
                tracing::info!(layer = %self.descriptor.digest, %error, "the table of contents is of no use");
                false
            }
        }
    }

    /// Forgets the table of contents, so that the layer itself is read.
    pub(super) fn forget_toc(&mut self) {
        if self.is_listed() {
            self.seen = Seen::Part;
            self.names.clear();
            self.contents.clear();
        }
    }

    /// Reads the whole layer; the headers of its ELF files, by position. What may be asked for
    /// afterwards is kept, as far as there are bytes of `room` for it: it would have to come again,
    /// and would not be verified then.
    ///
    /// # Errors
    /// As of [`Layer::next`].
    pub(super) fn binaries(
        &mut self,
        room: &mut u64,
        further: Further<'_>,
        limits: &Limits,
    ) -> Result<Option<HashMap<usize, Content>>, DiagnoseError> {
        self.forget_toc();
        self.rest();
        let mut found = HashMap::new();
        let mut held = 0;
        for position in 0.. {
            let step = match self.names.get(position) {
                None => self.next(limits)?,
                Some(_) => match self.advance(position, limits) {
                    Ok(_) => Step::Name,
                    Err(error) if is_budget(&error) => Step::OverBudget,
                    Err(error) => return Err(error),
                },
            };
            match step {
                Step::Name => {}
                Step::End => break,
                Step::OverBudget | Step::TooLarge => return Ok(None),
            }
            held += self.names.get(position).map_or(0, Name::cost);
            if held > limits.tree_bytes {
                let (layer, limit) = (self.number, limits.tree_bytes);
                return Err(DiagnoseError::TooLarge { layer, what: "file names", limit });
            }
            let Some(name) = self.names.get(position).filter(|name| matches!(name.kind, Kind::File { size: 1.. }))
            else {
                continue;
            };
            let Some(walk) = &mut self.walk else { continue };
            let is_kept = *room > 0 && name.may_be_asked_for();
            let outcome = if is_kept { walk.keep(START, further) } else { walk.keep(HEADER, &|_, _| Vec::new()) };
            match outcome {
                Err(error) if is_budget(&error) => return Ok(None),
                outcome => outcome?,
            }
            let content = walk.kept(&self.stream);
            if let Some(header) = content.header() {
                found.insert(position, header);
            }
            if is_kept {
                *room = room.saturating_sub(content.extract.kept());
                self.contents.insert(position, content);
            }
        }
        Ok(Some(found))
    }
}

fn is_budget(error: &DiagnoseError) -> bool {
    matches!(error, DiagnoseError::Read { source, .. } if is_over_budget(source))
}
