//! A store that does not answer any more: it keeps no pull that was cancelled.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use lighterman::core::descriptor::Descriptor;
use lighterman::core::digest::{Digest, Verified};
use lighterman::core::reference::Reference;
use lighterman::host::{LocalHost, System};
use lighterman::pull::PullError;
use lighterman::store::layout::Layout;
use lighterman::store::staging::{Staged, Staging};
use lighterman::store::{Belongs, BlobReader, ImageRecord, Known, Lease, Store, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::faults::image_of;
use crate::support::engine::{fetcher, puller, request};
use crate::support::liar::Liar;

/// A call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Stands,
    Lease,
    Put,
    Claim,
    Adopt,
    Name,
    Release,
    Lookup,
}

/// A layout that does not come back from one call, once it is told not to.
#[derive(Debug)]
struct Hanging {
    layout: Layout,
    at: Call,
    hangs: AtomicBool,
    reached: Notify,
    released: AtomicUsize,
}

impl Hanging {
    async fn pass(&self, call: Call) {
        if self.at == call && self.hangs.load(Ordering::SeqCst) {
            self.reached.notify_one();
            std::future::pending().await
        }
    }
}

#[async_trait]
impl Store for Hanging {
    fn describe(&self) -> String {
        self.layout.describe()
    }

    fn staging(&self) -> Staging {
        self.layout.staging()
    }

    async fn lease(&self) -> Result<Lease, StoreError> {
        self.pass(Call::Lease).await;
        self.layout.lease().await
    }

    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.released.fetch_add(1, Ordering::SeqCst);
        self.pass(Call::Release).await;
        self.layout.release(lease).await
    }

    async fn claim(&self, lease: &Lease, blob: &Descriptor, belongs: Belongs<'_>) -> Result<bool, StoreError> {
        self.pass(Call::Claim).await;
        self.layout.claim(lease, blob, belongs).await
    }

    async fn adopt(&self, lease: &Lease, blob: &Verified<Staged>, belongs: Belongs<'_>) -> Result<(), StoreError> {
        self.pass(Call::Adopt).await;
        self.layout.adopt(lease, blob, belongs).await
    }

    async fn put(&self, lease: &Lease, document: Verified<Bytes>, belongs: Belongs<'_>) -> Result<(), StoreError> {
        self.pass(Call::Put).await;
        self.layout.put(lease, document, belongs).await
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Option<Verified<Bytes>>, StoreError> {
        self.layout.document(descriptor).await
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<Verified<Bytes>>, StoreError> {
        self.layout.kept(digest).await
    }

    async fn open(&self, descriptor: &Descriptor) -> Result<Option<BlobReader>, StoreError> {
        self.layout.open(descriptor).await
    }

    async fn open_part(&self, descriptor: &Descriptor, part: Range<u64>) -> Result<Option<BlobReader>, StoreError> {
        self.layout.open_part(descriptor, part).await
    }

    async fn is_from(&self, source: &Reference, blob: &Descriptor) -> Result<bool, StoreError> {
        self.layout.is_from(source, blob).await
    }

    async fn name(&self, lease: &Lease, record: &ImageRecord) -> Result<(), StoreError> {
        self.pass(Call::Name).await;
        self.layout.name(lease, record).await
    }

    async fn stands(&self, record: &ImageRecord, blobs: &[&Descriptor]) -> Result<bool, StoreError> {
        self.pass(Call::Stands).await;
        self.layout.stands(record, blobs).await
    }

    async fn lookup(&self, name: &str) -> Result<Option<Known>, StoreError> {
        self.pass(Call::Lookup).await;
        self.layout.lookup(name).await
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        self.layout.names().await
    }
}

/// Lands an image in a store that hangs there, and cancels that.
async fn cancelled_at(at: Call, liar: &Liar) -> (Result<(), PullError>, usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout::open_or_create(&folder.path().join("layout")).expect("a layout");
    let (hangs, reached) = (AtomicBool::new(false), Notify::new());
    let store = Hanging { layout, at, hangs, reached, released: AtomicUsize::new(0) };
    let reference: Reference = liar.reference("app:1").parse().expect("a reference");
    let host = LocalHost::new(Box::new(System::default()));
    let fetcher = fetcher(&reference);
    let puller = puller(&fetcher, &store, &host);
    let plan = puller.plan(&request(reference)).await.expect("a plan");
    store.hangs.store(true, Ordering::SeqCst);
    let cancel = CancellationToken::new();
    let cancelling = async {
        store.reached.notified().await;
        cancel.cancel();
    };
    let (landed, ()) = tokio::join!(puller.land(&plan, &cancel), cancelling);
    (landed.map(drop), store.released.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_cancelled_ends_whatever_the_store_does_and_gives_its_lease_back() {
    let liar = Liar::serving(&image_of(&[10_000]), "app:1");
    let cases = [
        (Call::Stands, true, 0),
        (Call::Lease, true, 0),
        (Call::Put, true, 1),
        (Call::Claim, true, 1),
        (Call::Adopt, true, 1),
        (Call::Name, true, 1),
        // By then it has its name, and what is left to do is tidying.
        (Call::Release, false, 1),
        (Call::Lookup, true, 1),
    ];
    let outcomes = join_all(cases.iter().map(|(at, ..)| cancelled_at(*at, &liar))).await;
    for ((at, is_cancelled, releases), (landed, released)) in cases.iter().zip(outcomes) {
        assert_eq!(matches!(landed, Err(PullError::Cancelled)), *is_cancelled, "{at:?}: {landed:?}");
        assert!(*is_cancelled || landed.is_ok(), "{at:?}: {landed:?}");
        assert_eq!(released, *releases, "{at:?}");
    }
}
