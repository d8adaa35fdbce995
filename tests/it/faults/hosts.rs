//! Several hosts: who goes on where another broke off, who lied, who is dead.

use super::{LARGE, Pull, cargo, excused, for_each, goes_on, hosts_dir, image_of, largest, request_for};
use crate::support::certs::Authority;
use crate::support::liar::{At, Ending, Liar, Reply, Request, When, sent};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::silent::{BlackHole, Silent};

fn mirrored(mirror: &Liar, registry: &Liar, more: &[&str]) -> Pull {
    let url = format!("http://{}", mirror.address());
    Pull::of(&registry.reference("app:1"), &[&["--mirror", url.as_str()], more].concat())
}

#[test]
fn a_mirror_that_dies_in_the_middle_is_left_and_the_registry_goes_on_at_the_same_byte() {
    let ends = [Reply::Breaks(Ending::Reset, At::BeforeHead), Reply::status(503), Reply::status(404)];
    let cases: Vec<_> = ends.into_iter().flat_map(|end| [(end.clone(), 0), (end, 1)]).collect();
    for_each(&cases, |(end, skip)| {
        let told = format!("the mirror breaks request {skip} off, and then answers {end:?}");
        let (image, big) = (cargo(), largest(cargo()));
        let (mirror, registry) = (Liar::serving(image, "app:1"), Liar::serving(image, "app:1"));
        let honest = std::iter::repeat_n(Reply::Honest, *skip);
        mirror.plan(&request_for(big), honest.chain([Reply::Breaks(Ending::Close, At::Half)]));
        mirror.always(&request_for(big), end.clone());
        let pull = mirrored(&mirror, &registry, &[]);
        pull.run().succeeds();
        pull.assert_whole(image, &told);
        let (first, then) = (mirror.requests_for(&request_for(big)), registry.requests_for(&request_for(big)));
        let size = big.bytes.len();
        let all = [first.clone(), then.clone()].concat();
        let orderly = first.iter().filter(|r| r.status == 206).map(|r| r.sent).sum::<usize>();
        assert!(orderly > 0 && !then.is_empty(), "{told}: {all:#?}");
        assert!(sent(&all) <= size + excused(&all, size), "{told}: {all:#?}");
        // What broke off in good order is not asked for again.
        assert!(goes_on(&all, size), "{told}: {all:#?}");
    });
}

#[test]
fn a_mirror_that_lies_is_named_left_out_and_mended_from_the_registry() {
    let image = image_of(&[LARGE, LARGE + 3 * super::MIB]);
    let (mirror, registry) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    let big = largest(&image);
    let other = &image.manifests[0].layers[0];
    for layer in [big, other] {
        let place = layer.bytes.len() / 2;
        mirror.always(When::from(&request_for(layer)).covering(place), Reply::FlippedInBlob(place));
    }
    let pull = mirrored(&mirror, &registry, &["--max-concurrent-downloads", "1"]);
    let outcome = pull.run().succeeds();
    assert!(outcome.stderr.contains(&mirror.address()), "the liar is not named: {}", outcome.stderr);
    pull.assert_whole(&image, "a lying mirror");
    let asked = [big, other].map(|layer| !mirror.requests_for(&request_for(layer)).is_empty());
    assert_eq!(asked.iter().filter(|asked| **asked).count(), 1, "a liar was asked for another blob");
}

#[test]
fn of_two_hosts_that_shared_a_blob_the_honest_one_is_not_blamed() {
    let (image, big) = (cargo(), largest(cargo()));
    let (mirror, registry) = (Liar::serving(image, "app:1"), Liar::serving(image, "app:1"));
    // The mirror brings the first range, wrong, and dies; the registry brings the rest.
    mirror.plan(&request_for(big), [Reply::FlippedInBlob(1000)]);
    mirror.always(&request_for(big), Reply::status(404));
    let pull = mirrored(&mirror, &registry, &["--log-level", "warn"]);
    let outcome = pull.run().succeeds();
    pull.assert_whole(image, "one of two lied");
    let blamed = |host: &Liar| {
        outcome.stderr.lines().any(|line| line.contains(&host.address()) && line.contains("not the blob's"))
    };
    assert!(blamed(&mirror), "{}", outcome.stderr);
    assert!(!blamed(&registry), "{}", outcome.stderr);
}

