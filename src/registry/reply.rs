//! Reading the head of a reply, and an error's body: pure decisions on what came.

use std::ops::Range;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::error::{Reason, SizeClaim};
use crate::core::descriptor::{Descriptor, MediaType};
use crate::core::digest::Digest;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Longest message of a stranger that we repeat, in characters.
const MAX_MESSAGE: usize = 400;
/// Errors of one reply that are repeated.
const MAX_ERRORS: usize = 3;
/// Longest wait that is taken seriously; a registry that says more is treated as if it said this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The digest that the registry says the document has.
#[must_use]
pub fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    text(headers, &DOCKER_CONTENT_DIGEST)?.trim().parse().ok()
}

/// The media type of the document.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    text(headers, &CONTENT_TYPE).map(MediaType::parse)
}

/// `Content-Length`, which for HEAD no body tells.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.trim().parse().ok()
}

/// The descriptor that a HEAD reply spells out; `None` where it does not say enough.
///
/// # Errors
/// [`Reason::Digest`] where `target` is a digest and the registry names another, and
/// [`Reason::TooLarge`] above `limit` bytes.
pub fn head_descriptor(headers: &HeaderMap, target: &str, limit: u64) -> Result<Option<Descriptor>, Reason> {
    let asked: Option<Digest> = target.parse().ok();
    let answered = content_digest(headers);
    if let (Some(asked), Some(answered)) = (&asked, &answered)
        && asked != answered
        && asked.algorithm() == answered.algorithm()
    {
        return Err(Reason::Digest { asked: asked.clone(), answered: answered.clone() });
    }
    let size = content_length(headers).filter(|size| *size > 0);
    if size.is_some_and(|size| size > limit) {
        return Err(Reason::TooLarge { limit });
    }
    Ok(match (media_type(headers), asked.or(answered), size) {
        (Some(media_type), Some(digest), Some(size)) => Some(Descriptor::new(media_type, digest, size)),
        _ => None,
    })
}

/// How many bytes a blob has, from the reply to a request for all of it or for its first byte.
#[must_use]
pub fn blob_size(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    match status {
        StatusCode::OK => content_length(headers),
        StatusCode::PARTIAL_CONTENT => ContentRange::parse(text(headers, &CONTENT_RANGE)?)?.total,
        // An empty blob has no first byte.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            text(headers, &CONTENT_RANGE)?.trim().strip_prefix("bytes */")?.parse().ok()
        }
        _ => None,
    }
}

/// Which bytes of a blob of `size` bytes the body holds, for a request of `part` or of all of
/// it: what was asked for or its beginning, or the whole blob.
///
/// # Errors
/// The reason why this is not a reply to that request: [`Reason::Range`] where it is about the
/// range, [`Reason::Size`] where the whole has another size. Statuses other than 200 and 206
/// are the caller's.
pub fn blob_range(
    status: StatusCode,
    headers: &HeaderMap,
    part: Option<&Range<u64>>,
    size: u64,
) -> Result<Range<u64>, Reason> {
    let announced = content_length(headers);
    if status != StatusCode::PARTIAL_CONTENT {
        return match announced {
            Some(length) if length != size => Err(Reason::Size { expected: size, claim: SizeClaim::Announced(length) }),
            _ => Ok(0..size),
        };
    }
    let header = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let wrong = || {
        let asked = part.map(|part| (part.start, part.end.saturating_sub(1)));
        Reason::Range { asked, answered: format!("206 with range {:?}", clean(header)) }
    };
    // Several ranges in one body; nobody asked for that.
    if text(headers, &CONTENT_TYPE).is_some_and(|kind| kind.trim_start().starts_with("multipart/")) {
        return Err(wrong());
    }
    let (range, part) = ContentRange::parse(header).zip(part).ok_or_else(wrong)?;
    // A shorter range is fine: the rest is asked for next.
    let fits = range.first == part.start && range.last < part.end && range.last < size;
    if !fits || announced.is_some_and(|length| length != range.last - range.first + 1) {
        return Err(wrong());
    }
    // A total that is not the blob's may be the server's slip or the manifest's: the whole tells.
    if range.total.is_some_and(|total| total != size) {
        return Err(wrong());
    }
    Ok(range.first..range.last + 1)
}

