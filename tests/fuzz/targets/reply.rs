//! The head of a registry's reply and an error's body. The first line of the input is `STATUS START
//! LENGTH SIZE`, headers follow, and behind an empty line the body.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use lighterman::registry::reply;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some((status, numbers)) = lines.next().and_then(request) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()).take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let body = lines.next().unwrap_or_default();

    let [start, length, size] = numbers;
    let asked = start..start.saturating_add(length);
    for part in [None, Some(&asked)] {
        let Ok(range) = reply::blob_range(status, &headers, part, size) else { continue };
        if range == (0..size) && status != StatusCode::PARTIAL_CONTENT {
            continue;
        }
        assert!(!range.is_empty() && range.end <= size, "{range:?} of {size}");
        assert!(part.is_some_and(|part| range.start == part.start && range.end <= part.end), "{range:?} for {part:?}");
        let announced = reply::content_length(&headers);
        assert!(announced.is_none_or(|announced| announced == range.end - range.start));
    }
    let _ = reply::blob_size(status, &headers);
    for target in ["latest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] {
        if let Ok(Some(descriptor)) = reply::head_descriptor(&headers, target, size) {
            assert!((1..=size).contains(&descriptor.size));
            assert!(!target.contains(':') || descriptor.digest.to_string() == target);
        }
    }
    let page = reply::next_page(&headers);
    assert!(page.is_none_or(|page| !page.contains('>') && !page.starts_with('<')), "{page:?}");
    assert!(reply::retry_after(&headers).is_none_or(|wait| wait.as_secs() <= 3600));
    if let Some(words) = reply::message(&headers, body) {
        assert!((1..=400).contains(&words.chars().count()) && !words.contains(char::is_control), "{words:?}");
        assert_eq!(reply::clean(&words), words, "clean text stays as it is");
    }
    if let Some(validator) = reply::Validator::of(&headers) {
        assert!(validator.agrees_with(&validator));
    }
});

fn request(line: &[u8]) -> Option<(StatusCode, [u64; 3])> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let status = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse().ok();
    Some((status, [number()?, number()?, number()?]))
}
