//! Every pull of a daemon: one engine, one containerd, many callers.
//!
//! A [`Pulls`] is what all doors of the service share. It opens places in containerd once
//! (`places`), keeps the list of what is under way (`running`), lets one pull at a time land
//! a given image while the others watch it (`landings`), and bounds how many land at once. How
//! an image is pulled is [`crate::pull`]'s affair, and who may ask for it is the door's.
//!
//! Every caller's reference is resolved for himself, with his own credentials, even where all
//! content is here already: that is the check that he may have it.

mod error;
mod landings;
mod listener;
mod meter;
mod places;
mod running;

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument as _;

use crate::core::error::Classify;
use crate::core::limits::Limits;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::trace::TraceContext;
use crate::fetch::progress::{Observer, Silent};
use crate::fetch::{Engine, Fetcher};
use crate::host::{LocalHost, System};
use crate::pull::{Brought, Caller, Planned, Platforms, PullError, PullRequest, Pulled, Puller, tell};
use crate::registry::{Credentials, HostOptions, hosts_for};
use crate::resolve::choice::{self, Level, OnMismatch, Wish};
use crate::resolve::resolution::Resolution;
use crate::resolve::{Reading, ResolveError, Resolver};
use crate::store::{Store, StoreError};
use crate::unpack::Unpack;
use crate::unpack::containerd::{Application, Applied, ApplyError};
use crate::unpack::options::Options;

pub use error::PullsError;
use landings::{Key, Landings};
pub use listener::Listener;
pub use meter::{Meter, Metered};
use places::Places;
pub use places::{Place, PlaceDefaults};
pub use running::{Door, Phase, RunningPull};
use running::{Entry, Running};

/// How long containerd may take to say what it matches with; alive, it takes milliseconds.
const HOST_PATIENCE: Duration = Duration::from_secs(2);

/// What can be changed while the daemon runs. A pull goes by what was set when it began.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How registries are reached.
    pub hosts: HostOptions,
    /// How layers are unpacked.
    pub unpack: Options,
    /// How long a pull may go without any progress before it is given up.
    pub progress_timeout: Duration,
    /// Whether CRI's pulls are finished by containerd's own, once everything is here.
    pub delegate: bool,
}

/// One caller's wish.
#[derive(Debug, Clone)]
pub struct Order {
    /// The image.
    pub reference: Reference,
    /// For which platforms, as they were written; this node's where there is none.
    pub platforms: Vec<String>,
    /// Every manifest of the image, whatever `platforms` says.
    pub all_platforms: bool,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What to do with an image that is for another platform.
    pub on_mismatch: OnMismatch,
    /// Where to in containerd; the daemon's defaults where nothing is said.
    pub place: Place,
    /// Whether to make it ready to run.
    pub unpack: bool,
    /// The caller's own; those of the node where he brings none.
    pub credentials: Option<Credentials>,
    /// The door that he came through.
    pub door: Door,
    /// What his wish is part of, if he said so.
    pub trace: Option<TraceContext>,
}

/// A question about a reference, without a pull.
#[derive(Debug, Clone)]
pub struct Question {
    /// The image.
    pub reference: Reference,
    /// As it was written; this node's where there is none.
    pub platform: Option<String>,
    /// Which level of the CPU counts.
    pub level: Level,
    /// What to do with an image that is for another platform.
    pub on_mismatch: OnMismatch,
    /// Explain the answer.
    pub explain: bool,
    /// The caller's own; those of the node where he brings none.
    pub credentials: Option<Credentials>,
}

/// The pulls of one daemon; clones share them.
#[derive(Debug, Clone)]
pub struct Pulls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    settings: RwLock<Settings>,
    places: Places,
    host: OnceCell<LocalHost>,
    running: Running,
    landings: Landings,
    turns: Semaphore,
    tasks: TaskTracker,
    meter: Arc<dyn Meter>,
    /// Cancelled once what is under way has had its time.
    end: CancellationToken,
}

/// A pull that is done.
#[derive(Debug)]
pub struct Done {
    /// What was planned.
    pub planned: Planned,
    /// What came of it.
    pub pulled: Pulled,
    /// Digest of the first image's config: the image ID of CRI.
    pub image_id: Option<crate::core::digest::Digest>,
    /// Where it is, for a person.
    pub destination: String,
}

impl Brought for Done {
    fn brought(&self) -> (&Planned, &Pulled) {
        (&self.planned, &self.pulled)
    }
}

impl Pulls {
    /// Pulls with `engine` into the containerd of `defaults`, at most `at_once` landing at a time.
    #[must_use]
    pub fn new(
        engine: Engine,
        defaults: PlaceDefaults,
        settings: Settings,
        at_once: usize,
        meter: Arc<dyn Meter>,
    ) -> Self {
        Self(Arc::new(Shared {
            engine,
            settings: RwLock::new(settings),
            places: Places::new(defaults),
            host: OnceCell::new(),
            running: Running::default(),
            landings: Landings::default(),
            turns: Semaphore::new(at_once),
            tasks: TaskTracker::new(),
            meter,
            end: CancellationToken::new(),
        }))
    }

