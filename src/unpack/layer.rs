//! One layer, from its bytes as they arrive to a private tree.
//!
//! Two stages on the CPU pool, so that a single large layer has two cores: one inflates
//! behind the frontier of the download, the other hashes the tar for its diffID and writes
//! the files. A few buffers go round between them, and neither stage holds a thread while
//! it waits. Nothing that is made here has a name that a container could use, and
//! [`grow`] only returns once blob digest and diffID both held.

mod check;
mod unproven;

use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::archive::{Archive, ArchiveError};
use super::inflate::{self, InflateError, Inflater, Progress};
use super::tree::{Grown, Tree, TreeError, Whiteouts};
use super::workspace::Scratch;
use crate::core::descriptor::MediaType;
use crate::core::digest::{Digest, Digester};
use crate::core::error::{Classify, Kind};
use crate::core::limits::Limits;
use crate::cpu::{self, Cpu, Priority};
use crate::fetch::Budget;
use crate::store::staging::{FollowError, Follower};
use crate::store::{BlobReader, StoreError};
pub use check::check;
pub use unproven::Unproven;

/// Bytes read at a time; smaller ones slow the decoders down.
const INPUT: usize = 256 * 1024;
/// Bytes of one buffer between the stages, and how many of them go round.
const BUFFER: usize = 256 * 1024;
const BUFFERS: usize = 4;

/// Bytes that a layer holds in buffers while it grows: those between its stages, what archive
/// and tree keep at hand, and the window of its decoder, which its first bytes tell.
///
/// # Errors
/// [`LayerError::Follow`], as for the layer itself.
pub async fn buffers(media_type: &MediaType, mut follower: Follower) -> Result<u32, LayerError> {
    let mut first = [0; inflate::PEEKED];
    let mut filled = 0;
    while filled < first.len() {
        match follower.read(&mut first[filled..]).await? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(with_window(inflate::window(media_type, &first[..filled])))
}

/// The same for a layer of which nothing is known: the most that one holds.
#[must_use]
pub fn most_buffers() -> u32 {
    with_window(inflate::ZSTD_WINDOW)
}

fn with_window(window: usize) -> u32 {
    u32::try_from(INPUT + BUFFER * BUFFERS + (1 << 20) + window).unwrap_or(u32::MAX)
}

/// Where the bytes of a layer come from.
pub enum Source {
    /// Staging, where they may still be arriving.
    Arriving(Follower),
    /// A store that had the blob before.
    Stored(BlobReader),
    /// Somewhere that nobody vouches for.
    Unproven(Unproven),
}

/// What is to be made of a layer.
#[derive(Debug, Clone)]
pub struct Order {
    /// Position in the image, lowest first.
    pub index: usize,
    /// What the manifest says it is.
    pub media_type: MediaType,
    /// What the tar inside has to hash to, where somebody knows it.
    pub diff_id: Option<Digest>,
    /// How files are taken away from lower layers.
    pub whiteouts: Whiteouts,
    /// Every bound.
    pub limits: Limits,
    /// Where the memory comes from for what a tree has to remember.
    pub budget: Budget,
}

/// A private tree that was proven to be the layer it is meant to be.
#[derive(Debug)]
pub struct Layer<P = Scratch> {
    /// Where it is; it is removed when this is dropped.
    pub scratch: P,
    /// What the tar inside hashes to.
    pub diff_id: Digest,
    /// Bytes of that tar.
    pub tar_bytes: u64,
    /// What its commit has to know of it.
    pub grown: Grown,
}

/// Why a layer did not become a tree.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its blob cannot be read any further.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The store stopped giving its bytes.
    #[error("cannot read the layer from the store: {0}")]
    Read(#[source] std::io::Error),
    /// The store does not give its bytes at all.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not inflate.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// It is no archive, or has entries that cannot be made.
    #[error(transparent)]
    Archive(#[from] ArchiveError<TreeError>),
    /// The tree cannot be finished.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It holds another tar than the config promises.
    #[error("it unpacks to {actual}")]
    DiffId {
        /// What it was to hold.
        expected: Digest,
        /// What it holds.
        actual: Digest,
    },
    /// The other stage stopped first, and says why.
    #[error("the layer was cut off")]
    CutOff,
}

/// What goes from the first stage to the second; a channel that ends without an end was cut off.
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Unpacks a layer into `scratch`, an empty directory that is cleared away when it is dropped.
///
/// # Errors
/// [`LayerError`]; what was written is removed with it.
pub async fn grow<P>(cpu: &Cpu, source: Source, order: Order, scratch: P) -> Result<Layer<P>, LayerError>
where
    P: AsRef<Path> + Send + 'static,
{
    let priority = Priority::layer(order.index);
    let mut verdict = match &source {
        Source::Arriving(follower) => Some(follower.clone()),
        // What a store has was verified when it went in, and the other proves itself.
        Source::Stored(_) | Source::Unproven(_) => None,
    };
    let (outlet, inlet) = between();
    let inflating = cpu.spawn(priority, read_and_inflate(source, Inflater::new(&order.media_type), outlet));
    let writing = cpu.spawn(priority, write(order, scratch, inlet));
    let grown = both(tokio::join!(inflating, writing));
    // What makes no sense may be the publisher's, or never have been published: the digest
    // tells, and where it does not hold the right bytes are still to come.
    if let Some(verdict) = &mut verdict
        && grown.as_ref().err().is_none_or(LayerError::depends_on_the_bytes)
    {
        verdict.verified().await?;
    }
    grown
}

impl LayerError {
    /// Whether the layer needs more memory than we give to one: whoever has more can unpack it.
    #[must_use]
    pub fn is_for_want_of_memory(&self) -> bool {
        matches!(
            self,
            Self::Inflate(InflateError::Window)
                | Self::Tree(TreeError::Memory)
                | Self::Archive(ArchiveError::Sink(TreeError::Memory))
        )
    }

    /// Whether the layer is no archive, whoever unpacks it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Inflate(error) => *error != InflateError::Window,
            Self::Archive(ArchiveError::Archive(_)) => true,
            _ => false,
        }
    }

    /// Other bytes might have gone well. What is this node's own fault is known at once.
    fn depends_on_the_bytes(&self) -> bool {
        match self {
            Self::Inflate(_) | Self::Archive(ArchiveError::Archive(_)) | Self::DiffId { .. } => true,
            Self::Archive(ArchiveError::Sink(error)) | Self::Tree(error) => {
                !matches!(error.kind(), Kind::StoreFull | Kind::StoreInvalid)
            }
            Self::Follow(_) | Self::Read(_) | Self::Store(_) | Self::CutOff => false,
        }
    }
}

