//! kill -9 at any moment: the next run fetches what is missing, and nothing else.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::journal::{interrupt, journalled};
use super::{MIB, Pull, assert_bounded, cargo, cut_short, excused, image_of, largest, request_for};
use crate::support::dice::Dice;
use crate::support::fixture::Blob;
use crate::support::liar::{At, Liar, Reply, Request, When, sent};
use crate::support::lighterman::exit;

/// Runs that are killed, or end by themselves and make room for a new pull.
const ROUNDS: usize = 24;
const SIZE: usize = 32 * MIB;

/// The last request on each connection: what was in flight when the other side was killed.
fn in_flight(requests: &[Request]) -> Vec<Request> {
    let last: BTreeMap<usize, Request> = requests.iter().map(|r| (r.connection, r.clone())).collect();
    last.into_values().collect()
}

/// What was asked for although it was there.
fn asked_again(requests: &[Request], there: &[Range<u64>]) -> Vec<(usize, usize)> {
    let ranges = requests.iter().map(|request| request.bounded_range().unwrap_or((0, SIZE - 1)));
    let overlaps = |(first, last): &(usize, usize)| {
        there.iter().any(|range| (*first as u64) < range.end && range.start <= *last as u64)
    };
    ranges.filter(overlaps).collect()
}

/// The requests for a blob that came after the first `before` requests.
fn since(liar: &Liar, before: usize, blob: &Blob) -> Vec<Request> {
    let line = request_for(blob);
    liar.requests().into_iter().skip(before).filter(|request| request.line().contains(&line)).collect()
}

#[test]
fn a_pull_that_is_killed_at_any_moment_goes_on_with_what_is_missing() {
    let mut dice = Dice::new();
    let image = image_of(&[50_000, SIZE]);
    let big = largest(&image);
    let (mut finished, mut killed) = (0, 0);
    while finished + killed < ROUNDS || finished == 0 {
        let liar = Liar::serving(&image, "app:1");
        liar.always(&request_for(big), Reply::Paced(20_000_000));
        let pull = Pull::from(&liar);
        let mut allowed = 0;
        let (mut sent_before, mut kills) = (0, 0);
        loop {
            let before = liar.requests().len();
            let there = journalled(&pull, big);
            let mark = sent_before + dice.below(10 * MIB);
            // A third of the kills come before the first byte of the blob, or right after it.
            let moment = |requests: &[Request]| {
                let of_big: Vec<Request> =
                    requests.iter().filter(|r| r.line().contains(&request_for(big))).cloned().collect();
                requests.len() > before && sent(&of_big) >= mark
            };
            let mut running = pull.spawn();
            let lives = liar.wait_until(&mut running, moment);
            if lives {
                running.kill();
            } else {
                running.wait().ends(exit::OK);
            }
            liar.settle();
            let requests = since(&liar, before, big);
            assert_bounded(&requests, "after a kill");
            let again = asked_again(&requests, &there);
            assert!(again.is_empty(), "asked for {again:?} although there was {there:?}");
            allowed += excused(&requests, big.bytes.len());
            sent_before = sent(&liar.requests_for(&request_for(big)));
            if !lives {
                finished += 1;
                break;
            }
            kills += 1;
            killed += 1;
            let short: HashSet<usize> =
                cut_short(&requests, big.bytes.len()).iter().map(|request| request.connection).collect();
            let flying = in_flight(&requests);
            allowed += flying.iter().filter(|r| !short.contains(&r.connection)).map(|r| r.sent).sum::<usize>();
            pull.assert_nothing_visible("after a kill");
        }
        pull.assert_whole(&image, "after kills");
        let most = big.bytes.len() + allowed;
        assert!(sent_before <= most, "{sent_before} bytes were sent for {kills} kills, at most {most} may have been");
    }
    assert!(killed >= ROUNDS / 2, "only {killed} runs were killed");
}

#[test]
fn a_kill_while_what_was_staged_is_hashed_again_loses_nothing() {
    let (image, big) = (cargo(), largest(cargo()));
    let liar = Liar::serving(image, "app:1");
    let pull = interrupt(&liar, big);
    // Little comes while it hashes, however often it asks.
    liar.always(When::from(&request_for(big)), Reply::Gated(At::AfterHead));
    for quarter in [1, 2, 3] {
        let there = journalled(&pull, big);
        // Bytes are hashed from the start on, up to the first that is missing.
        let rehashed = there[0].end / 4 * quarter;
        let before = liar.requests().len();
        let mut running = pull.spawn();
        while running.proc_value("io", "rchar").is_some_and(|read| read < rehashed) {
            assert!(!running.has_ended(), "it ended instead of waiting for what is missing");
            std::thread::yield_now();
        }
        running.kill();
        liar.settle();
        assert!(asked_again(&since(&liar, before, big), &there).is_empty());
        let still = journalled(&pull, big);
        assert!(there.iter().all(|range| still.contains(range)), "of {there:?} only {still:?} is remembered");
    }
    let there = journalled(&pull, big);
    let before = liar.requests().len();
    // One of the runs may not have come to its request.
    liar.open_gate();
    pull.run().succeeds();
    pull.assert_whole(image, "after kills during verification");
    let requests = since(&liar, before, big);
    assert!(asked_again(&requests, &there).is_empty(), "{there:?}: {requests:#?}");
}
