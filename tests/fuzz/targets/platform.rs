//! Platforms: of a person in the first line of the input, of a document in the next three (operating
//! system, architecture, variant), and durations, which are words of a configuration as well.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lighterman::core::duration;
use lighterman::core::platform::{Matcher, Platform};
use lighterman::host::Node;

/// Beyond this, nanoseconds are lost in a floating-point number.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();

    let typed = line();
    for local in [Platform::linux("amd64", ""), Platform::linux("arm", "v6")] {
        let Ok(platform) = Platform::parse(typed, &local) else { continue };
        // Only what is in brackets may hold, encoded, what nobody could print.
        let printed = platform.to_string();
        match Platform::parse(&printed, &local) {
            Ok(again) => assert_eq!(again.normalized(), platform.normalized(), "{printed}"),
            Err(_) => assert!(typed.contains('%'), "{printed} cannot be read"),
        }
        check(&platform, typed.contains('%'));
    }
    if let Ok(node) = Node::known(typed) {
        let report = serde_json::to_vec(&node.report).expect("is written");
        assert_eq!(Node::reported(&node.name, &report), Ok(node), "a report of ours is one for others");
    }
    if let Some(duration) = duration::parse(typed).filter(|duration| *duration < CENTURY) {
        let again = duration::parse(&duration::format(duration)).expect("what is written can be read");
        assert!(again.abs_diff(duration) < Duration::from_micros(1), "{duration:?} and {again:?}");
    }

    let document = serde_json::json!({ "os": line(), "architecture": line(), "variant": line() });
    if let Ok(platform) = serde_json::from_value(document) {
        check(&platform, false);
    }
});

/// `is_odd` where a person has spelt what no document may say.
fn check(platform: &Platform, is_odd: bool) {
    let normal = platform.normalized();
    assert_eq!(normal.normalized(), normal, "normalising twice changes nothing");
    assert!(platform.same_as(&normal));
    let json = serde_json::to_vec(platform).expect("is written");
    match serde_json::from_slice::<Platform>(&json) {
        Ok(read) => assert_eq!(read, *platform),
        Err(error) => assert!(is_odd, "{error}"),
    }
    for matcher in [Matcher::only(platform), Matcher::strict(platform)] {
        // None for a variant of arm64 that there is not; otherwise one for each level of a CPU.
        assert!(matcher.slots().len() <= 80, "{} slots", matcher.slots().len());
        assert_eq!(matcher.slot(platform), matcher.slot(&normal));
    }
    assert_eq!(Matcher::strict(platform).slot(platform), Some(0), "a host takes its own platform first");
}
