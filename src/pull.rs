//! The use case: resolve, select, fetch, unpack, name.
//!
//! [`Puller::plan`] decides what is wanted and may refuse; [`Puller::land`] brings it, all
//! of it or nothing that anyone can see. Between the two the caller may tell a person what
//! is going to happen, and [`tell`] lets the log know how it ended. The name comes last, so an
//! image that is visible is whole.

mod error;
mod outcome;
mod told;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::{Digest, Verified};
use crate::core::limits::Limits;
use crate::core::manifest::{Document, ImageConfig, Index, Manifest, chain_ids};
use crate::core::plan::{self, Blob, BlobKind};
use crate::core::platform::{Matcher, Platform};
use crate::core::reference::Reference;
use crate::core::select::{self, Eligible, EntryPath, Inner};
use crate::fetch::progress::{Event, Observer, Phase};
use crate::fetch::{Arrival, Fetcher, Job, Landed};
use crate::host::{Execution, LocalHost};
use crate::resolve::choice::{self, Choice, Level, OnMismatch, Wish};
use crate::resolve::{Image, Reading, ResolveError, Resolver, Root};
use crate::store::{Belongs, ImageRecord, Lease, Role, Store};
use crate::unpack::{LayerUnpacked, Unpack, Unpackable};

pub use error::PullError;
pub use outcome::{Layers, Planned, Pulled, Traffic};
pub use told::{Brought, Caller, tell};

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

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image.
    pub reference: Reference,
    /// For which platforms.
    pub platforms: Platforms,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What to do with an image that is for another platform.
    pub on_mismatch: OnMismatch,
}

/// Which platforms of an image are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// The one that this node matches with.
    Host,
    /// These.
    Listed(Vec<Platform>),
    /// Everything that the index has, attestations included, so that it can be copied on whole.
    All,
}

/// What a pull is going to bring.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The image and all documents that were read.
    pub image: Image,
    /// The manifests that were chosen.
    pub parts: Vec<Part>,
    /// What the user should know before anything is fetched.
    pub warnings: Vec<String>,
    /// The name will stand for the root, whatever was chosen.
    whole: bool,
}

/// One manifest of a plan.
#[derive(Debug, Clone)]
pub struct Part {
    /// Why this one.
    pub choice: Choice,
    /// The manifest.
    pub manifest: Manifest,
}

