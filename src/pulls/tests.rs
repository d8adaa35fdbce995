//! The list of pulls, and who lands what.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::landings::{Key, Landings};
use super::places::Place;
use super::running::{Door, Running};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;
use crate::fetch::progress::{Event, Observer, Silent};
use crate::pull::Planned;

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

#[tokio::test]
async fn one_lands_and_the_others_hear_of_it_and_go_on_where_it_ends() {
    let landings = Landings::default();
    let observers: [Arc<Counting>; 3] = Default::default();
    let [first, second, elsewhere] =
        observers.each_ref().map(|observer| Arc::<Counting>::clone(observer) as Arc<dyn Observer>);
    let mut lands = landings.join(key("a"), &first);
    let mut waits = landings.join(key("a"), &second);
    let mut other = landings.join(key("b"), &elsewhere);
    lands.turn().await;
    assert!(waits.turn().now_or_never().is_none(), "two land one image at a time");
    assert!(other.turn().now_or_never().is_some(), "another place has to wait");

    lands.audience().notify(Event::Present(&blob("x")));
    assert_eq!(observers.each_ref().map(|observer| observer.heard()), [1, 1, 0]);

    let [gone, stays, _] = observers;
    drop((lands, first, gone));
    waits.turn().await;
    waits.audience().notify(Event::Present(&blob("y")));
    assert_eq!(stays.heard(), 2);

    drop((waits, other));
    assert!(landings.is_empty(), "a landing is kept that nobody has part in");
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
    let reference = "app:1".parse().expect("a reference");
    let entry = running.enter(&reference, &Place::default(), Door::Api, CancellationToken::new());
    let minute = std::time::Duration::from_secs(60);
    let within = async |time| tokio::time::timeout(time, entry.stuck(minute)).await.is_ok();
    assert!(within(minute * 2).await, "resolving for ever is not found");

    let comes = blob("comes a byte at a time");
    entry.planned(&planned(std::slice::from_ref(&comes)));
    assert!(!within(minute * 5).await, "a place in the queue is no standstill");

    entry.landing();
    let watched = entry.observe(Arc::new(Silent), Arc::new(Silent));
    for _ in 0..5 {
        assert!(!within(minute / 2).await);
        watched.notify(Event::Advanced { digest: &comes.digest, bytes: 1 });
    }
    assert!(within(minute * 2).await, "a download that stands still is not found");
    watched.notify(Event::Finished(&comes));
    assert!(!within(minute * 5).await, "unpacking is no standstill");
}
