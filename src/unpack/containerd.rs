//! Unpacking into containerd: all layers at once where its snapshotter is overlayfs, by its
//! own Diff service where it is anything else.
//!
//! Layers grow side by side while they download; snapshots are committed in their order,
//! each only after its blob digest and its diffID held. Whatever we cannot do as
//! containerd would (an unfamiliar snapshotter, a decoder that needs too much memory) is
//! left to containerd, and said so in the log.

mod diff;
mod overlay;
mod snapshots;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use containerd_client::types::Mount;
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::layer::{self, Layer, LayerError, Order, Source};
use super::options::{Durability, Extractor, Options, Start};
use super::plan::{Step, plan};
use super::tree::Whiteouts;
use super::workspace::Workspace;
use super::{LayerUnpacked, Outcome, Unpack, UnpackError, Unpackable, inflate::InflateError};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Classify, Kind};
use crate::core::manifest::{ImageConfig, Manifest};
use crate::fetch::{Arrival, Engine};
use crate::store::containerd::{Containerd, labels};
use crate::store::error::RemoteCode;
use crate::store::staging::FollowError;
use crate::store::{Lease, Store, StoreError};
use overlay::{GraftError, Ground, Site};
use snapshots::{Prepared, Snapshots};

/// Tries when a snapshot vanishes between two calls, which the collector can do once.
const TRIES: usize = 3;

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
    Ok(Ground::find(store).await?.map(drop))
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

    async fn unpack(
        &self,
        lease: &Lease,
        image: Unpackable<'_>,
        observer: &(dyn for<'l> Fn(LayerUnpacked<'l>) + Sync),
    ) -> Result<Option<Digest>, UnpackError> {
        let steps = plan(image.manifest, image.config)?;
        let Some(top) = steps.last().map(|step| &step.chain_id) else { return Ok(None) };
        let snapshots = Snapshots { store: &self.store, lease };
        let present = present(snapshots, &steps).await?;
        let ground = if present < steps.len() { self.ground().await? } else { None };
        let durable = self.durable().await?;
        let (failures, mut failed) = mpsc::channel(1);
        let growing = steps.iter().zip(image.arrivals).enumerate().map(|(index, (step, arrival))| {
            let ground = ground.as_ref().filter(|_| index >= present)?;
            Some(self.start((index, step), arrival.clone(), ground.workspace.clone(), failures.clone()))
        });
        let growing: Vec<_> = growing.collect();
        for (index, (step, growing)) in steps.iter().zip(growing).enumerate() {
            let layer = match growing {
                // A layer that cannot grow ends the pull at once, not when its turn to land comes;
                // but never in the middle of another's landing.
                Some(growing) => tokio::select! {
                    biased;
                    Some(failure) = failed.recv() => return Err(failure),
                    grown = growing => grown.map_err(|error| StoreError::thread(&error))?,
                },
                None => None,
            };
            let arrival = image.arrivals[index].clone();
            let landing = Landing { snapshots, step, arrival, ground: ground.as_ref(), durable: durable.as_deref() };
            let outcome = if index < present { Outcome::Present } else { landing.run(layer).await? };
            observer(LayerUnpacked { index, layer: step.layer, outcome });
        }
        self.label(&steps[present..], &image.arrivals[present..]).await?;
        let config = &image.manifest.config.digest;
        if self.store.set_labels(config, labels::snapshot(self.store.snapshotter(), top)).await? {
            return Ok(Some(top.clone()));
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
        Ok(match Ground::find(&self.store).await? {
            Ok(ground) => Some(ground),
            Err(reason) => {
                tracing::warn!(%reason, "containerd extracts the layers itself, one after the other");
                None
            }
        })
    }

    /// The file system to write through before each commit, if the user wants that.
    async fn durable(&self) -> Result<Option<PathBuf>, StoreError> {
        if self.options.durability == Durability::Cached {
            return Ok(None);
        }
        let root = self.store.snapshotter_root().await?.filter(|root| root.is_dir());
        if root.is_none() {
            tracing::warn!(
                snapshotter = self.store.snapshotter(),
                "layers cannot be written through: containerd does not say where they are"
            );
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
        failures: mpsc::Sender<UnpackError>,
    ) -> AbortOnDropHandle<Option<Layer>> {
        let order = Order {
            index,
            media_type: step.layer.media_type.clone(),
            diff_id: step.diff_id.clone(),
            whiteouts: if step.parent.is_some() { Whiteouts::Overlay } else { Whiteouts::Plain },
            limits: *self.engine.limits(),
        };
        let (unpacker, blob) = (self.clone(), step.layer.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            match unpacker.grow(&blob, order.clone(), arrival, workspace).await {
                Ok(layer) => Some(layer),
                Err(LayerError::Inflate(error @ InflateError::Window)) => {
                    tracing::warn!(layer = %blob.digest, %error, "containerd extracts this layer itself");
                    None
                }
                Err(error) => {
                    // Nobody listens any more where another layer failed first.
                    let _ = failures.send(UnpackError::of_layer(&blob.digest, &order.diff_id, error)).await;
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
                // In the order of the layers: those below are asked for first.
                let _memory = self.engine.budget().reserve(layer::memory(&order.media_type)).await;
                let source = match now {
                    Arrival::Arriving(mut follower) => {
                        if self.options.start == Start::Verified {
                            follower.verified().await?;
                        }
                        Source::Arriving(follower)
                    }
                    _ => Source::Stored(self.store.open(blob).await?.ok_or_else(|| lost(&blob.digest))?),
                };
                let scratch = workspace.scratch().map_err(|error| StoreError::io("create", workspace.root(), error))?;
                layer::grow(self.engine.cpu(), source, order.clone(), scratch).await
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

/// One layer's way into its snapshot.
struct Landing<'a> {
    snapshots: Snapshots<'a>,
    step: &'a Step<'a>,
    arrival: watch::Receiver<Arrival>,
    ground: Option<&'a Ground>,
    /// What is to be written through before the snapshot is committed.
    durable: Option<&'a Path>,
}

impl Landing<'_> {
    async fn run(&self, mut layer: Option<Layer>) -> Result<Outcome, UnpackError> {
        for _ in 0..TRIES {
            match self.snapshots.prepare(self.step).await? {
                Prepared::Exists if self.snapshots.hold(&self.step.chain_id).await? => return Ok(Outcome::Present),
                Prepared::Exists => {}
                Prepared::Active { key, mounts } => {
                    let landed = self.land(layer.take(), &key, mounts).await;
                    if landed.is_err() {
                        self.snapshots.remove(&key).await;
                    }
                    return landed;
                }
            }
        }
        let message = format!("snapshot {} disappeared {TRIES} times", self.step.chain_id);
        Err(StoreError::Containerd { action: "prepare a snapshot", message, code: RemoteCode::Other }.into())
    }

    /// Fills a prepared snapshot and commits it.
    async fn land(&self, layer: Option<Layer>, key: &str, mounts: Vec<Mount>) -> Result<Outcome, UnpackError> {
        let site = self.ground.and_then(|ground| ground.site(&mounts));
        if let (Some(_), None) = (&layer, &site) {
            tracing::warn!(layer = %self.step.layer.digest, ?mounts, "unfamiliar mounts: containerd extracts this layer itself");
        }
        let outcome = self.fill(layer.zip(site), mounts).await?;
        if let Some(durable) = self.durable {
            sync(durable).await?;
        }
        Ok(match self.snapshots.commit(self.step, key).await? {
            Outcome::Present => Outcome::Present,
            _ => outcome,
        })
    }

    /// Gets the layer's files into a prepared snapshot.
    async fn fill(&self, grafting: Option<(Layer, Site)>, mounts: Vec<Mount>) -> Result<Outcome, UnpackError> {
        if let Some((layer, site)) = grafting {
            let grafted = tokio::task::spawn_blocking(move || overlay::graft(&layer, &site)).await;
            match grafted.map_err(|error| StoreError::thread(&error))? {
                Ok(()) => return Ok(Outcome::Grafted),
                // containerd would refuse it as well.
                Err(GraftError::Tree(source)) if source.kind() == Kind::InvalidContent => {
                    return Err(UnpackError::Tree { layer: self.step.layer.digest.clone(), source });
                }
                Err(error) => {
                    tracing::warn!(layer = %self.step.layer.digest, %error, "containerd extracts this layer itself");
                }
            }
        }
        wait_until_present(self.arrival.clone()).await?;
        diff::apply(self.snapshots, self.step, mounts).await?;
        Ok(Outcome::Applied)
    }
}

async fn wait_until_present(mut arrival: watch::Receiver<Arrival>) -> Result<(), UnpackError> {
    let present = arrival.wait_for(|arrival| matches!(arrival, Arrival::Present)).await;
    present.map(|_| ()).map_err(|_| UnpackError::Abandoned)
}

fn lost(digest: &Digest) -> StoreError {
    let message = format!("{digest} is not there any more");
    StoreError::Containerd { action: "read content", message, code: RemoteCode::NotFound }
}

/// Everything on a file system, ours or not: there is no smaller unit that holds directories
/// as well.
async fn sync(path: &Path) -> Result<(), StoreError> {
    let path = path.to_owned();
    let synced = tokio::task::spawn_blocking(move || {
        let failed = |error| StoreError::io("sync", &path, error);
        let folder = std::fs::File::open(&path).map_err(failed)?;
        rustix::fs::syncfs(&folder).map_err(|errno| failed(errno.into()))
    });
    synced.await.map_err(|error| StoreError::thread(&error))?
}