/// What tells one version of a resource from another, RFC 9110 section 8.8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validator {
    /// An `ETag` that changes with every byte.
    Strong(HeaderValue),
    /// `Last-Modified`, where there is no strong `ETag`.
    Modified(HeaderValue),
}

impl Validator {
    /// The best one that a reply has.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let strong = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\""));
        let strong = strong.map(|etag| Self::Strong(etag.clone()));
        strong.or_else(|| headers.get(LAST_MODIFIED).map(|date| Self::Modified(date.clone())))
    }

    /// For `If-Range`, which takes strong ones only.
    #[must_use]
    pub fn strong(&self) -> Option<HeaderValue> {
        match self {
            Self::Strong(etag) => Some(etag.clone()),
            Self::Modified(_) => None,
        }
    }

    /// Whether two replies may be parts of the same version. Of different sorts of validator
    /// nothing can be said.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        std::mem::discriminant(self) != std::mem::discriminant(other) || self == other
    }
}

/// `bytes FIRST-LAST/TOTAL`, RFC 9110 section 14.4.
struct ContentRange {
    first: u64,
    last: u64,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let (first, last) = (number(first)?, number(last)?);
        let total = if total.trim() == "*" { None } else { Some(number(total)?) };
        (first <= last).then_some(Self { first, last, total })
    }
}

/// Where the next page is: the target of a `Link` with the relation `next`, RFC 8288.
#[must_use]
pub fn next_page(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let (target, _) = links
        .flat_map(|value| value.split(", <"))
        .filter_map(|link| link.trim_start_matches('<').split_once('>'))
        .find(|(_, parameters)| {
            let mut parameters = parameters.split(';').map(|parameter| parameter.trim().to_ascii_lowercase());
            parameters.any(|parameter| matches!(parameter.as_str(), "rel=next" | "rel=\"next\""))
        })?;
    Some(target)
}

/// How long to wait before the next try, from `Retry-After`: seconds, or a date, which is
/// measured against the reply's own `Date`, so that clocks need not agree.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => http_date(value)?.saturating_sub(http_date(text(headers, &DATE)?)?),
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.trim().split_once(", ")?;
    let parts: Vec<&str> = rest.split([' ', ':']).collect();
    let [day, month, year, hour, minute, second, "GMT"] = parts[..] else { return None };
    let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|number| *number <= most);
    let (day, year) = (number(day, 31)?, number(year, 9999).filter(|year| *year >= 1970)?);
    let month = months.iter().position(|name| *name == month)? as u64 + 1;
    let clock = number(hour, 23)? * 3600 + number(minute, 59)? * 60 + number(second, 60)?;
    // Years are counted from March, so that the leap day is the last of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * 86_400 + clock)
}

/// The registry's own words: OCI's errors document, other JSON with a message, or a line of plain text.
#[must_use]
pub fn message(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let words = match serde_json::from_slice::<ErrorDocument>(body) {
        Ok(document) => document.words(),
        // Pages of proxies in HTML say nothing that the status does not.
        Err(_) if text(headers, &CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/plain")) => {
            String::from_utf8_lossy(body).trim().lines().next().unwrap_or_default().to_owned()
        }
        Err(_) => String::new(),
    };
    Some(clean(&words)).filter(|words| !words.is_empty())
}

/// Shapes in which registries and token servers report errors.
#[derive(Deserialize)]
struct ErrorDocument {
    #[serde(default)]
    errors: Vec<ErrorItem>,
    message: Option<String>,
    details: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl ErrorDocument {
    fn words(self) -> String {
        if self.errors.is_empty() {
            let found = [self.error, self.error_description, self.message, self.details];
            return found.into_iter().flatten().collect::<Vec<_>>().join(": ");
        }
        let shown = self.errors.iter().take(MAX_ERRORS).map(|item| match (&*item.code, &*item.message) {
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        });
        shown.collect::<Vec<_>>().join("; ")
    }
}

/// A stranger's text made fit for a terminal and a log: one line, bounded, no control or
/// direction-changing characters.
#[must_use]
pub fn clean(text: &str) -> String {
    let harmless = |c: &char| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}');
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(harmless);
    let short: String = line.take(MAX_MESSAGE).collect();
    short.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    type Rows<'a> = &'a [(&'static str, &'a str)];