/// Where the first stage puts what it makes.
struct Outlet {
    pieces: Sender<Piece>,
    spare: Receiver<Vec<u8>>,
}

/// Where the second stage takes it from, and gives the buffers back.
struct Inlet {
    pieces: Receiver<Piece>,
    returned: Sender<Vec<u8>>,
}

/// What lies between the stages: a few buffers that go round.
fn between() -> (Outlet, Inlet) {
    let (sender, pieces) = channel(BUFFERS);
    let (returned, spare) = channel(BUFFERS);
    for _ in 0..BUFFERS {
        // As many as the channel has room for.
        let _ = returned.try_send(vec![0; BUFFER]);
    }
    (Outlet { pieces: sender, spare }, Inlet { pieces, returned })
}

/// What came of both stages: the error that came first, where there are two.
fn both<T>(outcome: (Result<(), LayerError>, Result<T, LayerError>)) -> Result<T, LayerError> {
    match outcome {
        (Err(error), Err(LayerError::CutOff)) | (_, Err(error)) | (Err(error), _) => Err(error),
        (Ok(()), Ok(made)) => Ok(made),
    }
}

/// The first stage: reads and inflates.
async fn read_and_inflate(mut source: Source, mut inflater: Inflater, outlet: Outlet) -> Result<(), LayerError> {
    let Outlet { pieces, mut spare } = outlet;
    let mut input = vec![0; INPUT];
    let mut output = next(&mut spare).await?;
    let mut filled = 0;
    loop {
        let count = source.read(&mut input).await?;
        if count == 0 {
            inflater.end_of_input()?;
        }
        let mut rest = &input[..count];
        loop {
            let progress = inflater.step(rest, &mut output[filled..])?;
            rest = &rest[progress.consumed..];
            filled += progress.produced;
            if filled == output.len() {
                let full = std::mem::take(&mut output);
                pieces.send(Piece::Bytes(full)).await.map_err(|_| LayerError::CutOff)?;
                output = next(&mut spare).await?;
                filled = 0;
            } else if progress == Progress::NONE {
                break;
            }
        }
        if count == 0 {
            break;
        }
        cpu::yield_now().await;
    }
    inflater.finish()?;
    output.truncate(filled);
    pieces.send(Piece::Bytes(output)).await.map_err(|_| LayerError::CutOff)?;
    pieces.send(Piece::End).await.map_err(|_| LayerError::CutOff)
}

async fn next(spare: &mut Receiver<Vec<u8>>) -> Result<Vec<u8>, LayerError> {
    spare.recv().await.ok_or(LayerError::CutOff)
}

/// The second stage: hashes the tar and writes the files.
async fn write<P: AsRef<Path>>(order: Order, scratch: P, inlet: Inlet) -> Result<Layer<P>, LayerError> {
    let Inlet { mut pieces, returned } = inlet;
    let mut tar_bytes = 0;
    let mut digester = Digester::default();
    let mut archive = Archive::new(&order.limits);
    let mut tree = Tree::create(scratch.as_ref(), order.whiteouts, &order.limits, order.budget.memory())?;
    while let Some(piece) = pieces.recv().await {
        let Piece::Bytes(bytes) = piece else {
            archive.finish().map_err(ArchiveError::Archive)?;
            let grown = tree.finish()?;
            let diff_id = digester.finish();
            return match order.diff_id {
                Some(expected) if expected != diff_id => Err(LayerError::DiffId { expected, actual: diff_id }),
                _ => Ok(Layer { scratch, diff_id, tar_bytes, grown }),
            };
        };
        tar_bytes += bytes.len() as u64;
        digester.update(&bytes);
        archive.push(&bytes, &mut tree)?;
        // The first stage may be through and want no more.
        let _ = returned.try_send(bytes);
        cpu::yield_now().await;
    }
    Err(LayerError::CutOff)
}

impl Source {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        match self {
            Self::Arriving(follower) => Ok(follower.read(buffer).await?),
            Self::Stored(reader) => reader.read(buffer).await.map_err(LayerError::Read),
            Self::Unproven(bytes) => bytes.read(buffer).await,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Arriving(_) => "Arriving",
            Self::Stored(_) => "Stored",
            Self::Unproven(_) => "Unproven",
        })
    }
}

#[cfg(test)]
mod tests;
