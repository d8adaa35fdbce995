//! Which addresses may be connected to for whom.
//!
//! A host that a person configured may be anywhere. One that only a request names must be on
//! the public internet, or whoever can send us requests could have us knock at doors that are
//! open to this node alone: its own daemons, a cloud's metadata service, the neighbours.
//! The address that is connected to is what counts, not what a name meant a moment before,
//! so names are judged where they are resolved for the connection.
//!
//! Behind a proxy of the environment it is the proxy that resolves names and connects; then
//! only addresses that stand in a URL can be judged here.
//!
//! Registries: IANA's special-purpose address registries for IPv4 and IPv6.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where a host, and everybody whom it redirects to, may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reach {
    /// Anywhere: an operator vouches for the host.
    #[default]
    Anywhere,
    /// At public addresses only.
    Public,
}

/// A place that a stranger must not send us to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address")]
pub(super) struct NotPublic(pub(super) String);

impl Reach {
    /// Judges a URL as far as it names an address.
    pub(super) fn check(self, url: &Url) -> Result<(), NotPublic> {
        let text = url.host_str().unwrap_or_default();
        let address: Option<IpAddr> = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let barred = match address {
            Some(address) => !is_public(address),
            // It is resolved for the sake of others, and must not be reached under its own name.
            None => is_proxy(text),
        };
        if self == Self::Public && barred { Err(NotPublic(text.to_owned())) } else { Ok(()) }
    }
}

/// Resolves names to public addresses only.
#[derive(Debug, Default)]
pub(super) struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().map(|address| address.ip());
            let public: Vec<SocketAddr> = match is_proxy(name.as_str()) {
                true => found,
                false => found.into_iter().filter(|address| is_public(address.ip())).collect(),
            };
            match first {
                Some(address) if public.is_empty() => Err(NotPublic(format!("{} ({address})", name.as_str())).into()),
                _ => Ok::<Addrs, Box<dyn StdError + Send + Sync>>(Box::new(public.into_iter())),
            }
        })
    }
}

/// Whether the environment names this host as a proxy.
fn is_proxy(name: &str) -> bool {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let values = names.into_iter().flat_map(|key| [std::env::var(key), std::env::var(key.to_uppercase())]);
    values.flatten().filter(|value| !value.is_empty()).any(|value| {
        let full = if value.contains("://") { value } else { format!("http://{value}") };
        Url::parse(&full).is_ok_and(|url| url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)))
    })
}

/// Whether an address is one of the internet at large.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        // This network, private use, shared by carriers, this machine, the link, private use.
        (0 | 10 | 127, _, _) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _)
        // Protocol assignments, documentation, benchmarks.
        | (192, 0, 0 | 2) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224..=255, _, _)
    )
}

/// Global unicast, but for what is set apart in it and what leads back to IPv4.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Mapped, and translated by NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_public_addresses_from_all_others() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "169.253.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ];
        let others = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for (addresses, expected) in [(&public[..], true), (&others[..], false)] {
            for text in addresses {
                assert_eq!(is_public(text.parse().expect("an address")), expected, "{text}");
            }
        }
    }

    #[test]
    fn urls_are_judged_in_whatever_way_they_write_an_address() {
        for (url, allowed) in [
            ("http://127.0.0.1:5000/", false),
            ("http://2130706433/", false),
            ("http://0x7f.1/", false),
            ("http://[::1]:80/", false),
            ("http://[::ffff:10.0.0.1]/", false),
            ("https://169.254.169.254/latest", false),
            ("https://1.1.1.1/", true),
            ("https://registry.example/", true),
        ] {
            let parsed = Url::parse(url).expect("a URL");
            assert_eq!(Reach::Public.check(&parsed).is_ok(), allowed, "{url}");
            assert!(Reach::Anywhere.check(&parsed).is_ok());
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_what_they_resolve_to() {
        let name = "localhost".parse().expect("a name");
        let error = PublicNames.resolve(name).await.err().expect("it leads to this machine");
        assert!(error.downcast_ref::<NotPublic>().is_some_and(|error| error.0.starts_with("localhost (")), "{error}");
    }
}