    fn headers(rows: Rows<'_>) -> HeaderMap {
        rows.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn head_says_all_or_nothing() {
        let full = [
            ("docker-content-digest", DIGEST),
            ("content-type", "application/vnd.oci.image.index.v1+json"),
            ("content-length", "7"),
        ];
        let found = head_descriptor(&headers(&full), "latest", 100).expect("fine").expect("a descriptor");
        assert_eq!(
            (found.media_type, found.size, found.digest.to_string()),
            (MediaType::OciIndex, 7, DIGEST.to_owned())
        );
        for missing in 0..full.len() {
            let mut rows = full.to_vec();
            rows.remove(missing);
            assert_eq!(head_descriptor(&headers(&rows), "latest", 100).expect("fine"), None, "without {missing}");
        }
        let without_digest = headers(&full[1..]);
        assert!(head_descriptor(&without_digest, DIGEST, 100).expect("fine").is_some(), "the digest was asked for");
        let other = DIGEST.replace("e3b0", "0000");
        assert!(matches!(head_descriptor(&headers(&full), &other, 100), Err(Reason::Digest { .. })));
        assert!(matches!(head_descriptor(&headers(&full), "latest", 6), Err(Reason::TooLarge { limit: 6 })));
        let odd = headers(&[("docker-content-digest", "md5:1"), full[1], full[2]]);
        assert_eq!(head_descriptor(&odd, "latest", 100).expect("fine"), None);
    }

    #[test]
    fn ranges_are_what_was_asked_for() {
        let range = |code: u16, rows: Rows<'_>, part: Option<Range<u64>>| {
            let status = StatusCode::from_u16(code).expect("a status");
            blob_range(status, &headers(rows), part.as_ref(), 100)
        };
        type Case<'a> = (u16, Rows<'a>, Option<Range<u64>>, Range<u64>);
        let good: &[Case<'_>] = &[
            (200, &[], None, 0..100),
            (200, &[("content-length", "100")], Some(40..60), 0..100),
            (206, &[("content-range", "bytes 40-59/100"), ("content-length", "20")], Some(40..60), 40..60),
            (206, &[("content-range", "bytes 0-99/100")], Some(0..100), 0..100),
            (206, &[("content-range", "bytes 40-59/*")], Some(40..60), 40..60),
            (206, &[("content-range", "bytes 40-49/100")], Some(40..60), 40..50),
        ];
        for (code, rows, part, expected) in good {
            assert_eq!(range(*code, rows, part.clone()).expect("fine"), *expected, "{code} {rows:?}");
        }
        let lies: &[(Rows<'_>, Option<Range<u64>>)] = &[
            (&[], Some(40..60)),
            (&[("content-range", "bytes 0-99/100")], None),
            (&[("content-range", "bytes 0-99/100")], Some(40..60)),
            (&[("content-range", "bytes 41-59/100")], Some(40..60)),
            (&[("content-range", "bytes 40-60/100")], Some(40..60)),
            (&[("content-range", "bytes 40-100/101")], Some(40..101)),
            (&[("content-range", "bytes 40-39/100")], Some(40..60)),
            (&[("content-range", "bytes 40-59/101")], Some(40..60)),
            (&[("content-range", "bytes 40-59/99")], Some(40..60)),
            (&[("content-range", "bytes */100")], Some(40..60)),
            (&[("content-range", "items 40-59/100")], Some(40..60)),
            (&[("content-range", "bytes 40-59/100"), ("content-length", "59")], Some(40..60)),
            (
                &[("content-range", "bytes 40-59/100"), ("content-type", "multipart/byteranges; boundary=x")],
                Some(40..60),
            ),
            (&[("content-range", "bytes 40-18446744073709551616/100")], Some(40..60)),
            (&[("content-range", "bytes 0-18446744073709551615/100")], Some(0..u64::MAX)),
        ];
        for (rows, part) in lies {
            let answer = range(206, rows, part.clone());
            assert!(matches!(answer, Err(Reason::Range { .. })), "{rows:?} {part:?}: {answer:?}");
        }
        for length in ["99", "101"] {
            let answer = range(200, &[("content-length", length)], Some(40..60));
            assert!(matches!(answer, Err(Reason::Size { .. })), "{length}: {answer:?}");
        }
    }

