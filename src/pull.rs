//! The use case: resolve, select, fetch, unpack, name.
//!
//! [`Puller::plan`] decides what is wanted and may refuse; [`Puller::land`] brings it, all
//! of it or nothing that anyone can see. Between the two the caller may tell a person what
//! is going to happen, and [`tell`] lets the log know how it ended. The name comes last, so an
//! image that is visible is whole. Between unpacking and naming it is looked at what the image starts
//! (`mismatch`). What was there already is looked at only for whoever would refuse it, and what is not
//! unpacked for nobody.

mod error;
mod mismatch;
mod outcome;
mod plan;
mod told;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::core::descriptor::Descriptor;
use crate::core::digest::{Digest, Verified};
use crate::core::limits::Limits;
use crate::core::manifest::{ImageConfig, chain_ids};
use crate::core::plan::{self as order, Blob, BlobKind};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::fetch::progress::{Event, Observer, Phase};
use crate::fetch::{Arrival, Fetcher, Job, Landed};
use crate::host::LocalHost;
use crate::resolve::ResolveError;
use crate::store::{Belongs, Lease, Role, Store, StoreError};
use crate::unpack::{LayerUnpacked, Unpack, Unpackable};

pub use error::PullError;
pub use mismatch::{Refused, Since};
pub use outcome::{Layers, Planned, Pulled, Traffic};
pub use plan::{Part, Plan, Platforms, PullRequest};
pub use told::{Brought, Caller, tell};

/// How long the store has, once a pull is cancelled, for what is better not broken off.
const GRACE: Duration = Duration::from_secs(3);

/// Everything that a pull works with.
#[derive(Debug, Clone, Copy)]
pub struct Puller<'a> {
    /// Where content comes from.
    pub fetcher: &'a Fetcher,
    /// Where it goes.
    pub store: &'a dyn Store,
    /// What makes it ready to run, where the destination can run anything.
    pub unpacker: Option<&'a dyn Unpack>,
    /// Whether the registry is asked even for what is here by digest, as the check that whoever
    /// asks may have it.
    pub check_access: bool,
    /// What this node runs.
    pub host: &'a LocalHost,
    /// Every bound.
    pub limits: Limits,
    /// Who wants to hear of progress.
    pub observer: &'a dyn Observer,
}

