//! Which addresses may be connected to for whom.
//!
//! A host that a person configured may be anywhere. One that only a request names must be on
//! the public internet and not be this node, or whoever can send us requests could have us knock
//! at doors that are open to this node alone: its own daemons, a cloud's metadata service, the
//! neighbours. The address that is connected to is what counts, not what a name meant a moment
//! before, so names are judged where they are resolved for the connection.
//!
//! Behind a proxy of the environment it is the proxy that resolves names and connects. Before it
//! is asked for a name, the name is resolved here as well, and refused where that leads to a
//! single address that is not public. What this node cannot resolve, or the proxy resolves to
//! something else, only the proxy can refuse. Nor is it known here which public address of
//! somebody else's is translated to this node.
//!
//! Registries: IANA's special-purpose address registries for IPv4 and IPv6.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long a name is looked up only to judge it, before a proxy does so: where names are the
/// proxy's affair, this node may have no server to ask.
const LOOK_UP: Duration = Duration::from_secs(2);

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
    /// Judges a URL before anybody is asked: as far as it names an address, and where a proxy
    /// would look up its name, as far as this node can tell.
    pub(super) async fn judge(self, url: &Url) -> Result<(), NotPublic> {
        if self == Self::Anywhere {
            return Ok(());
        }
        let text = url.host_str().unwrap_or_default();
        match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if is_public(address) => Ok(()),
            Ok(_) => Err(NotPublic(text.to_owned())),
            // It is resolved for the sake of others, and must not be reached under its own name.
            Err(_) if is_proxy(text) => Err(NotPublic(text.to_owned())),
            // Else it is judged where it is resolved for the connection.
            Err(_) if proxies().next().is_some() => judge_name(text).await,
            Err(_) => Ok(()),
        }
    }
}

/// Judges a name by all that it leads to from here; one that leads nowhere from here passes.
async fn judge_name(name: &str) -> Result<(), NotPublic> {
    let Ok(Ok(mut found)) = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((name, 0))).await else {
        return Ok(());
    };
    match found.find(|address| !is_public(address.ip())) {
        Some(address) => Err(NotPublic(format!("{name} ({})", address.ip()))),
        None => Ok(()),
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

/// The proxies of the environment.
fn proxies() -> impl Iterator<Item = Url> {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let values = names.into_iter().flat_map(|key| [std::env::var(key), std::env::var(key.to_uppercase())]);
    values.flatten().filter(|value| !value.is_empty()).filter_map(|value| {
        let full = if value.contains("://") { value } else { format!("http://{value}") };
        Url::parse(&full).ok()
    })
}

/// Whether the environment names this host as a proxy.
fn is_proxy(name: &str) -> bool {
    proxies().any(|url| url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)))
}

/// Whether an address is one of the internet at large, and not this node's.
fn is_public(address: IpAddr) -> bool {
    is_public_beside(address, own_addresses)
}

fn is_public_beside(address: IpAddr, own: impl FnOnce() -> Vec<IpAddr>) -> bool {
    let address = reached(address);
    is_global(address) && !own().contains(&address)
}

/// The addresses of this node's interfaces; none where the kernel does not say.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.collect()
}

/// Whether an address is assigned to the internet at large.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

/// The address that is reached by another one which leads back to IPv4: mapped, translated by
/// NAT64, or 6to4.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
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

/// Global unicast, but for what is set apart in it.
fn is_global_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
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
                assert_eq!(is_global(reached(text.parse().expect("an address"))), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_node_is_not_public_to_itself() {
        let own = || ["8.8.4.4", "2600::1"].map(|text| text.parse().expect("an address")).to_vec();
        for (text, expected) in [
            ("8.8.8.8", true),
            ("8.8.4.4", false),
            ("::ffff:8.8.4.4", false),
            ("64:ff9b::8.8.4.4", false),
            ("2002:808:404::1", false),
            ("2600::1", false),
            ("2600::2", true),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_public_beside(text.parse().expect("an address"), own), expected, "{text}");
        }
        assert!(own_addresses().contains(&Ipv4Addr::LOCALHOST.into()), "{:?}", own_addresses());
    }

    #[tokio::test]
    async fn urls_are_judged_in_whatever_way_they_write_an_address() {
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
            assert_eq!(Reach::Public.judge(&parsed).await.is_ok(), allowed, "{url}");
            assert!(Reach::Anywhere.judge(&parsed).await.is_ok());
        }
    }

    #[tokio::test]
    async fn names_for_a_proxy_are_judged_as_far_as_they_are_known_here() {
        let error = judge_name("localhost").await.expect_err("it leads to this machine");
        assert!(error.0.starts_with("localhost ("), "{error}");
        // RFC 6761: nobody resolves it.
        assert_eq!(judge_name("registry.invalid").await, Ok(()));
    }

    #[tokio::test]
    async fn names_are_judged_by_what_they_resolve_to() {
        let name = "localhost".parse().expect("a name");
        let error = PublicNames.resolve(name).await.err().expect("it leads to this machine");
        assert!(error.downcast_ref::<NotPublic>().is_some_and(|error| error.0.starts_with("localhost (")), "{error}");
    }
}