impl Puller<'_> {
    /// Finds out what the request stands for and chooses the manifests.
    ///
    /// # Errors
    /// [`PullError::Resolve`], refusals included.
    pub async fn plan(&self, request: &PullRequest) -> Result<Plan, PullError> {
        self.phase(Phase::Resolve, self.decide(request)).await
    }

    async fn decide(&self, request: &PullRequest) -> Result<Plan, PullError> {
        let resolver = Resolver {
            fetcher: self.fetcher,
            store: Some(self.store),
            check_access: self.check_access,
            limits: self.limits,
        };
        let wishes = wishes(request);
        let matcher = match wishes.as_slice() {
            [only] => Some(only.matcher(self.host)),
            _ => None,
        };
        let reading = matcher.as_ref().map_or(Reading::Everything, Reading::Deciding);
        let mut image = resolver.image(&request.reference, reading).await?;
        let mut choices: Vec<Choice> = match request.platforms {
            Platforms::All => every_manifest(&image, self.host),
            _ => wishes.iter().map(|wish| choice::choose(&image, wish, self.host)).collect::<Result<_, _>>()?,
        };
        if choices.is_empty() {
            return Err(ResolveError::Empty { reference: request.reference.familiar() }.into());
        }
        if self.unpacker.is_some() {
            choices.iter_mut().for_each(warn_of_foreign);
        }
        let mut seen = std::collections::BTreeSet::new();
        choices.retain(|choice| seen.insert(choice.descriptor.digest.clone()));
        let descriptors: Vec<Descriptor> = choices.iter().map(|choice| choice.descriptor.clone()).collect();
        let manifests = resolver.manifests(&mut image, &descriptors).await?;
        let parts: Vec<Part> =
            choices.into_iter().zip(manifests).map(|(choice, manifest)| Part { choice, manifest }).collect();
        let whole = request.platforms == Platforms::All || parts.len() != 1;
        let mut warnings: Vec<String> = parts.iter().flat_map(|part| part.choice.warnings.clone()).collect();
        if request.platforms == Platforms::All {
            warnings.extend(left_out(&image));
        }
        Ok(Plan { image, parts, warnings, whole })
    }

    /// Brings everything of a plan into the store and names it. Cancelling leaves partial
    /// blobs in staging and nothing visible.
    ///
    /// # Errors
    /// [`PullError`]; no name was set.
    pub async fn land(&self, plan: &Plan, cancel: &CancellationToken) -> Result<Pulled, PullError> {
        let started = Instant::now();
        let mut pulled = match self.standing(plan).await? {
            Some(standing) => standing,
            None => self.bring_and_name(plan, cancel).await?,
        };
        if let Some(known) = self.store.lookup(&plan.image.reference.to_string()).await? {
            pulled.target = known.target.digest;
        }
        pulled.elapsed = started.elapsed();
        Ok(pulled)
    }

    async fn bring_and_name(&self, plan: &Plan, cancel: &CancellationToken) -> Result<Pulled, PullError> {
        let lease = self.store.lease().await?;
        let brought = tokio::select! {
            brought = self.bring(&lease, plan) => brought,
            () = cancel.cancelled() => Err(PullError::Cancelled),
        };
        // Naming is not interrupted: several records may belong to one name.
        let named = match brought {
            Ok(pulled) => {
                let named = self.phase(Phase::Name, self.store.name(&lease, &plan.record())).await;
                named.map(|()| pulled).map_err(PullError::from)
            }
            Err(error) => Err(error),
        };
        let content = lease.tally();
        let released = self.store.release(lease).await;
        let mut pulled = Pulled { content, ..named? };
        if let Err(error) = released {
            // The image is there and named; what failed is only the tidying.
            pulled.warnings.push(format!("the lease of this pull could not be ended, and will expire: {error}"));
        }
        Ok(pulled)
    }

    /// What a pull would bring of an image that is whole, named and unpacked already: nothing, and
    /// without a lease or any other write. `None` where there is something to do.
    async fn standing(&self, plan: &Plan) -> Result<Option<Pulled>, PullError> {
        let blobs = plan::blobs(plan.parts.iter().map(|part| &part.manifest));
        let documents = plan.documents(&self.limits);
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
    async fn bring(&self, lease: &Lease, plan: &Plan) -> Result<Pulled, PullError> {
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
            pulled.unpacked.extend(self.phase(Phase::Unpack, unpacker.unpack(lease, image, &tell)).await?);
            pulled.layers = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
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
        let blobs = plan::blobs(plan.parts.iter().map(|part| &part.manifest));
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

impl Plan {
    /// The plan in plain values.
    #[must_use]
    pub fn told(&self) -> Planned {
        Planned::of(self)
    }

    /// Every index that leads to a chosen manifest, outermost first.
    fn indexes(&self, limits: &Limits) -> Vec<(Digest, Index)> {
        let Root::Index(root, entries) = &self.image.content else { return Vec::new() };
        let mut indexes = vec![(self.image.root.digest.clone(), root.clone())];
        for (path, entry) in select::flatten(entries) {
            let leads =
                self.parts.iter().any(|part| part.choice.path.as_ref().is_some_and(|chosen| chosen.starts_with(&path)));
            let digest = &entry.descriptor.digest;
            if leads
                && matches!(entry.inner, Inner::Nested(_))
                && let Some(document) = self.image.document(digest)
                && let Ok(Document::Index(index)) =
                    Document::parse(document.content(), Some(&entry.descriptor.media_type), limits)
            {
                indexes.push((digest.clone(), index));
            }
        }
        indexes
    }

    /// Descriptors of every index and manifest that belongs into the store.
    fn documents(&self, limits: &Limits) -> Vec<Descriptor> {
        let indexes = self.indexes(limits).into_iter().map(|(digest, _)| digest);
        let manifests = self.parts.iter().map(|part| part.choice.descriptor.digest.clone());
        let document = |digest: Digest| {
            let size = self.image.document(&digest)?.size();
            Some(Descriptor::new(MediaType::Other(String::new()), digest, size))
        };
        indexes.chain(manifests).filter_map(document).collect()
    }

    /// The parts that hold something to run: attestations and other artifacts travel along.
    fn runnable(&self) -> Vec<&Part> {
        let runnable =
            |part: &&Part| !part.choice.descriptor.is_attestation() && part.manifest.config.media_type.is_config();
        self.parts.iter().filter(runnable).collect()
    }

    fn record(&self) -> ImageRecord {
        let single = match self.parts.as_slice() {
            [part] if !self.whole => Some(part),
            _ => None,
        };
        ImageRecord {
            reference: self.image.reference.clone(),
            root: self.image.root.clone(),
            manifest: single.map(|part| part.choice.descriptor.clone()),
            config: single
                .or_else(|| self.parts.iter().find(|part| !part.choice.pin))
                .map(|part| part.manifest.config.digest.clone()),
            pin_manifest: single.is_some_and(|part| part.choice.pin),
        }
    }
}

fn wishes(request: &PullRequest) -> Vec<Wish> {
    let wish = |platform| Wish { platform, level: request.level, on_mismatch: request.on_mismatch };
    match &request.platforms {
        Platforms::Host => vec![wish(None)],
        Platforms::Listed(platforms) => platforms.iter().cloned().map(Some).map(wish).collect(),
        Platforms::All => Vec::new(),
    }
}

/// Where images are run, one that was asked for and does not run here deserves a word.
fn warn_of_foreign(choice: &mut Choice) {
    if let Execution::No { reason } = &choice.execution
        && choice.warnings.is_empty()
    {
        choice.warnings.push(choice::cannot_run(&choice.platform, reason));
    }
}

/// Every manifest of an image, for whatever platform. The one that containerd comes to on this
/// node is the one that is not pinned.
fn every_manifest(image: &Image, host: &LocalHost) -> Vec<Choice> {
    let matcher = Matcher::only(&host.report().matching_platform());
    let own = select::choose(image.entries(), &matcher, Eligible::Everything);
    let choice = |path: Option<EntryPath>, descriptor: &Descriptor, platform: Option<&Platform>| Choice {
        pin: path != own,
        path,
        descriptor: descriptor.clone(),
        platform: platform.map(Platform::normalized).unwrap_or_default(),
        // Nobody means to run them all.
        execution: Execution::Unknown { reason: "not asked".into() },
        warnings: Vec::new(),
    };
    match &image.content {
        Root::Manifest(_, platform) => vec![choice(None, &image.root, Some(platform))],
        Root::Index(_, entries) => select::flatten(entries)
            .into_iter()
            .filter(|(_, entry)| entry.descriptor.media_type.is_manifest())
            .map(|(path, entry)| choice(Some(path), &entry.descriptor, entry.platform()))
            .collect(),
    }
}

/// What an index names and a pull of everything does not bring.
fn left_out(image: &Image) -> Vec<String> {
    let warning = |(_, entry): (EntryPath, &select::Entry)| match &entry.inner {
        Inner::Unusable(why) => Some(format!("{} is left out: {why}", entry.descriptor.digest)),
        _ if entry.descriptor.media_type.is_manifest() || entry.descriptor.media_type.is_index() => None,
        _ => {
            Some(format!("{} is left out: unknown media type {}", entry.descriptor.digest, entry.descriptor.media_type))
        }
    };
    select::flatten(image.entries()).into_iter().filter_map(warning).collect()
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
