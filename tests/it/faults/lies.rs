//! Answers that are complete and wrong: other ranges than asked for, other versions, other bytes.

use super::{LARGE, Pull, assert_bounded, cargo, for_each, largest, request_for};
use crate::support::liar::{Liar, RangeLie, Reply, When};
use crate::support::lighterman::exit;

/// Enough for every retry of one blob.
const ALWAYS: usize = 200;

fn answers() -> Vec<Reply> {
    let lies = [
        RangeLie::First,
        RangeLie::Last,
        RangeLie::Total,
        RangeLie::Missing,
        RangeLie::Nonsense,
        RangeLie::Multipart,
        RangeLie::Backwards,
    ];
    let others = [
        Reply::WrongRange,
        Reply::IgnoreRange,
        Reply::ShorterRange,
        Reply::UnknownTotal,
        Reply::status(416),
        Reply::status(400),
        Reply::Etag("another"),
    ];
    lies.map(Reply::Lie).into_iter().chain(others).collect()
}

#[test]
fn whatever_a_server_does_with_ranges_the_blob_arrives() {
    // Once at the beginning, once later on, and every time.
    let times = [(0, 1), (2, 1), (0, ALWAYS)];
    let cases: Vec<_> = answers().into_iter().flat_map(|reply| times.map(|time| (reply.clone(), time))).collect();
    for_each(&cases, |(reply, (skip, count))| {
        let told = format!("{reply:?}, {count} times from request {skip} on");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        let when = When::from(&request_for(big)).with_range().after(*skip);
        liar.plan(when, std::iter::repeat_n(reply.clone(), *count));
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        assert!(liar.unused() < *count, "{told}: it never came to that");
        assert_bounded(&liar.requests(), &told);
    });
}

#[test]
fn a_server_without_ranges_is_found_out_once() {
    let cases = [Reply::status(416), Reply::status(400), Reply::Lie(RangeLie::Missing), Reply::IgnoreRange];
    for_each(&cases, |reply| {
        let image = super::image_of(&[LARGE, LARGE + 1]);
        let liar = Liar::serving(&image, "app:1");
        liar.always(When::from("GET /v2/app/blobs/").with_range(), reply.clone());
        let reference = liar.reference("app:1");
        let pull = Pull::of(&reference, &["--max-concurrent-downloads", "1"]);
        pull.run().succeeds();
        pull.assert_whole(&image, &format!("{reply:?}"));
        let ranged: Vec<_> = liar.requests().into_iter().filter(|request| request.range().is_some()).collect();
        assert_eq!(ranged.len(), 1, "{reply:?}: {ranged:#?}");
    });
}

#[test]
fn a_body_that_is_too_long_is_cut_or_refused() {
    let (image, big) = (cargo(), largest(cargo()));
    for layer in &image.manifests[0].layers {
        let liar = Liar::serving(image, "app:1");
        liar.plan(&request_for(layer), [Reply::TooMuch(1000)]);
        let pull = Pull::from(&liar);
        let once = pull.run();
        if once.code != Some(exit::OK) {
            // For a whole blob it is a plain contradiction to the manifest.
            once.fails(exit::CONTENT).says(&[&liar.address()]);
            pull.assert_nothing_visible("too long once");
            pull.run().succeeds();
        }
        pull.assert_whole(image, "too long once");
    }
    let liar = Liar::serving(image, "app:1");
    liar.always(&request_for(big), Reply::TooMuch(1000));
    let pull = Pull::from(&liar);
    pull.run().fails(exit::CONTENT).says(&[&liar.address(), "blame: the registry", "hint: "]);
    pull.assert_nothing_visible("always too long");
}

#[test]
fn a_blob_of_another_size_than_the_manifest_says_is_refused() {
    let (image, big) = (cargo(), largest(cargo()));
    let hosts = [(); 2].map(|()| Liar::serving(image, "app:1"));
    hosts.iter().for_each(|host| host.always(&request_for(big), Reply::TooMuch(1)));
    let [mirror, registry] = &hosts;
    let (size, other) = (big.bytes.len().to_string(), (big.bytes.len() + 1).to_string());
    let alone = Pull::from(registry);
    alone.run().fails(exit::CONTENT).says(&[&registry.address(), &size, &other, "blame: the registry", "hint: "]);
    alone.assert_nothing_visible("another size");
    // Where all hosts have it so, it is the manifest that is wrong.
    let mirrored = Pull::of(&registry.reference("app:1"), &["--mirror", &format!("http://{}", mirror.address())]);
    mirrored.run().fails(exit::CONTENT).says(&[&mirror.address(), &size, &other, "blame: the image", "hint: "]);
    mirrored.assert_nothing_visible("another size everywhere");
}

#[test]
fn wrong_bytes_in_one_range_only_are_an_error_that_names_the_host_and_stay_nowhere() {
    let (image, big) = (cargo(), largest(cargo()));
    for place in [0, LARGE / 2, big.bytes.len() - 1] {
        let liar = Liar::serving(image, "app:1");
        let when = When::from(&request_for(big)).covering(place);
        liar.plan(when, [Reply::FlippedInBlob(place)]);
        let pull = Pull::from(&liar);
        pull.run().fails(exit::CONTENT).says(&[&liar.address(), "blame: the registry", "hint: ", &big.digest]);
        assert_eq!(liar.unused(), 0);
        pull.assert_nothing_visible("a wrong byte");
        // What was wrong is not gone on from.
        pull.run().succeeds();
        pull.assert_whole(image, "after a wrong byte");
    }
}
