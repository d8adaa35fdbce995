//! Reading `WWW-Authenticate`: which schemes a registry offers, with which parameters.
//!
//! Pure and bounded. A header may hold several challenges, and a reply several headers;
//! commas separate parameters as well as challenges, so a word counts as a scheme when no
//! `=` follows it.
//!
//! Specification: RFC 9110, sections 5.6 and 11.6.1.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Longest header that is read. Real ones have less than 1 KiB.
const MAX_HEADER: usize = 8 * 1024;
/// Most challenges that are kept of one reply.
const MAX_CHALLENGES: usize = 8;
/// Most parameters that are kept of one challenge.
const MAX_PARAMETERS: usize = 16;

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// Names in lower case, values without their quotes, in order.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of the first parameter called `name` (lower case).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Every challenge of a reply, in order.
#[must_use]
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // Latin-1 bytes in a value are the registry's business; we only need the ASCII around them.
        let text = String::from_utf8_lossy(value.as_bytes());
        if text.len() <= MAX_HEADER {
            parse(&text, &mut found);
        }
    }
    found.truncate(MAX_CHALLENGES);
    found
}

fn parse(text: &str, found: &mut Vec<Challenge>) {
    let mut rest = text;
    while found.len() < MAX_CHALLENGES {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let word = token(rest);
        if word.is_empty() {
            // Something that no grammar allows here: what follows cannot be trusted to mean anything.
            return;
        }
        rest = &rest[word.len()..];
        let after = rest.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) if !value.starts_with('=') => {
                let (value, remainder) = parameter_value(value.trim_start_matches([' ', '\t']));
                if challenge.parameters.len() < MAX_PARAMETERS {
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = remainder;
            }
            // A parameter without scheme, or a token68 such as `Negotiate abc==`: not ours.
            (Some(_), _) => rest = after.split_once(',').map_or("", |(_, remainder)| remainder),
            (None, _) => found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() }),
        }
    }
}

/// The longest prefix that is an RFC 9110 token.
fn token(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)));
    &text[..end.unwrap_or(text.len())]
}

/// A token or quoted string, and what follows it. An unclosed quote runs to the end.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // Some registries do not quote URLs, so everything up to the comma counts.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)]);

    fn read(text: &str) -> Vec<Challenge> {
        let mut found = Vec::new();
        parse(text, &mut found);
        found
    }

    #[test]
    fn reads_what_registries_send() {
        let cases: &[(&str, &[Row<'_>])] = &[
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                &[(
                    "bearer",
                    &[
                        ("realm", "https://auth.docker.io/token"),
                        ("service", "registry.docker.io"),
                        ("scope", "repository:a/b:pull,push"),
                    ],
                )],
            ),
            (r#"Basic realm="Registry""#, &[("basic", &[("realm", "Registry")])]),
            ("Basic", &[("basic", &[])]),
            (
                r#"Negotiate, Basic realm="x", BEARER Realm = https://a/t , service=b"#,
                &[
                    ("negotiate", &[]),
                    ("basic", &[("realm", "x")]),
                    ("bearer", &[("realm", "https://a/t"), ("service", "b")]),
                ],
            ),
            (r#"Negotiate abc==, Basic realm="a \"b\"""#, &[("negotiate", &[]), ("basic", &[("realm", "a \"b\"")])]),
            (r#"Bearer realm="unclosed"#, &[("bearer", &[("realm", "unclosed")])]),
            (r#"Bearer realm="", service="#, &[("bearer", &[("realm", ""), ("service", "")])]),
            ("realm=x, Basic", &[("basic", &[])]),
            ("", &[]),
            (",,, ", &[]),
            ("\"", &[]),
            ("=", &[]),
        ];
        for (text, expected) in cases {
            let found = read(text);
            let found: Vec<(&str, Vec<(&str, &str)>)> = found
                .iter()
                .map(|c| (c.scheme.as_str(), c.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()))
                .collect();
            let expected: Vec<_> = expected.iter().map(|(scheme, rows)| (*scheme, rows.to_vec())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn several_headers_and_bounds() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Digest realm=x"));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"https://t\""));
        let found = challenges(&headers);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].parameter("realm"), Some("https://t"));
        assert_eq!(found[1].parameter("service"), None);

        let many = "Basic, ".repeat(1000);
        headers.append(WWW_AUTHENTICATE, many.parse().expect("a header"));
        headers.append(WWW_AUTHENTICATE, "x".repeat(MAX_HEADER + 1).parse().expect("a header"));
        assert_eq!(challenges(&headers).len(), MAX_CHALLENGES);
        let parameters = format!("Bearer {}", "a=b,".repeat(100));
        assert_eq!(read(&parameters)[0].parameters.len(), MAX_PARAMETERS);
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_bounded(text in ".{0,300}") {
            prop_assert!(read(&text).len() <= MAX_CHALLENGES);
        }

        #[test]
        fn reads_back_what_was_quoted(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let found = read(&format!("Bearer a=1, realm=\"{quoted}\", b=2"));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].parameter("realm"), Some(value.as_str()));
            prop_assert_eq!(found[0].parameter("b"), Some("2"));
        }
    }
}
