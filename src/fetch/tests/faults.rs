//! What a transfer survives, and how much it asks for twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::{Answer, Asked, Bed, Ending, Server, noise, small_limits};
use crate::core::error::{Classify as _, Kind};
use crate::core::limits::Limits;
use crate::fetch::Landed;

const SIZE: usize = 1 << 20;

/// A host that answers its `number`-th request with `fault`, and all others honestly.
async fn faulty(content: &[u8], number: usize, fault: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Server {
    let content = content.to_vec();
    Server::start(move |asked| {
        let honest = Answer::honest(asked, &content);
        if asked.number == number { fault(honest) } else { honest }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_is_one_request_without_a_range() {
    let content = noise(200_000, 1);
    let (bed, server) = (Bed::new().await, Server::honest(&content).await);
    let landed = bed.fetch(&[&server], &content).await.expect("fetched");
    assert_eq!(landed, Landed::Fetched(200_000));
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].range), (1, None), "{asked:?}");
    assert_eq!(bed.fetch(&[&server], &content).await.expect("is there"), Landed::Present);
    assert_eq!((server.asked().len(), bed.staged()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_lands() {
    let (bed, server) = (Bed::new().await, Server::honest(b"").await);
    bed.fetch(&[&server], b"").await.expect("fetched");
    assert_eq!(bed.landed(b"").as_deref(), Some(&b""[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_comes_in_bounded_ranges_each_byte_once() {
    let content = noise(3 * SIZE + 17, 2);
    let (bed, server) = (Bed::new().await, Server::honest(&content).await);
    let landed = bed.fetch(&[&server], &content).await.expect("fetched");
    assert_eq!(landed, Landed::Fetched(content.len() as u64));
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.range.is_some_and(|(first, last)| last - first < 128 * 1024)), "{asked:?}");
    assert_eq!(asked[0].range.map(|(first, _)| first), Some(0));
    assert_eq!(server.bytes_asked(), content.len());
    assert_eq!(bed.heard.bytes.load(Ordering::SeqCst), content.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_are_opened_as_long_as_they_pay() {
    // Half a megabyte per second and connection is worth four of them at least.
    let limits = Limits { connections_per_host: 8, ..small_limits() };
    let content = noise(6 * SIZE, 3);
    let served = content.clone();
    let server = Server::start(move |asked| Answer::honest(asked, &served).ending(Ending::Paced(16 * 1024))).await;
    let bed = Bed::with(limits).await;
    bed.fetch(&[&server], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert!((4..=8).contains(&server.busiest()), "{} at a time", server.busiest());
    assert_eq!(server.bytes_asked(), content.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_goes_on_at_the_same_byte() {
    let content = noise(SIZE, 4);
    for number in [0, 1, 3] {
        for at in [0, 1, 20_000, 65_535] {
            for ending in [Ending::CloseAfter(at), Ending::ResetAfter(at)] {
                let told = format!("request {number}, {ending:?}");
                let orderly = matches!(ending, Ending::CloseAfter(_));
                let server = faulty(&content, number, move |honest| honest.ending(ending.clone())).await;
                let bed = Bed::new().await;
                bed.fetch(&[&server], &content).await.expect(&told);
                assert_eq!(bed.landed(&content).as_ref(), Some(&content), "{told}");
                // A reset may overtake bytes that were sent before it; what came is not asked for again.
                let broken = server.asked()[number].range.map_or(0, |(first, last)| last - first + 1);
                let twice = server.bytes_asked() - SIZE;
                let most = if orderly { broken - at.min(broken) } else { broken };
                assert!(twice <= most, "{told}: {twice} bytes were asked for again, {most} were missing");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_in_one_piece_that_breaks_off_goes_on_by_range() {
    let content = noise(200_000, 5);
    let server = faulty(&content, 0, |honest| honest.ending(Ending::CloseAfter(150_000))).await;
    let bed = Bed::new().await;
    bed.fetch(&[&server], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!(server.asked()[1].range, Some((150_000, 199_999)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_wrong_or_refuse_do_not_end_it() {
    type Fault = fn(Answer) -> Answer;
    let faults: [(&str, Fault); 12] = [
        ("no head", |honest| honest.ending(Ending::NoHead)),
        ("416", |_| Answer::status(416)),
        ("400", |_| Answer::status(400)),
        ("429 with seconds", |_| Answer::status(429).header("retry-after", "0")),
        ("429 with a date", |_| {
            let date = "Sun, 06 Nov 1994 08:49:37 GMT";
            Answer::status(429).header("retry-after", date).header("date", date)
        }),
        ("503", |_| Answer::status(503)),
        ("500", |_| Answer::status(500)),
        ("wrong range", |mut honest| {
            honest.headers = vec![("content-range", "bytes 1-65536/1048576".into())];
            honest
        }),
        ("no range", |mut honest| {
            honest.headers.clear();
            honest
        }),
        ("short body", |mut honest| {
            honest.body.pop();
            honest
        }),
        ("long body", |mut honest| {
            honest.body.push(0);
            honest
        }),
        ("several ranges", |honest| honest.header("content-type", "multipart/byteranges; boundary=x")),
    ];
    let content = noise(SIZE, 6);
    for (told, fault) in faults {
        for number in [0, 2] {
            let server = faulty(&content, number, fault).await;
            let bed = Bed::new().await;
            bed.fetch(&[&server], &content).await.unwrap_or_else(|error| panic!("{told}, request {number}: {error}"));
            assert_eq!(bed.landed(&content).as_ref(), Some(&content), "{told}, request {number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_sends_the_whole_for_a_range_is_asked_once() {
    let content = noise(SIZE, 7);
    let served = content.clone();
    let server = Server::start(move |_| Answer { body: served.clone(), ..Answer::status(200) }).await;
    let bed = Bed::new().await;
    let landed = bed.fetch(&[&server], &content).await.expect("fetched");
    assert_eq!((landed, server.asked().len()), (Landed::Fetched(SIZE as u64), 1));
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_doing_ranges_half_way_sends_the_rest_in_one_piece() {
    let content = noise(SIZE, 13);
    for odd in [2, 3, 5] {
        let served = content.clone();
        let server = Server::start(move |asked| {
            let range = asked.range.filter(|_| asked.number < odd);
            Answer::honest(&Asked { range, ..asked.clone() }, &served).ending(Ending::Paced(64 * 1024))
        })
        .await;
        let bed = Bed::new().await;
        bed.fetch(&[&server], &content).await.expect("fetched");
        assert_eq!(bed.landed(&content).as_ref(), Some(&content));
        let more = server.asked().len() - odd;
        assert!((1..=2).contains(&more), "from request {odd} on, {more} were made: one for each connection at most");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_of_errors_are_waited_out_and_endless_ones_reported() {
    let content = noise(SIZE, 8);
    let served = content.clone();
    let burst = Server::start(move |asked| match asked.number {
        1..=3 => Answer::status(502),
        _ => Answer::honest(asked, &served),
    })
    .await;
    let bed = Bed::new().await;
    bed.fetch(&[&burst], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));

    let endless = Server::start(|_| Answer::status(429).header("retry-after", "4000")).await;
    let error = Bed::new().await.fetch(&[&endless], &content).await.expect_err("refused");
    assert_eq!((error.kind(), endless.asked().len()), (Kind::RateLimited, 1), "{error}");
    assert_eq!(error.attempts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_stall_or_drip_are_left() {
    let content = noise(SIZE, 9);
    for ending in [Ending::HangAfter(0), Ending::HangAfter(30_000), Ending::DripAfter(30_000)] {
        let told = format!("{ending:?}");
        let server = faulty(&content, 1, move |honest| honest.ending(ending.clone())).await;
        let bed = Bed::new().await;
        bed.fetch(&[&server], &content).await.expect(&told);
        assert_eq!(bed.landed(&content).as_ref(), Some(&content), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_redirect_is_resolved_again_and_counts_as_no_failure() {
    let content = noise(SIZE, 10);
    let current = Arc::new(AtomicUsize::new(0));
    let (served, valid, uses) = (content.clone(), Arc::clone(&current), AtomicUsize::new(0));
    // Every signature is good for four requests.
    let storage = Server::start(move |asked| {
        let good = asked.path == format!("/blob?sig={}", valid.load(Ordering::SeqCst));
        if !good || uses.fetch_add(1, Ordering::SeqCst) % 5 == 4 {
            valid.fetch_add(usize::from(good), Ordering::SeqCst);
            return Answer::status(403);
        }
        Answer::honest(asked, &served)
    })
    .await;
    let there = storage.authority.clone();
    let registry = Server::start(move |_: &Asked| {
        Answer::status(307).header("location", format!("http://{there}/blob?sig={}", current.load(Ordering::SeqCst)))
    })
    .await;
    let bed = Bed::new().await;
    bed.fetch(&[&registry], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
    assert_eq!(bed.heard.count("waiting"), 0);
    let good = SIZE / (128 * 1024);
    assert!(registry.asked().len() <= storage.asked().len().div_ceil(4).max(good), "{}", registry.asked().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_is_not_fetched_again_by_the_next_run() {
    let content = noise(SIZE, 11);
    let served = content.clone();
    // After three ranges the host is gone for good.
    let first = Server::start(move |asked| match asked.number {
        0..3 => Answer::honest(asked, &served),
        _ => Answer::status(404),
    })
    .await;
    let bed = Bed::new().await;
    let error = bed.fetch(&[&first], &content).await.expect_err("gone");
    assert_eq!(error.kind(), Kind::NotFound);
    let brought: usize =
        first.asked()[..3].iter().filter_map(|asked| asked.range).map(|(first, last)| last - first + 1).sum();
    let second = Server::honest(&content).await;
    let landed = bed.fetch(&[&second], &content).await.expect("fetched");
    assert_eq!(landed, Landed::Fetched((SIZE - brought) as u64));
    assert_eq!((second.bytes_asked(), bed.staged()), (SIZE - brought, 0));
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bandwidth_cap_and_a_tight_budget_still_bring_everything() {
    let limits = Limits {
        bandwidth: std::num::NonZeroU64::new(8 << 20),
        buffer_bytes: 64 * 1024,
        connection_bytes: 32 * 1024,
        ..small_limits()
    };
    let content = noise(2 * SIZE, 12);
    let (bed, server) = (Bed::with(limits).await, Server::honest(&content).await);
    let started = std::time::Instant::now();
    bed.fetch(&[&server], &content).await.expect("fetched");
    assert!(started.elapsed().as_millis() >= 100, "2 MiB at 8 MiB per second, but for a burst and a buffer");
    assert_eq!(server.busiest(), 1, "there is memory for one connection");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
}
