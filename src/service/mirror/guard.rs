//! Which requests are heard at all.
//!
//! The mirror listens where every program of this node can reach it, a browser included. A web
//! page must not be able to use it: neither by a cross-site request, which browsers mark, nor
//! by a name of its own that it lets resolve to our address, which shows in `Host`.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName};
use http::uri::Authority;
use http::{StatusCode, Uri};

use super::refusal::{Code, Refusal};
use crate::core::unique;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a web page sent, and what was meant for somebody else.
pub(super) fn check(uri: &Uri, headers: &HeaderMap, listen: &[SocketAddr]) -> Result<(), Refusal> {
    let refused = |message: &str| Err(Refusal::new(Code::Denied, message));
    if headers.contains_key(header::ORIGIN) {
        return refused("this mirror is not for web pages");
    }
    for site in headers.get_all(SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"none" | b"same-origin") {
            return refused("this mirror is not for web pages");
        }
    }
    // RFC 9112, section 3.2: one Host, which an authority in the request's target replaces.
    let mut hosts = headers.get_all(header::HOST).iter().map(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let (Some(Some(host)), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::new(Code::Denied, "the request has no valid Host").with_status(StatusCode::BAD_REQUEST));
    };
    let is_ours = |authority: &Authority| names_us(authority.host(), listen);
    if !is_ours(&host) || uri.authority().is_some_and(|authority| !is_ours(authority)) {
        let refusal = Refusal::new(Code::Denied, "this mirror has another name than the request's Host");
        return Err(refusal.with_status(StatusCode::MISDIRECTED_REQUEST));
    }
    Ok(())
}

/// Loopback, or an address that we listen on. Only addresses: any name can be made to lead here.
fn names_us(host: &str, listen: &[SocketAddr]) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Some(address) = literal(host) else { return false };
    address.is_loopback() || listen.iter().any(|ours| ours.ip() == address || ours.ip().is_unspecified())
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Refuses a request that this very mirror has sent, by whatever way it came back.
pub(super) fn check_loop(headers: &HeaderMap, pseudonym: &str) -> Result<(), Refusal> {
    let vias = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    if vias.flat_map(|via| via.split(',')).any(|via| via.trim().ends_with(pseudonym)) {
        return Err(
            Refusal::new(Code::Unknown, "the mirror was asked by itself").with_status(StatusCode::LOOP_DETECTED)
        );
    }
    Ok(())
}

/// A name for `Via`, RFC 9110 section 7.6.3, that no other mirror has.
pub(super) fn pseudonym() -> String {
    format!("lighterman-{}", unique::name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen() -> Vec<SocketAddr> {
        ["127.0.0.1:500", "192.0.2.7:500"].map(|text| text.parse().expect("an address")).to_vec()
    }

    fn checked(uri: &str, headers: &[(&str, &str)]) -> u16 {
        let pairs = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, value.parse().expect("a value"))
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        let result = check(&uri.parse().expect("a URI"), &map, &listen());
        result.map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[test]
    fn hears_only_requests_that_name_it() {
        for (host, expected) in [
            ("127.0.0.1:500", 200),
            ("127.0.0.1", 200),
            ("127.3.2.1:9", 200),
            ("localhost:500", 200),
            ("LOCALHOST", 200),
            ("[::1]:500", 200),
            ("192.0.2.7", 200),
            ("192.0.2.8", 421),
            ("evil.example:500", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("", 400),
            ("a b", 400),
        ] {
            assert_eq!(checked("/v2/", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(checked("/v2/", &[]), 400);
        assert_eq!(checked("/v2/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(checked("http://localhost/v2/", &[("host", "localhost")]), 200);
        assert_eq!(checked("http://evil.example/v2/", &[("host", "localhost")]), 421);
    }

    #[test]
    fn hears_no_web_pages() {
        for (name, value, expected) in [
            ("sec-fetch-site", "none", 200),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "", 403),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
        ] {
            assert_eq!(checked("/v2/", &[("host", "localhost"), (name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn knows_its_own_requests_again() {
        let (own, other) = (pseudonym(), pseudonym());
        assert_ne!(own, other);
        for (via, is_ours) in [
            (format!("1.1 {own}"), true),
            (format!("1.1 {other}, 1.0 fred, 1.1 {own}"), true),
            (format!("1.1 {other}"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::VIA, via.parse().expect("a value"));
            assert_eq!(check_loop(&headers, &own).is_err(), is_ours, "{via}");
        }
    }
}
