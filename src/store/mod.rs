//! Where verified blobs and names live.
//!
//! A store takes content only as [`Verified`], so nothing unchecked ever has a name
//! that anyone can see, and only under a [`Lease`], so nothing is collected while a
//! pull is under way. Names come last: [`Store::name`] is what makes an image visible.
//!
//! Two stores: [`layout`], an OCI image layout in a directory (the embedded default),
//! and `containerd` (with the feature of that name). This room never talks to a registry.

mod boot;
#[cfg(feature = "containerd")]
pub mod containerd;
pub mod error;
pub mod layout;
pub mod staging;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verified};
use crate::core::manifest::{Index, Manifest};
use crate::core::platform::Platform;
use crate::core::reference::Reference;

pub use error::StoreError;
use staging::{Staged, Staging};

/// Protection of everything that one pull writes, until its names exist. Only a store makes one.
#[derive(Debug)]
pub struct Lease {
    id: String,
    tally: Counters,
    /// What tells others of it if this process is killed.
    #[cfg(feature = "containerd")]
    mark: Option<staging::Mark>,
}

/// How the blobs that a pull fetched came into its store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// By a second name for the staged file: no byte was copied.
    pub linked: usize,
    /// Byte by byte.
    pub written: usize,
}

#[derive(Debug, Default)]
struct Counters {
    linked: AtomicUsize,
    written: AtomicUsize,
}

impl Counters {
    fn linked(&self) {
        self.linked.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(feature = "containerd")]
    fn written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }
}

impl Lease {
    fn new(id: String) -> Self {
        Self {
            id,
            tally: Counters::default(),
            #[cfg(feature = "containerd")]
            mark: None,
        }
    }

    /// What was adopted under this lease so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let [linked, written] =
            [&self.tally.linked, &self.tally.written].map(|counter| counter.load(Ordering::Relaxed));
        Tally { linked, written }
    }

    /// The store's own identifier of this lease.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What a blob is within its image, so that a store can record what keeps what alive.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// A root or nested index; keeps its manifests.
    Index(&'a Index),
    /// A manifest; keeps its config and layers.
    Manifest(&'a Manifest),
    /// An image config.
    Config,
    /// A layer; the digest of its uncompressed tar, where the config names it.
    Layer(Option<&'a Digest>),
}

/// Where a blob belongs: its role, and the repository that it came from.
#[derive(Debug, Clone, Copy)]
pub struct Belongs<'a> {
    /// What it is.
    pub role: Role<'a>,
    /// Where it was fetched from; registries can mount it from there later.
    pub source: &'a Reference,
}

/// A name and what it stands for.
#[derive(Debug, Clone)]
pub struct ImageRecord {
    /// The normalised reference that was pulled.
    pub reference: Reference,
    /// What the registry's tag points at: an index, or a lone manifest.
    pub root: Descriptor,
    /// The manifest that was chosen, if it was exactly one; its `platform` is the declared one.
    pub manifest: Option<Descriptor>,
    /// Digest of the chosen manifest's config: the image ID of CRI.
    pub config: Option<Digest>,
    /// The name has to stand for the chosen manifest and not for the root, because a later
    /// look-up by containerd's own rule would go to an entry that was never fetched.
    pub pin_manifest: bool,
}

/// What a store remembers of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What the name stands for in this store.
    pub target: Descriptor,
    /// The root that the name was resolved from, where the target is one manifest of it.
    pub root: Option<Digest>,
    /// The platform that was declared for the target, if one manifest was chosen.
    pub platform: Option<Platform>,
}

/// A blob being read.
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// The contract of every store.
///
/// All methods may be called concurrently. A method that is dropped half-way leaves
/// nothing visible. Digests and sizes of what goes in are already proven; what comes out
/// of [`Store::document`] is verified again, because disks rot and other tools write too.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// For people: `oci:DIR`, `containerd (namespace k8s.io)`.
    fn describe(&self) -> String;

    /// Where blobs for this store are downloaded before they are adopted.
    fn staging(&self) -> Staging;

    /// Starts a pull.
    async fn lease(&self) -> Result<Lease, StoreError>;

    /// Ends a pull; whatever no name keeps alive may be collected from now on.
    async fn release(&self, lease: Lease) -> Result<(), StoreError>;

    /// Whether content of this digest and size is there already. If it is, it is kept under
    /// the lease and recorded as belonging to the image, as if it had just been adopted.
    async fn claim(&self, lease: &Lease, blob: &Descriptor, belongs: Belongs<'_>) -> Result<bool, StoreError>;

    /// Takes a staged blob over and marks it [`Staged::adopted`]. Content that is already
    /// there is no error, so that several pulls can adopt one download.
    async fn adopt(&self, lease: &Lease, blob: &Verified<Staged>, belongs: Belongs<'_>) -> Result<(), StoreError>;

    /// Writes a document that is whole in memory. Content that is already there is no error.
    async fn put(&self, lease: &Lease, document: Verified<Bytes>, belongs: Belongs<'_>) -> Result<(), StoreError>;

    /// Reads a document, or `None` where the store does not have it.
    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Verified<Bytes>>, StoreError>;

    /// Reads a document of which only the digest is known, or `None`.
    async fn kept(&self, digest: &Digest) -> Result<Option<Verified<Bytes>>, StoreError>;

    /// Reads a blob from its start, unverified; `None` where the store does not have it.
    async fn open(&self, descriptor: &Descriptor) -> Result<Option<BlobReader>, StoreError>;

    /// Reads some bytes of a blob, unverified; `None` where the store does not have it.
    async fn open_part(&self, descriptor: &Descriptor, part: Range<u64>) -> Result<Option<BlobReader>, StoreError>;

    /// Whether content of this digest and size is there and is known to have come from the
    /// registry of `source`, so that this registry may say who reads it. A store that only
    /// knows hosts takes all ports of one for the same registry.
    async fn is_from(&self, source: &Reference, blob: &Descriptor) -> Result<bool, StoreError>;

    /// Makes the image visible under its name. Everything it needs has to be there.
    async fn name(&self, lease: &Lease, record: &ImageRecord) -> Result<(), StoreError>;

    /// Whether all of `blobs` are there and [`Store::name`] would change nothing: the pull of an
    /// image that has not changed. Only its own name protects it meanwhile.
    async fn stands(&self, record: &ImageRecord, blobs: &[&Descriptor]) -> Result<bool, StoreError>;

    /// What a name stands for, or `None`. Names are normalised references, or whatever else
    /// other tools have put there.
    async fn lookup(&self, name: &str) -> Result<Option<Known>, StoreError>;

    /// Every name in the store, sorted.
    async fn names(&self) -> Result<Vec<String>, StoreError>;
}
