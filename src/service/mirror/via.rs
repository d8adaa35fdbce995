//! Who has passed a request on, RFC 9110 section 7.6.3: so that we never ask ourselves.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::refusal::{Code, Refusal};
use crate::core::unique;

/// A name for `Via` that no other mirror has.
pub(super) fn pseudonym() -> String {
    format!("lighterman-{}", unique::name())
}

/// Refuses a request that this very mirror has sent, by whatever way it came back.
pub(super) fn check(headers: &HeaderMap, pseudonym: &str) -> Result<(), Refusal> {
    let vias = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    if vias.flat_map(|via| via.split(',')).any(|via| via.trim().ends_with(pseudonym)) {
        return Err(
            Refusal::new(Code::Unknown, "the mirror was asked by itself").with_status(StatusCode::LOOP_DETECTED)
        );
    }
    Ok(())
}

/// `Via` of a request that we send on behalf of one that came by `before`; empty for nobody.
pub(super) fn onward(before: &str, pseudonym: &str) -> Option<HeaderValue> {
    let comma = if before.is_empty() { "" } else { ", " };
    HeaderValue::from_str(&format!("{before}{comma}1.1 {pseudonym}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_requests_again() {
        let (own, other) = (pseudonym(), pseudonym());
        assert_ne!(own, other);
        for (before, last, is_ours) in [
            ("", &own, true),
            (&*format!("1.1 {other}, 1.0 fred"), &own, true),
            (&*format!("1.1 {own}"), &other, true),
            ("", &other, false),
            ("1.0 fred", &other, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::VIA, onward(before, last).expect("a value"));
            assert_eq!(check(&headers, &own).is_err(), is_ours, "{before} and {last}");
        }
    }
}
