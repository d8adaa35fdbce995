//! Every pull of a daemon: one engine, one containerd, many callers.
//!
//! A [`Pulls`] is what all doors of the service share. It opens places in containerd once
//! (`places`), keeps the list of what is under way (`running`, `account`), lets one pull at a time land
//! a given image while the others watch it (`landings`), and bounds how many resolve and land at
//! once (`turns`). How an image is pulled is [`crate::pull`]'s affair, and who may ask for it is
//! the door's.
//!
//! The bound is one for each registry. Bytes arrive and are unpacked at the same time, so a turn
//! is held for as long as blobs take to come; with turns for all together, a few pulls from a
//! registry that is slow or silent would keep everybody from every other one. What is here
//! already takes no turn at all.
//!
//! Every caller's reference is resolved for himself, with his own credentials, even where all
//! content is here already: that is the check that he may have it.

mod account;
mod diagnosis;
mod error;
mod host;
mod landings;
mod listener;
mod meter;
mod order;
mod places;
mod pulling;
mod running;
mod turns;

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument as _;

use crate::core::mismatch::Policy;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::fetch::progress::{Observer, Silent};
use crate::fetch::{Engine, Fetcher};
use crate::host::LocalHost;
use crate::registry::{Credentials, HostOptions, hosts_for};
use crate::resolve::choice::Wish;
use crate::resolve::resolution::Resolution;
use crate::resolve::{ResolveError, Resolver};
use crate::store::StoreError;
use crate::unpack::containerd::{Application, Applied, ApplyError};
use crate::unpack::options::Options;

pub use diagnosis::Doubt;
pub use error::PullsError;
pub use host::HostView;
use landings::Landings;
pub use listener::Listener;
pub use meter::{Meter, Metered};
pub use order::{Done, Order, Question};
use places::Places;
pub use places::{Place, PlaceDefaults};
use running::Running;
pub use running::{Door, Phase, RunningPull};
use turns::Turns;

/// References at one registry that are resolved at a time. Each takes a connection and some
/// memory; more of them are answered no sooner.
const RESOLVES: usize = 128;

/// What can be changed while the daemon runs. A pull goes by what was set when it began.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How registries are reached.
    pub hosts: HostOptions,
    /// How layers are unpacked.
    pub unpack: Options,
    /// How long a pull may ask hosts without any progress before it is given up.
    pub progress_timeout: Duration,
    /// What is done with images that are not for this node.
    pub mismatch: Policy,
    /// Whether CRI's pulls are finished by containerd's own, once everything is here.
    pub delegate: bool,
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
    resolving: Turns,
    diagnosing: Arc<Semaphore>,
    landing: Turns,
    tasks: TaskTracker,
    meter: Arc<dyn Meter>,
    /// Cancelled once what is under way has had its time.
    end: CancellationToken,
}

impl Pulls {
    /// Pulls with `engine` into the containerd of `defaults`, at most `at_once` of one registry landing
    /// at a time.
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
            resolving: Turns::new(RESOLVES),
            diagnosing: Arc::new(Semaphore::new(diagnosis::DIAGNOSES)),
            landing: Turns::new(at_once),
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

    /// Says what a reference stands for. A refusal is the second value.
    ///
    /// # Errors
    /// [`PullsError`] where the image cannot be read at all.
    pub async fn resolve(&self, question: &Question) -> Result<(Resolution, Option<ResolveError>), PullsError> {
        let _turn = self.0.resolving.at(question.reference.registry()).await;
        // Begun, and given memory, when it is its turn: thousands may wait for theirs.
        Box::pin(self.answer(question)).await
    }

    async fn answer(&self, question: &Question) -> Result<(Resolution, Option<ResolveError>), PullsError> {
        let host = self.host().await;
        let own = || host.report().matching_platform();
        let platform = question.platform.as_deref().map(|text| Platform::parse(text, &own())).transpose()?;
        let (reference, settings) = (&question.reference, self.settings());
        let on_mismatch = settings.mismatch.stance(reference, question.on_mismatch);
        let (wish, hosts) = (Wish { platform, level: question.level, on_mismatch }, settings.hosts);
        let silent: Arc<dyn Observer> = Arc::new(Silent);
        let fetcher = self.fetcher(reference, (question.credentials.as_ref(), &hosts), &silent)?;
        let limits = *self.engine().limits();
        let resolver = Resolver { fetcher: &fetcher, store: None, check_access: true, limits };
        Ok(resolver.resolution(reference, &wish, &host, question.explain).await?)
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
    pub async fn apply(&self, namespace: Option<String>, mut application: Application) -> Result<Applied, ApplyError> {
        let (pulls, end) = (self.clone(), self.0.end.clone());
        // Hardly any containerd asks for it, and its image is as easily torn as one of ours.
        application.durability = application.durability.max(self.settings().unpack.durability);
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

    /// Asks `hosts` for this caller. Nothing that an earlier pull was granted counts: the node's
    /// login may have been taken away since, here or by the registry.
    fn fetcher(
        &self,
        reference: &Reference,
        (credentials, hosts): (Option<&Credentials>, &HostOptions),
        observer: &Arc<dyn Observer>,
    ) -> Result<Fetcher, PullsError> {
        let hosts = hosts_for(reference, hosts)?;
        let engine = match credentials {
            Some(own) => self.0.engine.with_credentials(own.clone()),
            None => self.0.engine.afresh(),
        };
        Ok(Fetcher::new(engine, hosts, Arc::clone(observer)))
    }
}
