//! Several callers who want the same blob, and those who read it while it arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Semaphore, watch};

use super::support::{Answer, Bed, Ending, Heard, Server, descriptor, noise, small_limits};
use crate::core::descriptor::Descriptor;
use crate::core::digest::Digest;
use crate::core::error::{Classify as _, Kind};
use crate::core::limits::Limits;
use crate::fetch::{Arrival, Fetcher, Job, Landed};
use crate::store::staging::{FollowError, Follower};
use crate::store::{Belongs, Role};

const SIZE: usize = 200_000;
/// What comes before the gate.
const BEFORE: usize = 100_000;

/// A host that sends the start of a blob and the rest when it may.
async fn gated(content: &[u8]) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let (served, closed) = (content.to_vec(), Arc::clone(&gate));
    let server =
        Server::start(move |asked| Answer::honest(asked, &served).ending(Ending::Gated(BEFORE, Arc::clone(&closed))))
            .await;
    (server, gate)
}

async fn arriving(arrival: &mut watch::Receiver<Arrival>) -> Follower {
    let found = arrival.wait_for(|arrival| matches!(arrival, Arrival::Arriving(_))).await.expect("it arrives").clone();
    match found {
        Arrival::Arriving(follower) => follower,
        other => panic!("{other:?}"),
    }
}

