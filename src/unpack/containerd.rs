//! Unpacking into containerd: all layers at once where its snapshotter is overlayfs, by its
//! own Diff service where it is anything else.
//!
//! Layers grow side by side while they download; snapshots are committed in their order
//! (`landing`), each only after its blob digest and its diffID held. Whatever we cannot do as
//! containerd would (an unfamiliar snapshotter, a type that only its processors know, a layer
//! that needs too much memory) is left to containerd, and said so in the log.

mod diff;
mod differ;
mod landing;
pub mod mounts;
mod overlay;
mod snapshots;

use std::path::PathBuf;
use std::sync::Once;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::layer::{self, Layer, LayerError, Order, Source, Unproven};
use super::options::{Durability, Extractor, Options, Start};
use super::plan::{Step, plan};
use super::tree::{Account, Whiteouts};
use super::workspace::Workspace;
use super::{LayerUnpacked, Outcome, Stack, Unpack, UnpackError, Unpackable, Unpacked};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::core::manifest::{ImageConfig, Manifest};
use crate::cpu::{Cpu, Priority};
use crate::fetch::{Arrival, Engine};
use crate::store::containerd::{Containerd, labels};
use crate::store::error::RemoteCode;
use crate::store::staging::FollowError;
use crate::store::{BlobReader, Lease, Store, StoreError};
pub use differ::{Application, Applied, ApplyError};
use landing::{Quay, wait_until_present};
use overlay::Ground;
use snapshots::Snapshots;

/// That layers cannot be written through is said once: it is about the node, and true of every pull.
static UNSYNCED: Once = Once::new();

/// Unpacks images into one namespace of a containerd.
#[derive(Debug, Clone)]
pub struct Unpacker {
    store: Containerd,
    /// Whose threads, memory and limits count.
    engine: Engine,
    options: Options,
}

impl Unpacker {
    /// An unpacker for the images in `store`, with the threads and the memory of `engine`.
    #[must_use]
    pub fn new(store: Containerd, engine: Engine, options: Options) -> Self {
        Self { store, engine, options }
    }
}

/// Whether trees can become snapshots of this containerd by a rename, as a trial shows; inside,
/// in words, why not.
///
/// # Errors
/// [`StoreError`] where containerd does not answer.
pub async fn grafts(store: &Containerd) -> Result<Result<(), String>, StoreError> {
    Ok(Ground::find(store, &Cpu::new()).await?.map(drop))
}

#[async_trait]
impl Unpack for Unpacker {
    async fn is_unpacked(&self, manifest: &Manifest, config: &ImageConfig) -> Result<bool, UnpackError> {
        let steps = plan(manifest, config)?;
        let Some(top) = steps.last().map(|step| &step.chain_id) else { return Ok(true) };
        let tie = labels::snapshot(self.store.snapshotter(), top);
        let tied = self.store.has_labels(&manifest.config.digest, &tie);
        let (tied, there) = tokio::try_join!(tied, snapshots::exists(&self.store, top))?;
        Ok(tied && there)
    }

    async fn stack(&self, manifest: &Manifest, config: &ImageConfig) -> Result<Option<Stack>, UnpackError> {
        let steps = plan(manifest, config)?;
        let Some(top) = steps.last() else { return Ok(None) };
        Ok(snapshots::stack(&self.store, &top.chain_id).await)
    }

