//! One layer's way into its snapshot: a tree that grew is grafted, anything else is extracted
//! by containerd.

use std::path::Path;
use std::time::Duration;

use containerd_client::types::Mount;
use tokio::sync::watch;

use super::super::layer::{self, Layer, Source, Unproven};
use super::super::plan::Step;
use super::super::tree::{self, TreeError};
use super::super::{Outcome, Stack, UnpackError};
use super::diff;
use super::mounts;
use super::overlay::{self, GraftError, Ground, Site};
use super::snapshots::{Prepared, Snapshots};
use crate::core::error::{Classify, Kind};
use crate::fetch::{Arrival, Engine};
use crate::store::error::RemoteCode;
use crate::store::{Store, StoreError};

/// Tries when a snapshot vanishes between two calls, which the collector can do once.
const TRIES: usize = 3;
/// How often the disk is looked at while containerd extracts: it writes some 20 MB meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Where the layers of one image land.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quay<'a> {
    pub(super) engine: &'a Engine,
    pub(super) snapshots: Snapshots<'a>,
    pub(super) ground: Option<&'a Ground>,
    /// What is to be written through before a snapshot is committed.
    pub(super) durable: Option<&'a Path>,
}

/// A layer that is a snapshot.
#[derive(Debug)]
pub(super) struct Landed {
    /// How it became one.
    pub(super) outcome: Outcome,
    /// Where its files and those below it are, as far as it was prepared here.
    pub(super) stack: Option<Stack>,
}

/// A layer whose turn it is.
struct Landing<'a> {
    quay: Quay<'a>,
    step: &'a Step<'a>,
    arrival: watch::Receiver<Arrival>,
}

impl Quay<'_> {
    /// Lands the layer of `step`, as the tree that grew or else through containerd, which waits
    /// until all of it has arrived.
    pub(super) async fn land(
        self,
        step: &Step<'_>,
        arrival: watch::Receiver<Arrival>,
        layer: Option<Layer>,
    ) -> Result<Landed, UnpackError> {
        Landing { quay: self, step, arrival }.run(layer).await
    }
}

impl Landing<'_> {
    async fn run(&self, mut layer: Option<Layer>) -> Result<Landed, UnpackError> {
        for _ in 0..TRIES {
            match self.quay.snapshots.prepare(self.step).await? {
                Prepared::Exists if self.quay.snapshots.hold(&self.step.chain_id).await? => {
                    return Ok(Landed { outcome: Outcome::Present, stack: None });
                }
                Prepared::Exists => {}
                Prepared::Active { key, mounts } => {
                    // The directory stays where it is when the snapshot is committed.
                    let stack = mounts::stack(&mounts).ok();
                    let landed = self.land(layer.take(), &key, mounts).await;
                    if landed.is_err() {
                        self.quay.snapshots.remove(&key).await;
                    }
                    return landed
                        .map(|outcome| Landed { stack: stack.filter(|_| outcome != Outcome::Present), outcome });
                }
            }
        }
        let message = format!("snapshot {} disappeared {TRIES} times", self.step.chain_id);
        Err(StoreError::Containerd { action: "prepare a snapshot", message, code: RemoteCode::Other }.into())
    }

    /// Fills a prepared snapshot and commits it.
    async fn land(&self, layer: Option<Layer>, key: &str, mounts: Vec<Mount>) -> Result<Outcome, UnpackError> {
        let site = self.quay.ground.and_then(|ground| ground.site(&mounts));
        if let (Some(_), None) = (&layer, &site) {
            tracing::warn!(layer = %self.step.layer.digest, ?mounts, "unfamiliar mounts: containerd extracts this layer itself");
        }
        let outcome = self.fill(layer.zip(site), mounts).await?;
        if let Some(durable) = self.quay.durable {
            sync(durable).await?;
        }
        Ok(match self.quay.snapshots.commit(self.step, key).await? {
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
        let root = self.quay.snapshots.store.snapshotter_root().await.ok().flatten();
        // Not every snapshotter is a directory here.
        let root = root.as_deref().filter(|root| root.is_dir());
        self.require_room(root).await?;
        let applied = tokio::select! {
            applied = diff::apply(self.quay.snapshots, self.step, mounts) => applied,
            full = self.no_room_is_left(root) => Err(full),
        };
        match applied {
            Ok(()) => Ok(Outcome::Applied),
            Err(UnpackError::Store(StoreError::Containerd { code: RemoteCode::Other, message, .. }))
                if self.is_damaged().await =>
            {
                Err(UnpackError::Archive { layer: self.step.layer.digest.clone(), reason: message })
            }
            Err(error) => Err(error),
        }
    }

    /// Refuses where the disk is as full as an image may make it. containerd does not look.
    async fn require_room(&self, root: Option<&Path>) -> Result<(), UnpackError> {
        let Some(root) = root.map(Path::to_owned) else { return Ok(()) };
        let limits = *self.quay.engine.limits();
        match tokio::task::spawn_blocking(move || tree::require_room(&root, &limits)).await {
            Ok(Err(source @ TreeError::NoRoom { .. })) => {
                Err(UnpackError::Tree { layer: self.step.layer.digest.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Comes back once it is.
    async fn no_room_is_left(&self, root: Option<&Path>) -> UnpackError {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(full) = self.require_room(root).await {
                return full;
            }
        }
    }

    /// Whether our own reader finds fault with the layer as well, where containerd's words do not
    /// tell an archive from a disk.
    async fn is_damaged(&self) -> bool {
        let (engine, layer) = (self.quay.engine, self.step.layer);
        // Before the store begins to send.
        let _buffers = engine.budget().reserve(layer::most_buffers()).await;
        let Ok(Some(reader)) = self.quay.snapshots.store.open(layer).await else { return false };
        let source = Source::Unproven(Unproven::stream(reader, layer));
        let read = layer::check(engine.cpu(), source, &layer.media_type, engine.limits(), engine.budget()).await;
        read.is_err_and(|error| error.is_damage())
    }
}

/// Waits until the store has a layer.
pub(super) async fn wait_until_present(mut arrival: watch::Receiver<Arrival>) -> Result<(), UnpackError> {
    let present = arrival.wait_for(|arrival| matches!(arrival, Arrival::Present)).await;
    present.map(|_| ()).map_err(|_| UnpackError::Abandoned)
}

/// Everything on a file system, ours or not: there is no smaller unit that holds directories
/// as well.
pub(super) async fn sync(path: &Path) -> Result<(), StoreError> {
    let path = path.to_owned();
    let synced = tokio::task::spawn_blocking(move || {
        let failed = |error| StoreError::io("sync", &path, error);
        let folder = std::fs::File::open(&path).map_err(failed)?;
        rustix::fs::syncfs(&folder).map_err(|errno| failed(errno.into()))
    });
    synced.await.map_err(|error| StoreError::thread(&error))?
}