    /// What everything is fetched with.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// What is set at the moment.
    #[must_use]
    pub fn settings(&self) -> Settings {
        // Whole after any panic: it is only ever replaced.
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it for all pulls that begin from here on.
    pub fn set(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Everything that is under way, oldest first.
    #[must_use]
    pub fn running(&self) -> Vec<RunningPull> {
        self.0.running.list()
    }

    /// Cancels a pull; whether there was one of this number.
    #[must_use]
    pub fn cancel(&self, id: u64) -> bool {
        self.0.running.cancel(id)
    }

    /// This node. Until containerd has said what it matches with, it is asked each time.
    pub async fn host(&self) -> HostView<'_> {
        if let Some(known) = self.0.host.get() {
            return HostView::Known(known);
        }
        let host = LocalHost::new(Box::new(System::default()));
        // Everybody asks for himself, so that nobody waits for more than his own question.
        match tokio::time::timeout(HOST_PATIENCE, self.0.places.platform()).await {
            Ok(Ok(platform)) => {
                let told = match platform {
                    Some(platform) => host.with_containerd(platform),
                    None => host,
                };
                HostView::Known(self.0.host.get_or_init(|| async { told }).await)
            }
            Ok(Err(error)) => {
                tracing::info!("containerd could not be asked what it matches with: {error}");
                HostView::Guessed(Box::new(host))
            }
            Err(_) => {
                tracing::info!("containerd does not say what it matches with");
                HostView::Guessed(Box::new(host))
            }
        }
    }

    /// Says what a reference stands for. A refusal is the second value.
    ///
    /// # Errors
    /// [`PullsError`] where the image cannot be read at all.
    pub async fn resolve(&self, question: &Question) -> Result<(Resolution, Option<ResolveError>), PullsError> {
        let host = self.host().await;
        let platform = question.platform.as_deref().map(|text| parse(text, &host)).transpose()?;
        let wish = Wish { platform, level: question.level, on_mismatch: question.on_mismatch };
        let credentials = question.credentials.as_ref();
        let fetcher = self.fetcher(&question.reference, credentials, Arc::new(Silent))?;
        let resolver = Resolver { fetcher: &fetcher, store: None, check_access: true, limits: *self.limits() };
        let matcher = wish.matcher(&host);
        let reading = if question.explain { Reading::Everything } else { Reading::Deciding(&matcher) };
        let image = resolver.image(&question.reference, reading).await?;
        let outcome = choice::choose(&image, &wish, &host);
        let explanation = question.explain.then(|| choice::explain(&image, &wish, &host, outcome.as_ref().ok()));
        Ok((Resolution::new(&image, outcome.as_ref().ok(), explanation.as_ref()), outcome.err()))
    }

    /// Pulls an image. Dropping this, or cancelling `cancel`, ends the pull in good order: nothing
    /// of it is visible then, and what was downloaded is kept for the next time.
    ///
    /// # Errors
    /// [`PullsError`]; no name was set.
    pub async fn pull(
        &self,
        order: Order,
        listener: Arc<dyn Listener>,
        cancel: CancellationToken,
    ) -> Result<Done, PullsError> {
        // A task of its own: whoever asked may vanish between two records of one name.
        let guard = cancel.clone().drop_guard();
        let pulls = self.clone();
        let told = async move { pulls.pull_told(&order, listener, cancel).await };
        let pulling = self.0.tasks.spawn(told.in_current_span());
        let done = pulling.await.map_err(|error| StoreError::thread(&error))?;
        guard.disarm();
        done
    }

    /// Extracts a layer that is in containerd's content store. In which namespace its differs are
    /// not always told; the daemon's own counts then. Dropping this ends it in good order.
    ///
    /// # Errors
    /// [`ApplyError`]; the mounts are as they were.
    pub async fn apply(&self, namespace: Option<String>, application: Application) -> Result<Applied, ApplyError> {
        let (pulls, end) = (self.clone(), self.0.end.clone());
        let applying = async move {
            let place = Place { namespace, snapshotter: None };
            let store = pulls.0.places.open(&place).await.map_err(|error| error.to_string())?;
            application.run(&store, &pulls.0.engine).await
        };
        let applying = AbortOnDropHandle::new(self.0.tasks.spawn(end.run_until_cancelled_owned(applying)));
        let applied = applying.await.map_err(|error| StoreError::thread(&error))?;
        applied.unwrap_or_else(|| Err(ApplyError::NotTaken("the daemon is ending".into())))
    }

    /// Waits until nothing is under way any more. Nothing new is to begin meanwhile.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Cancels everything that is under way.
    pub fn cancel_all(&self) {
        for pull in self.running() {
            // One that is over by now needs no cancelling.
            let _ = self.cancel(pull.id);
        }
        self.0.end.cancel();
    }

    /// Pulls, and lets the log and the meter know.
    async fn pull_told(
        &self,
        order: &Order,
        listener: Arc<dyn Listener>,
        cancel: CancellationToken,
    ) -> Result<Done, PullsError> {
        let metered = self.0.meter.begin(order.door);
        let caller = Caller { reference: &order.reference, door: order.door.name(), trace: order.trace.as_ref() };
        let done = tell(&caller, self.pull_watched(order, (listener, Arc::clone(&metered)), cancel)).await;
        metered.end(done.as_ref().err().map(Classify::kind));
        done
    }

    async fn pull_watched(
        &self,
        order: &Order,
        (listener, metered): (Arc<dyn Listener>, Arc<dyn Metered>),
        cancel: CancellationToken,
    ) -> Result<Done, PullsError> {
        let place = self.0.places.complete(&order.place);
        let entry = self.0.running.enter(&order.reference, &place, order.door, cancel);
        listener.began(entry.id());
        let observer: Arc<dyn Observer> = entry.observe(Arc::clone(&listener), metered);
        let timeout = self.settings().progress_timeout;
        let mut pulling = std::pin::pin!(self.pull_as(order, &place, (&entry, &listener, observer)));
        tokio::select! {
            done = &mut pulling => return done,
            () = entry.stuck(timeout) => entry.token().cancel(),
        }
        match pulling.await {
            Err(PullsError::Pull(PullError::Cancelled)) => Err(PullsError::NoProgress { after: timeout }),
            done => done,
        }
    }

    async fn pull_as(
        &self,
        order: &Order,
        place: &Place,
        (entry, listener, observer): (&Entry, &Arc<dyn Listener>, Arc<dyn Observer>),
    ) -> Result<Done, PullsError> {
        let cancel = entry.token();
        let host = unless(&cancel, self.host()).await?;
        let store = unless(&cancel, self.0.places.open(place)).await??;
        self.0.meter.stages(&store.staging());
        let unpacker = self.0.places.unpacker(&store, &self.0.engine, self.settings().unpack);
        let request = request(order, &host)?;
        let fetcher = self.fetcher(&order.reference, order.credentials.as_ref(), Arc::clone(&observer))?;
        let puller = Puller {
            fetcher: &fetcher,
            store: &store,
            unpacker: order.unpack.then_some(&unpacker as &dyn Unpack),
            check_access: true,
            host: &host,
            limits: *self.limits(),
            observer: observer.as_ref(),
        };
        let plan = unless(&cancel, Box::pin(puller.plan(&request))).await??;
        let planned = plan.told();
        entry.planned(&planned);
        listener.planned(&planned);
        let key = Key {
            place: place.clone(),
            registry: order.reference.registry().to_owned(),
            manifests: planned.images.iter().map(|(digest, _)| digest.clone()).collect(),
        };
        let mut landing = self.0.landings.join(key, &observer);
        unless(&cancel, landing.turn()).await?;
        // It is never closed.
        let _turn = unless(&cancel, self.0.turns.acquire()).await?;
        entry.landing();
        let shared = landing.audience();
        let fetcher = fetcher.with_observer(Arc::clone(&shared));
        let puller = Puller { fetcher: &fetcher, observer: shared.as_ref(), ..puller };
        let pulled = puller.land(&plan, &cancel).await?;
        let image_id = plan.parts.first().map(|part| part.manifest.config.digest.clone());
        Ok(Done { planned, pulled, image_id, destination: store.describe() })
    }

    fn fetcher(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        observer: Arc<dyn Observer>,
    ) -> Result<Fetcher, PullsError> {
        let settings = self.settings();
        let hosts = hosts_for(reference, &settings.hosts)?;
        let engine = match credentials {
            Some(own) => self.0.engine.with_credentials(own.clone()),
            None => self.0.engine.clone(),
        };
        Ok(Fetcher::new(engine, hosts, observer))
    }

    fn limits(&self) -> &Limits {
        self.0.engine.limits()
    }
}

/// What comes of `work`, unless the pull is cancelled before.
async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, PullError> {
    cancel.run_until_cancelled(work).await.ok_or(PullError::Cancelled)
}

/// This node, as far as it is known.
#[derive(Debug)]
pub enum HostView<'a> {
    /// With containerd's own view.
    Known(&'a LocalHost),
    /// Without it, since it does not answer.
    Guessed(Box<LocalHost>),
}

impl std::ops::Deref for HostView<'_> {
    type Target = LocalHost;

    fn deref(&self) -> &LocalHost {
        match self {
            Self::Known(host) => host,
            Self::Guessed(host) => host,
        }
    }
}

fn parse(text: &str, host: &LocalHost) -> Result<Platform, PullsError> {
    Ok(Platform::parse(text, &host.report().matching_platform())?)
}

fn request(order: &Order, host: &LocalHost) -> Result<PullRequest, PullsError> {
    let listed = order.platforms.iter().map(|text| parse(text, host)).collect::<Result<Vec<_>, _>>()?;
    let platforms = match (order.all_platforms, listed.is_empty()) {
        (true, _) => Platforms::All,
        (false, true) => Platforms::Host,
        (false, false) => Platforms::Listed(listed),
    };
    Ok(PullRequest {
        reference: order.reference.clone(),
        platforms,
        level: order.level,
        on_mismatch: order.on_mismatch,
    })
}