    #[test]
    fn versions_are_told_apart_by_the_best_validator() {
        let of = |rows: Rows<'_>| Validator::of(&headers(rows));
        let (monday, tuesday) = (("last-modified", "Mon"), ("last-modified", "Tue"));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("etag", "W/\"1\"")]), None);
        assert_eq!(of(&[("etag", "W/\"1\""), monday]).and_then(|found| found.strong()), None);
        let strong = of(&[("etag", "\"1\""), monday]).expect("strong");
        assert_eq!(strong.strong().as_ref().map(HeaderValue::as_bytes), Some(&b"\"1\""[..]));
        assert!(strong.agrees_with(&of(&[("etag", "\"1\""), tuesday]).expect("strong")), "the ETag decides");
        assert!(!strong.agrees_with(&of(&[("etag", "\"2\""), monday]).expect("strong")));
        let dated = of(&[monday]).expect("a date");
        assert!(!dated.agrees_with(&of(&[tuesday]).expect("a date")));
        assert!(dated.agrees_with(&strong), "nothing can be said");
    }

    #[test]
    fn waits_as_long_as_the_registry_says() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let cases: &[(Rows<'_>, Option<u64>)] = &[
            (&[], None),
            (&[("retry-after", "7")], Some(7)),
            (&[("retry-after", " 0 ")], Some(0)),
            (&[("retry-after", "999999")], Some(3600)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date], Some(30)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), date], Some(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None),
        ];
        for (rows, expected) in cases {
            assert_eq!(retry_after(&headers(rows)), expected.map(Duration::from_secs), "{rows:?}");
        }
    }

    #[test]
    fn dates_count_from_1970() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("Mon, 23 Nov 2026 21:00:00 GMT", Some(1_795_467_600)),
            ("Mon, 23 Foo 2026 21:00:00 GMT", None),
            ("Mon, 23 Nov 1969 21:00:00 GMT", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(http_date(text), expected, "{text}");
        }
    }

    #[test]
    fn repeats_the_registry_in_one_clean_line() {
        let json = headers(&[("content-type", "application/json")]);
        let plain = headers(&[("content-type", "text/plain; charset=utf-8")]);
        let html = headers(&[("content-type", "text/html")]);
        let cases: &[(&HeaderMap, &str, Option<&str>)] = &[
            (&json, r#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{"a":1}}]}"#, Some("DENIED: no way")),
            (&json, r#"{"errors":[{"code":"A"},{"message":"b"},{"code":"C"},{"code":"D"}]}"#, Some("A; b; C")),
            (&json, r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (&json, r#"{"error":"invalid_grant","error_description":"expired"}"#, Some("invalid_grant: expired")),
            (&json, "{}", None),
            (&json, "[1]", None),
            (&json, "\u{1b}[31m", None),
            (&plain, "\u{1b}[31mnot found\u{202e}\nmore", Some("[31mnot found")),
            (&html, "<html>", None),
            (&json, "", None),
        ];
        for (headers, body, expected) in cases {
            assert_eq!(message(headers, body.as_bytes()).as_deref(), *expected, "{body}");
        }
        assert_eq!(clean(&"x".repeat(10_000)).len(), MAX_MESSAGE);
    }

    proptest! {
        #[test]
        fn nothing_that_a_stranger_sends_panics(
            value in "[ -~]{0,80}|bytes [0-9]{1,20}-[0-9]{1,20}/[0-9*]{1,20}", first in 0_u64..200, length in 1_u64..200, size in 0_u64..200,
        ) {
            let rows = headers(&[("content-range", &value), ("retry-after", &value), ("date", &value), ("content-length", &value)]);
            let _ = (retry_after(&rows), message(&rows, value.as_bytes()), head_descriptor(&rows, &value, 10));
            let part = first..first + length;
            if let Ok(range) = blob_range(StatusCode::PARTIAL_CONTENT, &rows, Some(&part), size) {
                prop_assert!(range.start == first && !range.is_empty() && range.end <= part.end && range.end <= size);
            }
        }
    }
}
