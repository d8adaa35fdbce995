//! The list of pulls, and who lands what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::PullsError;
use super::landings::{Key, Landings, Part, Way};
use super::places::Place;
use super::running::{Door, Running};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::core::mismatch::{Action, Mismatch, Stance};
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::fetch::FetchError;
use crate::fetch::progress::{Event, Observer, Silent};
use crate::pull::{Planned, PullError, Refused, Since};
use crate::registry::RegistryError;
use crate::resolve::ResolveError;
use crate::unpack::UnpackError;

/// Counts what it hears.
#[derive(Debug, Default)]
struct Counting(Mutex<usize>);

impl Counting {
    fn heard(&self) -> usize {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Counting {
    fn notify(&self, _event: Event<'_>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

impl super::Listener for Counting {
    fn began(&self, _id: u64) {}

    fn planned(&self, _planned: &Planned) {}
}

fn blob(text: &str) -> Descriptor {
    Descriptor::new(MediaType::OciConfig, Digest::of(text.as_bytes()), text.len() as u64)
}

fn key(namespace: &str) -> Key {
    let place = Place { namespace: Some(namespace.into()), snapshotter: None };
    Key { place, registry: "registry.example".into(), manifests: [Digest::of(b"a manifest")].into() }
}

/// A caller who asks `app` of the key's registry with these credentials, and unpacks.
fn way(asker: Option<&str>) -> Way {
    let asker = asker.map(|name| Digest::of(name.as_bytes()));
    Way { repository: "app".into(), asker, unpacks: true, stance: Stance::default() }
}

/// As those who join hand them over.
fn shared(observers: &[Arc<Counting>; 3]) -> [Arc<dyn Observer>; 3] {
    observers.each_ref().map(|observer| Arc::<Counting>::clone(observer) as Arc<dyn Observer>)
}

fn silent() -> Arc<dyn Observer> {
    Arc::new(Silent)
}

/// What comes of a turn, if anything does at once.
fn taken(part: &mut Part) -> Option<Result<(), PullsError>> {
    part.turn().now_or_never()
}

#[track_caller]
fn assert_taken(part: &mut Part) {
    assert!(matches!(taken(part), Some(Ok(()))));
}

#[test]
fn one_lands_and_the_others_hear_of_it_and_go_on_where_it_ends() {
    let landings = Landings::default();
    let observers: [Arc<Counting>; 3] = Default::default();
    let [first, second, elsewhere] = shared(&observers);
    let mut lands = landings.join(key("a"), way(None), &first);
    let mut waits = landings.join(key("a"), way(None), &second);
    let mut other = landings.join(key("b"), way(None), &elsewhere);
    assert_taken(&mut lands);
    assert!(taken(&mut waits).is_none(), "two land one image at a time");
    assert_taken(&mut other);

    lands.audience().notify(Event::Present(&blob("x")));
    assert_eq!(observers.each_ref().map(|observer| observer.heard()), [1, 1, 0]);

    let [gone, stays, _] = observers;
    drop((lands, first, gone));
    assert_taken(&mut waits);
    waits.audience().notify(Event::Present(&blob("y")));
    assert_eq!(stays.heard(), 2);

    drop((waits, other));
    assert!(landings.is_empty(), "a landing is kept that nobody has part in");
}

fn error(status: Kind) -> PullsError {
    PullError::Resolve(match status {
        Kind::NoMatchingPlatform => ResolveError::Empty { reference: "app:1".into() },
        Kind::NotFound => ResolveError::Fetch(FetchError::Failed {
            what: "app:1".into(),
            host: None,
            attempts: Vec::new(),
            cause: Arc::new(RegistryError::of_status(StatusCode::NOT_FOUND).into()),
        }),
        other => panic!("no error of kind {other:?} is made here"),
    })
    .into()
}

#[test]
fn those_who_waited_fail_with_the_one_who_landed_and_who_comes_later_starts_anew() {
    let landings = Landings::default();
    let join = || landings.join(key("a"), way(None), &silent());
    let [mut lands, mut waits, mut also] = [join(), join(), join()];
    assert_taken(&mut lands);
    assert!(taken(&mut waits).is_none());
    let failed = lands.failed(error(Kind::NoMatchingPlatform));
    let mut later = join();
    assert_taken(&mut later);
    drop(lands);
    for part in [&mut waits, &mut also] {
        let told = taken(part).expect("it is over").expect_err("it failed");
        assert_eq!((told.kind(), told.blame(), told.hint()), (failed.kind(), failed.blame(), failed.hint()));
        assert_eq!(told.to_string(), failed.to_string());
    }
    drop((waits, also, later));
    assert!(landings.is_empty());
}

#[test]
fn who_waited_for_one_that_was_cancelled_takes_over() {
    let landings = Landings::default();
    let join = || landings.join(key("a"), way(None), &silent());
    for ends in [true, false] {
        let [mut lands, mut waits] = [join(), join()];
        assert_taken(&mut lands);
        if ends {
            lands.failed(PullError::Cancelled.into());
        }
        drop(lands);
        assert_taken(&mut waits);
    }
    assert!(landings.is_empty());
}

#[test]
fn what_is_wrong_with_an_image_is_told_to_whom_it_concerns() {
    let landings = Landings::default();
    let observers: [Arc<Counting>; 3] = Default::default();
    let [first, second, third] = shared(&observers);
    let heard = || observers.each_ref().map(|observer| observer.heard());
    let lax = Way { stance: Action::Warn.into(), ..way(None) };
    let mut lands = landings.join(key("a"), way(None), &first);
    let mut same = landings.join(key("a"), way(None), &second);
    let mut other = landings.join(key("a"), lax, &third);
    assert_taken(&mut lands);
    let error = refused();
    lands.audience().notify(Event::Mismatch(error.mismatch().expect("a mismatch")));
    assert_eq!(heard(), [1, 0, 0], "it is by his stance, and not theirs");
    lands.failed(error);
    drop(lands);
    assert!(taken(&mut same).is_some_and(|told| told.is_err()));
    assert_eq!(heard(), [1, 1, 0], "who fails for it is told why");
    assert_taken(&mut other);
    assert_eq!(heard(), [1, 1, 0]);
}

#[test]
fn who_waited_for_one_that_had_to_bring_it_knows_so() {
    let landings = Landings::default();
    let join = || landings.join(key("a"), way(None), &silent());
    let [mut first, mut second, mut third] = [join(), join(), join()];
    assert_taken(&mut first);
    assert_eq!(first.since(), Since::Before);
    drop(first);
    assert_taken(&mut second);
    assert_eq!(second.since(), Since::Before, "all of it was here");
    second.begins();
    drop(second);
    assert_taken(&mut third);
    assert_eq!(third.since(), Since::Meanwhile);
    drop(third);
    assert_eq!(join().since(), Since::Before);
}

/// Of an image whose program does not run here.
fn refused() -> PullsError {
    let mismatch = Mismatch {
        id: "PLAT-004".into(),
        action: Action::Refuse,
        image: "app:1".into(),
        platform: Platform::linux("amd64", ""),
        node: "quay".into(),
        message: "its program is for another architecture".into(),
    };
    PullError::Mismatch(Box::new(Refused { mismatch, advice: None })).into()
}

#[test]
fn a_failure_is_not_handed_to_whom_it_need_not_concern() {
    let elsewhere = Way { repository: "other".into(), ..way(None) };
    let brings = Way { unpacks: false, ..way(None) };
    let unpacking = || PullError::Unpack(UnpackError::Abandoned).into();
    let lax = Way { stance: Action::Warn.into(), ..way(None) };
    let cases: [(PullsError, Way, bool); 11] = [
        (error(Kind::NotFound), way(None), true),
        (error(Kind::NotFound), way(Some("him")), false),
        (error(Kind::NotFound), elsewhere.clone(), false),
        (error(Kind::NoMatchingPlatform), way(Some("him")), true),
        (error(Kind::NoMatchingPlatform), elsewhere, true),
        (unpacking(), way(Some("him")), true),
        (unpacking(), brings.clone(), false),
        (refused(), way(Some("him")), true),
        (refused(), brings.clone(), false),
        (refused(), lax, false),
        (PullsError::NoProgress { after: Duration::from_secs(1) }, brings, true),
    ];
    for (error, way_of_waiter, is_handed_on) in cases {
        let landings = Landings::default();
        let mut lands = landings.join(key("a"), way(None), &silent());
        let mut waits = landings.join(key("a"), way_of_waiter.clone(), &silent());
        assert_taken(&mut lands);
        let error = lands.failed(error);
        drop(lands);
        let told = taken(&mut waits).expect("it is over");
        assert_eq!(told.is_err(), is_handed_on, "{error:?} for {way_of_waiter:?}");
    }
}

#[test]
fn of_those_who_try_for_themselves_one_does_so_at_a_time() {
    let landings = Landings::default();
    let join = |asker| landings.join(key("a"), way(asker), &silent());
    let mut lands = join(None);
    let [mut first, mut second, mut third] = [join(Some("him")), join(Some("him")), join(Some("her"))];
    assert_taken(&mut lands);
    lands.failed(error(Kind::NotFound));
    drop(lands);
    assert_taken(&mut first);
    assert!(taken(&mut second).is_none() && taken(&mut third).is_none());
    first.failed(error(Kind::NotFound));
    drop(first);
    assert!(taken(&mut second).is_some_and(|told| told.is_err()));
    assert_taken(&mut third);
}

fn planned(blobs: &[Descriptor]) -> Planned {
    Planned {
        reference: "docker.io/library/app:1".into(),
        root: blob("root"),
        images: Vec::new(),
        blobs: blobs.len(),
        bytes: blobs.iter().map(|blob| blob.size).sum(),
        warnings: Vec::new(),
    }
}

#[tokio::test]
async fn the_list_counts_every_byte_once_and_forgets_what_is_over() {
    let running = Running::default();
    let reference = "app:1".parse().expect("a reference");
    let cancel = CancellationToken::new();
    let entry = running.enter(&reference, &Place::default(), Door::Cri, cancel.clone());
    let (here, comes) = (blob("here already"), blob("comes in two parts"));
    entry.planned(&planned(&[here.clone(), comes.clone()]));
    let counting = Arc::<Counting>::default();
    let metered = Arc::<Counting>::default();
    let listener = Arc::<Counting>::clone(&counting) as Arc<dyn super::Listener>;
    let watched = entry.observe(listener, Arc::<Counting>::clone(&metered));
    for event in [
        Event::Present(&here),
        Event::Started { blob: &comes, offset: 3 },
        Event::Advanced { digest: &comes.digest, bytes: comes.size - 3 },
        Event::Finished(&comes),
        // Another pull landed it; our own turn finds both here.
        Event::Present(&here),
        Event::Present(&comes),
        Event::Unpacked { done: 1, total: 2 },
    ] {
        watched.notify(event);
    }
    assert_eq!((counting.heard(), metered.heard()), (5, 5), "what is known was told again");
    let [pull] = running.list().try_into().expect("one pull");
    assert_eq!((pull.id, pull.bytes_done, pull.bytes_total), (1, here.size + comes.size, here.size + comes.size));
    assert_eq!((pull.layers_done, pull.layers_total, pull.door), (1, 2, Door::Cri));

    assert!(!running.cancel(7));
    assert!(running.cancel(1) && cancel.is_cancelled());
    drop(entry);
    assert!(running.list().is_empty() && !running.cancel(1));
}

#[tokio::test(start_paused = true)]
async fn only_waiting_for_a_registry_is_being_stuck() {
    let running = Running::default();
    let reference: Reference = "app:1".parse().expect("a reference");
    let entry = running.enter(&reference, &Place::default(), Door::Api, CancellationToken::new());
    let minute = Duration::from_secs(60);
    let within = async |time| tokio::time::timeout(time, entry.stuck(minute)).await.is_ok();
    let what = reference.familiar();
    let watched = entry.observe(Arc::new(Silent), silent());
    assert!(!within(minute * 5).await, "a place in the line of those who resolve is no standstill");
    entry.resolving();
    watched.notify(Event::Held { what: &what });
    assert!(!within(minute * 5).await, "waiting for memory is no standstill");
    watched.notify(Event::Asking { what: &what });
    assert!(within(minute * 2).await, "resolving for ever is not found");

    let (comes, waits) = (blob("comes a byte at a time"), blob("waits for a connection"));
    let [comes_what, waits_what] = [&comes, &waits].map(|blob| blob.digest.to_string());
    let tell = |asks: bool, what: &str| {
        watched.notify(if asks { Event::Asking { what } } else { Event::Held { what } });
    };
    entry.planned(&planned(&[comes.clone(), waits.clone()]));
    // Another pull lands the same image.
    tell(true, &comes_what);
    assert!(!within(minute * 5).await, "a place in the queue is no standstill");

    entry.landing();
    assert!(!within(minute * 5).await, "nobody was asked for anything");
    tell(true, &comes_what);
    for _ in 0..5 {
        assert!(!within(minute / 2).await);
        watched.notify(Event::Advanced { digest: &comes.digest, bytes: 1 });
    }
    tell(false, &comes_what);
    assert!(!within(minute * 5).await, "waiting for a connection is no standstill");
    // What was waited in vain before counts, however often others had their turn meanwhile.
    for _ in 0..3 {
        tell(true, &waits_what);
        assert!(!within(minute / 4).await);
        tell(false, &waits_what);
        assert!(!within(minute).await);
    }
    tell(true, &waits_what);
    assert!(within(minute / 2).await, "a download that stands still is not found");
    watched.notify(Event::Finished(&comes));
    tell(false, &waits_what);
    assert!(!within(minute * 5).await, "unpacking is no standstill");
}

#[tokio::test(start_paused = true)]
async fn what_stands_still_is_cancelled_and_has_its_own_error() {
    let running = Running::default();
    let reference = "app:1".parse().expect("a reference");
    let cancel = CancellationToken::new();
    let entry = running.enter(&reference, &Place::default(), Door::Api, cancel.clone());
    entry.resolving();
    let (minute, ends) = (Duration::from_secs(60), cancel.clone());
    let hangs = async move {
        ends.cancelled().await;
        Err::<(), _>(PullError::Cancelled)
    };
    let ended = entry.watched(minute, hangs).await;
    assert!(matches!(ended, Err(PullsError::NoProgress { after }) if after == minute), "{ended:?}");
    assert!(cancel.is_cancelled());
}
