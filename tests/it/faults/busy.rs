//! Registries that have too much to do, and what they hand out that expires.

use std::time::Duration;

use super::{MIB, Pull, assert_bounded, cargo, for_each, largest, request_for};
use crate::support::liar::{Liar, Reply, When};
use crate::support::lighterman::exit;

/// The `Date` of an answer and the `Retry-After` that names a date a second later.
fn at_a_date() -> Vec<(&'static str, String)> {
    let date = |second: u8| format!("Mon, 23 Nov 2026 21:00:0{second} GMT");
    vec![("date", date(0)), ("retry-after", date(1))]
}

#[test]
fn the_time_that_a_registry_asks_for_is_given() {
    let asks = [vec![("retry-after", "1".to_owned())], at_a_date()];
    let cases: Vec<_> = asks.into_iter().flat_map(|ask| [429, 503].map(|code| (code, ask.clone()))).collect();
    for_each(&cases, |(code, headers)| {
        let told = format!("{code} with {headers:?}");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        liar.plan(&request_for(big), [Reply::Status(*code, headers.clone(), "")]);
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        let requests = liar.requests_for(&request_for(big));
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_secs(1), "{told}: asked again after {waited:?}");
    });
}

#[test]
fn bursts_of_errors_are_waited_out() {
    let codes = [500, 502, 503, 504, 429];
    let cases: Vec<_> = codes.into_iter().flat_map(|code| [(code, 0), (code, 2)]).collect();
    for_each(&cases, |(code, skip)| {
        let told = format!("{code} for three requests after {skip}");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        let burst = std::iter::repeat_n(Reply::status(*code), 3);
        liar.plan(When::from(&request_for(big)).after(*skip), burst);
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        assert_eq!(liar.unused(), 0, "{told}");
    });
}

#[test]
fn errors_without_end_are_reported_and_nothing_is_lost() {
    let cases = [
        (503, exit::UNAVAILABLE, "blame: the registry"),
        (500, exit::UNAVAILABLE, "blame: the registry"),
        (429, exit::TRY_LATER, "blame: the registry"),
        (404, exit::NOT_FOUND, "hint: the image names it, and the registry does not have it"),
    ];
    for_each(&cases, |(code, expected, line)| {
        let told = format!("{code} for ever");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        liar.plan(&request_for(big), [Reply::Honest]);
        // Some of it came before.
        let when = When::from(&request_for(big)).after(0);
        liar.plan(when, std::iter::repeat_n(Reply::status(*code), 100));
        let pull = Pull::from(&liar);
        pull.run().fails(*expected).says(&[&liar.address(), line]);
        pull.assert_nothing_visible(&told);
        let (file, _) = pull.staged(big);
        assert!(file.metadata().is_ok_and(|file| file.len() >= 4 * MIB as u64), "{told}: what came is not kept");
    });
}

#[test]
fn a_server_that_serves_few_at_a_time_is_pulled_from_with_few_connections() {
    let cases = [(1, 503), (2, 503), (1, 429), (3, 429)];
    for_each(&cases, |(most, code)| {
        let told = format!("{code} beyond {most} at a time");
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        // Slow enough that more connections pay.
        liar.always(&request_for(big), Reply::Paced(10_000_000));
        liar.limit(*most, Reply::status(*code));
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        let requests = liar.requests_for("/blobs/");
        let refused = requests.iter().filter(|request| request.status == *code).count();
        assert!(refused < requests.len() / 2 + 4, "{told}: {refused} of {} requests were refused", requests.len());
    });
}

#[test]
fn tokens_that_expire_are_renewed_as_often_as_needed() {
    let cases = [2, 3, 5];
    for_each(&cases, |uses| {
        let told = format!("tokens for {uses} requests");
        let image = cargo();
        let liar = Liar::serving(image, "app:1");
        liar.require_tokens(*uses);
        let pull = Pull::from(&liar);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        assert!(liar.requests_for("GET /token").len() >= 2, "{told}: {:#?}", liar.requests());
    });
}

#[test]
fn a_redirect_is_resolved_once_and_again_when_its_signature_expires() {
    let cases = [usize::MAX, 1, 3];
    for_each(&cases, |uses| {
        let told = format!("signatures for {uses} requests");
        let (image, big) = (cargo(), largest(cargo()));
        let (registry, storage) = (Liar::serving(image, "app:1"), Liar::serving(image, "app:1"));
        registry.redirect_blobs_to(&storage);
        storage.require_signatures(*uses);
        let pull = Pull::from(&registry);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        let asked = registry.requests_for(&request_for(big)).len();
        let requests = storage.requests_for(&request_for(big));
        assert_bounded(&requests, &told);
        let expired = requests.iter().filter(|request| request.status == 403).count();
        assert!(asked <= 1 + expired, "{told}: the registry was asked {asked} times, {expired} URLs had expired");
        assert!(requests.len() > 2, "{told}: {requests:#?}");
    });
}

#[test]
fn what_expires_in_the_middle_of_a_pull_is_replaced() {
    let (image, big) = (cargo(), largest(cargo()));
    let (registry, storage) = (Liar::serving(image, "app:1"), Liar::serving(image, "app:1"));
    registry.redirect_blobs_to(&storage);
    registry.require_tokens(usize::MAX);
    storage.require_signatures(usize::MAX);
    storage.always(&request_for(big), Reply::Paced(10_000_000));
    let pull = Pull::from(&registry);
    let mut running = pull.spawn();
    let some = |requests: &[crate::support::liar::Request]| crate::support::liar::sent(requests) >= 6 * MIB;
    assert!(storage.wait_until(&mut running, some), "it ended before");
    registry.revoke();
    storage.revoke();
    running.wait().succeeds();
    pull.assert_whole(image, "token and URL expired");
    assert_eq!(registry.requests_for(&request_for(big)).iter().filter(|request| request.status == 307).count(), 2);
    assert_eq!(registry.requests_for("GET /token").len(), 2);
}
