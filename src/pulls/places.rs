//! Places in containerd, each opened once. containerd may come later than we do, and go and come
//! back: a place that could not be opened is tried again by whoever wants it next.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::platform::Platform;
use crate::fetch::Engine;
use crate::store::StoreError;
use crate::store::containerd::{Containerd, ContainerdOptions, Handover};
use crate::unpack::containerd::Unpacker;
use crate::unpack::options::Options;

/// Places that are kept open. A caller names namespaces as he likes; forgetting one costs a connection.
const MAX_OPEN: usize = 64;

/// Where an image goes; the daemon's defaults where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// containerd's namespace.
    pub namespace: Option<String>,
    /// containerd's snapshotter.
    pub snapshotter: Option<String>,
}

/// What holds for every place.
#[derive(Debug, Clone)]
pub struct PlaceDefaults {
    /// containerd's socket.
    pub address: PathBuf,
    /// The namespace of callers who name none.
    pub namespace: String,
    /// The snapshotter of callers who name none.
    pub snapshotter: String,
    /// Where blobs are downloaded, if that is not to be found out.
    pub staging: Option<PathBuf>,
    /// How containerd gets them.
    pub content: Handover,
}

impl PlaceDefaults {
    /// One place, by these defaults.
    #[must_use]
    pub fn options(&self, place: &Place) -> ContainerdOptions {
        ContainerdOptions {
            namespace: place.namespace.clone().unwrap_or_else(|| self.namespace.clone()),
            snapshotter: place.snapshotter.clone().unwrap_or_else(|| self.snapshotter.clone()),
            staging: self.staging.clone(),
            content: self.content,
        }
    }
}

#[derive(Debug)]
pub(super) struct Places {
    defaults: PlaceDefaults,
    open: Mutex<HashMap<Place, Containerd>>,
}

impl Places {
    pub(super) fn new(defaults: PlaceDefaults) -> Self {
        Self { defaults, open: Mutex::default() }
    }

    /// The same with nothing left out.
    pub(super) fn complete(&self, place: &Place) -> Place {
        let or = |named: &Option<String>, default: &String| Some(named.clone().unwrap_or_else(|| default.clone()));
        Place {
            namespace: or(&place.namespace, &self.defaults.namespace),
            snapshotter: or(&place.snapshotter, &self.defaults.snapshotter),
        }
    }

    /// Opens a place, or hands out the one that is open.
    pub(super) async fn open(&self, place: &Place) -> Result<Containerd, StoreError> {
        let place = self.complete(place);
        if let Some(open) = self.lock().get(&place) {
            return Ok(open.clone());
        }
        let opened = Containerd::connect(&self.defaults.address, self.defaults.options(&place)).await?;
        let mut open = self.lock();
        if open.len() >= MAX_OPEN
            && let Some(any) = open.keys().next().cloned()
        {
            open.remove(&any);
        }
        open.insert(place, opened.clone());
        Ok(opened)
    }

    /// What containerd matches images with, as far as it says so.
    pub(super) async fn platform(&self) -> Result<Option<Platform>, StoreError> {
        self.open(&Place::default()).await?.platform().await
    }

    pub(super) fn unpacker(&self, store: &Containerd, engine: &Engine, options: Options) -> Unpacker {
        Unpacker::new(store.clone(), engine.clone(), options)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Containerd>> {
        // Whole after any panic: every change is one insertion or removal.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
