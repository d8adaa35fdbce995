//! One pull, from an order to a named image.
//!
//! It waits in up to three lines: for a turn to ask its registry what the reference stands for,
//! for whoever lands the same image already, and for a turn to bring it, where not all of it is
//! here. None of that counts as a standstill.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::core::error::Classify;
use crate::fetch::progress::Observer;
use crate::pull::{Caller, Plan, Planned, Platforms, PullError, PullRequest, Pulled, Puller, tell};
use crate::store::Store;
use crate::unpack::Unpack;

use super::error::PullsError;
use super::landings::{Key, Part, Way};
use super::listener::Listener;
use super::meter::Metered;
use super::order::{Done, Order};
use super::places::Place;
use super::running::Entry;
use super::{Pulls, Settings};

/// A pull that is in the list.
struct Pulling<'a> {
    pulls: &'a Pulls,
    order: &'a Order,
    settings: Settings,
    place: Place,
    entry: Entry,
    listener: Arc<dyn Listener>,
    observer: Arc<dyn Observer>,
}

impl Pulls {
    /// Pulls, and lets the log and the meter know.
    pub(super) async fn pull_told(
        &self,
        order: &Order,
        listener: Arc<dyn Listener>,
        cancel: CancellationToken,
    ) -> Result<Done, PullsError> {
        let metered = self.0.meter.begin(order.door);
        let caller = Caller { reference: &order.reference, door: order.door.name(), trace: order.trace.as_ref() };
        let work = async { self.enter(order, (listener, Arc::clone(&metered)), cancel).run().await };
        let done = tell(&caller, work).await;
        metered.end(done.as_ref().err().map(Classify::kind));
        done
    }

    /// Puts a pull into the list, with what is set now.
    fn enter<'a>(
        &'a self,
        order: &'a Order,
        (listener, metered): (Arc<dyn Listener>, Arc<dyn Metered>),
        cancel: CancellationToken,
    ) -> Pulling<'a> {
        let place = self.0.places.complete(&order.place);
        let entry = self.0.running.enter(&order.reference, &place, order.door, cancel);
        listener.began(entry.id());
        let observer = entry.observe(Arc::clone(&listener), metered);
        Pulling { pulls: self, order, settings: self.settings(), place, entry, listener, observer }
    }
}

impl Pulling<'_> {
    async fn run(&self) -> Result<Done, PullsError> {
        let (pulls, order, cancel) = (self.pulls, self.order, self.entry.token());
        let host = unless(&cancel, pulls.host()).await?;
        let store = unless(&cancel, pulls.0.places.open(&self.place)).await??;
        pulls.0.meter.stages(&store.staging());
        let unpacker = pulls.0.places.unpacker(&store, pulls.engine(), self.settings.unpack);
        let hosts = &self.settings.hosts;
        let fetcher = pulls.fetcher(&order.reference, (order.credentials.as_ref(), hosts), &self.observer)?;
        let puller = Puller {
            fetcher: &fetcher,
            store: &store,
            unpacker: order.unpack.then_some(&unpacker as &dyn Unpack),
            check_access: true,
            host: &host,
            limits: *pulls.engine().limits(),
            observer: self.observer.as_ref(),
        };
        let plan = self.plan(&puller).await?;
        let planned = plan.told();
        self.entry.planned(&planned);
        self.listener.planned(&planned);
        let pulled = self.land(&puller, (&plan, &planned)).await?;
        let image_id = plan.parts.first().map(|part| part.manifest.config.digest.clone());
        Ok(Done { planned, pulled, image_id, destination: store.describe() })
    }

    /// Finds out what to bring, when it is its turn.
    async fn plan(&self, puller: &Puller<'_>) -> Result<Plan, PullsError> {
        let (order, cancel) = (self.order, self.entry.token());
        let request = PullRequest {
            reference: order.reference.clone(),
            platforms: Platforms::asked(order.all_platforms, &order.platforms, puller.host)?,
            level: order.level,
            on_mismatch: self.settings.mismatch.stance(&order.reference, order.on_mismatch),
        };
        let _turn = unless(&cancel, self.pulls.0.resolving.at(order.reference.registry())).await?;
        self.entry.resolving();
        let planning = async { unless(&cancel, puller.plan(&request)).await? };
        self.entry.watched(self.settings.progress_timeout, Box::pin(planning)).await
    }

    /// Brings it, or waits for whoever does.
    async fn land(&self, puller: &Puller<'_>, (plan, planned): (&Plan, &Planned)) -> Result<Pulled, PullsError> {
        let reference = &self.order.reference;
        let key = Key {
            place: self.place.clone(),
            registry: reference.registry().to_owned(),
            manifests: planned.images.iter().map(|(digest, _)| digest.clone()).collect(),
        };
        let way = Way {
            repository: reference.repository().to_owned(),
            asker: puller.fetcher.engine().asker(),
            unpacks: puller.unpacker.is_some(),
            stance: self.settings.mismatch.stance(reference, self.order.on_mismatch),
        };
        let mut part = self.pulls.0.landings.join(key, way, &self.observer);
        unless(&self.entry.token(), part.turn()).await??;
        self.bring(puller, plan, &part).await.map_err(|error| part.failed(error))
    }

    /// Brings it, when it is its turn, and tells everybody who wants it. What is here already
    /// waits for no turn.
    async fn bring(&self, puller: &Puller<'_>, plan: &Plan, part: &Part) -> Result<Pulled, PullsError> {
        let (audience, cancel) = (part.audience(), self.entry.token());
        let fetcher = puller.fetcher.with_observer(Arc::clone(&audience));
        let puller = Puller { fetcher: &fetcher, observer: audience.as_ref(), ..*puller };
        if let Some(standing) = puller.standing(plan, part.since(), &cancel).await? {
            return Ok(standing);
        }
        part.begins();
        let _turn = unless(&cancel, self.pulls.0.landing.at(self.order.reference.registry())).await?;
        self.entry.landing();
        let bringing = Box::pin(puller.bring(plan, &cancel));
        self.entry.watched(self.settings.progress_timeout, bringing).await
    }
}

/// What comes of `work`, unless the pull is cancelled before.
async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, PullError> {
    cancel.run_until_cancelled(work).await.ok_or(PullError::Cancelled)
}
