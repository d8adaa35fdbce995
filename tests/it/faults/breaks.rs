//! Connections that end before an answer does, in every way and at every place.

use super::{Pull, assert_bounded, cargo, excused, for_each, goes_on, largest, request_for};
use crate::support::fixture::Blob;
use crate::support::liar::{At, Ending, Liar, Reply, When, sent};

/// How many requests go well before the one that breaks.
const AFTER: [usize; 3] = [0, 1, 3];

/// Every way to break off but silence, which costs a stall's window and has its own test.
fn breaks() -> impl Iterator<Item = (Ending, At)> {
    [Ending::Close, Ending::Reset].into_iter().flat_map(|ending| At::CLASSES.map(|at| (ending, at)))
}

/// What was sent of a blob is the blob, and what broke off.
#[track_caller]
fn assert_nothing_twice(liar: &Liar, blob: &Blob, told: &str) {
    let (requests, size) = (liar.requests_for(&request_for(blob)), blob.bytes.len());
    let (all, excused) = (sent(&requests), excused(&requests, size));
    assert!(all >= size, "{told}: {all} bytes were sent of {size}");
    assert!(all <= size + excused, "{told}: {all} bytes of {size} were sent, {excused} excused: {requests:#?}");
}

#[test]
fn a_range_that_breaks_off_anywhere_goes_on_where_it_broke() {
    let cases: Vec<_> = breaks().flat_map(|case| AFTER.map(|skip| (case, skip))).collect();
    for_each(&cases, |((ending, at), skip)| {
        let told = format!("request {skip} of the large blob ends with {ending:?} at {at:?}");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        liar.plan(When::from(&request_for(big)).after(*skip), [Reply::Breaks(*ending, *at)]);
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        assert_eq!(liar.unused(), 0, "{told}: it never came to that");
        let requests = liar.requests_for(&request_for(big));
        assert_bounded(&requests, &told);
        assert_nothing_twice(&liar, big, &told);
        // All that was sent before an orderly end has arrived.
        if *ending == Ending::Close && !matches!(at, At::BeforeHead | At::AfterHead) {
            assert!(goes_on(&requests, big.bytes.len()), "{told}: {requests:#?}");
        }
    });
}

#[test]
fn a_blob_in_one_piece_that_breaks_off_anywhere_arrives() {
    let cases: Vec<_> = breaks().collect();
    for_each(&cases, |(ending, at)| {
        let told = format!("a small blob ends with {ending:?} at {at:?}");
        let image = cargo();
        let small = &image.manifests[0].layers[0];
        let liar = Liar::serving(image, "app:1");
        liar.plan(&request_for(small), [Reply::Breaks(*ending, *at)]);
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        assert_eq!(liar.unused(), 0, "{told}: it never came to that");
        assert_nothing_twice(&liar, small, &told);
    });
}

#[test]
fn a_registry_that_breaks_every_transfer_off_is_pulled_from_all_the_same() {
    let (image, big) = (cargo(), largest(cargo()));
    let liar = Liar::serving(image, "app:1");
    // Every answer brings a megabyte, so every attempt makes progress.
    liar.always(&request_for(big), Reply::Breaks(Ending::Close, At::Byte(1 << 20)));
    let pull = Pull::from(&liar);
    pull.run().succeeds();
    pull.assert_whole(image, "every transfer breaks off");
    let requests = liar.requests_for(&request_for(big));
    // Where a machine is busy, a second connection may help one that is about to end anyway.
    let most = big.bytes.len() + big.bytes.len() / 4;
    assert!(sent(&requests) <= most, "bytes were sent twice: {requests:#?}");
}

#[test]
fn a_connection_that_ends_right_after_an_answer_costs_nothing() {
    let cases = [Ending::Close, Ending::Reset];
    for_each(&cases, |ending| {
        let told = format!("every answer is followed by {ending:?}");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        liar.always("/blobs/", Reply::Breaks(*ending, At::End));
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        if *ending == Ending::Close {
            assert_nothing_twice(&liar, big, &told);
        }
    });
}