    async fn unpack(
        &self,
        lease: &Lease,
        image: Unpackable<'_>,
        observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
    ) -> Result<Option<Unpacked>, UnpackError> {
        let steps = plan(image.manifest, image.config)?;
        let Some(top) = steps.last().map(|step| &step.chain_id) else { return Ok(None) };
        let snapshots = Snapshots { store: &self.store, lease };
        let present = present(snapshots, &steps).await?;
        let ground = if present < steps.len() { self.ground().await? } else { None };
        let durable = self.durable().await?;
        let (failures, mut failed) = mpsc::channel(1);
        let account = Account::default();
        let growing = steps.iter().zip(image.arrivals).enumerate().map(|(index, (step, arrival))| {
            let ground = ground.as_ref().filter(|_| index >= present && step.is_tar)?;
            let ends = (account.clone(), failures.clone());
            Some(self.start((index, step), arrival.clone(), ground.workspace.clone(), ends))
        });
        let mut growing = growing.collect::<Vec<_>>().into_iter();
        let quay = Quay { engine: &self.engine, snapshots, ground: ground.as_ref(), durable: durable.as_deref() };
        let mut stack = None;
        let mut found = present > 0;
        for (index, step) in steps.iter().enumerate() {
            let layer = grown(growing.next().flatten(), &mut failed).await?;
            let outcome = if index < present {
                Outcome::Present
            } else {
                let landed = match quay.land(step, image.arrivals[index].clone(), layer).await {
                    Err(error) if error.kind() == Kind::Unsupported => {
                        // Others may be left the whole image then, but not what we refuse of it.
                        for above in growing {
                            grown(above, &mut failed).await?;
                        }
                        return Err(error);
                    }
                    landed => landed?,
                };
                stack = landed.stack;
                found |= landed.outcome == Outcome::Present;
                landed.outcome
            };
            observer(LayerUnpacked { index, layer: step.layer, outcome });
        }
        if let Some(durable) = durable.filter(|_| found) {
            // Whoever made the layers that were there need not have written them through.
            landing::sync(&durable).await?;
        }
        self.label(&steps[present..], &image.arrivals[present..]).await?;
        let config = &image.manifest.config.digest;
        if self.store.set_labels(config, labels::snapshot(self.store.snapshotter(), top)).await? {
            let stack = match stack {
                None => snapshots::stack(&self.store, top).await,
                known => known,
            };
            return Ok(Some(Unpacked { chain_id: top.clone(), stack }));
        }
        let message = format!("{config} is not there");
        Err(StoreError::Containerd { action: "label the image's config", message, code: RemoteCode::NotFound }.into())
    }
}

impl Unpacker {
    /// Where trees can be grafted, or `None` where containerd has to extract.
    async fn ground(&self) -> Result<Option<Ground>, StoreError> {
        if self.options.extractor == Extractor::DiffService {
            return Ok(None);
        }
        Ok(match Ground::find(&self.store, self.engine.cpu()).await? {
            Ok(ground) => Some(ground),
            Err(reason) => {
                tracing::warn!(%reason, "containerd extracts the layers itself, one after the other");
                None
            }
        })
    }

    /// The file system to write through before each commit, unless the user does without.
    async fn durable(&self) -> Result<Option<PathBuf>, StoreError> {
        if self.options.durability == Durability::Cached {
            return Ok(None);
        }
        let root = self.store.snapshotter_root().await?.filter(|root| root.is_dir());
        if root.is_none() {
            UNSYNCED.call_once(|| {
                tracing::warn!(
                    snapshotter = self.store.snapshotter(),
                    "layers are not written through to the disk before images are named: containerd does not say \
                     where they are"
                );
            });
        }
        Ok(root)
    }