impl Puller<'_> {
    /// Brings everything of a plan into the store and names it. Cancelling leaves partial
    /// blobs in staging and nothing visible, and waits for no store that does not answer.
    ///
    /// # Errors
    /// [`PullError`]; no name was set.
    pub async fn land(&self, plan: &Plan, cancel: &CancellationToken) -> Result<Pulled, PullError> {
        match self.standing(plan, Since::Before, cancel).await? {
            Some(standing) => Ok(standing),
            None => self.bring(plan, cancel).await,
        }
    }

    /// What a pull would bring of an image that is whole, named and unpacked already: nothing, and
    /// without a lease. Nothing is written either, unless it has to be judged. `None` where there is
    /// something to do.
    ///
    /// # Errors
    /// [`PullError`] where the store cannot tell, nobody waits for it any more, or the stance of this
    /// pull refuses the image; it stays as it is.
    pub async fn standing(
        &self,
        plan: &Plan,
        since: Since,
        cancel: &CancellationToken,
    ) -> Result<Option<Pulled>, PullError> {
        let started = Instant::now();
        let looked = async {
            let Some(mut standing) = self.nothing_to_do(plan).await? else { return Ok(None) };
            standing.warnings.extend(self.judge_standing(plan, since).await?);
            Ok::<_, PullError>(Some(self.told_by_name(plan, standing).await?))
        };
        let standing = cancel.run_until_cancelled(looked).await.ok_or(PullError::Cancelled)??;
        Ok(standing.map(|standing| Pulled { elapsed: started.elapsed(), ..standing }))
    }

    /// Brings everything of a plan into the store and names it, as [`Puller::land`], without
    /// asking before whether all of it is there.
    ///
    /// # Errors
    /// [`PullError`]; no name was set.
    pub async fn bring(&self, plan: &Plan, cancel: &CancellationToken) -> Result<Pulled, PullError> {
        let started = Instant::now();
        let lease = in_grace(cancel, self.store.lease()).await??;
        let brought = match cancel.run_until_cancelled(self.bring_all(&lease, plan)).await {
            Some(brought) => brought,
            None => Err(PullError::Cancelled),
        };
        let named = match brought {
            Ok(pulled) => self.name(&lease, plan, cancel).await.map(|()| pulled),
            Err(error) => Err(error),
        };
        let content = lease.tally();
        let released = in_grace(cancel, self.store.release(lease)).await;
        let mut pulled = Pulled { content, ..named? };
        if let Err(error) = released.and_then(|released| released.map_err(PullError::from)) {
            // The image is there and named; what failed is only the tidying.
            pulled.warnings.push(format!("the lease of this pull could not be ended, and will expire: {error}"));
        }
        let pulled = in_grace(cancel, self.told_by_name(plan, pulled)).await??;
        Ok(Pulled { elapsed: started.elapsed(), ..pulled })
    }

    /// Naming is not broken off as long as the store answers: several records may belong to one name.
    async fn name(&self, lease: &Lease, plan: &Plan, cancel: &CancellationToken) -> Result<(), PullError> {
        let record = plan.record();
        let naming = in_grace(cancel, self.store.name(lease, &record));
        Ok(self.phase(Phase::Name, naming).await??)
    }

    /// The same with what the name stands for.
    async fn told_by_name(&self, plan: &Plan, pulled: Pulled) -> Result<Pulled, StoreError> {
        let known = self.store.lookup(&plan.image.reference.to_string()).await?;
        Ok(Pulled { target: known.map_or(pulled.target, |known| known.target.digest), ..pulled })
    }

    async fn nothing_to_do(&self, plan: &Plan) -> Result<Option<Pulled>, PullError> {
        let blobs = order::blobs(plan.parts.iter().map(|part| &part.manifest));
        let documents = plan.documents();
        let all: Vec<&Descriptor> = documents.iter().chain(blobs.iter().map(|blob| &blob.descriptor)).collect();
        if !self.store.stands(&plan.record(), &all).await? {
            return Ok(None);
        }
        let mut standing = Pulled::nothing_of(plan);
        for part in plan.runnable() {
            let config = self.config_of(part).await?;
            standing.warnings.extend(label_warning(part, &config));
            if let Some(unpacker) = self.unpacker {
                if !unpacker.is_unpacked(&part.manifest, &config).await? {
                    return Ok(None);
                }
                standing.unpacked.extend(chain_ids(&config.rootfs.diff_ids).pop());
                standing.layers.present += part.manifest.layers.len();
            }
        }
        let mut traffic = Traffic { bytes_fetched: plan.image.bytes_fetched, ..Traffic::default() };
        for blob in &blobs {
            self.observer.notify(Event::Present(&blob.descriptor));
            traffic = traffic.with(Landed::Present, blob.descriptor.size);
        }
        Ok(Some(Pulled { traffic, ..standing }))
    }

    /// Everything but the name. Layers are unpacked while they arrive; the first error stops all.
    async fn bring_all(&self, lease: &Lease, plan: &Plan) -> Result<Pulled, PullError> {
        self.put_documents(lease, plan).await?;
        let arrivals = Arrivals::of(plan);
        let job = Job { reference: &plan.image.reference, store: self.store, lease };
        self.fetcher.make_room(&job, &arrivals.wanted(&plan.image.reference)).await?;
        let fetching = self.phase(Phase::Fetch, self.fetch(&job, plan, &arrivals));
        let unpacking = self.unpack(lease, plan, &arrivals);
        let (mut traffic, unpacked) = tokio::try_join!(fetching, unpacking)?;
        traffic.bytes_fetched += plan.image.bytes_fetched;
        Ok(Pulled { traffic, ..unpacked })
    }

    /// Unpacks every image of the plan, one after the other.
    async fn unpack(&self, lease: &Lease, plan: &Plan, arrivals: &Arrivals) -> Result<Pulled, PullError> {
        let mut pulled = Pulled::nothing_of(plan);
        for part in plan.runnable() {
            arrivals.present(&part.manifest.config.digest).await;
            let config = self.config_of(part).await?;
            pulled.warnings.extend(label_warning(part, &config));
            let Some(unpacker) = self.unpacker else { continue };
            let layers: Vec<_> = part.manifest.layers.iter().map(|layer| arrivals.follow(&layer.digest)).collect();
            let image = Unpackable { manifest: &part.manifest, config: &config, arrivals: &layers };
            let (total, counts) = (layers.len(), Mutex::new(pulled.layers));
            let tell = |unpacked: LayerUnpacked<'_>| {
                counts.lock().unwrap_or_else(PoisonError::into_inner).count(unpacked.outcome);
                self.observer.notify(Event::Unpacked { done: unpacked.index + 1, total });
            };
            let unpacked = self.phase(Phase::Unpack, unpacker.unpack(lease, image, &tell)).await?;
            pulled.layers = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
            if let Some(unpacked) = unpacked {
                pulled.warnings.extend(self.judge(plan, part, (&config, unpacked.stack)).await?);
                pulled.unpacked.push(unpacked.chain_id);
            }
        }
        Ok(pulled)
    }

    /// Indexes and manifests go in first, so that the store knows what keeps the blobs alive.
    async fn put_documents(&self, lease: &Lease, plan: &Plan) -> Result<(), PullError> {
        let source = &plan.image.reference;
        for (digest, index) in plan.indexes(&self.limits) {
            if let Some(document) = plan.image.document(&digest) {
                self.store.put(lease, document.clone(), Belongs { role: Role::Index(&index), source }).await?;
            }
        }
        for part in &plan.parts {
            if let Some(document) = plan.image.document(&part.choice.descriptor.digest) {
                self.store
                    .put(lease, document.clone(), Belongs { role: Role::Manifest(&part.manifest), source })
                    .await?;
            }
        }
        Ok(())
    }

    /// All blobs at once, as many at a time as the limits allow; the first error stops them all.
    async fn fetch(&self, job: &Job<'_>, plan: &Plan, arrivals: &Arrivals) -> Result<Traffic, PullError> {
        // A list of boxes, because the compiler could not tell of a stream of closures that it may
        // change threads.
        let blobs = arrivals.blobs.iter();
        let fetches: Vec<_> = blobs.map(|(blob, arrival)| self.fetch_one(job, plan, blob, arrival).boxed()).collect();
        stream::iter(fetches)
            .buffer_unordered(self.limits.concurrent_downloads)
            .try_fold(Traffic::default(), |traffic, (landed, size)| async move { Ok(traffic.with(landed, size)) })
            .await
    }

    async fn fetch_one(
        &self,
        job: &Job<'_>,
        plan: &Plan,
        blob: &Blob,
        arrival: &watch::Sender<Arrival>,
    ) -> Result<(Landed, u64), PullError> {
        let belongs = Belongs { role: role_of(blob), source: job.reference };
        let blob = &blob.descriptor;
        let read = plan.image.document(&blob.digest).filter(|document| document.size() == blob.size);
        let landed = match read {
            Some(document) => self.land_document(job, document, (blob, belongs), arrival).await?,
            None => self.fetcher.blob(job, blob, belongs, arrival).await?,
        };
        Ok((landed, blob.size))
    }

    /// A config that was read, and verified, to make the plan: nobody is asked for it again. Its
    /// bytes are on the image's account.
    async fn land_document(
        &self,
        job: &Job<'_>,
        document: &Verified<Bytes>,
        (blob, belongs): (&Descriptor, Belongs<'_>),
        arrival: &watch::Sender<Arrival>,
    ) -> Result<Landed, PullError> {
        let landed = if job.store.claim(job.lease, blob, belongs).await? {
            self.observer.notify(Event::Present(blob));
            Landed::Present
        } else {
            job.store.put(job.lease, document.clone(), belongs).await?;
            self.observer.notify(Event::Finished(blob));
            Landed::Fetched(0)
        };
        arrival.send_replace(Arrival::Present);
        Ok(landed)
    }

    async fn config_of(&self, part: &Part) -> Result<ImageConfig, PullError> {
        let descriptor = &part.manifest.config;
        let document =
            self.store.document(descriptor).await?.ok_or_else(|| PullError::Lost(descriptor.digest.clone()))?;
        ImageConfig::parse(document.content(), &self.limits).map_err(|source| {
            PullError::Resolve(ResolveError::Document { what: descriptor.digest.to_string(), source })
        })
    }
}

