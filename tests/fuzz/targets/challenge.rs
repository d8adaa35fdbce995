//! `WWW-Authenticate`: one line of the input is one header.
#![no_main]

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;
use lighterman::registry::challenge::challenges;
use lighterman_fuzz::heap;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(32) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let found = heap::within(64 * 1024 + 16 * data.len(), || challenges(&headers));
    assert!(found.len() <= 8);
    for challenge in &found {
        assert!(!challenge.scheme.is_empty());
        assert!(!challenge.scheme.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
});
