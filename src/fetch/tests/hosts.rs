//! Several hosts: leaving one mid-blob, finding out who lied, not paying for a dead one twice.

use std::time::Duration;

use super::support::{Answer, Bed, Ending, Server, descriptor, noise, small_limits};
use crate::core::error::{Blame, Classify as _, Kind};
use crate::core::limits::Limits;
use crate::fetch::{Endpoint, HostClass};

const SIZE: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_goes_on_at_the_same_byte() {
    let content = noise(SIZE, 21);
    let served = content.clone();
    let mirror = Server::start(move |asked| match asked.number {
        0..4 => Answer::honest(asked, &served),
        4 => Answer::honest(asked, &served).ending(Ending::CloseAfter(1000)),
        _ => Answer::status(404),
    })
    .await;
    let registry = Server::honest(&content).await;
    let bed = Bed::new().await;
    bed.fetch(&[&mirror, &registry], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    let lengths =
        mirror.asked().iter().map(|asked| asked.range.map_or(0, |(first, last)| last - first + 1)).collect::<Vec<_>>();
    let brought: usize = lengths[..4].iter().sum::<usize>() + 1000;
    assert_eq!(registry.bytes_asked(), SIZE - brought, "{lengths:?}");
    assert_eq!(bed.heard.count(&format!("next after http://{}", mirror.authority)), 1, "once, however many saw it");
    let account = bed.engine.account();
    assert_eq!(account.bytes_from_mirrors, brought as u64, "{account:?}");
    assert_eq!(account.bytes_from_registries, registry.bytes_asked() as u64, "{account:?}");
    let (registry, mirror): (Vec<_>, Vec<_>) =
        account.attempts.iter().partition(|((class, _), _)| *class == HostClass::Registry);
    assert_eq!(registry, [(&(HostClass::Registry, None), &1)], "{account:?}");
    // Once or twice: which of its connections ends first decides whether it is asked again.
    assert!(!mirror.is_empty() && mirror.iter().all(|((_, failure), _)| failure.is_some()), "{account:?}");
    assert_eq!((account.downloads, account.connections, account.buffers_used), (0, 0, 0));
    assert_eq!(account.buffers, u64::from(bed.engine.limits().buffer_bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_sends_wrong_bytes_is_found_out_and_asked_last() {
    let (content, second) = (noise(SIZE, 22), noise(SIZE, 23));
    let served = [content.clone(), second.clone()];
    let of = |path: &str, served: &[Vec<u8>; 2]| {
        let first = path.contains(descriptor(&served[0]).digest.hex());
        served[usize::from(!first)].clone()
    };
    let lies = served.clone();
    // It brings all but the last ranges right, and one byte wrong.
    let liar = Server::start(move |asked| {
        let mut answer = Answer::honest(asked, &of(&asked.path, &lies));
        if asked.range.is_some_and(|(first, last)| (first..=last).contains(&300_000)) {
            answer.body[300_000 - asked.range.map_or(0, |(first, _)| first)] ^= 1;
        }
        answer
    })
    .await;
    let registry = Server::start(move |asked| Answer::honest(asked, &of(&asked.path, &served))).await;
    let bed = Bed::new().await;
    bed.fetch(&[&liar, &registry], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!(registry.bytes_asked(), SIZE, "from the other host alone");
    assert_eq!(bed.heard.count(&format!("blamed http://{}", liar.authority)), 1);
    assert_eq!((bed.heard.count("blamed"), bed.staged()), (1, 0));
    let wrong = (HostClass::Mirror, Some(Kind::DigestMismatch));
    assert_eq!(bed.engine.account().attempts.get(&wrong), Some(&1), "{:?}", bed.engine.account());
    let before = liar.asked().len();
    bed.fetch(&[&liar, &registry], &second).await.expect("fetched");
    assert_eq!(liar.asked().len(), before, "it was asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_that_shared_a_blob_the_liar_is_blamed_and_not_the_other() {
    let content = noise(SIZE, 24);
    let (good, bad) = (content.clone(), content.clone());
    let mirror = Server::start(move |asked| match asked.number {
        0..2 => {
            let mut answer = Answer::honest(asked, &bad);
            answer.body[0] ^= 1;
            answer
        }
        _ => Answer::status(404),
    })
    .await;
    let registry = Server::start(move |asked| Answer::honest(asked, &good)).await;
    let bed = Bed::new().await;
    bed.fetch(&[&mirror, &registry], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!(bed.heard.count(&format!("blamed http://{}", mirror.authority)), 1);
    assert_eq!(bed.heard.count("blamed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_wrong_about_the_size_in_ranges_goes_on_in_one_piece() {
    let content = noise(SIZE, 36);
    for odd in [0, 2] {
        let served = content.clone();
        let mirror = Server::start(move |asked| {
            let mut answer = Answer::honest(asked, &served);
            if let (Some((first, last)), true) = (asked.range, asked.number >= odd) {
                answer.headers = vec![("content-range", format!("bytes {first}-{last}/{}", SIZE + 1))];
            }
            answer
        })
        .await;
        let registry = Server::honest(&content).await;
        let bed = Bed::new().await;
        bed.fetch(&[&mirror, &registry], &content).await.expect("fetched");
        assert_eq!(bed.landed(&content).as_ref(), Some(&content));
        assert_eq!(registry.asked().len(), 0, "the mirror has it whole");
        assert!(mirror.asked().iter().any(|asked| asked.range.is_none()), "{:?}", mirror.asked());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_of_one_host_is_its_own_fault_and_of_all_the_manifests() {
    let (content, longer) = (noise(SIZE, 37), noise(SIZE + 1, 38));
    let (mirror, good) = (Server::honest(&longer).await, Server::honest(&content).await);
    let bed = Bed::new().await;
    bed.fetch(&[&mirror, &good], &content).await.expect("fetched from the other host");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!(good.bytes_asked(), SIZE);

    let registry = Server::honest(&longer).await;
    let error = Bed::new().await.fetch(&[&registry], &content).await.expect_err("another size");
    assert_eq!((error.kind(), error.blame()), (Kind::DigestMismatch, Blame::Registry), "{error}");
    let error = Bed::new().await.fetch(&[&mirror, &registry], &content).await.expect_err("another size");
    assert_eq!(
        (error.kind(), error.blame(), error.attempts().len()),
        (Kind::InvalidContent, Blame::Image, 2),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("{SIZE} bytes")), "{error}");
    let other = Server::honest(&noise(SIZE + 2, 39)).await;
    let error = Bed::new().await.fetch(&[&other, &registry], &content).await.expect_err("another size");
    assert_eq!(error.blame(), Blame::Registry, "they do not even agree: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_the_only_host_are_an_error_that_names_it() {
    let (content, other) = (noise(SIZE, 25), noise(SIZE, 26));
    let server = Server::honest(&other).await;
    let bed = Bed::new().await;
    let error = bed.fetch(&[&server], &content).await.expect_err("wrong bytes");
    assert_eq!(error.kind(), Kind::DigestMismatch, "{error}");
    assert!(error.to_string().contains(&server.authority), "{error}");
    assert_eq!((bed.landed(&content), bed.staged(), server.bytes_asked()), (None, 0, SIZE));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_every_host_are_asked_for_twice_at_most() {
    let (content, other) = (noise(SIZE, 27), noise(SIZE, 28));
    let servers = [Server::honest(&other).await, Server::honest(&other).await, Server::honest(&other).await];
    let bed = Bed::new().await;
    let error = bed.fetch(&[&servers[0], &servers[1], &servers[2]], &content).await.expect_err("wrong bytes");
    assert_eq!((error.kind(), error.attempts().len()), (Kind::DigestMismatch, 2), "{error}");
    assert_eq!(servers.each_ref().map(Server::bytes_asked), [SIZE, SIZE, 0]);
    assert_eq!((bed.landed(&content), bed.staged()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mirror_is_tried_once_and_not_once_per_blob() {
    let contents: Vec<Vec<u8>> = (30..35).map(|seed| noise(50_000, seed)).collect();
    let mirror = Server::start(|_| Answer::status(200).ending(Ending::NoHead)).await;
    let dead = Server::start(|_| Answer::status(500)).await;
    let served = contents.clone();
    let registry = Server::start(move |asked| {
        let content = served.iter().find(|content| asked.path.contains(descriptor(content).digest.hex()));
        Answer::honest(asked, content.expect("one of them"))
    })
    .await;
    let bed = Bed::new().await;
    for content in &contents {
        bed.fetch(&[&mirror, &dead, &registry], content).await.expect("fetched");
        assert_eq!(bed.landed(content).as_ref(), Some(content));
    }
    assert_eq!((mirror.asked().len(), dead.asked().len(), registry.asked().len()), (1, 1, 5));
}

/// Bounds under which a fifth of a second is a long silence.
fn hasty() -> Limits {
    Limits { stall_window: Duration::from_millis(200), ..small_limits() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_never_answers_costs_one_silence_for_documents_and_blobs() {
    let (document, content) = (noise(2000, 40), noise(50_000, 41));
    let mirror = Server::start(|_| Answer::status(200).ending(Ending::Silence)).await;
    let served = [document.clone(), content.clone()];
    let registry = Server::start(move |asked| {
        let is_blob = asked.path.contains(descriptor(&served[1]).digest.hex());
        Answer::honest(asked, &served[usize::from(is_blob)])
    })
    .await;
    let bed = Bed::with(hasty()).await;
    let (fetcher, reference) = bed.fetcher(&[&mirror, &registry]);
    fetcher.root(&reference).await.expect("fetched");
    for endpoint in [Endpoint::Manifests, Endpoint::Blobs] {
        let found = fetcher.document(&reference, &descriptor(&document), endpoint).await.expect("fetched");
        assert_eq!(found.content(), &document);
    }
    bed.fetch(&[&mirror, &registry], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!(mirror.asked().len(), 1, "{:?}", mirror.asked());
    assert_eq!(bed.heard.count(&format!("next after http://{} (nothing came for 200 ms)", mirror.authority)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_mirror_is_left_alone_while_the_registry_may_heal() {
    let content = noise(50_000, 42);
    let mirror = Server::start(|_| Answer::status(200).ending(Ending::Silence)).await;
    let served = content.clone();
    let registry = Server::start(move |asked| match asked.number {
        0..3 => Answer::status(503),
        _ => Answer::honest(asked, &served),
    })
    .await;
    let bed = Bed::with(hasty()).await;
    bed.fetch(&[&mirror, &registry], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!((mirror.asked().len(), registry.asked().len()), (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_host_that_is_slow_to_begin_is_waited_for() {
    let content = noise(50_000, 43);
    let served = content.clone();
    let slow =
        Server::start(move |asked| Answer::honest(asked, &served).ending(Ending::Late(Duration::from_millis(500))))
            .await;
    let bed = Bed::with(hasty()).await;
    bed.fetch(&[&slow], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert!(slow.asked().len() > 1, "it was waited for at once");

    // Also where somebody else fails faster, again and again.
    let broken = Server::start(|_| Answer::status(503)).await;
    let bed = Bed::with(hasty()).await;
    bed.fetch(&[&broken, &slow], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
}