/// Every blob of a plan, in the order in which they are best fetched, with how it is getting here.
struct Arrivals {
    blobs: Vec<(Blob, watch::Sender<Arrival>)>,
}

impl Arrivals {
    fn of(plan: &Plan) -> Self {
        let blobs = order::blobs(plan.parts.iter().map(|part| &part.manifest));
        Self { blobs: blobs.into_iter().map(|blob| (blob, watch::Sender::new(Arrival::Awaited))).collect() }
    }

    fn wanted<'a>(&'a self, source: &'a Reference) -> Vec<(&'a Descriptor, Belongs<'a>)> {
        self.blobs.iter().map(|(blob, _)| (&blob.descriptor, Belongs { role: role_of(blob), source })).collect()
    }

    fn follow(&self, digest: &Digest) -> watch::Receiver<Arrival> {
        match self.blobs.iter().find(|(blob, _)| blob.descriptor.digest == *digest) {
            Some((_, arrival)) => arrival.subscribe(),
            // Every blob of the plan's manifests is here.
            None => watch::channel(Arrival::Awaited).1,
        }
    }

    async fn present(&self, digest: &Digest) {
        // The senders live as long as we do, so that waiting cannot fail.
        let _ = self.follow(digest).wait_for(|arrival| matches!(arrival, Arrival::Present)).await;
    }
}

/// What comes of a call to the store, which is not broken off at once where the pull is cancelled.
async fn in_grace<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, PullError> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return Ok(done),
        () = cancel.cancelled() => {}
    }
    tokio::time::timeout(GRACE, work).await.map_err(|_| PullError::Cancelled)
}

fn role_of(blob: &Blob) -> Role<'static> {
    match blob.kind {
        BlobKind::Config => Role::Config,
        // Which diffID a layer has is known once the config is here; unpacking records it.
        BlobKind::Layer => Role::Layer(None),
    }
}

/// The index says one thing and the image's own config another: one of them is wrong.
fn label_warning(part: &Part, config: &ImageConfig) -> Option<String> {
    let declared = part.choice.descriptor.platform.as_ref()?;
    let own = &config.platform;
    if own.architecture.is_empty() || declared.same_as(own) {
        return None;
    }
    // A variant that only one of them names is no contradiction.
    let lax = |platform: &Platform| Platform { variant: String::new(), ..platform.clone() };
    if (declared.variant.is_empty() || own.variant.is_empty()) && lax(declared).same_as(&lax(own)) {
        return None;
    }
    Some(format!(
        "the index declares this manifest as {declared}, and its own config says {own}: the image is mislabelled"
    ))
}
