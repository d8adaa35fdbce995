//! Who asks, and of which registry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, VIA};
use reqwest::Url;

use super::refusal::{Code, Refusal};
use crate::core::digest::Digest;
use crate::registry::{Credentials, Secret};

/// The parameter that names the registry, as containerd sends it.
const NAMESPACE: &str = "ns";
/// Basic, with an empty name and an empty password.
const NOBODY: &[u8] = b"Basic Og==";

/// A caller, as far as a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    /// `host[:port]`, not yet judged.
    pub(super) registry: String,
    /// Whether the request named it.
    pub(super) is_named: bool,
    /// Who he is to that registry.
    pub(super) login: Option<Login>,
    /// The other parameters.
    pub(super) query: Vec<(String, String)>,
    /// Who has passed the request on, RFC 9110 section 7.6.3; empty for nobody.
    pub(super) via: String,
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    user: String,
    password: Secret,
}

impl Login {
    /// For the registry that is asked, and for nobody else.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::anonymous().with_login(self.user.clone(), self.password.clone())
    }

    /// Tells callers apart without keeping what they know.
    pub(super) fn fingerprint(&self) -> Digest {
        Digest::of([self.user.as_str(), self.password.reveal()].join("\0").as_bytes())
    }
}

impl Asker {
    /// Reads a query and headers; a request that names no registry means `default`.
    ///
    /// # Errors
    /// The refusal for the client.
    pub(super) fn read(query: &str, headers: &HeaderMap, default: &str) -> Result<Self, Refusal> {
        let mut url = Url::parse("query:/").map_err(|error| Refusal::local(&error, "the query cannot be read"))?;
        url.set_query(Some(query));
        let (namespaces, query): (Vec<_>, Vec<_>) =
            url.query_pairs().into_owned().partition(|(key, _)| key == NAMESPACE);
        let mut namespaces = namespaces.into_iter().map(|(_, value)| value).filter(|value| !value.is_empty());
        let (named, second) = (namespaces.next(), namespaces.next());
        if second.is_some_and(|second| Some(&second) != named.as_ref()) {
            return Err(Refusal::new(Code::NameInvalid, "the request names several registries"));
        }
        let is_named = named.is_some();
        let registry = named.unwrap_or_else(|| default.to_owned());
        let login = match headers.get(AUTHORIZATION) {
            None => None,
            // What clients send that have no credentials and were asked for some.
            Some(value) if value.as_bytes().eq_ignore_ascii_case(NOBODY) => None,
            Some(value) => Some(basic(value.as_bytes()).ok_or_else(|| {
                Refusal::challenge("lighterman", "the Authorization header is not Basic with a name and a password")
            })?),
        };
        let via: Vec<&str> = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok()).collect();
        Ok(Self { registry, is_named, login, query, via: via.join(", ") })
    }
}

/// Reads `Basic …`, RFC 7617.
fn basic(value: &[u8]) -> Option<Login> {
    let (scheme, encoded) = std::str::from_utf8(value).ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    let usable = !user.is_empty() && !password.is_empty() && !text.contains(char::is_control);
    usable.then(|| Login { user: user.into(), password: Secret::new(password) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, authorization: Option<&str>) -> Result<Asker, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().expect("a value"));
        }
        Asker::read(query, &headers, "docker.io")
    }

    #[test]
    fn a_request_names_one_registry_or_means_the_default() {
        for (query, expected, others) in [
            ("", Some(("docker.io", false)), ""),
            ("ns=", Some(("docker.io", false)), ""),
            ("ns=quay.io", Some(("quay.io", true)), ""),
            ("n=5&ns=a.example%3A5000&last=x%2By", Some(("a.example:5000", true)), "n=5&last=x+y"),
            ("ns=quay.io&ns=quay.io", Some(("quay.io", true)), ""),
            ("ns=quay.io&ns=ghcr.io", None, ""),
        ] {
            let asker = read(query, None).ok();
            assert_eq!(asker.as_ref().map(|asker| (asker.registry.as_str(), asker.is_named)), expected, "{query}");
            let query = asker.map(|asker| asker.query).unwrap_or_default();
            let pairs: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(pairs.join("&"), others);
        }
    }

    #[test]
    fn callers_prove_themselves_by_name_and_password() {
        let login = |user: &str, password: &str| Login { user: user.into(), password: Secret::new(password) };
        for (value, expected) in [
            ("Basic YTpi", Some(login("a", "b"))),
            ("basic  YTpiOmM=", Some(login("a", "b:c"))),
            ("Basic YTo=", None),
            ("Basic OmI=", None),
            ("Basic YQ==", None),
            ("Basic YTpiCg==", None),
            ("Basic !", None),
            ("Basic", None),
            ("Bearer YTpi", None),
        ] {
            let found = read("", Some(value));
            assert_eq!(found.as_ref().ok().and_then(|asker| asker.login.clone()), expected, "{value}");
            assert_eq!(found.err().map(|refusal| refusal.status().as_u16()), expected.is_none().then_some(401));
        }
        for anonymous in [None, Some("Basic Og==")] {
            assert_eq!(read("", anonymous).expect("anonymous").login, None);
        }
        assert_ne!(login("a", "b").fingerprint(), login("a", "c").fingerprint());
        assert!(!format!("{:?}", login("a", "hunter2")).contains("hunter2"));
    }
}