    /// Lets a layer grow, from whenever its bytes arrive. `None` leaves it to containerd; a
    /// failure goes to `failures`, and nothing comes of the task.
    fn start(
        &self,
        (index, step): (usize, &Step<'_>),
        arrival: watch::Receiver<Arrival>,
        workspace: Workspace,
        (account, failures): (Account, mpsc::Sender<UnpackError>),
    ) -> AbortOnDropHandle<Option<Layer>> {
        let order = Order {
            index,
            media_type: step.layer.media_type.clone(),
            size: step.layer.size,
            diff_id: Some(step.diff_id.clone()),
            whiteouts: if step.parent.is_some() { Whiteouts::Overlay } else { Whiteouts::Plain },
            limits: *self.engine.limits(),
            budget: self.engine.budget().clone(),
            account,
        };
        let (unpacker, blob) = (self.clone(), step.layer.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            match unpacker.grow(&blob, order.clone(), arrival, workspace).await {
                Ok(layer) => Some(layer),
                Err(error) if error.is_for_want_of_memory() => {
                    tracing::warn!(layer = %blob.digest, %error, "containerd extracts this layer itself");
                    None
                }
                Err(error) => {
                    // Nobody listens any more where another layer failed first.
                    let _ = failures.send(UnpackError::of_layer(&blob.digest, error)).await;
                    std::future::pending().await
                }
            }
        }))
    }

    /// Follows a blob through as many downloads as it takes.
    async fn grow(
        &self,
        blob: &Descriptor,
        order: Order,
        mut arrival: watch::Receiver<Arrival>,
        workspace: Workspace,
    ) -> Result<Layer, LayerError> {
        loop {
            let now = arrival.wait_for(|arrival| !matches!(arrival, Arrival::Awaited)).await;
            let now = now.map_err(|_| FollowError::Abandoned)?.clone();
            let grown = async {
                let budget = self.engine.budget();
                let (source, _buffers) = match now {
                    Arrival::Arriving(mut follower) => {
                        if self.options.start == Start::Verified {
                            follower.verified().await?;
                        }
                        let buffers = layer::buffers(&order.media_type, follower.clone()).await?;
                        let buffers = tokio::select! {
                            biased;
                            buffers = budget.reserve_while_arriving(buffers) => buffers,
                            whole = follower.verified() => {
                                whole?;
                                budget.reserve(buffers).await
                            }
                        };
                        (Source::Arriving(follower), buffers)
                    }
                    _ => {
                        // Before the store begins to send.
                        let buffers = budget.reserve(layer::most_buffers()).await;
                        (Source::Stored(self.open(blob).await?), buffers)
                    }
                };
                let is_stored = matches!(source, Source::Stored(_));
                let scratch = workspace.scratch().map_err(|error| StoreError::io("create", workspace.root(), error))?;
                let grown = layer::grow(self.engine.cpu(), source, order.clone(), scratch).await;
                if is_stored && grown.as_ref().is_err_and(LayerError::depends_on_the_bytes) {
                    // They were right when they went in; disks forget.
                    let again = Source::Unproven(Unproven::stream(self.open(blob).await?, blob));
                    self.engine.cpu().spawn(Priority::HASH, again.verdict()).await?;
                }
                grown
            };
            match grown.await {
                // Wrong bytes, or a download that another one takes up.
                Err(LayerError::Follow(FollowError::Discarded | FollowError::Abandoned)) => {
                    arrival.changed().await.map_err(|_| FollowError::Abandoned)?;
                }
                grown => return grown,
            }
        }
    }

    async fn open(&self, blob: &Descriptor) -> Result<BlobReader, StoreError> {
        self.store.open(blob).await?.ok_or_else(|| lost(&blob.digest))
    }

    /// Says of every blob which tar is in it, now that it is proven.
    async fn label(&self, steps: &[Step<'_>], arrivals: &[watch::Receiver<Arrival>]) -> Result<(), UnpackError> {
        let labelled = steps.iter().zip(arrivals).map(|(step, arrival)| async {
            wait_until_present(arrival.clone()).await?;
            let proven = labels::Labels::from([(labels::UNCOMPRESSED.to_owned(), step.diff_id.to_string())]);
            // Nothing depends on the label if the blob is gone meanwhile.
            self.store.set_labels(&step.layer.digest, proven).await?;
            Ok::<_, UnpackError>(())
        });
        try_join_all(labelled).await.map(drop)
    }
}

/// The layer that grew, or `None` where containerd has to extract it. One that cannot grow ends
/// the pull at once, not when its turn to land comes; but never in the middle of another's landing.
async fn grown(
    growing: Option<AbortOnDropHandle<Option<Layer>>>,
    failed: &mut mpsc::Receiver<UnpackError>,
) -> Result<Option<Layer>, UnpackError> {
    let Some(growing) = growing else { return Ok(None) };
    tokio::select! {
        biased;
        Some(failure) = failed.recv() => Err(failure),
        grown = growing => Ok(grown.map_err(|error| StoreError::thread(&error))?),
    }
}

/// How many layers from the bottom are there, and under the lease now.
async fn present(snapshots: Snapshots<'_>, steps: &[Step<'_>]) -> Result<usize, StoreError> {
    if let Some(top) = steps.last()
        && snapshots.hold(&top.chain_id).await?
    {
        return Ok(steps.len());
    }
    for (index, step) in steps.iter().enumerate() {
        if !snapshots.hold(&step.chain_id).await? {
            return Ok(index);
        }
    }
    Ok(steps.len())
}

fn lost(digest: &Digest) -> StoreError {
    let message = format!("{digest} is not there any more");
    StoreError::Containerd { action: "read content", message, code: RemoteCode::NotFound }
}
