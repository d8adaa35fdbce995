//! Which requests are heard at all.
//!
//! A web page must not be able to use what listens here: neither by a cross-site request, which
//! browsers mark, nor by a name of its own that it lets resolve to our address, which shows in
//! `Host`.
//!
//! Specifications: the Fetch standard (`Origin`, `Sec-Fetch-Site`); RFC 9112, section 3.2 (`Host`).

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName};
use http::{StatusCode, Uri};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// A browser sent it on behalf of a page.
    #[error("this address is not for web pages")]
    WebPage,
    /// Its `Host` is missing, repeated or malformed.
    #[error("the request has no valid Host")]
    NoHost,
    /// It was meant for somebody else.
    #[error("this address has another name than the request's Host")]
    OtherName,
    /// Every place is taken.
    #[error("too many clients are connected at this time")]
    Busy,
}

impl Unheard {
    /// The status that goes with it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::WebPage => StatusCode::FORBIDDEN,
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::OtherName => StatusCode::MISDIRECTED_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Refuses what a web page sent, and what was meant for somebody else. `own` is the address that
/// the client has connected to.
pub(super) fn check(uri: &Uri, headers: &HeaderMap, own: IpAddr) -> Result<(), Unheard> {
    let is_of_a_site = |site: &http::HeaderValue| !matches!(site.as_bytes(), b"none" | b"same-origin");
    if headers.contains_key(header::ORIGIN) || headers.get_all(SEC_FETCH_SITE).iter().any(is_of_a_site) {
        return Err(Unheard::WebPage);
    }
    // One Host, which an authority in the request's target replaces.
    let mut hosts = headers.get_all(header::HOST).iter().map(|value| value.to_str().ok().and_then(name));
    let (Some(Some(host)), None) = (hosts.next(), hosts.next()) else { return Err(Unheard::NoHost) };
    let is_other = |authority: &str| name(authority).is_none_or(|name| !names_us(name, own));
    if !names_us(host, own) || uri.authority().is_some_and(|authority| is_other(authority.as_str())) {
        return Err(Unheard::OtherName);
    }
    Ok(())
}

/// The host of `host[:port]`; nobody logs in to us, so a user in front of it is a mistake.
fn name(text: &str) -> Option<&str> {
    let end = match text.starts_with('[') {
        true => text.find(']')? + 1,
        false => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    (is_whole && !host.is_empty() && host.chars().all(is_name)).then_some(host)
}

/// Loopback, or the address that was connected to. Any other name can be made to lead here.
fn names_us(host: &str, own: IpAddr) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_ours = |address: IpAddr| address.is_loopback() || address.to_canonical() == own.to_canonical();
    host.eq_ignore_ascii_case("localhost") || literal.is_ok_and(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str, headers: &[(&str, &str)]) -> Result<(), Unheard> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        check(&uri.parse().expect("a URI"), &map, [192, 0, 2, 7].into())
    }

    #[test]
    fn hears_only_requests_that_name_it() {
        let (other, none) = (Err(Unheard::OtherName), Err(Unheard::NoHost));
        for (host, expected) in [
            ("127.0.0.1:500", Ok(())),
            ("127.0.0.1", Ok(())),
            ("127.3.2.1:9", Ok(())),
            ("localhost:500", Ok(())),
            ("LOCALHOST", Ok(())),
            ("[::1]", Ok(())),
            ("[::1]:500", Ok(())),
            ("192.0.2.7", Ok(())),
            ("[::ffff:192.0.2.7]:500", Ok(())),
            ("192.0.2.8", other),
            ("0.0.0.0", other),
            ("[::2]:1", other),
            ("evil.example:500", other),
            ("localhost.evil.example", other),
            ("127.0.0.1.evil.example", other),
            ("", none),
            ("a b", none),
            ("[::1", none),
            ("[::1]x", none),
            ("localhost:port", none),
            ("localhost:1:2", none),
            ("user@localhost", none),
        ] {
            assert_eq!(checked("/v2/", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(checked("/v2/", &[]), none);
        assert_eq!(checked("/v2/", &[("host", "localhost"), ("host", "localhost")]), none);
        assert_eq!(checked("http://localhost/v2/", &[("host", "localhost")]), Ok(()));
        assert_eq!(checked("http://evil.example/v2/", &[("host", "localhost")]), other);
        assert_eq!(checked("http://user@localhost/v2/", &[("host", "localhost")]), other);
    }

    #[test]
    fn hears_no_web_pages() {
        for (name, value, expected) in [
            ("sec-fetch-site", "none", Ok(())),
            ("sec-fetch-site", "same-origin", Ok(())),
            ("sec-fetch-site", "same-site", Err(Unheard::WebPage)),
            ("sec-fetch-site", "cross-site", Err(Unheard::WebPage)),
            ("origin", "https://evil.example", Err(Unheard::WebPage)),
            ("origin", "null", Err(Unheard::WebPage)),
        ] {
            assert_eq!(checked("/v2/", &[("host", "localhost"), (name, value)]), expected, "{name}: {value}");
        }
    }
}
