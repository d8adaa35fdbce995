//! One layer, from its bytes as they arrive to a private tree.
//!
//! Two stages on the CPU pool, so that a single large layer has two cores: one inflates
//! behind the frontier of the download, the other hashes the tar for its diffID and writes
//! the files. A few buffers go round between them, and neither stage holds a thread while
//! it waits. A gzip of many members has more cores where nobody else wants them (`ahead`).
//! Nothing that is made here has a name that a container could use, and [`grow`] only
//! returns once blob digest and diffID both held.

mod ahead;
mod check;
mod inflating;
mod source;
mod unproven;

use std::path::Path;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::archive::{Archive, ArchiveError};
use super::inflate::{self, InflateError};
use super::tree::{Account, Grown, Tree, TreeError, Whiteouts};
use super::workspace::Scratch;
use crate::core::descriptor::MediaType;
use crate::core::digest::{Digest, Digester};
use crate::core::error::{Classify, Kind};
use crate::core::limits::Limits;
use crate::cpu::{self, Cpu, Priority};
use crate::fetch::Budget;
use crate::store::StoreError;
use crate::store::staging::{FollowError, Follower};
use ahead::Helpers;
pub use check::check;
use inflating::read_and_inflate;
pub use source::Source;
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

/// What is to be made of a layer.
#[derive(Debug, Clone)]
pub struct Order {
    /// Position in the image, lowest first.
    pub index: usize,
    /// What the manifest says it is.
    pub media_type: MediaType,
    /// Bytes of its blob, as the manifest says, and as it is held to.
    pub size: u64,
    /// What the tar inside has to hash to, where somebody knows it.
    pub diff_id: Option<Digest>,
    /// How files are taken away from lower layers.
    pub whiteouts: Whiteouts,
    /// Every bound.
    pub limits: Limits,
    /// Where the memory comes from for what a tree has to remember.
    pub budget: Budget,
    /// What the layers of its image take together.
    pub account: Account,
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
    /// Out of its few bytes come more than any use could be made of.
    #[error("the layer is over a limit: {size} bytes inflate to more than {limit}")]
    Inflated {
        /// Bytes of its blob.
        size: u64,
        /// [`Limits::inflated`] of that.
        limit: u64,
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
    let (outlet, inlet) = between();
    let helpers = Helpers::new(cpu, &order.budget);
    let inflating = cpu.spawn(priority, read_and_inflate(source, order.media_type.clone(), outlet, helpers));
    let writing = cpu.spawn(priority, write(order, scratch, inlet));
    let ((source, inflated), written) = tokio::join!(inflating, writing);
    let mut layer = judged(cpu, priority, source, both((inflated, written))).await?;
    layer.grown.share.stay();
    Ok(layer)
}

/// What came of a layer, once it is known whether that was due to its bytes and those are right.
async fn judged<T>(
    cpu: &Cpu,
    priority: Priority,
    source: Source,
    outcome: Result<T, LayerError>,
) -> Result<T, LayerError> {
    if outcome.as_ref().err().is_none_or(LayerError::depends_on_the_bytes) {
        cpu.spawn(priority, source.verdict()).await?;
    }
    outcome
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

    /// Whether other bytes might have gone well. What is this node's own fault is known at once.
    #[must_use]
    pub fn depends_on_the_bytes(&self) -> bool {
        match self {
            Self::Inflate(_)
            | Self::Archive(ArchiveError::Archive(_))
            | Self::DiffId { .. }
            | Self::Inflated { .. } => true,
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

impl Outlet {
    /// Waits for an empty buffer.
    async fn spare(&mut self) -> Result<Vec<u8>, LayerError> {
        let mut buffer = self.spare.recv().await.ok_or(LayerError::CutOff)?;
        // It may come back from the end of something.
        buffer.resize(BUFFER, 0);
        Ok(buffer)
    }

    async fn send(&self, piece: Piece) -> Result<(), LayerError> {
        self.pieces.send(piece).await.map_err(|_| LayerError::CutOff)
    }
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

/// What came of both stages: of two errors the one that explains the other.
fn both<T>(outcome: (Result<(), LayerError>, Result<T, LayerError>)) -> Result<T, LayerError> {
    match outcome {
        (Err(error), Err(LayerError::CutOff)) => Err(error),
        // The bytes themselves are lost or wrong, so it says nothing what was made of them.
        (Err(error @ (LayerError::Follow(_) | LayerError::Read(_) | LayerError::Store(_))), Err(made))
            if made.depends_on_the_bytes() =>
        {
            Err(error)
        }
        (_, Err(error)) | (Err(error), _) => Err(error),
        (Ok(()), Ok(made)) => Ok(made),
    }
}

/// The second stage: hashes the tar and writes the files.
async fn write<P: AsRef<Path>>(order: Order, scratch: P, inlet: Inlet) -> Result<Layer<P>, LayerError> {
    let Inlet { mut pieces, returned } = inlet;
    let mut tar_bytes = 0;
    let mut digester = Digester::default();
    let mut archive = Archive::new(&order.limits);
    let means = (order.account.share(), order.budget.memory());
    let mut tree = Tree::create(scratch.as_ref(), order.whiteouts, &order.limits, means)?;
    let limit = order.limits.inflated(order.size);
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
        if tar_bytes > limit {
            return Err(LayerError::Inflated { size: order.size, limit });
        }
        digester.update(&bytes);
        archive.push(&bytes, &mut tree)?;
        // The first stage may be through and want no more.
        let _ = returned.try_send(bytes);
        cpu::yield_now().await;
    }
    Err(LayerError::CutOff)
}

#[cfg(test)]
mod tests;