/// Ten layers from a registry behind a mirror that is described by these lines of hosts.toml.
fn ten_layers(mirror: &str, lines: &str) -> (Lighterman<'static>, Liar, Vec<serde_json::Value>) {
    let image = image_of(&[20_000, 20_001, 20_002, 20_003, 20_004, 20_005, 20_006, 20_007, 20_008, 20_009]);
    let registry = Liar::serving(&image, "app:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    let name = registry.address();
    let toml = format!("server = \"http://{name}\"\n[host.\"{mirror}\"]\n{lines}\n");
    let dir = hosts_dir(&user.path(""), &name, &toml);
    let reference = registry.reference("app:1");
    let args = ["pull", &reference, "--to", &destination, "--hosts-dir", &dir, "--json"];
    let events = user.run(&args).succeeds().events();
    (user, registry, events)
}

/// How often the pull left this host for the next.
fn left(events: &[serde_json::Value], host: &str) -> usize {
    let names = |event: &serde_json::Value| event["left"].as_str().is_some_and(|left| left.ends_with(host));
    events.iter().filter(|event| event["event"] == "next-host" && names(event)).count()
}

#[test]
fn a_mirror_that_never_greets_costs_one_timeout() {
    let mirror = Silent::mute();
    let url = format!("https://{}", mirror.address());
    let (_, registry, events) = ten_layers(&url, "dial_timeout = \"500ms\"");
    assert_eq!(mirror.visitors(), 1, "{events:#?}");
    assert!(registry.requests_for("/blobs/").len() >= 10);
}

#[test]
fn a_mirror_that_nobody_reaches_costs_one_timeout() {
    let mirror = BlackHole::open();
    let (_, registry, events) = ten_layers(&format!("http://{}", mirror.address()), "dial_timeout = \"500ms\"");
    assert_eq!(left(&events, &mirror.address()), 1, "{events:#?}");
    assert!(registry.requests_for("/blobs/").len() >= 10);
}

#[test]
fn a_mirror_that_takes_requests_and_never_answers_costs_one_silence() {
    let mirror = Liar::start();
    mirror.always("/", Reply::Breaks(Ending::Hang, At::BeforeHead));
    let (_, registry, events) = ten_layers(&format!("http://{}", mirror.address()), "");
    assert_eq!((mirror.requests().len(), left(&events, &mirror.address())), (1, 1), "{events:#?}");
    assert!(registry.requests_for("/blobs/").len() >= 10);
}

#[test]
fn a_certificate_that_nobody_trusts_is_looked_at_once() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let impostor = Silent::impostor(&Authority::new("nobody").server(home.path()));
    let name = impostor.address();
    let dir = hosts_dir(home.path(), &name, &format!("server = \"https://{name}\"\n"));
    let pull = Pull::of(&format!("{name}/app:1"), &["--hosts-dir", &dir]);
    pull.run().fails(exit::UNTRUSTED).says(&[&name, "certificate", "hint: "]);
    assert_eq!(impostor.visitors(), 1);
    assert!(!pull.layout.exists());
}

#[test]
fn a_mirror_whose_certificate_nobody_trusts_is_looked_at_once_for_all_layers() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let impostor = Silent::impostor(&Authority::new("nobody").server(home.path()));
    let (_, registry, events) = ten_layers(&format!("https://{}", impostor.address()), "");
    assert_eq!(impostor.visitors(), 1, "{events:#?}");
    assert!(registry.requests_for("/blobs/").iter().filter(|r| Request::range(r).is_none()).count() >= 10);
}
