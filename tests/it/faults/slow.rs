//! Slow senders, silent ones, and what is done about either: splitting and leaving.

use super::{LARGE, MIB, Pull, SPLIT_FROM, assert_bounded, cargo, excused, for_each, image_of, largest, request_for};
use crate::support::liar::{At, Ending, Liar, Reply, When, connections, sent};

#[test]
fn small_blobs_are_never_split_and_large_ones_in_bounded_ranges() {
    let image = image_of(&[1000, 6 * MIB, LARGE, LARGE + 5000]);
    let liar = Liar::serving(&image, "app:1");
    let pull = Pull::from(&liar);
    pull.run().succeeds();
    pull.assert_whole(&image, "no fault");
    for layer in &image.manifests[0].layers {
        let requests = liar.requests_for(&request_for(layer));
        let size = layer.bytes.len();
        if size < SPLIT_FROM {
            assert_eq!((requests.len(), requests[0].range()), (1, None), "{requests:#?}");
        } else {
            assert!(requests.len() > 1 && requests.iter().all(|r| r.bounded_range().is_some()), "{requests:#?}");
        }
        assert!(sent(&requests) <= size + excused(&requests, size), "{size} bytes: {requests:#?}");
    }
}

#[test]
fn a_server_that_is_slow_per_connection_is_given_more_of_them() {
    let cases = [(20_000_000, 48 * MIB, 4), (2_000_000, 12 * MIB, 4)];
    for_each(&cases, |(rate, size, least)| {
        let told = format!("{rate} bytes per second and connection");
        let image = image_of(&[*size]);
        let big = largest(&image);
        let liar = Liar::serving(&image, "app:1");
        liar.always(&request_for(big), Reply::Paced(*rate));
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(&image, &told);
        let requests = liar.requests_for(&request_for(big));
        assert_bounded(&requests, &told);
        assert!((*least..=16).contains(&liar.busiest()), "{told}: {} at a time", liar.busiest());
        assert!(connections(&requests) <= 20, "{told}: connections are not kept alive: {requests:#?}");
        let most = big.bytes.len() + excused(&requests, big.bytes.len());
        assert!(sent(&requests) <= most, "{told}: {requests:#?}");
    });
}

#[test]
fn silence_and_trickles_are_left_for_another_connection() {
    let silent = [At::AfterHead, At::Byte(1), At::Half, At::LastByte].map(|at| Reply::Breaks(Ending::Hang, at));
    let cases: Vec<_> = silent.into_iter().chain([Reply::Paced(1), Reply::Paced(200)]).collect();
    // All at the same time: each waits for a stall to be found.
    std::thread::scope(|scope| {
        for reply in &cases {
            for skip in [0, 2] {
                scope.spawn(move || {
                    let told = format!("{reply:?} at request {skip}");
                    let (image, big) = (cargo(), largest(cargo()));
                    let liar = Liar::serving(image, "app:1");
                    liar.plan(When::from(&request_for(big)).after(skip), [reply.clone()]);
                    let pull = Pull::from(&liar);
                    pull.run().succeeds();
                    pull.assert_whole(image, &told);
                    assert_eq!(liar.unused(), 0, "{told}");
                    let requests = liar.requests_for(&request_for(big));
                    let most = big.bytes.len() + excused(&requests, big.bytes.len());
                    assert!(sent(&requests) <= most, "{told}: {requests:#?}");
                });
            }
        }
    });
}

#[test]
fn a_registry_that_always_resets_is_reported_with_every_attempt() {
    let image = image_of(&[100_000]);
    let blob = largest(&image);
    let liar = Liar::serving(&image, "app:1");
    // Not even the first answer brings anything.
    liar.always(&request_for(blob), Reply::Breaks(Ending::Reset, At::AfterHead));
    let pull = Pull::from(&liar);
    let failed = pull.run().fails(crate::support::lighterman::exit::UNAVAILABLE);
    failed.says(&[&liar.address(), "blame: the network", "attempt: "]);
    pull.assert_nothing_visible("resets for ever");
}