/// Reads so many bytes.
async fn read(follower: &mut Follower, count: usize) -> Result<Vec<u8>, FollowError> {
    let mut bytes = vec![0; count];
    let mut at = 0;
    while at < count {
        match follower.read(&mut bytes[at..]).await? {
            0 => break,
            more => at += more,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// Another caller with ears of its own.
fn another(bed: &Bed, server: &Server) -> (Fetcher, crate::core::reference::Reference, Arc<Heard>) {
    let heard = Arc::<Heard>::default();
    let (fetcher, reference) = bed.fetcher(&[server]);
    let fetcher = Fetcher { observer: Arc::<Heard>::clone(&heard), ..fetcher };
    (fetcher, reference, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_can_be_read_while_it_arrives() {
    let content = noise(SIZE, 41);
    let (server, gate) = gated(&content).await;
    let bed = Bed::new().await;
    let (fetcher, reference) = bed.fetcher(&[&server]);
    let sender = watch::Sender::new(Arrival::Awaited);
    let mut arrival = sender.subscribe();
    let fetching = bed.fetch_with(&fetcher, &reference, &content, &sender);
    let reading = async {
        let mut follower = arriving(&mut arrival).await;
        // What is gathered and not written yet is less than two pieces.
        let early = read(&mut follower, BEFORE - 32 * 1024).await.expect("the start");
        gate.add_permits(SIZE);
        let late = read(&mut follower, SIZE).await.expect("the rest");
        follower.verified().await.expect("the digest holds");
        [early, late].concat()
    };
    let (landed, bytes) = tokio::join!(fetching, reading);
    assert_eq!((landed.expect("fetched"), bytes), (Landed::Fetched(SIZE as u64), content));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_want_the_same_share_one_download_and_may_leave() {
    let content = noise(SIZE, 42);
    let (server, gate) = gated(&content).await;
    let bed = Bed::new().await;
    let (first, reference) = bed.fetcher(&[&server]);
    let (second, _, heard) = another(&bed, &server);
    let (third, _, _) = another(&bed, &server);
    let senders = [(); 3].map(|()| watch::Sender::new(Arrival::Awaited));
    let mut arrivals = [0, 1, 2].map(|i: usize| senders[i].subscribe());
    {
        let mut leaving = Box::pin(bed.fetch_with(&first, &reference, &content, &senders[0]));
        tokio::select! {
            _ = &mut leaving => panic!("the gate is shut"),
            mut follower = arriving(&mut arrivals[0]) => drop(read(&mut follower, 1000).await.expect("bytes")),
        }
        let staying = bed.fetch_with(&second, &reference, &content, &senders[1]);
        let also = bed.fetch_with(&third, &reference, &content, &senders[2]);
        let directing = async {
            arriving(&mut arrivals[1]).await;
            arriving(&mut arrivals[2]).await;
            drop(leaving);
            gate.add_permits(SIZE);
        };
        let (staying, also, ()) = tokio::join!(staying, also, directing);
        assert!(matches!(staying.expect("fetched"), Landed::Fetched(_)));
        assert!(matches!(also.expect("fetched"), Landed::Fetched(_)));
    }
    assert_eq!(server.asked().len(), 1);
    assert_eq!((bed.landed(&content).as_ref(), bed.staged()), (Some(&content), 0));
    assert_eq!((heard.count("started at"), heard.count("finished")), (1, 1));
    assert_eq!(heard.bytes.load(Ordering::SeqCst), SIZE, "where it stood, and what came from then on");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_one_leaves_what_is_staged_stays() {
    let content = noise(SIZE, 43);
    let (server, gate) = gated(&content).await;
    let bed = Bed::new().await;
    let (fetcher, reference) = bed.fetcher(&[&server]);
    let sender = watch::Sender::new(Arrival::Awaited);
    let mut arrival = sender.subscribe();
    let started = async {
        let mut follower = arriving(&mut arrival).await;
        read(&mut follower, 64 * 1024).await.expect("bytes");
        follower
    };
    let mut follower = tokio::select! {
        _ = bed.fetch_with(&fetcher, &reference, &content, &sender) => panic!("the gate is shut"),
        follower = started => follower,
    };
    assert!(matches!(read(&mut follower, SIZE).await, Err(FollowError::Abandoned)), "nobody brings the rest");
    gate.add_permits(SIZE);
    let honest = Server::honest(&content).await;
    drop(follower);
    let landed = bed.fetch(&[&honest], &content).await.expect("fetched");
    assert!(matches!(landed, Landed::Fetched(bytes) if bytes <= (SIZE - 64 * 1024) as u64), "{landed:?}");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_everybodys_and_the_next_caller_starts_anew() {
    let content = noise(SIZE, 44);
    let served = content.clone();
    let server = Server::start(move |asked| match asked.number {
        0 => Answer::status(404),
        _ => Answer::honest(asked, &served),
    })
    .await;
    let bed = Bed::new().await;
    let (first, reference) = bed.fetcher(&[&server]);
    let (second, _, _) = another(&bed, &server);
    let senders = [(); 2].map(|()| watch::Sender::new(Arrival::Awaited));
    let both = tokio::join!(
        bed.fetch_with(&first, &reference, &content, &senders[0]),
        bed.fetch_with(&second, &reference, &content, &senders[1]),
    );
    // The second may come a moment too late to share the failure; then it has its own download.
    let failures = [&both.0, &both.1].into_iter().filter(|landed| landed.is_err()).count();
    assert!(failures >= 1, "{both:?}");
    bed.fetch(&[&server], &content).await.expect("fetched");
    assert_eq!(bed.landed(&content).as_ref(), Some(&content));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_whether_a_blob_waits_for_a_host_or_for_its_turn() {
    let (large, small) = (noise(SIZE, 48), noise(1000, 49));
    let gate = Arc::new(Semaphore::new(0));
    let (served, closed) = ([large.clone(), small.clone()], Arc::clone(&gate));
    let server = Server::start(move |asked| {
        let [large, small] = &served;
        match asked.path.ends_with(Digest::of(large).hex()) {
            true => Answer::honest(asked, large).ending(Ending::Gated(BEFORE, Arc::clone(&closed))),
            false => Answer::honest(asked, small),
        }
    })
    .await;
    let one = Limits { connections_per_host: 1, stall_window: Limits::default().stall_window, ..small_limits() };
    let bed = Bed::with(one).await;
    let (first, reference) = bed.fetcher(&[&server]);
    let (second, _, heard) = another(&bed, &server);
    let (third, _, late) = another(&bed, &server);
    let senders = [(); 3].map(|()| watch::Sender::new(Arrival::Awaited));
    let directing = async {
        arriving(&mut senders[0].subscribe()).await;
        while server.asked().is_empty() || heard.count("held") == 0 || late.count("asking") == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((heard.count("asking"), heard.count("held")), (1, 1));
        assert_eq!((late.count("asking"), late.count("held")), (1, 0), "who joins is told how it stands");
        gate.add_permits(SIZE);
    };
    let has_the_connection = async {
        while server.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let behind = async {
        has_the_connection.await;
        tokio::join!(
            bed.fetch_with(&second, &reference, &small, &senders[1]),
            bed.fetch_with(&third, &reference, &large, &senders[2]),
        )
    };
    let (landed, (behind, shared), ()) =
        tokio::join!(bed.fetch_with(&first, &reference, &large, &senders[0]), behind, directing);
    assert!(landed.is_ok() && behind.is_ok() && shared.is_ok());
    assert_eq!((heard.count("asking"), heard.count("held")), (2, 2), "its turn, and its end");
    assert_eq!(late.count("held"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_turn_out_wrong_arrive_again() {
    let content = noise(SIZE, 45);
    let wrong = Server::honest(&noise(SIZE, 46)).await;
    let registry = Server::honest(&content).await;
    let bed = Bed::new().await;
    let (fetcher, reference) = bed.fetcher(&[&wrong, &registry]);
    let sender = watch::Sender::new(Arrival::Awaited);
    let mut arrival = sender.subscribe();
    // Who is quick reads the wrong bytes first, and who is slow finds the right ones in the store.
    let reading = async {
        loop {
            let now =
                arrival.wait_for(|arrival| !matches!(arrival, Arrival::Awaited)).await.expect("it arrives").clone();
            arrival.mark_unchanged();
            let Arrival::Arriving(mut follower) = now else { return bed.landed(&content).expect("in the store") };
            match read(&mut follower, SIZE).await {
                Ok(bytes) if follower.verified().await.is_ok() => return bytes,
                _ => arrival.changed().await.expect("it arrives again"),
            }
        }
    };
    let (landed, bytes) = tokio::join!(bed.fetch_with(&fetcher, &reference, &content, &sender), reading);
    landed.expect("fetched");
    assert_eq!(bytes, content);
}

#[tokio::test]
async fn a_pull_that_cannot_fit_is_refused_before_anything_is_fetched() {
    let content = noise(1000, 47);
    let server = Server::honest(&content).await;
    let bed = Bed::new().await;
    bed.fetch(&[&server], &content).await.expect("fetched");
    let (fetcher, reference) = bed.fetcher(&[&server]);
    let job = Job { reference: &reference, store: &bed.layout, lease: &bed.lease };
    let belongs = Belongs { role: Role::Layer(None), source: &reference };
    let there = descriptor(&content);
    let endless = Descriptor { size: u64::MAX / 2, ..descriptor(b"endless") };
    fetcher.make_room(&job, &[(&there, belongs)]).await.expect("room enough");
    let error = fetcher.make_room(&job, &[(&there, belongs), (&endless, belongs)]).await.expect_err("no room");
    assert_eq!(error.kind(), Kind::StoreFull, "{error}");
    assert!(error.hint().is_some(), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_drips_does_not_keep_others_from_theirs() {
    let (dripped, other) = (noise(SIZE, 51), noise(SIZE, 52));
    let (dripping, gate) = gated(&dripped).await;
    let served = other.clone();
    let honest = Server::start(move |asked| Answer::honest(asked, &served)).await;
    // One connection for all. Two kilobytes a second are no stall, and far from fair.
    let bed = Bed::with(Limits { connections: 1, fair_rate: 100_000, ..small_limits() }).await;
    let (slow, slow_reference) = bed.fetcher(&[&dripping]);
    let (fast, fast_reference, _) = another(&bed, &honest);
    let senders = [(); 2].map(|()| watch::Sender::new(Arrival::Awaited));
    let mut arrival = senders[0].subscribe();
    let slow = bed.fetch_with(&slow, &slow_reference, &dripped, &senders[0]);
    let drip = async {
        loop {
            gate.add_permits(20);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let fast = async {
        drop(arriving(&mut arrival).await);
        let landed = bed.fetch_with(&fast, &fast_reference, &other, &senders[1]).await;
        gate.add_permits(SIZE);
        landed
    };
    let (slow, fast) = tokio::select! {
        both = async { tokio::join!(slow, fast) } => both,
        () = drip => unreachable!(),
    };
    assert!(matches!((slow.expect("in the end"), fast.expect("meanwhile")), (Landed::Fetched(_), Landed::Fetched(_))));
    assert_eq!((bed.landed(&dripped), bed.landed(&other)), (Some(dripped), Some(other)));
    let asked = dripping.asked();
    assert!(asked.len() > 1, "it gave way, and went on later: {asked:?}");
}
